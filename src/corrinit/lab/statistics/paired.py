"""Statistics of paired runs: arrays in, frozen results out.

Runs are paired by seed: every arm of a comparison starts from the same draws and sees the same batches, so
differences within a seed can vary less than the runs themselves. Intervals are Student's: they suppose that
the differences are about normal. They are so down to the resolution of what was measured and no further: an
accuracy is a multiple of 1/N, and differences that happen to be equal still have the spread of rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from corrinit.errors import ValuesError

Vector: TypeAlias = NDArray[np.float64]

FINEST = 100_000
"""Most images N for which values are recognized as multiples of 1/N."""

PRECISION = float(np.finfo(np.float32).eps)
"""Values are taken to be right to this share of the largest, that of single precision."""


class Estimate(Protocol):
    """A mean difference with its interval."""

    @property
    def n(self) -> int:
        """Pairs."""
        ...

    @property
    def mean(self) -> float:
        """Mean of their differences."""
        ...

    @property
    def low(self) -> float:
        """Lower end of the interval; NaN or −∞ if there is none."""
        ...

    @property
    def high(self) -> float:
        """Upper end."""
        ...

    @property
    def p(self) -> float:
        """The p-value of no difference; NaN if there is none."""
        ...


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation of n values; the deviation of one value is NaN."""

    mean: float
    sd: float
    n: int


@dataclass(frozen=True)
class PairedDifference:
    """The mean of n paired differences, with a t interval and the p-value of the paired t test.

    With one pair, `sd`, `low`, `high` and `p` are NaN: one difference says nothing about its spread.
    """

    mean: float
    sd: float
    n: int
    low: float
    high: float
    p: float


def summary(values: ArrayLike) -> Summary:
    """Mean and sample standard deviation (n − 1) of a vector.

    >>> summary([1.0, 2.0, 3.0])
    Summary(mean=2.0, sd=1.0, n=3)
    """
    vector = _vector(values)
    return Summary(float(vector.mean()), _deviation(vector), len(vector))


def paired_difference(
    a: ArrayLike, b: ArrayLike, *, level: float = 0.95, step: float | None = None
) -> PairedDifference:
    """The mean of a − b over pairs.

    The interval is d̄ ± t_(n−1) s / √n, and p is two-sided (paired t test). Both take s to be at least
    `rounding(step)`, so that differences which happen to be equal are not taken for certain.

    Args:
        a: shape (n,), one value per seed.
        b: shape (n,), of the same seeds in the same order.
        level: coverage of the interval.
        step: resolution of the values; by default that of `a` and `b` together.

    Raises:
        ValueError: if the vectors are empty, differ in length, or hold values that are not finite.

    >>> found = paired_difference([0.71, 0.72, 0.74], [0.70, 0.70, 0.71])
    >>> f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f}), p = {found.p:.3f}"
    '0.020 (-0.005 to 0.045), p = 0.074'
    >>> f"{paired_difference([0.5, 0.25], [0.25, 0.0]).p:.2f}"
    '0.18'
    """
    a, b = _vector(a), _vector(b)
    if len(a) != len(b):
        raise ValuesError(f"{len(a)} and {len(b)} values cannot be paired; give both for the same seeds")
    differences = a - b
    low, high, p = t_test(differences, resolution([*a, *b]) if step is None else step, level=level)
    mean, sd, n = float(differences.mean()), _deviation(differences), len(differences)
    return PairedDifference(mean, sd, n, float(low), float(high), float(p))


def t_test(differences: Vector, step: float, *, level: float = 0.95) -> tuple[Vector, Vector, Vector]:
    """Interval and p-value of a mean, as in `paired_difference`, for many samples at once.

    Args:
        differences: shape (..., n).
        step: resolution of the values whose differences these are.
        level: coverage of the interval.

    Returns:
        Lower ends, upper ends and p-values, each of shape (...,); NaN for n = 1, and where a difference is.
    """
    n = differences.shape[-1]
    mean = differences.mean(-1)
    if n == 1:
        undefined = np.full_like(mean, np.nan)
        return undefined, undefined, undefined
    error = np.maximum(differences.std(-1, ddof=1), rounding(step)) / n**0.5
    half_width = float(stdtrit(n - 1, (1 + level) / 2)) * error
    t = np.divide(np.abs(mean), error, out=np.where(np.isnan(mean), np.nan, 0.0), where=error > 0)
    return mean - half_width, mean + half_width, 2 * stdtr(n - 1, -t)


def resolution(values: ArrayLike) -> float:
    """The step of the grid on which values lie: 1/N for accuracies on N images.

    N is the smallest number up to `FINEST` for which all values are multiples of 1/N, to single precision.
    Of values that are on no such grid the step is what single precision resolves.

    >>> resolution([0.52, 0.5, 0.74, 0.66])
    0.02
    """
    sizes = np.unique(np.abs(_vector(values)))
    tolerance = PRECISION * sizes[-1]
    candidates = _counts()
    for size in sizes:
        steps = candidates * size
        candidates = candidates[np.abs(steps - np.rint(steps)) <= candidates * tolerance]
    return float(1 / candidates[0] if len(candidates) else tolerance)


def rounding(step: float) -> float:
    """The standard deviation √(2/12) step that rounding alone gives to a difference of two values."""
    return step / 6**0.5


def holm(p_values: ArrayLike) -> Vector:
    """p-values adjusted for testing several hypotheses at once (Holm 1979).

    The i-th smallest of m is multiplied by m − i + 1; adjusted values never decrease in that order, nor
    exceed 1. NaN, an undefined test, stays NaN and does not count.

    Args:
        p_values: shape (..., m), a family of m tests along the last axis.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, axis=-1, kind="stable")  # NaN comes last
    tests = np.count_nonzero(~np.isnan(p), axis=-1)[..., None]
    factors = np.maximum(tests - np.arange(p.shape[-1]), 1)
    ascending = np.maximum.accumulate(np.take_along_axis(p, order, -1) * factors, axis=-1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, ascending.clip(max=1.0), -1)
    return adjusted


@cache
def _counts() -> Vector:
    return np.arange(1, FINEST + 1, dtype=np.float64)


def _vector(values: ArrayLike) -> Vector:
    vector = np.asarray(values, np.float64)
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise ValuesError(f"values are {vector}; statistics need a vector of one or more finite numbers")
    return vector


def _deviation(vector: Vector) -> float:
    return float(vector.std(ddof=1)) if len(vector) > 1 else float("nan")
