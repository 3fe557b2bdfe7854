"""What stands for the paper's claims in numbers: differences between correlated and uncorrelated runs.

Runs are paired by seed. A measure yields its differences by setting (network, data set, learning rate, λ).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from corrinit.lab.comparison.groups import Arm, Comparison
from corrinit.lab.experiment.config import Initialization
from corrinit.lab.runs.record import RunRecord

REACHED = 0.95
"""Share of the uncorrelated run's final accuracy at which convergence is timed."""
EARLY = 0.1
"""Share of the epochs, at least one, that counts as early in training."""

Values: TypeAlias = dict[int, float]
"""What was measured, by seed; differences use the seeds for which both sides are finite."""


@dataclass(frozen=True, eq=False)
class Pair:
    """The two arms of one setting that a reading compares."""

    comparison: Comparison
    correlated: Arm
    uncorrelated: Arm

    @property
    def name(self) -> str:
        """What the setting is called."""
        config, record = self.comparison.config, next(iter(self.correlated.runs.values()))
        data = str(record.result.get("data")).partition(":")[0]
        width = "" if config.width == 0.5 else f", width {config.width:g}"
        protocol = self.comparison.protocol
        older = "" if protocol is None else f", protocol {protocol}"
        return f"{config.model}, {data}, lr {config.lr:g}, λ {config.l2:g}{width}{older}"

    def same_protocol(self, other: Pair) -> bool:
        """Whether the runs of both may be compared."""
        return self.comparison.protocol == other.comparison.protocol

    def difference(self, value: Callable[[RunRecord, RunRecord], float]) -> Values:
        """A value of each correlated run minus that of its uncorrelated run.

        Args:
            value: of a run, given also the uncorrelated run of its seed.
        """
        ours, theirs = self.correlated.runs, self.uncorrelated.runs
        return {
            seed: value(ours[seed], theirs[seed]) - value(theirs[seed], theirs[seed])
            for seed in sorted(ours.keys() & theirs.keys())
        }


@dataclass(frozen=True)
class Measure:
    """What stands for a claim in numbers.

    Args:
        name: what the differences are of.
        unit: of the differences as they are shown.
        factor: from the differences to that unit.
        sign: of the difference that the claim predicts.
        limit: the largest difference that is possible, before the factor.
        differences: named differences by seed, from the pairs of a reading.
    """

    name: str
    unit: str
    factor: float
    sign: Literal[-1, 1]
    limit: float
    differences: Callable[[Sequence[Pair]], Iterator[tuple[str, Values]]]


def pairs_of(
    comparisons: Sequence[Comparison], correlated: Initialization, reference: Initialization
) -> Iterator[Pair]:
    """The settings that have finished runs of both arms, of which none diverged."""
    for comparison in comparisons:
        arms = {arm.initialization: arm for arm in comparison.arms}
        fair = not comparison.diverged.keys() & {correlated, reference}
        if fair and correlated in arms and reference in arms:
            yield Pair(comparison, arms[correlated], arms[reference])


def within(value: Callable[[RunRecord, RunRecord], float]) -> Callable[..., Iterator[tuple[str, Values]]]:
    """The differences of a value within each setting."""

    def differences(pairs: Sequence[Pair]) -> Iterator[tuple[str, Values]]:
        for pair in pairs:
            yield pair.name, pair.difference(value)

    return differences


def _curve(record: RunRecord, metric: str) -> NDArray[np.float64]:
    return record.curve(metric)


def final_accuracy(run: RunRecord, _: RunRecord) -> float:
    """Test accuracy after the last epoch."""
    return run.result["test_accuracy"]


def epochs_to_reach(run: RunRecord, uncorrelated: RunRecord) -> float:
    """Epochs until 95 % of the uncorrelated run's final accuracy, interpolated between epochs.

    At least 1; one more than all epochs if it is never reached.
    """
    curve, target = _curve(run, "test_accuracy"), REACHED * uncorrelated.result["test_accuracy"]
    reached = np.flatnonzero(curve >= target)
    if not reached.size:
        return len(curve) + 1.0
    if (first := int(reached[0])) == 0:
        return 1.0
    before, after = curve[first - 1 : first + 1]
    return float(first + (target - before) / (after - before))


def mean_accuracy(run: RunRecord, _: RunRecord) -> float:
    """Test accuracy averaged over the epochs: the area under its curve, over the number of epochs."""
    return float(_curve(run, "test_accuracy").mean())


def early_sign_changes(run: RunRecord, _: RunRecord) -> float:
    """Gradient sign changes averaged over the first tenth of the epochs."""
    changes = _curve(run, "sign_changes")
    return float(changes[: max(1, round(EARLY * len(changes)))].mean())


def all_sign_changes(run: RunRecord, _: RunRecord) -> float:
    """Gradient sign changes averaged over all epochs."""
    return float(_curve(run, "sign_changes").mean())


def gain_over_learning_rates(pairs: Sequence[Pair]) -> Iterator[tuple[str, Values]]:
    """Gain at a lower minus gain at a higher learning rate, all else equal."""
    for low, high in permutations(pairs, 2):
        a, b = low.comparison.config, high.comparison.config
        if a.lr < b.lr and a == replace(b, lr=a.lr) and low.same_protocol(high):
            yield (
                f"{low.name} minus lr {b.lr:g}",
                _minus(low.difference(final_accuracy), high.difference(final_accuracy)),
            )


def _regularizations(pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Pair]]:
    """Settings without and with L2 regularization, for which the paper trains longer, all else equal."""
    for without, regularized in permutations(pairs, 2):
        a, b = without.comparison.config, regularized.comparison.config
        alike = a == replace(b, l2=0.0, epochs=a.epochs) and without.same_protocol(regularized)
        if a.l2 == 0 < b.l2 and alike:
            yield without, regularized


def gain_over_l2(pairs: Sequence[Pair]) -> Iterator[tuple[str, Values]]:
    """Gain without minus with L2 regularization."""
    for without, regularized in _regularizations(pairs):
        gains = without.difference(final_accuracy), regularized.difference(final_accuracy)
        yield f"{without.name} minus λ {regularized.comparison.config.l2:g}", _minus(*gains)


def weight_correlation_over_l2(pairs: Sequence[Pair]) -> Iterator[tuple[str, Values]]:
    """Final correlation of the uncorrelated runs' weights, with minus without L2 regularization."""
    for without, regularized in _regularizations(pairs):
        final = [
            {seed: run.metrics[-1]["weight_correlation"] for seed, run in pair.uncorrelated.runs.items()}
            for pair in (regularized, without)
        ]
        yield f"{regularized.name} minus λ 0", _minus(*final)


def _minus(a: Values, b: Values) -> Values:
    return {seed: a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())}
