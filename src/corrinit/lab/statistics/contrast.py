"""Contrasts: weighted sums of conditions, paired by seed, and the one rule by which they are decided.

A contrast is Σ_c w_c x_c with Σ_c w_c = 0, where x_c is what condition c gave for a seed. An arm minus the
baseline has the weights 1 and −1, a main effect of a 2×2 the weights ½, ½, −½ and −½, an interaction 1, −1,
−1 and 1. Contrasts that are asked together are a family, over which p-values are Holm-adjusted.

A contrast is decided if its adjusted p-value is at most α. Its 95 % interval then excludes 0, since both come
from one test; the reverse does not hold, as an interval knows nothing of the family.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeAlias, TypeVar

import numpy as np

from corrinit.lab.statistics.anytime import anytime_test
from corrinit.lab.statistics.paired import Summary, Vector, holm, resolution, summary, t_test

ALPHA = 0.05

MARGIN = 0.005
"""Differences of accuracy up to half a percentage point count as none in practice."""

Key = TypeVar("Key", bound=Hashable)


class Decision(Enum):
    """What is settled about a contrast."""

    DIFFERENT = "different"
    """Its adjusted p-value is at most α."""
    EQUIVALENT = "equivalent"
    """Its interval lies within the margin."""
    OPEN = "open"
    """Neither: more seeds may tell."""
    DIVERGED = "diverged"
    """A run of a side diverged; those that remain are no fair sample, and nothing is tested."""
    UNTESTED = "untested"
    """There are too few pairs for a test."""


class Inference(Enum):
    """How intervals and p-values are computed."""

    FIXED = "fixed"
    """Student's, for a number of seeds that was fixed before any result was seen."""
    ANYTIME = "anytime"
    """`corrinit.lab.statistics.anytime`, for seeds that depended on what they showed."""

    def test(self, differences: Vector, step: float) -> tuple[Vector, Vector, Vector]:
        """Lower ends, upper ends and p-values of means, for differences of shape (..., n)."""
        return anytime_test(differences, step) if self is Inference.ANYTIME else t_test(differences, step)


@dataclass(frozen=True)
class Sample:
    """What one condition gave: its finite values and the seeds for which it diverged."""

    values: Mapping[int, float] = field(default_factory=dict)
    diverged: tuple[int, ...] = ()

    @classmethod
    def of(cls, by_seed: Mapping[int, float]) -> Sample:
        """A sample of values of which those that are NaN or infinite diverged."""
        lost = tuple(seed for seed, value in by_seed.items() if not math.isfinite(value))
        return cls({seed: value for seed, value in by_seed.items() if seed not in lost}, lost)

    def over(self, seeds: Collection[int] | None) -> Sample:
        """The same over some of the seeds alone; None for all."""
        if seeds is None:
            return self
        return Sample({seed: self.values[seed] for seed in self.values if seed in seeds}, self.diverged)

    @property
    def runs(self) -> int:
        """Number of seeds that came to an end, diverged ones among them."""
        return len(self.values) + len(self.diverged)

    @property
    def summary(self) -> Summary | None:
        """Mean and standard deviation; None without values."""
        return summary(list(self.values.values())) if self.values else None


Terms: TypeAlias = Sequence[tuple[float, Sample]]
"""The conditions of a contrast with their weights."""


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of conditions, averaged over the seeds that all of them have.

    Args:
        n: number of these seeds.
        mean: mean over them; NaN without any.
        sd: sample standard deviation over them; NaN for fewer than two.
        low: lower end of the 95 % interval, not adjusted for the family; NaN or −∞ where there is none.
        high: upper end.
        p: p-value of no difference; NaN where nothing is tested.
        p_adjusted: the same, Holm-adjusted over the family.
        family: what is tested together, such as `"arms of this setting"`.
        size: number of tests in the family.
        inference: how interval and p-value were computed.
        decision: what is settled.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float
    p: float
    p_adjusted: float = math.nan
    family: str = ""
    size: int = 0
    inference: Inference = Inference.FIXED
    decision: Decision = Decision.UNTESTED

    @property
    def decided(self) -> bool:
        """Whether there is a difference beyond doubt."""
        return self.decision is Decision.DIFFERENT

    @property
    def fair(self) -> bool:
        """Whether no run of either side diverged."""
        return self.decision is not Decision.DIVERGED

    @property
    def direction(self) -> int:
        """The sign of the mean if it is decided, else 0."""
        return int(math.copysign(1, self.mean)) if self.decided else 0

    @property
    def wants_seeds(self) -> bool:
        """Whether more seeds are worth their time."""
        return self.decision in (Decision.OPEN, Decision.UNTESTED)

    def judged(self, p_adjusted: float, family: str, size: int, *, margin: float = MARGIN) -> Contrast:
        """The contrast as a member of a family: the one place where anything is decided."""
        decision = Decision.OPEN
        if not self.fair:
            decision = Decision.DIVERGED
        elif is_decided(p_adjusted):
            decision = Decision.DIFFERENT
        elif -margin <= self.low and self.high <= margin:
            decision = Decision.EQUIVALENT
        elif math.isnan(p_adjusted):
            decision = Decision.UNTESTED
        return replace(self, p_adjusted=p_adjusted, family=family, size=size, decision=decision)


