"""Inference that uses all conditions of a setting: each variance borrows from those of the others.

With five seeds a condition knows its own variance by 4 degrees of freedom, which makes Student's quantiles
large, and those of a family larger still. A setting of twelve conditions has 48 of them. If all variances
were equal they could be pooled; they are not, so each is drawn towards the mean of all by as much as they
are alike. Families of simulated copies err in at most about 5 % from three seeds and four conditions on,
with normal, heavy-tailed and skewed noise; the worst of all cells, four conditions of three seeds whose
deviations differ tenfold, in 5.4 % (`benchmarks/bench_decisions.py`). With fewer there is too little to judge
by, and nothing is tested.

Conditions are taken as independent samples: for final accuracy, pairing by seed buys nothing. Where a pilot
says that it does (`pairing_helps`), the effect of each seed is taken out first (`without_seeds`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, polygamma, stdtr, stdtrit

from corrinit.lab.statistics.paired import Vector

LEAST_CONDITIONS = 4
"""Fewer variances say too little about how alike they are."""

LEAST_SEEDS = 3
"""With two seeds each, families of copies err in 7 % if deviations differ tenfold."""

CAUTION = 0.1
"""Quantile of χ² by which variances are taken to differ more than they seem to, so that little is borrowed
where little is known. At 0.5 families of copies with deviations that differ tenfold err in up to 13 %."""

PRIOR_EFFECT = 1.5
"""Standard deviation of the effect sizes that `evidence` looks for, in deviations √2 σ of a difference.

