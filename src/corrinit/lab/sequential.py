"""Anytime-valid inference for paired runs: look after every seed, and stop when the answer is clear.

A t test is right for a number of seeds that was fixed beforehand. Looked at again and again until p < 0.05,
it errs far more often than in 5 % of all cases. Here the evidence is an e-process: under the null hypothesis
it ever reaches 1/α with probability α at most, however often and for whatever reason one looks or stops.

Differences are taken as Gaussian. Copies of one method differ symmetrically, whatever their noise, and are
called different less often than allowed. Methods of equal mean whose noise differs in shape can be called
different too often, here as by the t test. `benchmarks/bench_compare.py` measures all of this.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corrinit.lab.stats import holm

Vector: TypeAlias = NDArray[np.float64]
Answer: TypeAlias = Literal["different", "equivalent", "open"]
Arm = TypeVar("Arm", bound=Hashable)

PRIOR_EFFECT = 3.0
"""1/c, the standard deviation of the effect sizes μ/σ that the e-process looks for.

It decides power alone; the error rates hold for any value. In 20,000 simulated arms beside six others (the
first of seven to be told apart needs e ≥ 140) an effect of 2 takes 8.7 seeds on average and one of 3 takes
6.4; with 1/c = 1 that is 9.6 and 7.9, with 1/c = 10 it is 9.7 and 6.8. An effect of 1 is found within 20
seeds in 54 % of cases, against 61 % with 1/c = 1. At 1/c = 3, three seeds that agree perfectly have e = 28,
enough to decide between two arms; at 1/c ≤ 2.5 they have not.
"""

INDIFFERENCE = 0.005
"""Differences of accuracy up to half a percentage point count as none in practice."""


@dataclass(frozen=True)
class Sequential:
    """The mean of n paired differences, as far as it is known whenever one looks.

    Args:
        n: pairs so far.
        mean: of their differences.
        e: evidence against a mean of 0 after the last pair: how many times better it is predicted by some
            effect than by none.
        p: anytime p-value, 1 / max e over all pairs so far.
        low: lower end of the anytime interval; −∞ while there are too few pairs for one.
        high: upper end.
    """

    n: int
    mean: float
    e: float
    p: float
    low: float
    high: float


@dataclass(frozen=True)
class Decision:
    """What is settled about an arm.

    Args:
        difference: from the baseline.
        p: its anytime p-value, Holm-adjusted over all arms.
        answer: `"different"` if p ≤ α, `"equivalent"` if the interval lies within the indifference, or
            `"open"`.
    """

    difference: Sequential
    p: float
    answer: Answer


def sequential(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Sequential:
    """The mean of a − b over pairs, tested and enclosed in a way that holds at all n at once.

    The differences x are taken as Gaussian with unknown mean and deviation. The e-process is the likelihood
    ratio of their scale-free part for an effect μ/σ ~ N(0, 1/c²) against none; with T = Σx and V = Σx²,

        e_n = √(c² / (n + c²)) (V / (V − T² / (n + c²)))^(n/2),

    which is 1 for n = 1. The interval holds every μ₀ whose own e-process, that of x − μ₀, has stayed below
    1/α: it is the intersection over all n of x̄ ± h_n, where S = Σ(x − x̄)², K = ((n + c²) / (c² α²))^(1/n) and

        h_n = √((K − 1) S / (n (1 − K c² / (n + c²)))),

    infinite if K c² / (n + c²) ≥ 1. Both follow by integrating over μ/σ, and over σ with dσ/σ.

    Differences that are all 0 have e = 1. Others that are all equal have a finite
    e_n = ((n + c²) / c²)^((n−1)/2), and an interval of that one value as soon as it has an end.

    Args:
        a: shape (n,), one value per seed, in the order in which the seeds were run.
        b: shape (n,), of the same seeds.
        level: coverage of the interval, 1 − α.

    Raises:
        ValueError: if the vectors are empty, differ in length, or hold values that are not finite.

    Source:
        Lai, On confidence sequences (1976). Wang and Ramdas, Anytime-valid t-tests and confidence sequences
        for Gaussian means with unknown variance (2023). Pérez-Ortiz, Lardy, de Heide and Grünwald,
        E-statistics, group invariance and anytime-valid testing (2024).

    >>> found = sequential([0.74, 0.75, 0.77, 0.74], [0.70, 0.70, 0.71, 0.69])
    >>> f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"
    '0.050 (0.023 to 0.077)'
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not a.size or not (np.isfinite(a) & np.isfinite(b)).all():
        raise ValueError(f"values are {a} and {b}; give one finite number per seed, for the same seeds")
    differences = a - b
    evidence = evidence_path(differences)
    low, high = _interval(differences, 1 - level)
    return Sequential(
        n=len(differences),
        mean=float(differences.mean()),
        e=float(evidence[-1]),
        p=float(1 / evidence.max()),
        low=low,
        high=high,
    )


