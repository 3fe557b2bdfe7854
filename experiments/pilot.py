"""Choose the training images and epochs of the scale `mini` by Kaiming normal alone, and write down how.

    CORRINIT_DATA=DIRECTORY python experiments/pilot.py --cifar10 parquet:cifar10-jpeg \\
        --cifar100 parquet:tinyimagenet100-32

The candidates have about as many updates each; no correlated network is trained, so that the choice cannot
favour one. Records are kept in results/pilot, and what is finished is not run again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from corrinit.lab.document.blocks import Section, Table
from corrinit.lab.document.markdown import write_markdown
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.paper.experiments import INDEPENDENT, Column, Row
from corrinit.lab.paper.protocol import SCALES, Protocol, data_sources
from corrinit.lab.runs.provenance import provenance
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.training.run import run

CANDIDATES = ((3_500, 20), (5_000, 14), (10_000, 7))
"""Training images and epochs: 260, 266 and 273 updates of 256 images."""

LEAST = {"cifar10": 0.40, "cifar100": 0.10}
"""Test accuracy that Kaiming normal must reach for a comparison to be one of networks that have learned."""

RUNS = Path("results/pilot")


def pilot_runs(protocol: Protocol, seeds: int) -> Iterator[tuple[str, RunConfig]]:
    """VGG-8 from Kaiming normal in the paper's setting, at the scale but for images and epochs."""
    for data in LEAST:
        for config in protocol.cell(Row("uncorrelated", INDEPENDENT), Column("vgg8", data), 0.1)[:seeds]:
            for images, epochs in CANDIDATES:
                yield data, replace(config, train_subset=images, epochs=epochs)


def scatter(record: RunRecord) -> float:
    """Deviation of the test accuracy of one epoch about a smooth curve, in the last third of the epochs."""
    curve = record.curve("test_accuracy")
    return float(np.std(np.diff(curve[-max(3, len(curve) // 3) :]), ddof=1) / 2**0.5)


def has_ended(record: RunRecord) -> bool:
    """Whether training came to its end: 99 % of the training images are right, and epochs scatter little."""
    return record.metrics[-1]["train_accuracy"] >= 0.99 and scatter(record) <= 0.01


def described(data: str, record: RunRecord) -> tuple[str, ...]:
    curve = record.curve("test_accuracy")
    late = curve[-max(3, len(curve) // 3) :]
    averaged, accuracy = record.endpoint("averaged_test_accuracy"), record.endpoint("test_accuracy")
    assert averaged is not None
    assert accuracy is not None
    config = record.config
    return (
        str(record.result.data).partition(":")[0],
        f"{config.train_subset:,}",
        str(config.epochs),
        f"{100 * accuracy:.1f}",
        f"{100 * averaged:.1f}",
        f"{100 * record.metrics[-1]['train_accuracy']:.1f}",
        f"{100 * (curve[-1] - late[0]):+.1f}".replace("-", "−"),
        f"{100 * scatter(record):.1f}",
        "yes" if averaged >= LEAST[data] else "no",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cifar10", default="cifar10")
    parser.add_argument("--cifar100", default="cifar100")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("docs/mini-scale.md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    protocol = Protocol("mini", data_sources(cifar10=options.cifar10, cifar100=options.cifar100))
    found = []
    for data, config in pilot_runs(protocol, options.seeds):
        every = replace(SCALES["mini"].observation, test_every=1)
        found.append((data, run(config, RUNS, observation=every)))
        sys.stderr.write(f"{' '.join(described(*found[-1]))}\n")
    header = (
        *("data", "images", "epochs", "accuracy (%)", "averaged weights (%)", "training accuracy (%)"),
        *("rise in the last third", "deviation between epochs", "learned"),
    )
    caption = (
        "VGG-8 at half the paper's channels, Kaiming normal, otherwise the paper's setting with learning "
        "rate 0.1 and λ = 0. Accuracies are of all test images, of the last weights and of averaged ones; "
        "rise and deviation are of the last third of the epochs (at least three) on 2,000 test images, "
        "the deviation that of one epoch about a smooth curve. Learned: averaged weights reach "
        f"{100 * LEAST['cifar10']:.0f} % of 10 classes or {100 * LEAST['cifar100']:.0f} % of 100."
    )
    rows = tuple(described(data, record) for data, record in found)
    scale = SCALES["mini"]
    chosen = (
        f"The scale “mini” trains on {scale.train_subset:,} images for {40 * scale.epochs:g} epochs, and for "
        f"{80 * scale.epochs:g} where the paper trains for 80. Only networks from Kaiming normal were looked "
        "at to choose that: they must have learned; their training must have come to its end (training "
        "accuracy of 99 %), as that of networks which the paper calls fully trained; and the accuracy of "
        "their last epochs must not scatter by more than a point. Of the candidates of which that holds for "
        "both data sets and every seed of the pilot, the one with the most images is taken."
    )
    held = {
        f"{images:,} images and {epochs} epochs in {sum(map(has_ended, alike))} of {len(alike)} runs"
        for images, epochs in CANDIDATES
        if (alike := [r for _, r in found if (r.config.train_subset, r.config.epochs) == (images, epochs)])
    }
    outcome = f"Training has come to its end for {'; for '.join(sorted(held))}."
    sections = [Section("The pilot", (chosen, outcome), (Table("Candidates", header, rows, caption),))]
    command = " ".join(["python", *sys.argv])
    facts = provenance([record for _, record in found], command)
    write_markdown(options.output, "How the scale “mini” was chosen", sections, provenance=facts)


if __name__ == "__main__":
    main()