It decides power alone: at 1 and 2 as many seeds are needed, to within one. In
`corrinit.lab.statistics.anytime` it is 3, as there few seeds have to tell the deviation as well.
"""

PAIRED_BELOW = 0.8
"""Variance of differences within seeds, as a share of that of unpaired ones, below which pairing pays."""


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


@dataclass(frozen=True, eq=False)
class Contrasts:
    """Weighted sums of conditions, C of them, each of shape (..., C).

    Args:
        mean: Σ_g w_g x̄_g.
        error: its standard error.
        df: degrees of freedom of the error.
        pairs: how many pairs of seeds would tell as much.
    """

    mean: Vector
    error: Vector
    df: Vector
    pairs: Vector


def contrasts(conditions: Conditions, weights: ArrayLike) -> Contrasts:
    """Weighted sums of independent conditions, by moderated variances.

    With v_g = w_g² s̃_g² / n_g the variance is Σv_g, and its degrees of freedom are (Σv_g)² / Σ(v_g²/d̃_g)
    (Satterthwaite), at most Σ(n_g − 1).

    Args:
        conditions: of a setting.
        weights: shape (C, G), each row with sum 0: 1 and −1 for a condition against the baseline.

    Source:
        Welch, The generalization of 'Student's' problem when several different population variances are
        involved (1947).
    """
    w = np.asarray(weights, np.float64)
    squares, shared = w**2, moderated(conditions)

    def total(values: Vector) -> Vector:
        # what has no weight does not count, though it be NaN
        return np.where(w != 0, values[..., None, :], 0.0).sum(-1)

    n = conditions.n
    v = np.where(w != 0, squares * (shared.variance / n)[..., None, :], 0.0)
    variance = v.sum(-1)
    per_df = np.where(w != 0, v**2 / shared.df[..., None, :], 0.0).sum(-1)
    most = np.where(np.isfinite(conditions.variance), n - 1, 0).sum(-1)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):  # of values that never vary
        df = np.minimum(variance**2 / per_df, most)
    mean = np.where(w != 0, w * np.nan_to_num(conditions.mean)[..., None, :], 0.0).sum(-1)
    lost = np.isnan(total(conditions.mean))
    pairs = 2 / (squares / n[..., None, :]).sum(-1)
    return Contrasts(np.where(lost, np.nan, mean), np.sqrt(variance), df, pairs)


def against_baseline(conditions: int) -> Vector:
    """The weights of each condition minus the first, shape (conditions − 1, conditions).

    >>> against_baseline(3)
    array([[-1.,  1.,  0.],
           [-1.,  0.,  1.]])
    """
    return np.hstack([-np.ones((conditions - 1, 1)), np.eye(conditions - 1)])


def t_test(found: Contrasts, *, level: float = 0.95) -> tuple[Vector, Vector, Vector]:
    """Intervals and p-values for a number of seeds that was fixed before any result was seen.

    Returns:
        Lower ends, upper ends and p-values, shape (..., C); NaN where nothing is tested.
    """
    half_width = stdtrit(found.df, (1 + level) / 2) * found.error
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where((found.mean == 0) & (found.error == 0), 0.0, np.abs(found.mean) / found.error)
    return found.mean - half_width, found.mean + half_width, 2 * stdtr(found.df, -t)


def evidence(found: Contrasts, *, level: float = 0.95) -> tuple[Vector, Vector, Vector]:
    """Intervals and evidence against 0 at one look, where one looks again and again.

    With t = mean/error, ν degrees of freedom, m pairs' worth of seeds and r = c² / (m + c²) for 1/c =
    `PRIOR_EFFECT`, the evidence is the likelihood ratio of t for μ/(√2 σ) ~ N(0, 1/c²) against 0,

        e = √r ((1 + t²/ν) / (1 + r t²/ν))^((ν+1)/2),

    and the interval holds the μ₀ against which it is below 1/α: mean ± error √(ν (K − 1) / (1 − K r)), where
    K = (r α²)^(−1/(ν+1)), infinite if K r ≥ 1. Of many looks the p-value is 1 / max e and the interval the
    intersection. For variances that are pooled outright this is the e-process of the invariant sequential t
    test; with moderated ones it is that up to how well d₀ is known, so its promise rests on simulation:
    families of copies err in at most 2.2 % when looked at after each of up to 20 seeds, in any noise above.

    Returns:
        Lower ends, upper ends and e, shape (..., C); −∞, ∞ and 1 where nothing is tested, NaN for a condition
        of which a run diverged.

    Source:
        As of `corrinit.lab.statistics.anytime.sequential`.
    """
    r = PRIOR_EFFECT**-2 / (found.pairs + PRIOR_EFFECT**-2)
    nu = found.df
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x = np.where(found.mean == 0, 0.0, (found.mean / found.error) ** 2 / nu)
        x = np.minimum(x, 1e300)
        e = np.sqrt(r) * np.exp((nu + 1) / 2 * (np.log1p(x) - np.log1p(r * x)))
        k = (r * (1 - level) ** 2) ** (-1 / (nu + 1))
        half_width = np.where(k * r < 1, found.error * np.sqrt(nu * (k - 1) / (1 - k * r)), np.inf)
    untested = np.isnan(nu) & np.isfinite(found.mean)
    half_width = np.where(untested, np.inf, half_width)
    return found.mean - half_width, found.mean + half_width, np.where(untested, 1.0, e)


def pairing_ratio(values: ArrayLike) -> float:
    """The variance of differences within seeds, as a share of that of differences between any two runs.

    Pooled over all pairs of conditions: Σ var(a − b) / Σ (var a + var b) = 1 − mean covariance / mean
    variance. 1 if seeds have nothing in common, 0 if they decide everything.

    Args:
        values: of a pilot, shape (conditions, seeds), two or more of each.

    >>> pairing_ratio([[1, 2, 3], [2, 3, 4]])
    0.0
    """
    covariance = np.cov(np.asarray(values, np.float64))
    count = len(covariance)
    variance = covariance.trace() / count
    shared = (covariance.sum() - covariance.trace()) / (count * (count - 1))
    return float(1 - shared / variance)


def pairing_helps(pilot: ArrayLike) -> bool:
    """Whether a study is to take out the effects of seeds, judged by a pilot and before the study is run."""
    return pairing_ratio(pilot) < PAIRED_BELOW


def without_seeds(values: ArrayLike) -> Vector:
    """Values less the mean of their seed over all conditions, for studies in which pairing helps.

    Deviations are scaled by √(G / (G − 1)), so that the variances of conditions are those of what seeds do
    not explain; means, and all contrasts of them, stay.

    Args:
        values: shape (..., G, n), the same seeds in each condition.
    """
    x = np.asarray(values, np.float64)
    mean, count = x.mean(-1, keepdims=True), x.shape[-2]
    residual = x - mean - (x - mean).mean(-2, keepdims=True)
    return mean + residual * math.sqrt(count / (count - 1))


def baseline_seeds(seeds: int, conditions: int) -> int:
    """How many seeds a baseline gets that K conditions of n seeds are compared with: √K n.

    It makes Σ n smallest for a given variance 1/n + 1/n₀ of each comparison (Dunnett 1955, section 6).

    >>> baseline_seeds(10, conditions=12)
    35
    """
    return math.ceil(seeds * math.sqrt(conditions) - 1e-9)


def _inverse_trigamma(y: Vector) -> Vector:
    """X > 0 with ψ′(x) = y; infinite for y ≤ 0, 0 for y = ∞ (Smyth 2004, appendix)."""
    some = (y > 1e-9) & (y < 1e9)
    wanted = np.where(some, y, 1.0)
    x = 0.5 + 1 / wanted
    for _ in range(12):  # converges from below, by Newton's method on 1/ψ′
        trigamma = polygamma(1, x)
        x = x + trigamma * (1 - trigamma / wanted) / polygamma(2, x)
    return np.where(some, x, np.where(y > 1, 0.0, np.inf))
