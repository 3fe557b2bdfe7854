"""The 2×2: independent or correlated taps, each at He's scale and at the small one.

A correlated initialization changes two things at once, the correlation between the taps of a filter and their
deviation. The main effects, the interaction and the effects at each level are contrasts of the four arms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from corrinit.lab.comparison.groups import Comparison
from corrinit.lab.experiment.arm import BASELINE, Initialization, controls, correlation_suffix
from corrinit.lab.runs.endpoints import TEST_ACCURACY, Endpoint
from corrinit.lab.statistics.contrast import Contrast, contrasts

Weights: TypeAlias = Mapping[Initialization, float]
"""Arms of one setting and how much each counts; they sum to 0."""


@dataclass(frozen=True)
class TwoByTwo:
    """The contrasts of the four arms that share an R and its strength, over the seeds that all four have.

    Args:
        correlated: the correlated arm at its small scale.
        seeds: the seeds.
        main: correlated minus independent taps and small minus He's scale, each averaged over the other
            factor, and their interaction, tested together.
        simple: the effects at each level, and both together: the paper's comparison; intervals only.
    """

    correlated: Initialization
    seeds: tuple[int, ...]
    main: Mapping[str, Contrast]
    simple: Mapping[str, Contrast]


CORRELATION, SCALE, INTERACTION = "correlation", "scale", "interaction"
AT_HE, AT_SMALL = "correlation at He's scale", "correlation at the small scale"
OF_INDEPENDENT, OF_CORRELATED = "scale of independent taps", "scale of correlated taps"
TOGETHER = "both together"


def effect_weights(correlated: Initialization, baseline: Initialization = BASELINE) -> dict[str, Weights]:
    """All effects of a 2×2 as weights of its arms.

    >>> list(effect_weights(Initialization("correlated"))["correlation"].values())
    [0.5, 0.5, -0.5, -0.5]
    """
    own = correlated.canonical
    at_small, at_he = controls(own)
    return {
        CORRELATION: {own: 0.5, at_he: 0.5, at_small: -0.5, baseline: -0.5},
        SCALE: {own: 0.5, at_small: 0.5, at_he: -0.5, baseline: -0.5},
        INTERACTION: {own: 1.0, at_he: -1.0, at_small: -1.0, baseline: 1.0},
        AT_HE: {at_he: 1.0, baseline: -1.0},
        AT_SMALL: {own: 1.0, at_small: -1.0},
        OF_INDEPENDENT: {at_small: 1.0, baseline: -1.0},
        OF_CORRELATED: {own: 1.0, at_he: -1.0},
        TOGETHER: {own: 1.0, baseline: -1.0},
    }


def two_by_twos(comparison: Comparison, endpoint: Endpoint = TEST_ACCURACY) -> Iterator[TwoByTwo]:
    """The 2×2 of every R and strength of which all four arms have a seed in common, and none diverged."""
    samples = comparison.samples(endpoint)
    fair = {arm: sample for arm, sample in samples.items() if not sample.diverged}
    for correlated in (arm.initialization for arm in comparison.arms):
        four = {BASELINE, correlated, *controls(correlated)}
        if not controls(correlated) or not four <= fair.keys():
            continue
        seeds = sorted(set.intersection(*(set(fair[arm].values) for arm in four)))
        if not seeds:
            continue
        # Within seeds, all effects are of the same ones; what other arms have goes into variances alone.
        shared = {arm: each.over(seeds) if arm in four else each for arm, each in fair.items()}
        simple = effect_weights(correlated)
        main = {each: simple.pop(each) for each in (CORRELATION, SCALE, INTERACTION)}
        main_effects, simple_effects = (
            contrasts(
                shared,
                weights,
                family=f"effects of the 2×2{correlation_suffix(correlated)}",
                inference=comparison.inference,
                margin=endpoint.margin,
                step=endpoint.resolution(fair.values()),
                within_seeds=endpoint.paired,
            )
            for weights in (main, simple)
        )
        yield TwoByTwo(correlated, tuple(seeds), main_effects, simple_effects)
