"""What an arm gains over the baseline: epochs to a target, and the parts that are scale and structure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from corrinit.lab.statistics.paired import Difference, Estimate, paired_difference

BySeed: TypeAlias = Mapping[int, float]
Curves: TypeAlias = Mapping[int, Sequence[float]]


@dataclass(frozen=True)
class EpochsSaved:
    """By how many epochs an arm reaches a target before the baseline.

    Args:
        target: the accuracy to reach.
        difference: epochs of the baseline minus the arm's, over the seeds for which both reach the target;
            None if there are none.
        not_reached: seeds for which the arm does not.
        baseline_not_reached: seeds for which the baseline does not.
        runs: seeds that both have.
    """

    target: float
    difference: Estimate | None
    not_reached: tuple[int, ...]
    baseline_not_reached: tuple[int, ...]
    runs: int


@dataclass(frozen=True)
class ScaleShare:
    """The gain of an arm in two parts, that of its scale and that of the structure of its filters.

    Args:
        control: the arm that tells them apart.
        at_he: whether that is the arm at He's scale, rather than the baseline at the scale of the arm.
        scale: what the scale gains: the control minus the baseline, or the arm minus its control at He's.
        structure: what is gained at equal scale: the rest.
    """

    control: str
    at_he: bool
    scale: Estimate
    structure: Estimate

    @property
    def against_control(self) -> Estimate:
        """The part that is the arm minus the control; the other is the control minus the baseline."""
        return self.scale if self.at_he else self.structure


def epochs_to(curve: Sequence[float], target: float) -> int | None:
    """The first epoch, from 1, at which a curve is at the target or above; None if it never is.

    >>> epochs_to([0.3, 0.5, 0.4, 0.6], target=0.5)
    2
    """
    reached = np.flatnonzero(np.asarray(curve, np.float64) >= target)
    return int(reached[0]) + 1 if reached.size else None


def seconds_to(curve: Sequence[float], seconds: Sequence[float], target: float) -> float | None:
    """The time at which a curve reaches the target, None if never.

    Args:
        curve: one value per epoch.
        seconds: cumulative, at the end of each epoch.
        target: what to reach.
    """
    epoch = epochs_to(curve, target)
    return None if epoch is None else float(seconds[epoch - 1])


def default_target(baseline_curves: Iterable[Sequence[float]]) -> float:
    """The largest whole percentage that every run of the baseline reaches.

    >>> default_target([[0.3, 0.57], [0.6, 0.59]])
    0.57

    Raises:
        ValueError: if there are no runs.
    """
    best = [float(np.nanmax(curve)) for curve in baseline_curves]
    if not best:
        raise ValueError("the baseline has no finished runs to take a target from")
    return math.floor(100 * min(best) + 1e-9) / 100  # 100 × 0.57 is a little less than 57


def epochs_saved(
    curves: Curves, baseline_curves: Curves, target: float, *, difference: Difference = paired_difference
) -> EpochsSaved:
    """By how many epochs an arm reaches the target before the baseline, paired by seed.

    Args:
        curves: of the arm, by seed: accuracy after each epoch.
        baseline_curves: of the baseline.
        target: the accuracy to reach.
        difference: how the mean difference is estimated.
    """
    seeds = sorted(curves.keys() & baseline_curves.keys())
    ours = {seed: epochs_to(curves[seed], target) for seed in seeds}
    theirs = {seed: epochs_to(baseline_curves[seed], target) for seed in seeds}
    pairs = [(b, a) for a, b in zip(ours.values(), theirs.values(), strict=True) if a and b]
    return EpochsSaved(
        target,
        difference(*zip(*pairs, strict=True)) if pairs else None,
        tuple(seed for seed in seeds if ours[seed] is None),
        tuple(seed for seed in seeds if theirs[seed] is None),
        len(seeds),
    )


def scale_share(
    values: Mapping[str, BySeed],
    arm: str,
    baseline: str,
    *,
    same_scale: str | None,
    he_scale: str | None,
    difference: Difference = paired_difference,
) -> ScaleShare | None:
    """How much of the gain of an arm its scale explains; None without a control to tell by.

    Args:
        values: what was measured, by arm and seed.
        arm: the arm.
        baseline: independent taps at He's scale.
        same_scale: the control that is preferred: independent taps at the scale of the arm.
        he_scale: the control used instead if the first is not there: the arm at He's scale.
        difference: how mean differences are estimated.
    """
    for control, at_he in ((same_scale, False), (he_scale, True)):
        trio = [values[name] for name in (arm, baseline, control) if name is not None and name in values]
        if len(trio) < 3 or not (seeds := sorted(set.intersection(*map(set, trio)))):
            continue
        own, reference, controlled = (np.array([by_seed[seed] for seed in seeds]) for by_seed in trio)
        to_arm, from_baseline = difference(own, controlled), difference(controlled, reference)
        scale, structure = (to_arm, from_baseline) if at_he else (from_baseline, to_arm)
        return ScaleShare(str(control), at_he, scale, structure)
    return None
