"""Statistics of paired runs: arrays in, frozen results out.

Runs are paired by seed: every arm of a comparison starts from the same draws and sees the same batches, so
differences within a seed can vary less than the runs themselves. Intervals are Student's: they suppose that
the differences are about normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

Vector = NDArray[np.float64]


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

    @property
    def decided(self) -> bool:
        """Whether the interval exists and excludes 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Factorial:
    """Effects in a 2×2 of taps {independent, correlated} and scale {He, small}, paired by seed.

    Args:
        correlation: correlated minus independent taps, averaged over both scales (main effect).
        correlation_at_he: the same at He's scale alone.
        correlation_at_small: the same at the small scale alone.
        scale: small minus He's scale, averaged over both kinds of taps (main effect).
        scale_of_independent: the same for independent taps alone.
        scale_of_correlated: the same for correlated taps alone.
        interaction: by how much more correlation does at the small scale than at He's.
    """

    correlation: PairedDifference
    correlation_at_he: PairedDifference
    correlation_at_small: PairedDifference
    scale: PairedDifference
    scale_of_independent: PairedDifference
    scale_of_correlated: PairedDifference
    interaction: PairedDifference


def summary(values: ArrayLike) -> Summary:
    """Mean and sample standard deviation (n − 1) of a vector.

    >>> summary([1.0, 2.0, 3.0])
    Summary(mean=2.0, sd=1.0, n=3)
    """
    vector = _vector(values)
    return Summary(float(vector.mean()), _deviation(vector), len(vector))


def paired_difference(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> PairedDifference:
    """The mean of a − b over pairs.

    The interval is d̄ ± t_(n−1) s / √n, and p is two-sided (paired t test). If all differences are equal, the
    interval is that one value.

    Args:
        a: shape (n,), one value per seed.
        b: shape (n,), of the same seeds in the same order.
        level: coverage of the interval.

    Raises:
        ValueError: if the vectors are empty, differ in length, or hold values that are not finite.

    >>> paired_difference([0.71, 0.72, 0.74], [0.70, 0.70, 0.71]).decided
    False
    """
    a, b = _vector(a), _vector(b)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired; give both for the same seeds")
    differences = a - b
    mean, sd, n = float(differences.mean()), _deviation(differences), len(differences)
    if n == 1:
        return PairedDifference(mean, sd, n, low=float("nan"), high=float("nan"), p=float("nan"))
    if sd == 0:
        return PairedDifference(mean, sd, n, low=mean, high=mean, p=float(mean == 0))
    error = sd / n**0.5
    half_width = float(stdtrit(n - 1, (1 + level) / 2)) * error
    p = 2 * float(stdtr(n - 1, -abs(mean) / error))
    return PairedDifference(mean, sd, n, mean - half_width, mean + half_width, p)


def factorial(
    *,
    independent_he: ArrayLike,
    independent_small: ArrayLike,
    correlated_he: ArrayLike,
    correlated_small: ArrayLike,
) -> Factorial:
    """The effects of correlation and of scale, told apart; each argument holds one value per seed."""
    i_he, i_small = _vector(independent_he), _vector(independent_small)
    c_he, c_small = _vector(correlated_he), _vector(correlated_small)
    return Factorial(
        correlation=paired_difference((c_he + c_small) / 2, (i_he + i_small) / 2),
        correlation_at_he=paired_difference(c_he, i_he),
        correlation_at_small=paired_difference(c_small, i_small),
        scale=paired_difference((i_small + c_small) / 2, (i_he + c_he) / 2),
        scale_of_independent=paired_difference(i_small, i_he),
        scale_of_correlated=paired_difference(c_small, c_he),
        interaction=paired_difference(c_small - i_small, c_he - i_he),
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted for testing several hypotheses at once (Holm 1979).

    The i-th smallest of m is multiplied by m − i + 1; adjusted values never decrease in that order, nor
    exceed 1. NaN, an undefined test, stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    p = np.asarray(p_values, np.float64)
    defined = np.flatnonzero(~np.isnan(p))
    order = defined[np.argsort(p[defined], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted = p.copy()
    adjusted[order] = np.maximum.accumulate(p[order] * factors).clip(max=1.0)
    return tuple(adjusted.tolist())


def _vector(values: ArrayLike) -> Vector:
    vector = np.asarray(values, np.float64)
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise ValueError(f"values are {vector}; statistics need a vector of one or more finite numbers")
    return vector


def _deviation(vector: Vector) -> float:
    return float(vector.std(ddof=1)) if len(vector) > 1 else float("nan")
