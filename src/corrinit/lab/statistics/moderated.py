"""Variances that borrow from each other: each knows a little of those of the other conditions of its setting.

With five seeds a condition knows its own variance by 4 degrees of freedom, which makes Student's quantiles
large, and those of a family larger still. A setting of twelve conditions has 48 of them. If all variances
were equal they could be pooled; they are not, so each is drawn towards the mean of all by as much as they
are alike. Families of simulated copies err in at most about 5 % from three seeds and four conditions on,
with normal, heavy-tailed and skewed noise; the worst of all cells, four conditions of three seeds whose
deviations differ tenfold, in 5.4 % (`benchmarks/bench_decisions.py`). With fewer there is too little to judge
by, and nothing is tested. `corrinit.lab.statistics.moderated_tests` tests contrasts by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, polygamma

from corrinit.lab.statistics.paired import Vector

LEAST_CONDITIONS = 4
"""Fewer variances say too little about how alike they are."""

LEAST_SEEDS = 3
"""With two seeds each, families of copies err in 7 % if deviations differ tenfold."""

CAUTION = 0.1
"""Quantile of χ² by which variances are taken to differ more than they seem to, so that little is borrowed
where little is known. At 0.5 families of copies with deviations that differ tenfold err in up to 13 %."""


@dataclass(frozen=True, eq=False)
class Conditions:
    """What is known of G conditions, for one study or for many at once.

    Args:
        n: seeds, shape (..., G).
        mean: over them; NaN where a run diverged.
        variance: sample variance, with n − 1 in the denominator; NaN for one seed, and where a run diverged.
    """

    n: NDArray[np.int64]
    mean: Vector
    variance: Vector

    @classmethod
    def of(cls, values: Sequence[ArrayLike], *, step: float = 0.0) -> Conditions:
        """From the values of each condition, shape (..., n_g), rounded to multiples of `step`.

        A variance is taken to be at least step²/12, that of rounding alone.
        """
        samples = [np.asarray(each, np.float64) for each in values]
        n = [np.full(each.shape[:-1], each.shape[-1], np.int64) for each in samples]
        mean = [each.mean(-1) for each in samples]
        variance = [
            each.var(-1, ddof=1) if each.shape[-1] > 1 else np.full(each.shape[:-1], np.nan)
            for each in samples
        ]
        floored = np.maximum(np.stack(variance, -1), step**2 / 12)
        return cls(np.stack(n, -1), np.stack(mean, -1), floored)


@dataclass(frozen=True, eq=False)
class Moderated:
    """Variances that have borrowed from each other, with their degrees of freedom, each of shape (..., G)."""

    variance: Vector
    df: Vector


def moderated(conditions: Conditions) -> Moderated:
    """Each variance, drawn towards the mean of all.

    Variances σ_g² are taken to be drawn from a scaled inverse χ² distribution with d₀ degrees of freedom.
    With d_g = n_g − 1 the posterior of σ_g² has d₀ + d_g, about

        s̃_g² = (d₀ s₀² + d_g s_g²) / (d₀ + d_g).

    d₀ follows from how much the log s_g² differ beyond what samples do: with e_g = log s_g² − ψ(d_g/2) +
    log(d_g/2), it solves ψ′(d₀/2) = Σ(e_g − ē)² / χ²_q(G − 1) − mean ψ′(d_g/2). Two things are more careful
    than in Smyth: the sum is divided by the quantile q = `CAUTION` of χ² in place of its mean G − 1, since a
    dozen variances do not tell d₀ well; and s₀² is the mean of the variances rather than one fitted to
    their logarithms, since conditions of large variance err when small ones are lent to them; one of much
    larger variance than all others thus costs them power. Nothing can be lent but what others have:
    d₀ ≤ (G − 1)/G Σd.

    Conditions without a variance lend nothing; NaN for all where fewer than `LEAST_CONDITIONS` have one from
    at least `LEAST_SEEDS` seeds.

    Source:
        Smyth, Linear models and empirical Bayes methods for assessing differential expression in microarray
        experiments (2004), equation 5 and section 6.2.
    """
    known = np.isfinite(conditions.variance) & (conditions.n >= LEAST_SEEDS)
    count = known.sum(-1)
    d = np.where(known, conditions.n - 1.0, 1.0)
    s2 = np.where(known, conditions.variance, 1.0)
    some = np.maximum(count, 1)

    def mean(values: Vector) -> Vector:
        return np.where(known, values, 0.0).sum(-1) / some

    with np.errstate(divide="ignore", invalid="ignore"):  # of values that are all equal
        e = np.log(s2) - polygamma(0, d / 2) + np.log(d / 2)
        spread = np.where(known, (e - mean(e)[..., None]) ** 2, 0.0).sum(-1)
        excess = spread / chdtri(np.maximum(count - 1, 1), 1 - CAUTION) - mean(polygamma(1, d / 2))
        excess = np.where(np.isnan(excess), np.inf, excess)
    most = mean(d) * (count - 1)
    d0 = np.minimum(2 * _inverse_trigamma(excess), most)[..., None]
    s0 = mean(s2)[..., None]
    enough = known & (count >= LEAST_CONDITIONS)[..., None]
    variance = np.where(enough, (d0 * s0 + d * s2) / (d0 + d), np.nan)
    return Moderated(variance, np.where(enough, d0 + d, np.nan))


def expected_df(n: ArrayLike) -> Vector:
    """The degrees of freedom of each moderated variance to expect where all are equal, to plan a study by.

    They are those of log variances that differ as samples do, Σ(e_g − ē)² = (G − 1) mean ψ′(d_g/2).

    Args:
        n: seeds of each condition, shape (G,).

    >>> [f"{df:.1f}" for df in expected_df([5] * 12)[:2]]
    ['8.1', '8.1']
    """
    d = np.asarray(n, np.float64) - 1
    others = len(d) - 1
    excess = polygamma(1, d / 2).mean() * (others / chdtri(others, 1 - CAUTION) - 1)
    return np.minimum(2 * _inverse_trigamma(np.array(excess)), d.mean() * others) + d


def _inverse_trigamma(y: Vector) -> Vector:
    """X > 0 with ψ′(x) = y; infinite for y ≤ 0, 0 for y = ∞ (Smyth 2004, appendix)."""
    some = (y > 1e-9) & (y < 1e9)
    wanted = np.where(some, y, 1.0)
    x = 0.5 + 1 / wanted
    for _ in range(12):  # converges from below, by Newton's method on 1/ψ′
        trigamma = polygamma(1, x)
        x = x + trigamma * (1 - trigamma / wanted) / polygamma(2, x)
    return np.where(some, x, np.where(y > 1, 0.0, np.inf))
