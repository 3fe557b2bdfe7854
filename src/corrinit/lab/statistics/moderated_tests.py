"""Contrasts of conditions by variances that borrow from each other, fixed and anytime-valid.

Conditions are taken as independent samples. Where all have the same seeds, what these have in common is taken
out first (`without_seeds`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from corrinit.lab.statistics.moderated import LEAST_SEEDS, Conditions, moderated
from corrinit.lab.statistics.paired import Vector

PRIOR_EFFECT = 1.5
"""Standard deviation of the effect sizes that `evidence` looks for, in deviations √2 σ of a difference.

It decides power alone: at 1 and 2 as many seeds are needed, to within one. In
`corrinit.lab.statistics.anytime` it is 3, as there few seeds have to tell the deviation as well.
"""


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
    shared, n = moderated(conditions), conditions.n
    unknown = (np.isnan(shared.variance) @ (w.T != 0)) > 0
    v = np.nan_to_num(shared.variance / n)
    variance = v @ (w**2).T
    per_df = np.divide(v**2, shared.df, out=np.zeros_like(v), where=~np.isnan(shared.df)) @ (w**4).T
    most = np.where(np.isfinite(conditions.variance), n - 1, 0).sum(-1)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):  # of values that never vary
        df = np.minimum(variance**2 / per_df, most)
    lost = (np.isnan(conditions.mean) @ (w.T != 0)) > 0
    mean = np.nan_to_num(conditions.mean) @ w.T
    return Contrasts(
        np.where(lost, np.nan, mean),
        error=np.where(unknown, np.nan, np.sqrt(variance)),
        df=np.where(unknown, np.nan, df),
        pairs=2 / ((1 / n) @ (w**2).T),
    )


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


def anytime_test(
    values: Sequence[Vector], weights: ArrayLike, *, step: float = 0.0, level: float = 0.95
) -> tuple[Vector, Vector, Vector]:
    """Intervals and p-values that hold whenever one looks: after each seed, from the third on.

    Args:
        values: of each condition in the order of its seeds, shape (n_g,); one with fewer seeds than others
            stands still while they go on.
        weights: shape (C, G), as for `contrasts`.
        step: resolution of the values.
        level: coverage of the intervals.

    Returns:
        Lower ends, upper ends and p-values, shape (C,).
    """
    last = max(len(each) for each in values)
    looks = [
        evidence(contrasts(Conditions.of([each[:n] for each in values], step=step), weights), level=level)
        for n in range(LEAST_SEEDS, last + 1)
    ]
    lows, highs, es = (np.stack(each) for each in zip(*looks, strict=True))
    low, high = lows.max(0), highs.min(0)
    none_fits = low > high  # no μ₀ fits all looks (chance below α): what the last one says
    low, high = np.where(none_fits, lows[-1], low), np.where(none_fits, highs[-1], high)
    return low, high, 1 / np.maximum(es.max(0), 1.0)


def without_seeds(values: ArrayLike) -> Vector:
    """Values less the mean of their seed over all conditions.

    Deviations are scaled by √(G / (G − 1)), so that the variances of conditions are those of what seeds do
    not explain; means, and all contrasts of them, stay.

    It costs next to nothing where seeds have nothing in common, and where they have as much as runs vary
    beside that, an effect of two deviations is found in 50 % of studies of twelve conditions and five seeds
    in place of 19 % (`benchmarks/bench_decisions.py`).

    Args:
        values: shape (..., G, n), the same seeds in each condition.
    """
    x = np.asarray(values, np.float64)
    mean, count = x.mean(-1, keepdims=True), x.shape[-2]
    residual = x - mean - (x - mean).mean(-2, keepdims=True)
    return mean + residual * math.sqrt(count / (count - 1))
