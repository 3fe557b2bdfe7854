"""Train the networks whose filter correlations come with the package, and write the presets.

    CORRINIT_DATA=DIRECTORY python experiments/make_presets.py --data parquet:cifar10-jpeg

Networks, width and optimizer are the paper's (ResNet-10 and VGG-8, Kaiming normal, lr 0.1); a network that
is interrupted goes on from its last epoch. Checkpoints lie in runs/presets.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import corrinit
from corrinit.lab.data.dataset import load
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.runs.environment import describe
from corrinit.lab.training.loop import Training

EPOCHS = {"resnet10": 10, "vgg8": 10}
CHECKPOINTS = Path("runs/presets")
PRESETS = Path(corrinit.__file__).parent / "presets"


def trained(model: str, data: str) -> Training:
    config = RunConfig(
        data=data,
        model=model,
        initialization=Initialization("kaiming_normal", "he"),
        epochs=EPOCHS[model],
        precision="bfloat16",
        channels_last=True,
    )
    training = Training(config, load(data))
    checkpoint = CHECKPOINTS / f"{model}.pt"
    if checkpoint.exists():
        training.restore(checkpoint)
    while training.epoch < config.epochs:
        metrics = training.run_epoch()
        training.save(checkpoint)
        sys.stderr.write(f"{model} epoch {training.epoch}: {metrics['test_accuracy']:.4f}\n")
    return training


def write(name: str, training: Training) -> None:
    layers = corrinit.estimate_layers(training.model, (3, 3))
    interval = layers.mean_interval()
    config = training.config
    provenance = {
        "network": f"{config.model}, width {config.width}",
        "training": f"{config.epochs} epochs of SGD, lr {config.lr}, momentum {config.momentum}, "
        f"batch {config.batch_size}, no L2, from independent taps at He's scale",
        "data": training.provenance,
        "test accuracy": f"{training.metrics[-1]['test_accuracy']:.4f}",
        "corrinit": describe()["version"],
    }
    means = {
        "mean correlation": f"{layers.pooled().mean:.4f}",
        "95 % interval": f"{interval.low:.4f} to {interval.high:.4f}",
        "layer names": ", ".join(layer.name for layer in layers.layers),
    }
    folder = PRESETS / name
    pooled = layers.pooled()
    corrinit.save_correlation(
        folder / "pooled.safetensors",
        pooled.with_deviations(pooled.deviations, {**provenance, **means}),
    )
    for layer in layers.layers:
        measured = layer.correlation.with_deviations(layer.correlation.deviations, provenance)
        corrinit.save_correlation(folder / f"{layer.name}.safetensors", measured)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="cifar10", help="as for `corrinit demo`")
    data = parser.parse_args().data
    for model in EPOCHS:
        write(f"{model}-cifar10", trained(model, data))


if __name__ == "__main__":
    main()
