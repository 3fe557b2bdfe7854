"""One answer from many settings: the mean effect, how much it varies, and what that says of a claim.

A claim is about settings that nobody has run as well. So the effects θ_i of the settings that were run are
taken as drawn from N(μ, τ²), each observed as y_i ~ N(θ_i, v_i), and the claim is judged by μ.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit
from scipy.stats import chi2

from corrinit.errors import ValuesError
from corrinit.lab.statistics.contrast import ALPHA, MARGIN
from corrinit.lab.statistics.paired import Vector, holm

Claim = TypeVar("Claim", bound=Hashable)


class Answer(Enum):
    """What settings say of a claim that an effect is positive."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NEGLIGIBLE = "negligible"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class MeanEffect:
    """The mean effect over settings.

    Args:
        settings: K, how many there are.
        mean: μ.
        low: lower end of its interval (Hartung and Knapp); NaN for one setting.
        high: upper end.
        p: of μ = 0; NaN for one setting.
        tau: τ, the deviation of effects between settings.
        i_squared: share of the variation of the y_i that is between settings, in [0, 1].
        p_homogeneous: of τ = 0 (Cochran's Q).
        new_low: lower end of the interval for the effect in a new setting; NaN for fewer than three. It is
            too narrow where τ is smaller than the errors of the settings: of 15 settings with τ half of
            them, 95 % intervals hold a new effect in 83 %, as τ is then often estimated as 0.
        new_high: upper end.
    """

    settings: int
    mean: float
    low: float
    high: float
    p: float
    tau: float
    i_squared: float
    p_homogeneous: float
    new_low: float
    new_high: float


def mean_effect(effects: ArrayLike, errors: ArrayLike, *, level: float = 0.95) -> MeanEffect:
    """The mean of effects that differ between settings.

    τ² is that of Paule and Mandel: Σ w_i (y_i − μ̂)² = K − 1 with w_i = 1/(v_i + τ²) and μ̂ = Σw_i y_i / Σw_i,
    or 0 if that sum is smaller. The variance of μ̂ is that of Hartung and Knapp,

        q Σ1/w_i,    q = Σ w_i (y_i − μ̂)² / (K − 1), at least 1,    1/Σw_i in place of Σ1/w_i,

    with t quantiles of K − 1 degrees of freedom. q ≥ 1 (Röver, Knapp and Friede 2015) keeps effects that
    happen to agree from being taken for certain. A new setting has μ̂ ± t_(K−2) √(τ² + var μ̂) (Higgins,
    Thompson and Spiegelhalter 2009); I² = max(0, 1 − (K − 1)/Q) with Q = Σ (y_i − ȳ)²/v_i (Higgins and
    Thompson 2002).

    Args:
        effects: y, one per setting, shape (K,); runs of one setting belong together.
        errors: √v, their standard errors, above 0. They are taken as known: for effects of few seeds, use
            moderated ones.
        level: coverage of the intervals.

    Raises:
        ValueError: if the vectors are empty, differ in length, or hold what they may not.

    Source:
        Hartung and Knapp, On tests of the overall treatment effect in meta-analysis with normally distributed
        responses (2001). Paule and Mandel, Consensus values and weighting factors (1982).

    >>> found = mean_effect([0.031, 0.012, 0.024, 0.018], [0.005, 0.004, 0.006, 0.005])
    >>> f"{found.mean:.4f} ({found.low:.4f} to {found.high:.4f}), τ = {found.tau:.4f}"
    '0.0208 (0.0075 to 0.0341), τ = 0.0067'
    """
    y, v = np.asarray(effects, np.float64), np.asarray(errors, np.float64) ** 2
    if y.ndim != 1 or not y.size or y.shape != v.shape or not np.isfinite(y).all() or not (v > 0).all():
        raise ValuesError(f"effects are {y} and variances {v}; give one of each per setting, above 0")
    count = len(y)
    tau2 = _paule_mandel(y, v)
    w = 1 / (v + tau2)
    mean = float(w @ y / w.sum())
    nan = math.nan
    if count == 1:
        return MeanEffect(1, mean, nan, nan, nan, 0.0, 0.0, nan, nan, nan)
    scale = max(1.0, _generalized_q(tau2, y, v) / (count - 1))
    error = math.sqrt(scale / w.sum())
    half_width = float(stdtrit(count - 1, (1 + level) / 2)) * error
    q = _generalized_q(0.0, y, v)
    new = nan
    if count > 2:
        new = float(stdtrit(count - 2, (1 + level) / 2)) * math.sqrt(tau2 + error**2)
    return MeanEffect(
        count,
        mean,
        mean - half_width,
        mean + half_width,
        p=float(2 * stdtr(count - 1, -abs(mean) / error)),
        tau=math.sqrt(tau2),
        i_squared=max(0.0, 1 - (count - 1) / q) if q > 0 else 0.0,
        p_homogeneous=float(chi2.sf(q, count - 1)),
        new_low=mean - new,
        new_high=mean + new,
    )


def answers(
    found: Mapping[Claim, MeanEffect], *, margin: float | Mapping[Claim, float] = MARGIN
) -> dict[Claim, Answer]:
    """What settings say of several claims, each that its mean effect is positive.

    A claim is supported if μ > 0 and contradicted if μ < 0, where p, Holm-adjusted over all claims, is at
    most α; negligible if the interval of μ lies within the margin; or undecided. Both hold where a small
    effect is certain: then it is negligible, since that is what it is in practice.

    Args:
        found: by claim, effects being signed so that the claim says they are positive.
        margin: mean effects up to this size are negligible; one for all claims, or each its own.
    """
    p_values = holm([each.p for each in found.values()])
    return {
        claim: _answer(each, float(p), margin[claim] if isinstance(margin, Mapping) else margin)
        for (claim, each), p in zip(found.items(), p_values, strict=True)
    }


def _answer(found: MeanEffect, p: float, margin: float) -> Answer:
    if -margin <= found.low and found.high <= margin:
        return Answer.NEGLIGIBLE
    if p <= ALPHA:
        return Answer.SUPPORTED if found.mean > 0 else Answer.CONTRADICTED
    return Answer.UNDECIDED


def _generalized_q(tau2: float, y: Vector, v: Vector) -> float:
    w = 1 / (v + tau2)
    return float(w @ (y - w @ y / w.sum()) ** 2)


def _paule_mandel(y: Vector, v: Vector) -> float:
    """The τ² at which the generalized Q, which falls with τ², is what is expected of it."""
    wanted = len(y) - 1
    if wanted == 0 or _generalized_q(0.0, y, v) <= wanted:
        return 0.0
    most = float(((y - y.mean()) ** 2).sum()) / wanted * len(y)
    while _generalized_q(most, y, v) > wanted:
        most *= 2
    root = brentq(lambda tau2: _generalized_q(tau2, y, v) - wanted, 0.0, most)
    return float(root)  # pyright: ignore[reportArgumentType]
