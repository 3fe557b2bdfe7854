"""What stands for the paper's claims in numbers: contrasts of correlated with uncorrelated runs.

A reading says which arms are held against which. A measure gives a contrast of an endpoint for every setting
(network, data set, learning rate, λ) that has the runs, or for two settings that differ in one thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal, TypeAlias

from corrinit.lab.comparison.groups import Comparison
from corrinit.lab.document.numbers import Unit
from corrinit.lab.experiment.arm import BASELINE, Initialization, controls
from corrinit.lab.runs.endpoints import Endpoint
from corrinit.lab.statistics.contrast import Contrast, Inference, estimates


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


Place: TypeAlias = tuple[Comparison, Initialization]
"""An arm in a setting."""

Question: TypeAlias = tuple[str, dict[Place, float]]
"""What a contrast is called, and how much each arm counts in it."""


@dataclass(frozen=True)
class Measure:
    """What stands for a claim in numbers.

    Args:
        name: what the differences are of.
        endpoint: of runs.
        sign: sign of the difference that the claim predicts.
        questions: the contrasts, from the settings of a reading.
        between_settings: whether they are differences of differences.
    """

    name: str
    endpoint: Endpoint
    sign: Literal[-1, 1]
    questions: Callable[[Sequence[Comparison], Reading], Iterator[Question]]
    between_settings: bool = False

    @property
    def unit(self) -> Unit:
        """That of the differences, with the largest that is possible."""
        unit = self.endpoint.unit
        return replace(unit, limit=2 * unit.limit) if self.between_settings else unit


def of_setting(comparison: Comparison) -> str:
    """What a setting is called."""
    setting = comparison.setting
    data = str(comparison.records[0].result.data).partition(":")[0]
    width = "" if setting.width == 0.5 else f", width {setting.width:g}"
    older = "" if comparison.protocol is None else f", protocol {comparison.protocol}"
    return f"{setting.model}, {data}, lr {setting.lr:g}, λ {setting.l2:g}{width}{older}"


def measured(
    measure: Measure, comparisons: Sequence[Comparison], reading: Reading, inference: Inference
) -> Iterator[tuple[str, Contrast]]:
    """The contrasts of a measure, each tested alone; those without runs are left out."""
    for name, weights in measure.questions(comparisons, reading):
        endpoint = measure.endpoint
        samples = {
            (comparison, arm): sample
            for comparison in dict.fromkeys(comparison for comparison, _ in weights)
            for arm, sample in comparison.samples(endpoint).items()
        }
        found = estimates(
            samples,
            {name: weights},
            inference,
            step=endpoint.resolution(samples.values()),
            within_seeds=endpoint.paired,
        )[name]
        if found.n:
            yield name, found


def gain(comparisons: Sequence[Comparison], reading: Reading) -> Iterator[Question]:
    """The correlated minus the uncorrelated arms of each setting."""
    for comparison in comparisons:
        yield of_setting(comparison), _gain(comparison, reading)


def gain_over_learning_rates(comparisons: Sequence[Comparison], reading: Reading) -> Iterator[Question]:
    """Gain at a lower minus gain at a higher learning rate, all else equal."""
    for low, high in permutations(comparisons, 2):
        if low.setting.lr < high.setting.lr and _alike(low, high, "lr"):
            name = f"{of_setting(low)} minus lr {high.setting.lr:g}"
            yield name, _gain(low, reading) | _negative(_gain(high, reading))


def gain_over_l2(*, longer: bool) -> Callable[[Sequence[Comparison], Reading], Iterator[Question]]:
    """Gain without minus with L2 regularization.

    Args:
        longer: with regularization, runs train longer, as the paper's do; else as long.
    """

    def questions(comparisons: Sequence[Comparison], reading: Reading) -> Iterator[Question]:
        for without, regularized in _regularizations(comparisons, longer=longer):
            name = f"{of_setting(without)} minus λ {regularized.setting.l2:g}"
            yield name, _gain(without, reading) | _negative(_gain(regularized, reading))

    return questions


def uncorrelated_over_l2(*, longer: bool) -> Callable[[Sequence[Comparison], Reading], Iterator[Question]]:
    """The uncorrelated arms with minus without L2 regularization; `longer` as in `gain_over_l2`."""

    def questions(comparisons: Sequence[Comparison], reading: Reading) -> Iterator[Question]:
        for without, regularized in _regularizations(comparisons, longer=longer):
            name = f"{of_setting(regularized)} minus λ 0"
            yield (
                name,
                {
                    (comparison, pair.uncorrelated): sign * pair.weight
                    for sign, comparison in ((1.0, regularized), (-1.0, without))
                    for pair in reading.pairs
                },
            )

    return questions


def _gain(comparison: Comparison, reading: Reading) -> dict[Place, float]:
    """Σ w (correlated − uncorrelated) over the pairs of a reading."""
    return {
        (comparison, arm): sign * pair.weight
        for pair in reading.pairs
        for sign, arm in ((1.0, pair.correlated), (-1.0, pair.uncorrelated))
    }


def _negative(weights: dict[Place, float]) -> dict[Place, float]:
    return {place: -weight for place, weight in weights.items()}


def _regularizations(
    comparisons: Sequence[Comparison], *, longer: bool
) -> Iterator[tuple[Comparison, Comparison]]:
    """Settings without and with L2 regularization, all else equal but the epochs if it trains longer."""
    for without, regularized in permutations(comparisons, 2):
        if (
            without.setting.l2 == 0 < regularized.setting.l2
            and _alike(without, regularized, "l2", "epochs")
            and (without.setting.epochs < regularized.setting.epochs) == longer
            and (longer or without.setting.epochs == regularized.setting.epochs)
        ):
            yield without, regularized


def _alike(a: Comparison, b: Comparison, *but: str) -> bool:
    """Whether two settings differ in nothing else, and their runs may be compared."""
    return a.setting.without(*but) == b.setting.without(*but) and a.protocol == b.protocol
