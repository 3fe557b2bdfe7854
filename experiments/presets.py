"""Train networks until they have forgotten their start, and say how the taps of their filters correlate.

    CORRINIT_DATA=DIRECTORY python experiments/presets.py --data parquet:cifar10-jpeg --minutes 240
    python experiments/presets.py --data parquet:cifar10-jpeg --write l2+augmented

ResNet-10 and VGG-8 on all images, in the paper's setting, with and without L2 regularization, each plain and
with crop-and-flip and a decaying rate. Records, with R and the deviations of the taps by epoch and layer, are
kept in results/presets: what is finished is not run again, and a run that is stopped, or killed, goes on from
its last epoch. `--minutes 0` runs nothing, `--plan` times an update of each network and says what is left.
docs/presets.md says what the records show; `--write` makes the files that come with the package from the
runs of one condition.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

import corrinit
from corrinit.lab.data.dataset import load
from corrinit.lab.document.blocks import Section, Table
from corrinit.lab.document.markdown import write_markdown
from corrinit.lab.document.numbers import count
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.experiment.observation import Observation
from corrinit.lab.paper.experiments import MEAN_CORRELATIONS, MODELS
from corrinit.lab.runs.layers import LayerHistory
from corrinit.lab.runs.provenance import provenance
from corrinit.lab.runs.record import WEIGHTS, RunRecord, read_runs
from corrinit.lab.training.duration import durations
from corrinit.lab.training.run import run

RUNS = Path("results/presets")
PRESETS = Path(corrinit.__file__).parent / "presets"

NETWORKS = ("vgg8", "resnet10")

L2 = 0.001

CONDITIONS: Mapping[str, Mapping[str, object]] = {
    "plain": {},
    "l2": {"l2": L2},
    "augmented": {"augmentation": "crop_flip", "schedule": "decay"},
    "l2+augmented": {"l2": L2, "augmentation": "crop_flip", "schedule": "decay"},
}

OBSERVATION = Observation(test_images=2_000, layers=True)

NEEDS = ("layers",)

EPOCHS = (1, 2, 5, 10, 20, 40, 80)
"""Those that the document tells of, beside the last one."""

NEGATIVE = {"resnet10": (0.20, 0.04), "vgg8": (0.50, 0.05)}
"""The share of the pairs of taps whose correlation is negative, and its size, as Section 6.2 prints them."""


class OutOfTimeError(Exception):
    """The minutes are over; the epoch that has ended is on disk."""


@dataclass(frozen=True)
class Training:
    """A network in one condition."""

    model: str
    condition: str
    config: RunConfig

    @property
    def name(self) -> str:
        return f"{MODELS[self.model]}, {self.condition}, seed {self.config.seed}"


def planned(data: str, seeds: int, epochs: int) -> Iterator[Training]:
    """All runs, a seed of each before another one, and the network that is trained faster first."""
    for seed in range(seeds):
        for model in NETWORKS:
            for condition, settings in CONDITIONS.items():
                config = RunConfig(
                    data=data,
                    model=model,
                    initialization=Initialization("kaiming_normal", "he"),
                    epochs=epochs,
                    precision="bfloat16",
                    seed=seed,
                )
                yield Training(model, condition, replace(config, **settings))


def carry_out(trainings: Sequence[Training], minutes: float) -> None:
    """Bring runs to their end, or as far as they come in that time."""
    end = time.monotonic() + 60 * minutes
    for training in trainings:

        def told(metrics: Mapping[str, float], training: Training = training) -> None:
            accuracy = f", test accuracy {metrics['test_accuracy']:.4f}" if "test_accuracy" in metrics else ""
            sys.stderr.write(
                f"{training.name}: epoch {metrics['epoch']} of {training.config.epochs}{accuracy}, "
                f"{metrics['seconds']:.0f} s\n"
            )
            if time.monotonic() > end and metrics["epoch"] < training.config.epochs:
                raise OutOfTimeError

        try:
            run(
                training.config,
                RUNS,
                checkpoint_every=1,
                keep_weights=True,
                needs=NEEDS,
                observation=OBSERVATION,
                on_epoch=told,
            )
        except OutOfTimeError:
            break
        if time.monotonic() > end:
            break


def print_plan(trainings: Sequence[Training], records: Mapping[str, RunRecord]) -> None:
    """How long what is left takes, in the order in which it is made."""
    left = [each for each in trainings if each.config.run_id not in records]
    seconds = durations([each.config for each in left], records.values(), observation=OBSERVATION)
    spent = 0.0
    for each in left:
        spent += seconds[each.config]
        hours = f"{seconds[each.config] / 3600:.2f} h, {spent / 3600:.2f} h up to here"
        epoch = seconds[each.config] / each.config.epochs
        sys.stdout.write(f"{each.name}: {count(each.config.epochs, 'epoch')} of {epoch:.0f} s, {hours}\n")


def pooled_start(history: LayerHistory, look: int) -> float:
    """The share of the weights that is their start, mean over the filters."""
    return float(np.average(history.start[look], weights=history.filters))


def signs(correlations: np.ndarray) -> tuple[str, str, str]:
    """Share of negative pairs, their mean size, and the mean of the positive ones."""
    negative, positive = correlations[correlations < 0], correlations[correlations > 0]
    size = f"{-negative.mean():.3f}" if negative.size else "–"
    return f"{100 * negative.size / correlations.size:.0f} %", size, f"{positive.mean():.3f}"


def by_epoch(condition: str, history: LayerHistory) -> Iterator[tuple[str, ...]]:
    last = len(history.start) - 1
    for epoch in sorted({*(epoch for epoch in EPOCHS if epoch < last), last}):
        pooled, learned = history.pooled[epoch], history.learned[epoch].astype(np.float64)
        of_learned = np.average(learned, axis=0, weights=history.filters).mean()
        yield (
            condition,
            str(epoch),
            f"{pooled.mean():.3f}",
            f"{of_learned:.3f}",
            f"{100 * pooled_start(history, epoch):.0f} %",
            *signs(pooled),
        )


def by_layer(condition: str, history: LayerHistory) -> Iterator[tuple[str, ...]]:
    for number, name in enumerate(history.names):
        found = history.layer(-1, number)
        d = found.deviations.reshape(found.kernel_size)
        corners = np.sqrt(np.mean(np.square(d[::2, ::2])))
        yield (
            condition,
            str(name).removesuffix(".weight"),
            f"{history.filters[number]:,}",
            f"{found.mean:.3f}",
            f"{found.profile()[0].correlation:.3f}",
            f"{100 * history.start[-1, number]:.0f} %",
            f"{d[1, 1]:.2f}",
            f"{corners:.2f}",
            f"{history.centre[-1, number]:.2f}",
            f"{history.spread[-1, number]:.2f}",
        )


def two_readings() -> Section:
    """What the numbers that the paper prints would mean for each other."""
    rows = []
    for preset, mean in MEAN_CORRELATIONS.items():
        model = preset.partition("-")[0]
        share, size = NEGATIVE[model]
        if_all = (mean + share * size) / (1 - share)
        if_positive = (1 - share) * mean - share * size
        rows.append(
            (
                MODELS[model],
                f"{mean:.2f}",
                f"{100 * share:.0f} %",
                f"{size:.2f}",
                f"{if_all:.2f}",
                f"{if_positive:.2f}",
            )
        )
    return Section(
        "What the paper prints",
        (
            "Section 6.2 prints a correlation of 0.26 for ResNet-10 and of 0.18 for VGG-8, and how many "
            "pairs are negative and by how much. It does not say whether the former is the mean of all pairs "
            "or of the positive ones. If it is the mean of all, the positive ones are as large as the fifth "
            "column says; if it is that of the positive ones, the mean of all is as small as the last column "
            "says. The default R of this package has a mean of 0.26 over all pairs: the first reading.",
        ),
        (
            Table(
                "",
                (
                    *("network", "printed", "negative pairs", "their size"),
                    *(
                        "positive pairs, if of all",
                        "all pairs, if of the positive",
                    ),
                ),
                tuple(rows),
            ),
        ),
    )


def sections(trainings: Sequence[Training], records: Mapping[str, RunRecord]) -> Iterator[Section]:
    yield two_readings()
    for model in NETWORKS:
        made = [
            (each.condition, records[each.config.run_id], history)
            for each in trainings
            if each.model == model
            and each.config.run_id in records
            and (history := records[each.config.run_id].layers()) is not None
        ]
        if not made:
            yield Section(MODELS[model], ("Not run.",))
            continue
        printed = MEAN_CORRELATIONS[f"{model}-cifar10"]
        accuracies = tuple(
            (
                condition,
                str(record.seed),
                str(record.config.epochs),
                f"{100 * float(record.endpoint('test_accuracy') or 0):.1f}",
                f"{100 * record.metrics[-1]['train_accuracy']:.1f}",
            )
            for condition, record, _ in made
        )
        epoch_header = (
            *("condition", "epoch", "mean correlation", "of what was learned", "start that is left"),
            *("negative pairs", "their size", "mean of positive pairs"),
        )
        layer_header = (
            *("condition", "layer", "filters", "mean correlation", "neighbours", "start that is left"),
            *("d, centre", "d, corners", "centre of mass", "spread"),
        )
        yield Section(
            MODELS[model],
            (f"The paper prints {printed:.2f} for this network, trained without λ and as it is.",),
            (
                Table(
                    "Accuracies (%)",
                    ("condition", "seed", "epochs", "test", "training"),
                    accuracies,
                    f"L2: λ = {L2}; augmented: crop-and-flip, and a rate that decays at 1/2 and 3/4 of the "
                    "epochs. Training accuracy is that of the last epoch, on images as they were changed.",
                ),
                Table(
                    "By epoch",
                    epoch_header,
                    tuple(row for condition, _, history in made for row in by_epoch(condition, history)),
                    "Pooled over all layers, each standardized, every filter counting alike. What was "
                    "learned: weights less their projection on those of the start; the share of the start is "
                    "that of the projection in the sum of squares.",
                ),
                Table(
                    "By layer, at the end",
                    layer_header,
                    tuple(row for condition, _, history in made for row in by_layer(condition, history)),
                    "d: relative deviation of a tap, in mean square 1 over the nine. Centre of mass of the "
                    "squared taps of a filter, as its distance from the centre of the kernel, and the root "
                    "mean square distance about it, in pixels, each a mean over the filters.",
                ),
            ),
        )


def write(training: Training, record: RunRecord) -> None:
    """The files of a preset, from the weights of a finished run."""
    layers = corrinit.estimate_layers(record.path / WEIGHTS, (3, 3))
    history, pooled, interval = record.layers(), layers.pooled(), layers.mean_interval()
    assert history is not None
    config = record.config
    facts = {
        "network": f"{config.model}, width {config.width}",
        "training": f"{config.epochs} epochs of SGD, lr {config.lr} ({config.schedule}), momentum "
        f"{config.momentum}, batch {config.batch_size}, λ {config.l2}, augmentation {config.augmentation}, "
        f"from independent taps at He's scale, seed {config.seed}",
        "data": str(record.result.data),
        "test accuracy": f"{record.endpoint('test_accuracy'):.4f}",
        "run": record.run_id,
        "corrinit": str(record.result.version),
    }
    shares = dict(zip(history.names.tolist(), history.start[-1].tolist(), strict=True))
    folder = PRESETS / f"{training.model}-cifar10"
    pooled_facts = {
        "start that is left": f"{pooled_start(history, -1):.4f}",
        "mean correlation": f"{pooled.mean:.4f}",
        "95 % interval": f"{interval.low:.4f} to {interval.high:.4f}",
        "layer names": ", ".join(layer.name for layer in layers.layers),
    }
    means = pooled.with_deviations(pooled.deviations, facts | pooled_facts)
    corrinit.save_correlation(folder / "pooled.safetensors", means)
    for layer in layers.layers:
        own = facts | {"start that is left": f"{shares[layer.name]:.4f}"}
        found = layer.correlation.with_deviations(layer.correlation.deviations, own)
        corrinit.save_correlation(folder / f"{layer.name}.safetensors", found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="cifar10", help="as for `corrinit demo`")
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--plan", action="store_true", help="say how long what is left takes, and end")
    parser.add_argument("--write", choices=CONDITIONS, help="the condition that the presets are made from")
    parser.add_argument("--output", type=Path, default=Path("docs/presets.md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    everything = list(planned(options.data, options.seeds, options.epochs))
    chosen = [each for each in everything if each.model in options.models]
    if options.plan:
        load(options.data)
    elif options.minutes > 0:
        carry_out(chosen, options.minutes)
    records = {record.run_id: record for record in read_runs(RUNS)[0] if record.finished}
    if options.plan:
        print_plan(chosen, records)
        return
    for training in chosen:
        if training.condition == options.write and training.config.seed == 0:
            write(training, records[training.config.run_id])
    how = f"--data {options.data} --seeds {options.seeds} --epochs {options.epochs}"
    write_markdown(
        options.output,
        "Correlations of trained networks, by epoch",
        list(sections(everything, records)),
        provenance=provenance(list(records.values()), f"python experiments/presets.py {how}"),
    )


if __name__ == "__main__":
    main()
