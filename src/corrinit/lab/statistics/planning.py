"""Planning a comparison: whether to pair by seed, seeds of the baseline, and how many settle a difference."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import nctdtr, stdtrit

from corrinit.lab.statistics.anytime import evidence_path
from corrinit.lab.statistics.contrast import ALPHA, Inference, is_decided

PAIRED_BELOW = 0.8
"""Variance of differences within seeds, as a share of that of unpaired ones, below which pairing pays."""

MOST = 200
"""Seeds beyond which a comparison counts as one that cannot be settled here."""


def seeds_to_settle(mean: float, sd: float, n: int, *, family: int) -> int | None:
    """The number of seeds, with those there are, at which a difference would be decided if it stayed.

    It is about as likely to be decided before as after. If the true difference is smaller, more are needed.

    Args:
        mean: difference so far.
        sd: deviation of the paired differences so far.
        n: seeds so far.
        family: arms that are tested together, of which this is taken to be the clearest.

    Returns:
        The number of seeds; None if there would have to be more than 200.

    >>> seeds_to_settle(0.01, 0.01, 3, family=1), seeds_to_settle(0.01, 0.05, 3, family=1)
    (16, None)
    """
    if not (mean and sd > 0 and math.isfinite(mean) and math.isfinite(sd)):
        return None
    for total in range(n + 1, MOST + 1):  # at any time: the number depends on what was seen
        spread = np.arange(total)
        differences = mean + sd * (spread - spread.mean()) / spread.std(ddof=1)
        evidence = evidence_path(differences)[-1]  # of all; it depends on mean and deviation alone
        if is_decided(family / evidence):
            return total
    return None


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


def baseline_seeds(seeds: int, conditions: int) -> int:
    """How many seeds a baseline gets that K conditions of n seeds are compared with: √K n.

    It makes Σ n smallest for a given variance 1/n + 1/n₀ of each comparison (Dunnett 1955, section 6).

    >>> baseline_seeds(10, conditions=12)
    35
    """
    return math.ceil(seeds * math.sqrt(conditions) - 1e-9)


def power(
    difference: float, sd: float, seeds: int, *, tests: int = 1, inference: Inference = Inference.FIXED
) -> float:
    """The chance that a true difference is decided, by the strictest step of Holm's method.

    For a fixed number of seeds that of a two-sample t test at α / tests, by the noncentral t distribution.
    For a number that depends on what is seen, that of the anytime test after all of them, within seeds that
    have nothing in common, by 2,000 simulated studies with a fixed seed: it may stop earlier.

    Args:
        difference: between the means.
        sd: of one run.
        seeds: of each condition, at most.
        tests: number of tests in the family.
        inference: how it is tested.

    >>> round(power(1.0, 1.0, 17), 2)
    0.81
    """
    if seeds < 2 or not sd > 0:
        return math.nan
    level = ALPHA / tests
    if inference is Inference.ANYTIME:
        rng = np.random.default_rng(0)
        drawn = rng.normal(difference, math.sqrt(2) * sd, (2000, seeds))
        return float(np.mean(inference.test(drawn, 0.0)[2] <= level))
    df = 2 * seeds - 2
    critical, shift = stdtrit(df, 1 - level / 2), abs(difference) / sd * math.sqrt(seeds / 2)
    beyond = np.nan_to_num(nctdtr(df, shift, -critical))  # the wrong way; NaN where that underflows
    return float(1 - nctdtr(df, shift, critical) + beyond)
