"""What the intervals of a report cover: what seeds vary, and what stands still while they do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from corrinit.lab.config import RunConfig
from corrinit.lab.records import RunRecord


def coverage(config: RunConfig, available: int | None = None) -> str:
    """What intervals over the seeds of a configuration cover, in a sentence or two.

    Args:
        config: of any seed.
        available: the number of images that a training subset is drawn from, if that is known.

    >>> coverage(RunConfig(train_subset=5000, resample=True), 50_000).partition(", ")[2].partition(". ")[0]
    'the order of the images and the draw of 5,000 of 50,000 training images'
    """
    if config.train_subset is None:
        return (
            "Intervals cover the draw of the weights and the order of the images. They are conditional on "
            "the training images and the test images, which are the same for every seed."
        )
    number = f"{config.train_subset:,}" + ("" if available is None else f" of {available:,}")
    drawn = f"draw of {number} training images"
    if config.resample:
        return (
            f"Intervals cover the draw of the weights, the order of the images and the {drawn}. They are "
            "conditional on the test images, which are the same for every seed."
        )
    return (
        "Intervals cover the draw of the weights and the order of the images. They are conditional on one "
        f"fixed {drawn}, and on the test images: both are the same for every seed."
    )


def coverages(records: Iterable[RunRecord]) -> tuple[str, ...]:
    """`coverage` of the runs of a report that are tested on test images, each told once.

    Where it differs between them, it is preceded by the data and networks that it holds for.
    """
    found: dict[str, dict[str, None]] = {}
    for record in records:
        config = record.config
        if config.tested_on == "test":
            sentence = coverage(config, record.result.get("available_images"))
            data = Path(config.data.partition(":")[2] or config.data).name
            found.setdefault(sentence, {})[f"{data}, {config.model}"] = None
    if len(found) == 1:
        return tuple(found)
    return tuple(f"{'; '.join(sorted(names))}: {sentence}" for sentence, names in sorted(found.items()))
