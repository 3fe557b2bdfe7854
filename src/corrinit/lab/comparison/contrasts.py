"""The gains of arms over the baseline, and their parts: what the scale adds, and what the structure does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from corrinit.lab.comparison.groups import Comparison
from corrinit.lab.experiment.arm import BASELINE, Initialization
from corrinit.lab.runs.endpoints import TEST_ACCURACY, Endpoint
from corrinit.lab.statistics.contrast import (
    Contrast,
    Inference,
    Key,
    Sample,
    against,
    as_family,
    contrast,
    estimates,
)

ARMS = "arms"
"""What the family of all arms against the baseline is called."""


@dataclass(frozen=True)
class Beside:
    """One condition beside the baseline.

    Args:
        name: what it is called.
        sample: its final values.
        gain: its final value minus the baseline's; None for the baseline itself.
    """

    name: str
    sample: Sample
    gain: Contrast | None


@dataclass(frozen=True)
class Standing(Beside):
    """One arm beside the baseline.

    Args:
        name: what it is called.
        sample: its final values.
        gain: its final value minus the baseline's; None for the baseline itself.
        arm: the initialization.
    """

    arm: Initialization


@dataclass(frozen=True)
class ScaleShare:
    """The gain of an arm in two parts, that of its scale and that of the structure of its filters.

    Args:
        control: name of the arm that separates them.
        at_he: whether that is the arm at He's scale, rather than the baseline at the scale of the arm.
        scale: what the scale gains: the control minus the baseline, or the arm minus its control at He's.
        structure: what is gained at equal scale: the rest.
    """

    control: str
    at_he: bool
    scale: Contrast
    structure: Contrast


def standings(comparison: Comparison, endpoint: Endpoint = TEST_ACCURACY) -> tuple[Standing, ...]:
    """Where the arms stand, in their order."""
    samples = comparison.samples(endpoint)
    found = gains(samples, comparison.baseline, endpoint, comparison.inference)
    return tuple(
        Standing(comparison.name(arm), sample, found.get(arm), arm) for arm, sample in samples.items()
    )


def gains(
    samples: Mapping[Key, Sample], baseline: Key, endpoint: Endpoint, inference: Inference
) -> dict[Key, Contrast]:
    """Every condition but the baseline minus the baseline, one family."""
    return against(
        samples,
        baseline,
        family=ARMS,
        inference=inference,
        margin=endpoint.margin,
        step=endpoint.resolution(samples.values()),
        within_seeds=endpoint.paired,
    )


def scale_shares(
    comparison: Comparison, rows: Sequence[Standing], endpoint: Endpoint = TEST_ACCURACY
) -> dict[Initialization, tuple[ScaleShare | None, Initialization]]:
    """The share of the scale in the gain of each arm, and the control that separates it from structure.

    An arm whose scale is He's, and an independent one, has no such share.
    """
    by_arm = {row.arm: row.gain for row in rows}
    fair = {row.arm: row.sample for row in rows if not row.sample.diverged}
    found: dict[Initialization, tuple[ScaleShare | None, Initialization]] = {}
    for own in by_arm:
        baseline = comparison.baseline
        if baseline != BASELINE or own.scale == "he" or own.method == BASELINE.method:
            continue
        at_he = replace(own, scale="he").canonical
        # Independent taps have no scale but He's in common with a method whose scale is its own, or measured.
        same_scale = replace(own, method=BASELINE.method).canonical
        preferred = at_he if same_scale == BASELINE else same_scale
        found[own] = None, preferred
        for control in dict.fromkeys((preferred, at_he)):
            parts = _parts(comparison, fair, own, control, by_arm.get(control), endpoint)
            if parts is not None:
                to_control, to_arm = parts
                scale, structure = (to_arm, to_control) if control == at_he else (to_control, to_arm)
                share = ScaleShare(comparison.name(control), control == at_he, scale, structure)
                found[own] = share, preferred
                break
    # What the arms add to their controls is one family.
    shares = {arm: share for arm, (share, _) in found.items() if share is not None}
    added = {arm: share.scale if share.at_he else share.structure for arm, share in shares.items()}
    for arm, part in as_family(added, "arms against their controls", margin=endpoint.margin).items():
        share, control = shares[arm], found[arm][1]
        name = "scale" if share.at_he else "structure"
        found[arm] = replace(share, **{name: part}), control
    return found


def _parts(
    comparison: Comparison,
    fair: Mapping[Initialization, Sample],
    own: Initialization,
    control: Initialization,
    gain: Contrast | None,
    endpoint: Endpoint,
) -> tuple[Contrast, Contrast] | None:
    """From the baseline to the control, whose gain is known, and from there to the arm; they add up."""
    three = {own, control, comparison.baseline}
    if not three <= fair.keys() or gain is None:
        return None
    seeds = set.intersection(*(set(fair[each].values) for each in three))
    if not seeds:
        return None
    inference, step = comparison.inference, endpoint.resolution(fair.values())
    weights = {own: 1.0, control: -1.0}
    added = estimates(fair, {own: weights}, inference, step=step, within_seeds=endpoint.paired)[own]
    if gain.moderated and added.moderated:
        return gain, added
    ours, controlled, reference = (fair[each].over(seeds) for each in (own, control, comparison.baseline))
    added = contrast([(1.0, ours), (-1.0, controlled)], inference)
    shared = contrast([(1.0, controlled), (-1.0, reference)], inference)
    return shared.judged(gain.p_adjusted, gain.family, gain.size, margin=endpoint.margin), added
