"""What stands for the paper's claims in numbers: contrasts of correlated with uncorrelated runs.

A reading says which arms are held against which. A measure gives a contrast for every setting (network, data
set, learning rate, λ) that has the runs, or for two settings that differ in one thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal, TypeAlias

import numpy as np

from corrinit.lab.comparison.groups import Comparison, final_accuracy
from corrinit.lab.experiment.arm import BASELINE, Initialization, controls
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.statistics.contrast import Sample, Terms

REACHED = 0.95
"""Share of the uncorrelated run's final accuracy at which convergence is timed."""
EARLY = 0.1
"""Share of the epochs, at least one, that counts as early in training."""

Value: TypeAlias = Callable[[RunRecord, RunRecord], float]
"""A value of a run, given also the uncorrelated run of its seed; NaN where it was not measured."""


@dataclass(frozen=True)
class Versus:
    """A correlated arm held against an uncorrelated one, and how much that counts."""

    weight: float
    correlated: Initialization
    uncorrelated: Initialization


@dataclass(frozen=True)
class Reading:
    """How a claim is read: which arms are held against which.

    Args:
        name: what the reading is called.
        pairs: correlated and uncorrelated arms; their weights sum to 1.
    """

    name: str
    pairs: tuple[Versus, ...]


AS_THE_PAPER = "as the paper compares"
EQUAL_SCALE = "at equal scale, averaged over both"
AT_HE = "at He's scale"
AT_SMALL = "at the small scale"
READINGS = (AS_THE_PAPER, EQUAL_SCALE, AT_HE, AT_SMALL)


def readings(correlated: Initialization) -> tuple[Reading, ...]:
    """All readings of claims about an arm: the paper's, the main effect of the taps, both simple effects."""
    own = correlated.canonical
    independent, at_he = controls(own)
    return (
        Reading(AS_THE_PAPER, (Versus(1.0, own, BASELINE),)),
        Reading(EQUAL_SCALE, (Versus(0.5, at_he, BASELINE), Versus(0.5, own, independent))),
        Reading(AT_HE, (Versus(1.0, at_he, BASELINE),)),
        Reading(AT_SMALL, (Versus(1.0, own, independent),)),
    )


@dataclass(frozen=True)
class Measure:
    """What stands for a claim in numbers.

    Args:
        name: what the differences are of.
        unit: unit of the differences as they are shown.
        factor: factor from the differences to that unit.
        sign: sign of the difference that the claim predicts.
        limit: the largest difference that is possible, before the factor.
        terms: named conditions of the contrasts, from the settings of a reading.
    """

    name: str
    unit: str
    factor: float
    sign: Literal[-1, 1]
    limit: float
    terms: Callable[[Sequence[Comparison], Reading], Iterator[tuple[str, Terms]]]


def setting_name(comparison: Comparison) -> str:
    """What a setting is called."""
    setting = comparison.setting
    data = str(comparison.records[0].result.data).partition(":")[0]
    width = "" if setting.width == 0.5 else f", width {setting.width:g}"
    older = "" if comparison.protocol is None else f", protocol {comparison.protocol}"
    return f"{setting.model}, {data}, lr {setting.lr:g}, λ {setting.l2:g}{width}{older}"


def within(value: Value) -> Callable[[Sequence[Comparison], Reading], Iterator[tuple[str, Terms]]]:
    """The correlated minus the uncorrelated runs of each setting."""

    def terms(comparisons: Sequence[Comparison], reading: Reading) -> Iterator[tuple[str, Terms]]:
        for comparison in comparisons:
            yield setting_name(comparison), _gain(comparison, reading, value)

    return terms


def gain_over_learning_rates(
    comparisons: Sequence[Comparison], reading: Reading
) -> Iterator[tuple[str, Terms]]:
    """Gain at a lower minus gain at a higher learning rate, all else equal."""
    for low, high in permutations(comparisons, 2):
        if low.setting.lr < high.setting.lr and _alike(low, high, "lr"):
            name = f"{setting_name(low)} minus lr {high.setting.lr:g}"
            yield name, _minus(low, high, lambda each: _gain(each, reading, final))


