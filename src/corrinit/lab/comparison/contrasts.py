"""The contrasts of a comparison: gains over the baseline, their parts, the 2×2, and epochs to a target.

All are weighted sums of arms. `corrinit.lab.statistics.contrast` alone tests and decides them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from corrinit.lab.comparison.groups import Comparison, final_accuracy
from corrinit.lab.document.numbers import POINTS, Unit
from corrinit.lab.experiment.arm import BASELINE, Initialization, controls, correlation_suffix
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.statistics.contrast import (
    MARGIN,
    Contrast,
    Key,
    Sample,
    Terms,
    against,
    as_family,
    contrast,
    contrasts,
)
from corrinit.lab.statistics.targets import epochs_to

Read: TypeAlias = Callable[[RunRecord], float | None]
Weights: TypeAlias = Mapping[Initialization, float]
"""Arms of one setting and how much each counts; they sum to 0."""

ARMS = "arms"
"""What the family of all arms against the baseline is called."""


@dataclass(frozen=True)
class Outcome:
    """What is compared: a value of a run, its unit, and which way is better.

    Args:
        name: what the values are.
        unit: unit of their differences.
        read: value of a run; None if it has none, NaN or infinite if it diverged.
        curve: the value by epoch; None where a run has none.
        higher_is_better: False for a loss or an error.
        margin: size up to which differences count as none in practice.
    """

    name: str
    unit: Unit
    read: Read
    curve: Callable[[RunRecord], Sequence[float] | None]
    higher_is_better: bool = True
    margin: float = MARGIN

    @property
    def is_accuracy(self) -> bool:
        """Whether values are accuracies in [0, 1], for which epochs to a target are counted."""
        return self.unit == POINTS and self.higher_is_better


ACCURACY = Outcome("accuracy", POINTS, final_accuracy, curve=lambda run: run.curve("test_accuracy").tolist())
"""Test accuracy after the last epoch."""


@dataclass(frozen=True)
class Standing:
    """One arm beside the baseline.

    Args:
        arm: the initialization.
        name: what it is called.
        sample: its final values.
        gain: its final value minus the baseline's; None for the baseline itself.
    """

    arm: Initialization
    name: str
    sample: Sample
    gain: Contrast | None


@dataclass(frozen=True)
class ScaleShare:
    """The gain of an arm in two parts, that of its scale and that of the structure of its filters.

    Args:
        control: name of the arm that separates them.
        at_he: whether that is the arm at He's scale, rather than the baseline at the scale of the arm.
        scale: what the scale gains: the control minus the baseline, or the arm minus its control at He's.
        structure: what is gained at equal scale: the rest.
    """

    control: str
    at_he: bool
    scale: Contrast
    structure: Contrast


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


@dataclass(frozen=True)
class TwoByTwo:
    """The contrasts of the four arms that share an R and its strength, over the seeds that all four have.

    Args:
        correlated: the correlated arm at its small scale.
        seeds: the seeds.
        main: correlated minus independent taps and small minus He's scale, each averaged over the other
            factor, and their interaction, tested together.
        simple: the effects at each level, and both together: the paper's comparison; intervals only.
    """

    correlated: Initialization
    seeds: tuple[int, ...]
    main: Mapping[str, Contrast]
    simple: Mapping[str, Contrast]


CORRELATION, SCALE, INTERACTION = "correlation", "scale", "interaction"
AT_HE, AT_SMALL = "correlation at He's scale", "correlation at the small scale"
OF_INDEPENDENT, OF_CORRELATED = "scale of independent taps", "scale of correlated taps"
TOGETHER = "both together"


def contrasts_of(
    comparison: Comparison,
    weights: Mapping[Key, Weights],
    read: Read,
    *,
    family: str,
    margin: float = MARGIN,
    seeds: Collection[int] | None = None,
) -> dict[Key, Contrast]:
    """Contrasts of the arms of a setting, as one family.

    Args:
        comparison: the runs of the setting.
        weights: arms and how much each counts, by contrast.
        read: value of a run.
        family: what the family is called.
        margin: size up to which differences count as none in practice.
        seeds: seeds that count; by default those that all arms of a contrast have.
    """
    terms: dict[Key, Terms] = {
        key: [(weight, comparison.sample(arm, read).over(seeds)) for arm, weight in each.items()]
        for key, each in weights.items()
    }
    return contrasts(terms, family=family, inference=comparison.inference, margin=margin)


def standings(comparison: Comparison, outcome: Outcome = ACCURACY) -> tuple[Standing, ...]:
    """Where the arms stand, in their order."""
    samples = {arm: comparison.sample(arm, outcome.read) for arm in comparison.initializations}
    values = [value for sample in samples.values() for value in sample.values.values()]
    gains = against(
        samples,
        comparison.baseline,
        family=ARMS,
        inference=comparison.inference,
        margin=outcome.margin,
        step=outcome.unit.resolution(values or [0.0]),
    )
    return tuple(
        Standing(arm, comparison.name(arm), sample, gains.get(arm)) for arm, sample in samples.items()
    )


def effect_weights(correlated: Initialization, baseline: Initialization = BASELINE) -> dict[str, Weights]:
    """All effects of a 2×2 as weights of its arms.

    >>> list(effect_weights(Initialization("correlated"))["correlation"].values())
    [0.5, 0.5, -0.5, -0.5]
    """
    own = correlated.canonical
    at_small, at_he = controls(own)
    return {
        CORRELATION: {own: 0.5, at_he: 0.5, at_small: -0.5, baseline: -0.5},
        SCALE: {own: 0.5, at_small: 0.5, at_he: -0.5, baseline: -0.5},
        INTERACTION: {own: 1.0, at_he: -1.0, at_small: -1.0, baseline: 1.0},
        AT_HE: {at_he: 1.0, baseline: -1.0},
        AT_SMALL: {own: 1.0, at_small: -1.0},
        OF_INDEPENDENT: {at_small: 1.0, baseline: -1.0},
        OF_CORRELATED: {own: 1.0, at_he: -1.0},
        TOGETHER: {own: 1.0, baseline: -1.0},
    }


def two_by_twos(comparison: Comparison, read: Read = final_accuracy) -> Iterator[TwoByTwo]:
    """The 2×2 of every R and strength of which all four arms have a seed in common, and none diverged."""
    for correlated in (arm.initialization for arm in comparison.arms):
        if not controls(correlated):
            continue
        four = [BASELINE, correlated, *controls(correlated)]
        samples = {arm: comparison.sample(arm, read) for arm in four}
        seeds = sorted(set.intersection(*(set(sample.values) for sample in samples.values())))
        if not seeds or any(sample.diverged for sample in samples.values()):
            continue
        name = f"effects of the 2×2{correlation_suffix(correlated)}"
        simple = effect_weights(correlated)
        main = {each: simple.pop(each) for each in (CORRELATION, SCALE, INTERACTION)}
        yield TwoByTwo(
            correlated,
            tuple(seeds),
            *(
                contrasts_of(comparison, weights, read, family=name, seeds=seeds)
                for weights in (main, simple)
            ),
        )


def scale_shares(
    comparison: Comparison, rows: Sequence[Standing], outcome: Outcome = ACCURACY
) -> dict[Initialization, tuple[ScaleShare | None, Initialization]]:
    """The share of the scale in the gain of each arm, and the control that separates it from structure.

    An arm whose scale is He's, and an independent one, has no such share.
    """
    by_arm = {row.arm: row for row in rows}
    fair = {row.arm: row.sample for row in rows if not row.sample.diverged}
    found: dict[Initialization, tuple[ScaleShare | None, Initialization]] = {}
    for row in rows:
        own, baseline = row.arm, comparison.baseline
        if baseline != BASELINE or own.scale == "he" or own.method == BASELINE.method:
            continue
        at_he = replace(own, scale="he").canonical
        # Independent taps have no scale but He's in common with a method whose scale is its own, or measured.
        same_scale = replace(own, method=BASELINE.method).canonical
        preferred = at_he if same_scale == BASELINE else same_scale
        found[own] = None, preferred
        for control in dict.fromkeys((preferred, at_he)):
            if not {own, baseline, control} <= fair.keys():
                continue
            seeds = set(fair[own].values) & set(fair[baseline].values) & set(fair[control].values)
            if not seeds:
                continue
            ours, controlled, reference = (fair[each].over(seeds) for each in (own, control, baseline))
            to_arm = contrast([(1.0, ours), (-1.0, controlled)], comparison.inference)
            controls_gain = contrast([(1.0, controlled), (-1.0, reference)], comparison.inference)
            gain = by_arm[control].gain
            assert gain is not None
            controls_gain = controls_gain.judged(
                gain.p_adjusted, gain.family, gain.size, margin=outcome.margin
            )
            scale, structure = (to_arm, controls_gain) if control == at_he else (controls_gain, to_arm)
            found[own] = ScaleShare(comparison.name(control), control == at_he, scale, structure), preferred
            break
    # What the arms add to their controls is one family.
    shares = {arm: share for arm, (share, _) in found.items() if share is not None}
    added = {arm: share.scale if share.at_he else share.structure for arm, share in shares.items()}
    for arm, part in as_family(added, "arms against their controls", margin=outcome.margin).items():
        share, control = shares[arm], found[arm][1]
        name = "scale" if share.at_he else "structure"
        found[arm] = replace(share, **{name: part}), control
    return found


def default_target(comparison: Comparison, outcome: Outcome = ACCURACY) -> float | None:
    """The largest whole percentage that every run of the baseline reaches; None if it has no curves."""
    arm = comparison.find(comparison.baseline)
    ended = [] if arm is None else [arm.runs[seed] for seed in arm.sample(outcome.read).values]
    best = [float(np.nanmax(curve)) for run in ended if (curve := outcome.curve(run)) is not None]
    return math.floor(100 * min(best) + 1e-9) / 100 if best else None  # 100 × 0.57 is a little less than 57


def epochs_saved(
    comparison: Comparison, rows: Sequence[Standing], target: float | None, outcome: Outcome = ACCURACY
) -> dict[Initialization, EpochsSaved]:
    """By how many epochs each arm with a fair sample reaches the target before the baseline."""
    if target is None or target <= 0:
        return {}

    def reach(run: RunRecord) -> float | None:
        curve = outcome.curve(run)
        epoch = None if curve is None else epochs_to(curve, target)
        return None if epoch is None else float(epoch)

    baseline = comparison.baseline
    whole = {row.arm for row in rows if not row.sample.diverged}
    reference = comparison.find(baseline)
    if reference is None or baseline not in whole:
        return {}
    fair = [arm for arm in comparison.arms if arm.initialization in whole]
    reached = {arm.initialization: arm.sample(reach) for arm in fair}
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
