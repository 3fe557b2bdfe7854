"""Anytime-valid inference for paired runs: look after every seed, and stop when the answer is clear.

A t test is right for a number of seeds that was fixed beforehand. Looked at again and again until p < 0.05,
it errs far more often than in 5 % of all cases. Here the evidence is an e-process: under the null hypothesis
it ever reaches 1/α with probability α at most, however often and for whatever reason one looks or stops.

Differences are taken as Gaussian. Copies of one method differ symmetrically, whatever their noise, and are
called different less often than allowed. Methods of equal mean whose noise differs in shape can be called
different too often, here as by the t test. `benchmarks/bench_calibration.py` measures all of this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from corrinit.errors import ValuesError
from corrinit.lab.statistics.paired import Vector, resolution, rounding

PRIOR_EFFECT = 3.0
"""1/c, the standard deviation of the effect sizes μ/σ that the e-process looks for.

It decides power alone; the error rates hold for any value. In 20,000 simulated arms beside six others (the
first of seven to be told apart needs e ≥ 140) an effect of 2 takes 8.7 seeds on average and one of 3 takes
6.4; with 1/c = 1 that is 9.6 and 7.9, with 1/c = 10 it is 9.7 and 6.8. An effect of 1 is found within 20
seeds in 54 % of cases, against 61 % with 1/c = 1. At 1/c = 3, three seeds that agree perfectly have e = 28,
enough to decide between two arms; at 1/c ≤ 2.5 they have not.
"""


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


def sequential(a: ArrayLike, b: ArrayLike, level: float = 0.95, *, step: float | None = None) -> Sequential:
    """The mean of a − b over pairs, tested and enclosed in a way that holds at all n at once.

    The differences x are taken as Gaussian with unknown mean and deviation. The e-process is the likelihood
    ratio of their scale-free part for an effect μ/σ ~ N(0, 1/c²) against none; with T = Σx and V = Σx²,

        e_n = √(c² / (n + c²)) (V / (V − T² / (n + c²)))^(n/2),

    which is 1 for n = 1. V = S + T²/n, and the scatter S = Σ(x − x̄)² is taken to be at least that of
    rounding, (n − 1) `rounding(step)`²: e can only fall by it, so its promise stands. The interval holds
    every μ₀ whose own e-process, that of x − μ₀, has stayed below 1/α: it is the intersection over all n of
    x̄ ± h_n, where K = ((n + c²) / (c² α²))^(1/n) and

        h_n = √((K − 1) S / (n (1 − K c² / (n + c²)))),

    infinite if K c² / (n + c²) ≥ 1. Both follow by integrating over μ/σ, and over σ with dσ/σ.

    Differences that are all 0 have e = 1.

    Args:
        a: shape (n,), one value per seed, in the order in which the seeds were run.
        b: shape (n,), of the same seeds.
        level: coverage of the interval, 1 − α.
        step: resolution of the values; by default that of `a` and `b` together.

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
        raise ValuesError(f"values are {a} and {b}; give one finite number per seed, for the same seeds")
    differences = a - b
    step = resolution([*a, *b]) if step is None else step
    evidence = evidence_path(differences, step)
    low, high, p = anytime_test(differences, step, level=level)
    return Sequential(
        len(differences),
        mean=float(differences.mean()),
        e=float(evidence[-1]),
        p=float(p),
        low=float(low),
        high=float(high),
    )


def anytime_test(differences: Vector, step: float, *, level: float = 0.95) -> tuple[Vector, Vector, Vector]:
    """Interval and p-value of a mean, as in `sequential`, for many samples at once.

    Args:
        differences: shape (..., n), in the order in which the seeds were run.
        step: resolution of the values whose differences these are.
        level: coverage of the interval.

    Returns:
        Lower ends, upper ends and p-values, each of shape (...,); NaN where a difference is.
    """
    n, c2, alpha = _counts(differences), PRIOR_EFFECT**-2, 1 - level
    k = ((n + c2) / (c2 * alpha**2)) ** (1 / n)
    room = n * (1 - k * c2 / (n + c2))
    ends = room > 0
    half_widths = np.where(np.isnan(differences), np.nan, np.inf)
    half_widths[..., ends] = np.sqrt((k[ends] - 1) * _scatter(differences, step)[..., ends] / room[ends])
    means = differences.cumsum(-1) / n
    lows, highs = (means - half_widths), (means + half_widths)
    low, high = lows.max(-1), highs.min(-1)
    none_fits = low > high  # no μ₀ fits all n (chance below α): what the last one says
    low, high = np.where(none_fits, lows[..., -1], low), np.where(none_fits, highs[..., -1], high)
    return low, high, 1 / evidence_path(differences, step).max(-1)


def evidence_path(differences: Vector, step: float = 0.0) -> Vector:
    """e_1, …, e_n along the last axis of differences of shape (..., n), of values with a resolution."""
    n, c2 = _counts(differences), PRIOR_EFFECT**-2
    total = differences.cumsum(-1)
    squares = _scatter(differences, step) + total**2 / n
    # T²/V is scale-free and at most n; where all differences are 0 there is no evidence.
    some = (differences**2).cumsum(-1) != 0
    ratio = np.divide(total**2, squares, out=np.zeros_like(total), where=some)
    log_e = (np.log(c2 / (n + c2)) - n * np.log1p(-ratio / (n + c2))) / 2
    with np.errstate(over="ignore"):  # hundreds of seeds that agree: infinite is near enough
        return np.where(some, np.exp(log_e), 1.0)


def _scatter(differences: Vector, step: float) -> Vector:
    """Σ(x − x̄)² over the first 1, …, n, at least what rounding gives."""
    n = _counts(differences)
    shifted = differences - differences[..., :1]  # equal differences have a scatter of exactly 0
    scatter = (shifted**2).cumsum(-1) - shifted.cumsum(-1) ** 2 / n
    return np.maximum(scatter, (n - 1) * rounding(step) ** 2)


def _counts(differences: Vector) -> Vector:
    return np.arange(1, differences.shape[-1] + 1, dtype=np.float64)
