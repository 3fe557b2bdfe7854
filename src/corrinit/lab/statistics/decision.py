"""Is it decided? One rule, for every sentence and table that says so.

A difference is decided if its p-value, adjusted for the family of tests that it belongs to, is at most α. Its
95 % interval then excludes 0, since both come from one test; the reverse does not hold, as an interval knows
nothing of the family. Where the number of seeds was fixed, p is that of the paired t test; where it depended
on what the seeds showed, p is the anytime p-value.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import numpy as np

from corrinit.lab.statistics.anytime import Sequential, anytime_test, sequential
from corrinit.lab.statistics.paired import Difference, Vector, holm, paired_difference, resolution, t_test

ALPHA = 0.05

INDIFFERENCE = 0.005
"""Differences of accuracy up to half a percentage point count as none in practice."""

Answer: TypeAlias = Literal["different", "equivalent", "open"]
Arm = TypeVar("Arm", bound=Hashable)


@dataclass(frozen=True)
class Decision:
    """What is settled about an arm.

    Args:
        difference: from the baseline.
        p: its anytime p-value, Holm-adjusted over all arms.
        answer: `"different"` if that is decided, `"equivalent"` if the interval lies within the indifference,
            or `"open"`.
    """

    difference: Sequential
    p: float
    answer: Answer


def is_decided(p: float) -> bool:
    """Whether a difference is real by the rule of this module; a test that was not made decides nothing.

    Args:
        p: its p-value, adjusted for the family.

    >>> is_decided(0.04), is_decided(0.095), is_decided(float("nan"))
    (True, False, False)
    """
    return p <= ALPHA


def estimator(*, anytime: bool) -> Difference:
    """How mean differences are estimated, given whether the seeds depended on what they showed."""
    return sequential if anytime else paired_difference


def adjusted(differences: Sequence[Vector], step: float, *, anytime: bool) -> Vector:
    """The p-values of a family of arms, which decide; for many families at once.

    Args:
        differences: for each of K arms, its paired differences from the baseline, shape (..., n): NaN where
            a run diverged, after which the others are no fair sample and the arm is not tested. Arms may
            differ in n.
        step: resolution of the values whose differences these are.
        anytime: whether the number of seeds depended on what they showed.

    Returns:
        Holm-adjusted p-values, shape (..., K); NaN where nothing is tested.

    >>> tested, untested = np.array([0.02, 0.03, 0.03]), np.array([0.01, 0.02, np.nan])
    >>> adjusted([tested, untested], 0.01, anytime=False).round(4)
    array([0.0153,    nan])
    """
    test = anytime_test if anytime else t_test
    return holm(np.stack([test(each, step)[2] for each in differences], axis=-1))


def decide(
    values: Mapping[Arm, Sequence[float]],
    baseline: Arm,
    *,
    indifference: float = INDIFFERENCE,
) -> dict[Arm, Decision]:
    """What is settled about each arm that has a seed in common with the baseline.

    The chance that any arm is ever called different which is not stays below α: Holm's method
    holds for p-values however they depend on each other, and anytime p-values stay p-values whenever the
    seeds of an arm end. A decision is never taken back by further seeds. That an arm is called equivalent
    which differs by more than the indifference has a chance below α for each arm.

    p-values are adjusted, not e-values (as in Vovk and Wang, E-values: calibration, combination and
    applications, 2021): these e-values promise a mean of 1 only if the decision to stop does not depend on
    the unit of the values, which the indifference does; their maximum keeps its promise all the same.

    Args:
        values: by arm, in the order of seeds that all share. An arm may have fewer of them than the
            baseline, since one that is decided gets no more.
        baseline: the arm that the others are compared with.
        indifference: differences up to this size count as none in practice.

    Raises:
        KeyError: if the baseline has no values.
    """
    reference, step = values[baseline], resolution([each for own in values.values() for each in own])
    paired = {
        arm: (own[:n], reference[:n])
        for arm, own in values.items()
        if arm != baseline and (n := min(len(own), len(reference)))
    }
    if not paired:
        return {}
    p_values = adjusted([np.subtract(*pair) for pair in paired.values()], step, anytime=True)
    found = {arm: sequential(*pair, step=step) for arm, pair in paired.items()}
    return {
        arm: Decision(each, float(p), answer(each, float(p), indifference=indifference))
        for (arm, each), p in zip(found.items(), p_values, strict=True)
    }


def answer(difference: Sequential, p: float, *, indifference: float = INDIFFERENCE) -> Answer:
    """What a difference with an adjusted p-value settles; see `Decision`."""
    if is_decided(p):
        return "different"
    if -indifference <= difference.low and difference.high <= indifference:
        return "equivalent"
    return "open"


def open_arms(
    values: Mapping[Arm, Sequence[float]],
    baseline: Arm,
    *,
    indifference: float = INDIFFERENCE,
) -> tuple[Arm, ...]:
    """The arms for which more seeds are worth their time, with the arguments of `decide`.

    >>> runs = {"a": [0.70, 0.71, 0.69, 0.70], "b": [0.9, 0.9, 0.9, 0.9], "c": [0.69, 0.73, 0.71, 0.70]}
    >>> open_arms(runs, baseline="a")
    ('c',)
    """
    decided = decide(values, baseline, indifference=indifference)
    return tuple(
        arm for arm in values if arm != baseline and (arm not in decided or decided[arm].answer == "open")
    )
