"""By how many epochs arms reach an accuracy before the baseline does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from corrinit.lab.comparison.contrasts import Standing
from corrinit.lab.comparison.groups import Comparison
from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.runs.endpoints import EPOCHS, LAST_EPOCHS, PLATEAU_SHARE, TEST_ACCURACY, Direction, Endpoint
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.statistics.contrast import Contrast, as_family, contrast
from corrinit.lab.statistics.targets import epochs_to


@dataclass(frozen=True)
class EpochsSaved:
    """By how many epochs an arm reaches a target before the baseline.

    Args:
        target: accuracy to reach.
        contrast: epochs of the baseline minus the arm's, over the seeds for which both reach the target.
        not_reached: seeds for which the arm does not.
        baseline_not_reached: seeds for which the baseline does not.
        runs: number of seeds that both have.
    """

    target: float
    contrast: Contrast
    not_reached: tuple[int, ...]
    baseline_not_reached: tuple[int, ...]
    runs: int


def default_target(comparison: Comparison, endpoint: Endpoint = TEST_ACCURACY) -> float | None:
    """95 % of the plateau of the baseline, in tenths of a percent; None if it has no curves.

    The plateau is the mean of the last epochs over all its runs. What the baseline just reaches in its best
    epoch would be reached by it always, and by copies of it less often.
    """
    arm = comparison.find(comparison.baseline)
    ended = [] if arm is None else [arm.runs[seed] for seed in arm.sample(endpoint).values]
    plateaus = [np.mean(curve[-LAST_EPOCHS:]) for run in ended if (curve := endpoint.curve(run)) is not None]
    return round(PLATEAU_SHARE * float(np.mean(plateaus)), 3) if plateaus else None


def epochs_to_target(target: float, endpoint: Endpoint = TEST_ACCURACY) -> Endpoint:
    """The first epoch at which runs are at a target; a run that never is has none."""

    def read(run: RunRecord) -> float | None:
        curve = endpoint.curve(run)
        return None if curve is None else epochs_to(curve, target)

    told = f"epochs to {100 * target:g} %"
    definition = f"first epoch with {endpoint.label} of {100 * target:g} % or more"
    return Endpoint(
        "epochs_to_target", told, definition, EPOCHS, Direction.LOWER, read, margin=0.0, paired=True
    )


def epochs_saved(
    comparison: Comparison,
    rows: Sequence[Standing],
    target: float | None,
    endpoint: Endpoint = TEST_ACCURACY,
) -> dict[Initialization, EpochsSaved]:
    """By how many epochs each arm with a fair sample reaches the target before the baseline."""
    baseline = comparison.baseline
    whole = {row.arm for row in rows if not row.sample.diverged}
    reference = comparison.find(baseline)
    if target is None or target <= 0 or reference is None or baseline not in whole:
        return {}
    fair = [arm for arm in comparison.arms if arm.initialization in whole]
    reached = {arm.initialization: arm.sample(epochs_to_target(target, endpoint)) for arm in fair}
    found = {}
    for arm in fair:
        own = arm.initialization
        seeds = sorted(arm.runs.keys() & reference.runs.keys())
        if own != baseline:
            saved = contrast([(1.0, reached[baseline]), (-1.0, reached[own])], comparison.inference, step=1.0)
            not_reached, baseline_not_reached = (
                tuple(seed for seed in seeds if seed not in reached[each].values) for each in (own, baseline)
            )
            found[own] = EpochsSaved(target, saved, not_reached, baseline_not_reached, len(seeds))
    together = as_family({arm: each.contrast for arm, each in found.items()}, "times of the arms", margin=0.0)
    return {arm: replace(each, contrast=together[arm]) for arm, each in found.items()}
