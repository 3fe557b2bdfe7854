"""The paper's claims (i) to (v), each held against recorded runs (Section 6 of the paper).

Every claim is read in four ways. As the paper compares: correlated taps at their small scale against
independent taps at He's scale. And at equal scale, so that the scale cannot be what makes the difference: the
main effect of correlated taps, averaged over both scales, and the simple effects at each.

A claim has one or two measures; each gives a contrast in every setting (network, data set, learning rate, λ)
that has the runs and none that diverged. The claims are general, and a difference in one setting does not
bear one out: what is said is in how many of the settings the difference is decided as claimed, and in how
many the other way. The family of a p-value is all differences of the claim in that reading; nothing corrects
for the number of claims and readings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from corrinit.lab.comparison.groups import Comparison
from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.paper.measures import (
    Measure,
    Reading,
    all_sign_changes,
    early_sign_changes,
    epochs_to_reach,
    final,
    gain_over_l2,
    gain_over_learning_rates,
    mean_accuracy,
    readings,
    weight_correlation_over_l2,
    within,
)
from corrinit.lab.statistics.contrast import Contrast, Inference, as_family, contrast


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and how it is measured."""

    number: str
    text: str
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class Finding:
    """What the runs say of a claim by one measure in one reading.

    Args:
        claim: the claim.
        measure: how it is measured.
        reading: name of the reading.
        contrasts: contrasts by the name of the setting.
    """

    claim: Claim
    measure: Measure
    reading: str
    contrasts: tuple[tuple[str, Contrast], ...]

    @property
    def in_favour(self) -> int:
        """Number of settings with a decided difference in the claimed direction."""
        return sum(each.direction == self.measure.sign for _, each in self.contrasts)

    @property
    def against(self) -> int:
        """Number of settings with a decided difference in the other direction."""
        return sum(each.direction == -self.measure.sign for _, each in self.contrasts)

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
        correlated: arm that the claims are about.
    """
    return tuple(
        finding
        for claim in CLAIMS
        for reading in readings(correlated)
        for finding in _judge(claim, reading, [each for each in comparisons if _whole(each, reading)])
    )


def _whole(comparison: Comparison, reading: Reading) -> bool:
    """Whether a setting has finished runs of all arms of a reading, and none that diverged."""
    arms = {arm for pair in reading.pairs for arm in (pair.correlated, pair.uncorrelated)}
    return not comparison.diverged.keys() & arms and all(map(comparison.find, arms))


def _judge(claim: Claim, reading: Reading, comparisons: Sequence[Comparison]) -> Iterator[Finding]:
    anytime = any(each.inference is Inference.ANYTIME for each in comparisons)
    inference = Inference.ANYTIME if anytime else Inference.FIXED
    tested = {
        (measure.name, setting): found
        for measure in claim.measures
        for setting, terms in measure.terms(comparisons, reading)
        if (found := contrast(terms, inference)).n
    }
    family = as_family(tested, f"differences of claim {claim.number}, {reading.name}")
    for measure in claim.measures:
        found = tuple((setting, each) for (name, setting), each in family.items() if name == measure.name)
        yield Finding(claim, measure, reading.name, found)


CLAIMS = (
    Claim(
        "(i)",
        "Generalization is better for correlated initialization.",
        (Measure("test accuracy after training", "points", 100, 1, 1, within(final)),),
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