def is_decided(p_adjusted: float) -> bool:
    """Whether a difference is real; a test that was not made decides nothing.

    Args:
        p_adjusted: p-value, adjusted for the family; an array gives an array.

    >>> is_decided(0.04), is_decided(0.095), is_decided(float("nan"))
    (True, False, False)
    """
    return p_adjusted <= ALPHA


def contrast(terms: Terms, inference: Inference, *, step: float | None = None) -> Contrast:
    """One contrast, tested alone.

    Args:
        terms: conditions with their weights.
        inference: how it is tested.
        step: resolution of the values; by default that of all of them together.

    >>> ours, theirs = Sample({0: 0.71, 1: 0.72, 2: 0.74}), Sample({0: 0.70, 1: 0.70, 2: 0.71})
    >>> found = contrast([(1, ours), (-1, theirs)], Inference.FIXED)
    >>> f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f}), p = {found.p:.3f}"
    '0.020 (-0.005 to 0.045), p = 0.074'
    """
    fair = not any(sample.diverged for _, sample in terms)
    undecided = Decision.UNTESTED if fair else Decision.DIVERGED
    seeds = sorted(set.intersection(*(set(sample.values) for _, sample in terms)))
    if not seeds:
        nan = math.nan
        return Contrast(0, nan, nan, nan, nan, nan, inference=inference, decision=undecided)
    differences = np.array([sum(w * sample.values[seed] for w, sample in terms) for seed in seeds])
    if step is None:
        step = resolution([value for _, sample in terms for value in sample.values.values()])
    # A sum of rounded values has the rounding error of √(Σw²/2) differences of two.
    rounded = step * math.sqrt(sum(w**2 for w, _ in terms) / 2)
    low, high, p = (float(each) for each in inference.test(differences, rounded))
    sd = float(differences.std(ddof=1)) if len(seeds) > 1 else math.nan
    return Contrast(
        n=len(seeds),
        mean=float(differences.mean()),
        sd=sd,
        low=low,
        high=high,
        p=p if fair else math.nan,
        inference=inference,
        decision=undecided,
    )


def contrasts(
    terms: Mapping[Key, Terms],
    *,
    family: str,
    inference: Inference = Inference.FIXED,
    margin: float = MARGIN,
    step: float | None = None,
) -> dict[Key, Contrast]:
    """A family of contrasts, decided together.

    The chance that any is ever called different which is none stays below α: Holm's method holds for
    p-values however they depend on each other, and anytime p-values stay p-values whenever the seeds of a
    condition end. A decision at any time is never taken back by further seeds. That a contrast is called
    equivalent which exceeds the margin has a chance below α for each.

    p-values are adjusted, not e-values (as in Vovk and Wang, E-values: calibration, combination and
    applications, 2021): these e-values promise a mean of 1 only if the decision to stop does not depend on
    the unit of the values, which the margin does; their maximum keeps its promise all the same.

    Args:
        terms: conditions with their weights, by contrast.
        family: what the family is called.
        inference: how each is tested.
        margin: size up to which differences count as none in practice.
        step: resolution of the values; by default that of all values together.
    """
    if step is None:
        values = [v for each in terms.values() for _, sample in each for v in sample.values.values()]
        step = resolution(values) if values else 0.0
    found = {key: contrast(each, inference, step=step) for key, each in terms.items()}
    return as_family(found, family, margin=margin)


def as_family(found: Mapping[Key, Contrast], family: str, *, margin: float = MARGIN) -> dict[Key, Contrast]:
    """Contrasts with p-values adjusted for each other, and decided."""
    p_values = holm([each.p for each in found.values()]).tolist()
    size = sum(not math.isnan(p) for p in p_values)
    return {
        key: each.judged(p, family, size, margin=margin)
        for (key, each), p in zip(found.items(), p_values, strict=True)
    }


def against(
    samples: Mapping[Key, Sample],
    baseline: Key,
    *,
    family: str,
    inference: Inference = Inference.FIXED,
    margin: float = MARGIN,
    step: float | None = None,
) -> dict[Key, Contrast]:
    """Every condition minus a baseline, as one family.

    Raises:
        KeyError: if there is no such baseline.

    >>> runs = {"a": [0.70, 0.71, 0.69, 0.70], "b": [0.9, 0.9, 0.9, 0.9], "c": [0.69, 0.73, 0.71, 0.70]}
    >>> samples = {name: Sample(dict(enumerate(values))) for name, values in runs.items()}
    >>> found = against(samples, "a", family="arms", inference=Inference.ANYTIME)
    >>> {name: each.decision.value for name, each in found.items()}
    {'b': 'different', 'c': 'open'}
    """
    terms = {
        key: ((1.0, sample), (-1.0, samples[baseline])) for key, sample in samples.items() if key != baseline
    }
    if step is None:
        step = resolution([v for sample in samples.values() for v in sample.values.values()] or [0.0])
    return contrasts(terms, family=family, inference=inference, margin=margin, step=step)
