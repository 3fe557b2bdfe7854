"""Measure which endpoint decides with the fewest runs, from Kaiming normal and the paper's method alone.

    CORRINIT_DATA=DIRECTORY python experiments/endpoints.py --minutes 60

Records are kept in results/endpoints: what is finished is not run again, and no run is started once the
minutes are over. Seeds go round all settings and both arms, so that whatever is finished is balanced.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.observation import Observation
from corrinit.lab.runs.endpoints import CORRECT
from corrinit.lab.training.sweep import sweep

RUNS = Path("results/endpoints")

SETTINGS = {
    "VGG-8, CIFAR-10 (JPEG)": ("vgg8", "cifar10-jpeg"),
    "VGG-8, Tiny-ImageNet-100 (32×32)": ("vgg8", "tinyimagenet100-32"),
    "ResNet-10, CIFAR-10 (JPEG)": ("resnet10", "cifar10-jpeg"),
}

ARMS = {"Kaiming normal": Initialization("kaiming_normal", "he"), "correlated": Initialization("correlated")}

OBSERVATION = Observation(test_images=1_000, unused_images=10_000)

NEEDS = ("averaged_test_scaled_loss", "averaged_unused_accuracy", CORRECT)


def configuration(model: str, data: str, arm: Initialization, seed: int) -> RunConfig:
    """A quarter of the paper's channels, ten updates an epoch, otherwise the paper's setting."""
    return RunConfig(
        data=f"parquet:{data}",
        train_subset=2_560,
        model=model,
        width=0.25,
        initialization=arm,
        epochs=20,
        precision="bfloat16",
        seed=seed,
    )


def configurations(seeds: int) -> Iterator[RunConfig]:
    for seed in range(seeds):
        for model, data in SETTINGS.values():
            for arm in ARMS.values():
                yield configuration(model, data, arm, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * options.minutes
    found = sweep(
        list(configurations(options.seeds)),
        RUNS,
        start_another=lambda: time.monotonic() < end,
        observation=OBSERVATION,
        needs=NEEDS,
    )
    sys.stderr.write(f"{len(found.records)} runs are finished; failures: {found.failures}\n")


if __name__ == "__main__":
    main()
