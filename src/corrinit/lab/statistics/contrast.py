"""Contrasts: weighted sums of conditions, how they are tested, and the one rule by which they are decided.

A contrast is Σ_c w_c x_c with Σ_c w_c = 0, where x_c is what condition c gave. An arm minus the baseline has
the weights 1 and −1, a main effect of a 2×2 the weights ½, ½, −½ and −½, an interaction 1, −1, −1 and 1.
Contrasts that are asked together are a family, over which p-values are Holm-adjusted.

Where a setting has enough conditions and seeds, variances borrow from all of its conditions, and what seeds
have in common is taken out if all conditions have the same (`corrinit.lab.statistics.moderated_tests`). With
fewer, differences are taken within seeds (`corrinit.lab.statistics.paired`, `anytime`).

A contrast is decided if its adjusted p-value is at most α. Its 95 % interval then excludes 0, since both come
from one test; the reverse does not hold, as an interval knows nothing of the family.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar

import numpy as np

from corrinit.lab.statistics import anytime, moderated_tests, paired
from corrinit.lab.statistics.moderated import LEAST_CONDITIONS, LEAST_SEEDS, Conditions
from corrinit.lab.statistics.moderated_tests import without_seeds
from corrinit.lab.statistics.paired import Vector, holm, resolution
from corrinit.lab.statistics.sample import Sample as Sample
from corrinit.lab.statistics.sample import Terms as Terms

ALPHA = 0.05

LEAST_RESIDUAL = 9
"""(Conditions − 1)(seeds − 1) from which on effects of seeds are taken out. With four conditions of three
seeds, copies whose deviations differ tenfold would be called different in 6.6 %
(`benchmarks/bench_decisions.py`)."""

MARGIN = 0.005
"""Differences of accuracy up to half a percentage point count as none in practice."""

Key = TypeVar("Key", bound=Hashable)
Condition = TypeVar("Condition", bound=Hashable)


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
    """For a number of seeds that was fixed before any result was seen."""
    ANYTIME = "anytime"
    """For seeds that depended on what they showed: whenever one looks, and however one stops."""

    def test(self, differences: Vector, step: float) -> tuple[Vector, Vector, Vector]:
        """Lower ends, upper ends and p-values of means, for differences within seeds of shape (..., n)."""
        test = anytime.anytime_test if self is Inference.ANYTIME else paired.t_test
        return test(differences, step)


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of conditions, averaged over seeds.

    Args:
        n: number of seeds that all conditions have, over which sums are averaged; if moderated, that of the
            condition with the fewest.
        mean: mean; NaN without any seed.
        sd: sample standard deviation of the sums, or what it would be of pairs that have the error of the
            mean; NaN for fewer than two.
        low: lower end of the 95 % interval, not adjusted for the family; NaN or −∞ where there is none.
        high: upper end.
        p: p-value of no difference; NaN where nothing is tested.
        p_adjusted: the same, Holm-adjusted over the family.
        family: what is tested together, such as `"arms of this setting"`.
        size: number of tests in the family.
        inference: how interval and p-value were computed.
        decision: what is settled.
        endpoint: name of what is compared.
        moderated: whether variances borrowed from all conditions of the setting.
        error: standard error of the mean, at least that of rounding; NaN for fewer than two seeds.
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
    endpoint: str = ""
    moderated: bool = False
    error: float = math.nan

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
    """One contrast within seeds, tested alone.

    Args:
        terms: conditions with their weights.
        inference: how it is tested.
        step: resolution of the values; by default that of all of them together.

    Raises:
        ValueError: if the conditions are of different endpoints.

    >>> ours, theirs = Sample({0: 0.71, 1: 0.72, 2: 0.74}), Sample({0: 0.70, 1: 0.70, 2: 0.71})
    >>> found = contrast([(1, ours), (-1, theirs)], Inference.FIXED)
    >>> f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f}), p = {found.p:.3f}"
    '0.020 (-0.005 to 0.045), p = 0.074'
    """
    name = _endpoint(sample for _, sample in terms)
    fair = not any(sample.diverged for _, sample in terms)
    undecided = Decision.UNTESTED if fair else Decision.DIVERGED
    seeds = sorted(set.intersection(*(set(sample.values) for _, sample in terms)))
    if not seeds:
        nan = math.nan
        return Contrast(0, nan, nan, nan, nan, nan, inference=inference, decision=undecided, endpoint=name)
    differences = np.array([sum(w * sample.values[seed] for w, sample in terms) for seed in seeds])
    if step is None:
        step = resolution([value for _, sample in terms for value in sample.values.values()])
    # A sum of rounded values has the rounding error of √(Σw²/2) differences of two.
    rounded = step * math.sqrt(sum(w**2 for w, _ in terms) / 2)
    low, high, p = (float(each) for each in inference.test(differences, rounded))
    sd = float(differences.std(ddof=1)) if len(seeds) > 1 else math.nan
    error = max(sd, paired.rounding(rounded)) / math.sqrt(len(seeds)) if len(seeds) > 1 else math.nan
    return Contrast(
        len(seeds),
        mean=float(differences.mean()),
        sd=sd,
        low=low,
        high=high,
        p=p if fair else math.nan,
        inference=inference,
        decision=undecided,
        endpoint=name,
        error=error,
    )


def estimates(
    samples: Mapping[Condition, Sample],
    weights: Mapping[Key, Mapping[Condition, float]],
    inference: Inference = Inference.FIXED,
    *,
    step: float | None = None,
    within_seeds: bool = False,
) -> dict[Key, Contrast]:
    """Contrasts of a setting, each tested alone.

    From `LEAST_CONDITIONS` conditions of `LEAST_SEEDS` seeds on, variances borrow from each other. If these
    conditions have the same seeds and there are enough (`LEAST_RESIDUAL`), effects of seeds are taken out;
    not for inference at any time, where the seeds of decided conditions end. Else conditions are compared as
    independent samples, unless runs of a seed have much in common. A contrast with a condition of fewer seeds
    is one within seeds. All of this follows from the design alone, not from what came out.

    Args:
        samples: all conditions of the setting: those without a weight lend their variances.
        weights: of conditions, by contrast.
        inference: how each is tested.
        step: resolution of the values; by default that of all values together.
        within_seeds: never compare conditions as independent samples, since runs of a seed have much in
            common.

    Raises:
        ValueError: if the conditions are of different endpoints.
    """
    if step is None:
        step = resolution([v for each in samples.values() for v in each.values.values()] or [0.0])
    name = _endpoint(samples.values())
    ready = {
        key: each for key, each in samples.items() if len(each.values) >= LEAST_SEEDS and not each.diverged
    }
    seeds = {tuple(sorted(each.values)) for each in ready.values()}
    crossed = (
        inference is Inference.FIXED
        and len(seeds) == 1
        and (len(ready) - 1) * (len(next(iter(seeds))) - 1) >= LEAST_RESIDUAL
    )
    enough = len(ready) >= LEAST_CONDITIONS and (crossed or not within_seeds)
    shared = {key: each for key, each in weights.items() if enough and each.keys() <= ready.keys()}
    found = {
        key: contrast([(w, samples[condition]) for condition, w in each.items()], inference, step=step)
        for key, each in weights.items()
        if key not in shared
    }
    if shared:
        values = [each.in_order for each in ready.values()]
        values = list(without_seeds(values)) if crossed else values
        rows = np.array([[each.get(condition, 0.0) for condition in ready] for each in shared.values()])
        sums = moderated_tests.contrasts(Conditions.of(values, step=step), rows)
        ends = (
            moderated_tests.anytime_test(values, rows, step=step)
            if inference is Inference.ANYTIME
            else moderated_tests.t_test(sums)
        )
        for key, mean, error, low, high, p in zip(shared, sums.mean, sums.error, *ends, strict=True):
            n = min(len(ready[condition].values) for condition in shared[key])
            found[key] = Contrast(
                n,
                float(mean),
                sd=float(error) * math.sqrt(n),
                low=float(low),
                high=float(high),
                p=float(p),
                inference=inference,
                endpoint=name,
                moderated=True,
                error=float(error),
            )
    return {key: found[key] for key in weights}


def contrasts(
    samples: Mapping[Condition, Sample],
    weights: Mapping[Key, Mapping[Condition, float]],
    *,
    family: str,
    inference: Inference = Inference.FIXED,
    margin: float = MARGIN,
    step: float | None = None,
    within_seeds: bool = False,
) -> dict[Key, Contrast]:
    """A family of contrasts of a setting, decided together.

    The chance that any is ever called different which is none stays below α: Holm's method holds for
    p-values however they depend on each other, and anytime p-values stay p-values whenever the seeds of a
    condition end. A decision at any time is never taken back by further seeds. That a contrast is called
    equivalent which exceeds the margin has a chance below α for each.

    p-values are adjusted, not e-values (as in Vovk and Wang, E-values: calibration, combination and
    applications, 2021): these e-values promise a mean of 1 only if the decision to stop does not depend on
    the unit of the values, which the margin does; their maximum keeps its promise all the same.

    Args:
        samples: all conditions of the setting.
        weights: of conditions, by contrast.
        family: what the family is called.
        inference: how each is tested, as in `estimates`.
        margin: size up to which differences count as none in practice.
        step: resolution of the values; by default that of all values together.
        within_seeds: never compare conditions as independent samples.
    """
    found = estimates(samples, weights, inference, step=step, within_seeds=within_seeds)
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
    within_seeds: bool = False,
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
    return contrasts(
        samples,
        {key: {key: 1.0, baseline: -1.0} for key in samples if key != baseline},
        family=family,
        inference=inference,
        margin=margin,
        step=step,
        within_seeds=within_seeds,
    )


def _endpoint(samples: Iterable[Sample]) -> str:
    """The one endpoint that samples are of."""
    names = {sample.endpoint for sample in samples}
    if len(names) > 1:
        raise ValueError(f"conditions are of the endpoints {', '.join(sorted(names))}; compare one of them")
    return next(iter(names), "")