def gain_over_l2(comparisons: Sequence[Comparison], reading: Reading) -> Iterator[tuple[str, Terms]]:
    """Gain without minus with L2 regularization."""
    for without, regularized in _regularizations(comparisons):
        name = f"{setting_name(without)} minus λ {regularized.setting.l2:g}"
        yield name, _minus(without, regularized, lambda each: _gain(each, reading, final))


def weight_correlation_over_l2(
    comparisons: Sequence[Comparison], reading: Reading
) -> Iterator[tuple[str, Terms]]:
    """Final correlation of the uncorrelated runs' weights, with minus without L2 regularization."""

    def uncorrelated(comparison: Comparison) -> Terms:
        return [
            (pair.weight, _sample(comparison, pair.uncorrelated, pair, final_weight_correlation))
            for pair in reading.pairs
        ]

    for without, regularized in _regularizations(comparisons):
        yield f"{setting_name(regularized)} minus λ 0", _minus(regularized, without, uncorrelated)


def final(run: RunRecord, _: RunRecord) -> float:
    """Test accuracy after the last epoch."""
    return final_accuracy(run)


def epochs_to_reach(run: RunRecord, uncorrelated: RunRecord) -> float:
    """Epochs until 95 % of the uncorrelated run's final accuracy, interpolated between epochs.

    At least 1; one more than all epochs if it is never reached.
    """
    curve, target = run.curve("test_accuracy"), REACHED * final_accuracy(uncorrelated)
    reached = np.flatnonzero(curve >= target)
    if not reached.size:
        return len(curve) + 1.0
    if (first := int(reached[0])) == 0:
        return 1.0
    before, after = curve[first - 1 : first + 1]
    return float(first + (target - before) / (after - before))


def mean_accuracy(run: RunRecord, _: RunRecord) -> float:
    """Test accuracy averaged over the epochs: the area under its curve, over the number of epochs."""
    return float(run.curve("test_accuracy").mean())


def early_sign_changes(run: RunRecord, _: RunRecord) -> float:
    """Gradient sign changes averaged over the first tenth of the epochs."""
    changes = run.curve("sign_changes")
    return float(changes[: max(1, round(EARLY * len(changes)))].mean())


def all_sign_changes(run: RunRecord, _: RunRecord) -> float:
    """Gradient sign changes averaged over all epochs."""
    return float(run.curve("sign_changes").mean())


def final_weight_correlation(run: RunRecord, _: RunRecord) -> float:
    """Mean correlation of the weights after the last epoch."""
    return run.metrics[-1]["weight_correlation"]


def _gain(comparison: Comparison, reading: Reading, value: Value) -> Terms:
    """Σ w (correlated − uncorrelated) over the pairs of a reading."""
    return [
        (sign * pair.weight, _sample(comparison, arm, pair, value))
        for pair in reading.pairs
        for sign, arm in ((1.0, pair.correlated), (-1.0, pair.uncorrelated))
    ]


def _sample(comparison: Comparison, arm: Initialization, pair: Versus, value: Value) -> Sample:
    """Values of an arm, over the seeds that have an uncorrelated run and were measured."""
    uncorrelated = comparison.find(pair.uncorrelated)

    def read(run: RunRecord) -> float | None:
        beside = None if uncorrelated is None else uncorrelated.runs.get(run.seed)
        if beside is None or not math.isfinite(found := value(run, beside)):
            return None
        return found

    return comparison.sample(arm, read)


def _minus(a: Comparison, b: Comparison, terms: Callable[[Comparison], Terms]) -> Terms:
    return [*terms(a), *((-weight, sample) for weight, sample in terms(b))]


def _regularizations(comparisons: Sequence[Comparison]) -> Iterator[tuple[Comparison, Comparison]]:
    """Settings without and with L2 regularization, for which the paper trains longer, all else equal."""
    for without, regularized in permutations(comparisons, 2):
        if without.setting.l2 == 0 < regularized.setting.l2 and _alike(without, regularized, "l2", "epochs"):
            yield without, regularized


def _alike(a: Comparison, b: Comparison, *but: str) -> bool:
    """Whether two settings differ in nothing else, and their runs may be compared."""
    return a.setting.without(*but) == b.setting.without(*but) and a.protocol == b.protocol
