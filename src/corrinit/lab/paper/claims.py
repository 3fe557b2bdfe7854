"""The paper's claims (i) to (v), each held against recorded runs (Section 6 of the paper).

Every claim is read twice. As the paper compares: correlated taps at their small scale against independent
taps at He's scale. At equal scale: against independent taps at the same small scale, so that the scale cannot
be what makes the difference.

A claim has one or two measures; each gives a paired difference in every setting (network, data set, learning
rate, λ) that has the runs and none that diverged. The claims are general, and a difference in one setting
does not bear one out: what is said is in how many of the settings the difference is decided as claimed, and
in how many the other way, with p-values Holm-corrected over all differences of the claim in that reading.
Nothing corrects for the number of claims and readings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Literal, TypeAlias

import numpy as np

from corrinit.lab.comparison.groups import Comparison
from corrinit.lab.experiment.arm import BASELINE
from corrinit.lab.experiment.config import Initialization
from corrinit.lab.paper.measures import (
    Measure,
    Pair,
    Values,
    all_sign_changes,
    early_sign_changes,
    epochs_to_reach,
    final_accuracy,
    gain_over_l2,
    gain_over_learning_rates,
    mean_accuracy,
    pairs_of,
    weight_correlation_over_l2,
    within,
)
from corrinit.lab.statistics.decision import estimator, is_decided
from corrinit.lab.statistics.paired import Difference, Estimate, holm

Reading: TypeAlias = Literal["as the paper compares", "at equal scale"]
READINGS: tuple[Reading, ...] = ("as the paper compares", "at equal scale")


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and how it is measured."""

    number: str
    text: str
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class Contrast:
    """A paired difference in one setting; `p` is Holm-corrected over the claim in its reading."""

    setting: str
    difference: Estimate
    p: float

    def direction(self) -> int:
        """The sign of the difference if it is decided, else 0."""
        return int(np.sign(self.difference.mean)) if is_decided(self.p) else 0


@dataclass(frozen=True)
class Finding:
    """What the runs say of a claim by one measure in one reading."""

    claim: Claim
    measure: Measure
    reading: Reading
    contrasts: tuple[Contrast, ...]

    @property
    def in_favour(self) -> int:
        """Number of settings with a decided difference in the claimed direction."""
        return sum(contrast.direction() == self.measure.sign for contrast in self.contrasts)

    @property
    def against(self) -> int:
        """Number of settings with a decided difference in the other direction."""
        return sum(contrast.direction() == -self.measure.sign for contrast in self.contrasts)

    @property
    def is_open(self) -> bool:
        """Whether there is no setting yet, or one in which the difference is undecided."""
        return not self.contrasts or self.in_favour + self.against < len(self.contrasts)

    @property
    def outcome(self) -> str:
        """In how many settings the difference is decided, and how."""
        settings = len(self.contrasts)
        if not settings:
            return "not tested"
        counts = {"as claimed": self.in_favour, "the other way": self.against}
        told = [f"{how} in {number}" for how, number in counts.items() if number]
        if settings == 1:
            return (
                f"{next((how for how, number in counts.items() if number), 'undecided')} in its one setting"
            )
        return f"{', '.join(told) or 'undecided in all'} of {settings} settings"


def judge(comparisons: Sequence[Comparison], correlated: Initialization) -> tuple[Finding, ...]:
    """Hold all claims against runs, by measure and reading.

    Args:
        comparisons: the runs, by setting.
        correlated: the initialization that the claims are about.
    """
    arm = correlated.canonical
    references: dict[Reading, Initialization] = {
        "as the paper compares": BASELINE,
        "at equal scale": replace(arm, method="kaiming_normal"),
    }
    return tuple(
        finding
        for claim in CLAIMS
        for reading, reference in references.items()
        for finding in _judge(claim, reading, list(pairs_of(comparisons, arm, reference)))
    )


def _judge(claim: Claim, reading: Reading, pairs: Sequence[Pair]) -> Iterator[Finding]:
    estimate = estimator(anytime=any(pair.comparison.anytime for pair in pairs))
    tested = [
        (measure, setting, difference)
        for measure in claim.measures
        for setting, values in measure.differences(pairs)
        if (difference := _paired(values, estimate)) is not None
    ]
    adjusted = holm([difference.p for _, _, difference in tested]).tolist()
    for measure in claim.measures:
        contrasts = tuple(
            Contrast(setting, difference, p)
            for (tested_measure, setting, difference), p in zip(tested, adjusted, strict=True)
            if tested_measure is measure
        )
        yield Finding(claim, measure, reading, contrasts)


def _paired(values: Values, estimate: Difference) -> Estimate | None:
    """The mean difference; None without any."""
    finite = [value for value in values.values() if np.isfinite(value)]
    return estimate(finite, np.zeros(len(finite))) if finite else None


CLAIMS = (
    Claim(
        "(i)",
        "Generalization is better for correlated initialization.",
        (Measure("test accuracy after training", "points", 100, 1, 1, within(final_accuracy)),),
    ),
    Claim(
        "(ii)",
        "Convergence is slower for uncorrelated initialization.",
        (
            Measure(
                "epochs to 95 % of the uncorrelated run's final accuracy",
                "epochs",
                1,
                -1,
                inf,
                within(epochs_to_reach),
            ),
            Measure("test accuracy averaged over all epochs", "points", 100, 1, 1, within(mean_accuracy)),
        ),
    ),
    Claim(
        "(iii)",
        "Gradients change their signs less often with correlated initialization.",
        (
            Measure(
                "sign changes in the first tenth of the epochs",
                "points",
                100,
                -1,
                1,
                within(early_sign_changes),
            ),
            Measure("sign changes over all epochs", "points", 100, -1, 1, within(all_sign_changes)),
        ),
    ),
    Claim(
        "(iv)",
        "Large learning rates diminish the returns of correlated initialization.",
        (
            Measure(
                "gain at the lower minus at the higher rate", "points", 100, 1, 2, gain_over_learning_rates
            ),
        ),
    ),
    Claim(
        "(v)",
        "L2 regularization diminishes the returns of correlated initialization.",
        (
            Measure(
                "gain without L2 regularization minus gain with it and twice the epochs",
                "points",
                100,
                1,
                2,
                gain_over_l2,
            ),
            Measure(
                "correlation of the uncorrelated run's weights, with L2 regularization and twice the epochs "
                "minus without",
                "hundredths",
                100,
                1,
                2,
                weight_correlation_over_l2,
            ),
        ),
    ),
)
