"""What the intervals of a report cover: what seeds vary, and what stands still while they do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.runs.record import RunRecord

CHOSEN_RATES = (
    "Where learning rates were chosen, intervals are conditional on the choice, too: one run at each rate "
    "made it, and another seed might choose others."
)


def coverage(config: RunConfig, available: int | None = None) -> str:
    """What intervals over the seeds of a configuration cover, in a sentence or two.

    Args:
        config: of any seed.
        available: the number of images that a training subset is drawn from, if that is known.

    >>> coverage(RunConfig(train_subset=5000, resample=True), 50_000).partition(", ")[2].partition(". ")[0]
    'the order of the images and the draw of 5,000 of 50,000 training images'
    """
    drawn = ["the draw of the weights", "the order of the images"]
    if config.augmentation != "none":
        drawn.append("their augmentation")
    if config.dropout:
        drawn.append("what dropout leaves out")
    if config.noise:
        drawn.append("the noise that is learned to be taken away")
    if config.train_subset is None:
        fixed = "the training images and the test images, which are the same for every seed"
    else:
        number = f"{config.train_subset:,}" + ("" if available is None else f" of {available:,}")
        subset = f"draw of {number} training images"
        fixed = f"one fixed {subset}, and on the test images: both are the same for every seed"
        if config.resample:
            drawn.append(f"the {subset}")
            fixed = "the test images, which are the same for every seed"
    covered = f"{', '.join(drawn[:-1])} and {drawn[-1]}"
    return f"Intervals cover {covered}. They are conditional on {fixed}."


def coverages(records: Iterable[RunRecord]) -> tuple[str, ...]:
    """`coverage` of the runs of a report that are tested on test images, each told once.

    Where it differs between them, it is preceded by the data and networks that it holds for. Where learning
    rates were chosen by runs among them, what that leaves out comes last.
    """
    found: dict[str, dict[str, None]] = {}
    chosen = False
    for record in records:
        config = record.config
        chosen = chosen or config.tested_on == "held_out"
        if config.tested_on == "test":
            sentence = coverage(config, record.result.available_images)
            data = Path(config.data.partition(":")[2] or config.data).name
            found.setdefault(sentence, {})[f"{data}, {config.model}"] = None
    told = [f"{'; '.join(sorted(names))}: {sentence}" for sentence, names in sorted(found.items())]
    return (*(found if len(found) == 1 else told), *([CHOSEN_RATES] if chosen else []))
