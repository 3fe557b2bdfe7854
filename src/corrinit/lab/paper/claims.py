"""The paper's claims (i) to (v) and sentences of Section 6.2, each held against recorded runs.

Every claim is read in four ways. As the paper compares: correlated taps at their small scale against
independent taps at He's scale. And at equal scale, so that the scale cannot be what makes the difference: the
main effect of correlated taps, averaged over both scales, and the simple effects at each.

A claim has one measure or more; each gives a contrast of an endpoint in every setting (network, data set,
learning rate, λ) that has the runs and none that diverged. The claims are general, and a difference in one
setting does not bear one out. So by its first measure, as the paper compares and at equal scale, each gets
one answer from all settings: the mean effect, settings taken as drawn from those that there are
(`corrinit.lab.statistics.random_effects`), Holm-corrected over the claims. Beside it stands in how many of
the settings the difference is decided, and how.

Sign changes compare the gradients of different mini-batches, as the paper's do: gradients of noise alone
would change half of their signs, so they do not tell the zig-zag on one loss from noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from corrinit.lab.comparison.groups import Comparison
from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.paper.measures import (
    AS_THE_PAPER,
    EQUAL_SCALE,
    Measure,
    Reading,
    gain,
    gain_over_l2,
    gain_over_learning_rates,
    measured,
    readings,
    uncorrelated_over_l2,
)
from corrinit.lab.runs.endpoints import TEST_ACCURACY, endpoint
from corrinit.lab.statistics.contrast import Contrast, Inference, as_family
from corrinit.lab.statistics.random_effects import Answer, MeanEffect, answers, mean_effect


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
        for setting, found in measured(measure, comparisons, reading, inference)
    }
    family = as_family(tested, f"differences of claim {claim.number}, {reading.name}")
    for measure in claim.measures:
        found = tuple((setting, each) for (name, setting), each in family.items() if name == measure.name)
        yield Finding(claim, measure, reading.name, found)


@dataclass(frozen=True)
class Verdict:
    """The one answer of all settings on a claim, by its first measure.

    Args:
        claim: the claim.
        reading: name of the reading.
        answer: what the settings say.
        effect: the mean over them, positive if it is as claimed; None without any that has an error.
    """

    claim: Claim
    reading: str
    answer: Answer
    effect: MeanEffect | None


def verdicts(findings: Iterable[Finding]) -> tuple[Verdict, ...]:
    """The answers on all claims, as the paper compares and at equal scale; in each, claims are one family.

    Settings whose contrasts have no standard error, those of one seed, do not count.
    """
    first = [finding for finding in findings if finding.measure == finding.claim.measures[0]]
    found: list[Verdict] = []
    for reading in (AS_THE_PAPER, EQUAL_SCALE):
        effects: dict[Claim, MeanEffect | None] = {}
        for finding in first:
            if finding.reading == reading:
                known = [each for _, each in finding.contrasts if each.error > 0]
                signed = [finding.measure.sign * each.mean for each in known]
                effects[finding.claim] = mean_effect(signed, [e.error for e in known]) if known else None
        some = {claim: effect for claim, effect in effects.items() if effect is not None}
        margins = {claim: claim.measures[0].endpoint.margin for claim in some}
        answered = answers(some, margin=margins)
        found += [
            Verdict(claim, reading, answered.get(claim, Answer.UNDECIDED), effect)
            for claim, effect in effects.items()
        ]
    return tuple(found)


CLAIMS = (
    Claim(
        "(i)",
        "Generalization is better for correlated initialization.",
        (Measure("test accuracy after training", TEST_ACCURACY, 1, gain),),
    ),
    Claim(
        "(ii)",
        "Convergence is slower for uncorrelated initialization.",
        (
            Measure(
                "epochs to 95 % of the plateau of independent taps at He's scale",
                endpoint("epochs_to_plateau"),
                -1,
                gain,
            ),
            Measure("epochs to 95 % of each run's own plateau", endpoint("epochs_to_own_plateau"), -1, gain),
            Measure("test accuracy averaged over all epochs", endpoint("accuracy_over_training"), 1, gain),
        ),
    ),
    Claim(
        "(iii)",
        "Gradients change their signs less often with correlated initialization.",
        (
            Measure(
                "sign changes in the first tenth of the epochs",
                endpoint("early_sign_changes"),
                -1,
                gain,
            ),
            Measure("sign changes over all epochs", endpoint("sign_changes"), -1, gain),
        ),
    ),
    Claim(
        "(iv)",
        "Large learning rates diminish the returns of correlated initialization.",
        (
            Measure(
                "gain at the lower minus at the higher rate",
                TEST_ACCURACY,
                1,
                gain_over_learning_rates,
                between_settings=True,
            ),
        ),
    ),
    Claim(
        "(v)",
        "L2 regularization diminishes the returns of correlated initialization.",
        (
            Measure(
                "gain without L2 regularization minus gain with it, over equally many epochs",
                TEST_ACCURACY,
                1,
                gain_over_l2(longer=False),
                between_settings=True,
            ),
            Measure(
                "gain without L2 regularization minus gain with it and twice the epochs",
                TEST_ACCURACY,
                1,
                gain_over_l2(longer=True),
                between_settings=True,
            ),
            Measure(
                "correlation of the uncorrelated run's weights, with L2 regularization minus without, over "
                "equally many epochs",
                endpoint("weight_correlation"),
                1,
                uncorrelated_over_l2(longer=False),
                between_settings=True,
            ),
            Measure(
                "correlation of the uncorrelated run's weights, with L2 regularization and twice the epochs "
                "minus without",
                endpoint("weight_correlation"),
                1,
                uncorrelated_over_l2(longer=True),
                between_settings=True,
            ),
        ),
    ),
    Claim(
        "(6.2, training)",
        "Training accuracy is constantly higher for correlated initialization.",
        (
            Measure(
                "training accuracy averaged over all epochs",
                endpoint("train_accuracy_over_training"),
                1,
                gain,
            ),
        ),
    ),
    Claim(
        "(6.2, gradients)",
        "Gradients are larger for correlated initialization in the first epochs.",
        (
            Measure(
                "mean absolute gradient in the first 3 epochs",
                endpoint("early_gradient_mean_abs"),
                1,
                gain,
            ),
        ),
    ),
)