def evidence_path(differences: Vector) -> Vector:
    """e_1, …, e_n along the last axis of differences of shape (..., n)."""
    n, c2 = _counts(differences), PRIOR_EFFECT**-2
    total, squares = differences.cumsum(-1), (differences**2).cumsum(-1)
    # T²/V is scale-free and at most n; where all differences are 0 there is no evidence.
    ratio = np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0)
    log_e = (np.log(c2 / (n + c2)) - n * np.log1p(-ratio / (n + c2))) / 2
    with np.errstate(over="ignore"):  # hundreds of seeds that agree: infinite is near enough
        return np.where(squares > 0, np.exp(log_e), 1.0)


def decide(
    values: Mapping[Arm, Sequence[float]],
    baseline: Arm,
    *,
    level: float = 0.95,
    indifference: float = INDIFFERENCE,
) -> dict[Arm, Decision]:
    """What is settled about each arm that has a seed in common with the baseline.

    The chance that any arm is ever called different which is not stays below α = 1 − level: Holm's method
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
        level: 1 − α.
        indifference: differences up to this size count as none in practice.

    Raises:
        KeyError: if the baseline has no values.
    """
    reference = values[baseline]
    found = {}
    for arm, own in values.items():
        if arm != baseline and (n := min(len(own), len(reference))):
            found[arm] = sequential(own[:n], reference[:n], level)
    adjusted = holm([each.p for each in found.values()])
    return {
        arm: Decision(each, p, answer(each, p, level=level, indifference=indifference))
        for (arm, each), p in zip(found.items(), adjusted, strict=True)
    }


def answer(
    difference: Sequential, p: float, *, level: float = 0.95, indifference: float = INDIFFERENCE
) -> Answer:
    """What a difference with an adjusted p-value settles; see `Decision`."""
    if p <= 1 - level:
        return "different"
    if -indifference <= difference.low and difference.high <= indifference:
        return "equivalent"
    return "open"


def open_arms(
    values: Mapping[Arm, Sequence[float]],
    baseline: Arm,
    *,
    level: float = 0.95,
    indifference: float = INDIFFERENCE,
) -> tuple[Arm, ...]:
    """The arms for which more seeds are worth their time, with the arguments of `decide`.

    >>> runs = {"a": [0.70, 0.71, 0.69, 0.70], "b": [0.9, 0.9, 0.9, 0.9], "c": [0.69, 0.73, 0.71, 0.70]}
    >>> open_arms(runs, baseline="a")
    ('c',)
    """
    decided = decide(values, baseline, level=level, indifference=indifference)
    return tuple(
        arm for arm in values if arm != baseline and (arm not in decided or decided[arm].answer == "open")
    )


def _interval(differences: Vector, alpha: float) -> tuple[float, float]:
    n, c2 = _counts(differences), PRIOR_EFFECT**-2
    means = differences.cumsum() / n
    shifted = differences - differences[0]  # equal differences have a scatter of exactly 0
    scatter = np.maximum((shifted**2).cumsum() - shifted.cumsum() ** 2 / n, 0)
    k = ((n + c2) / (c2 * alpha**2)) ** (1 / n)
    room = n * (1 - k * c2 / (n + c2))
    half_widths = np.full(len(n), np.inf)
    ends = room > 0
    half_widths[ends] = np.sqrt((k[ends] - 1) * scatter[ends] / room[ends])
    lows, highs = means - half_widths, means + half_widths
    if lows.max() <= highs.min():
        return float(lows.max()), float(highs.min())
    return float(lows[-1]), float(highs[-1])  # no μ₀ fits all n (chance below α): what the last one says


def _counts(differences: Vector) -> Vector:
    return np.arange(1, differences.shape[-1] + 1, dtype=np.float64)
