"""The placebo: the baseline once more, on seeds of its own, as if it were another arm.

How far the two come to lie apart is noise and nothing else, to be seen beside the gains of the arms. It takes
no part in their tests: neither its p-value nor its variance, so that all else is as it is without it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from corrinit.lab.comparison.contrasts import Beside, Standing
from corrinit.lab.comparison.groups import Arm, Comparison
from corrinit.lab.document.numbers import count
from corrinit.lab.runs.endpoints import TEST_ACCURACY, Endpoint
from corrinit.lab.runs.record import Status
from corrinit.lab.statistics.contrast import Contrast, Inference, Key, Sample, contrast, estimates

PLACEBO = "placebo"
"""What it is called."""

PLACEBO_NOTE = (
    "The placebo is the baseline once more, on seeds of its own: what it differs by is chance. It is outside "
    "of the family, and its p is not corrected."
)

FIRST = 2_000_000_000
"""Its first seed, far from those of arms and of the choice of learning rates."""


def placebo_seeds(count: int) -> range:
    """The seeds of a placebo; more of them begin with the same.

    >>> placebo_seeds(2)
    range(2000000000, 2000000002)
    """
    return range(FIRST, FIRST + count)


def placebo(comparison: Comparison, endpoint: Endpoint = TEST_ACCURACY) -> Standing | None:
    """Where the placebo stands beside the baseline; None without one.

    Runs of different seeds have nothing in common, so it is compared as an independent sample, with variances
    that borrow from all arms where there are enough; else its runs are paired with those of the baseline in
    the order of their seeds, which holds for independent ones too.
    """
    baseline = comparison.find(comparison.baseline)
    if baseline is None or not comparison.placebo:
        return None
    finished = {each.seed: each for each in comparison.placebo if each.status is Status.FINISHED}
    lost = [each.seed for each in comparison.placebo if each.seed not in finished]
    own = Arm(comparison.baseline, finished).sample(endpoint.given(baseline.records), lost)
    samples = comparison.samples(endpoint)
    gain = from_itself(samples, comparison.baseline, own, endpoint, comparison.inference)
    return Standing(PLACEBO, own, gain, comparison.baseline)


def from_itself(
    samples: Mapping[Key, Sample], baseline: Key, own: Sample, endpoint: Endpoint, inference: Inference
) -> Contrast:
    """A placebo minus the baseline, tested alone.

    Args:
        samples: of all conditions, the baseline among them.
        baseline: that of them which the placebo is a copy of.
        own: what the placebo gave, by seeds of its own.
        endpoint: what is compared.
        inference: how it is tested.
    """
    step = endpoint.resolution([*samples.values(), own])
    copy = object()
    conditions: dict[Hashable, Sample] = {**samples, copy: own}
    found = estimates(conditions, {PLACEBO: {copy: 1.0, baseline: -1.0}}, inference, step=step)[PLACEBO]
    if not found.moderated:
        reference = samples[baseline]
        found = contrast([(1.0, _in_place_of(reference, own)), (-1.0, reference)], inference, step=step)
    return found.judged(found.p, PLACEBO, int(not math.isnan(found.p)), margin=endpoint.margin)


def placebo_in_words(row: Beside | None, endpoint: Endpoint = TEST_ACCURACY) -> Sequence[str]:
    """What the placebo shows; nothing without one."""
    if row is None or row.gain is None or not row.gain.n:
        return ()
    gain, unit = row.gain, endpoint.unit
    decimals = unit.decimals(gain)
    apart = unit.signed(gain.mean, decimals)
    what = f"Placebo: the baseline once more, on {count(row.sample.runs, 'seed')} of its own"
    if not gain.fair:
        return (f"{what}, is compared with nothing, as one of the two diverged.",)
    if not math.isfinite(gain.high - gain.low):
        return (f"{what}, ended {apart} from itself; that is chance.",)
    said = (
        f"{what}, ended {apart} from itself (95 % interval {unit.interval(gain, decimals)}). That is chance"
    )
    if gain.inference is Inference.FIXED:
        reach = unit.signed((gain.high - gain.low) / 2, decimals).removeprefix("+")
        said += f": of such copies, 19 in 20 come to lie within about ±{reach} of each other"
    missed = gain.low > 0 or gain.high < 0
    return (f"{said}{'; this one is the twentieth' if missed else ''}.",)


def _in_place_of(reference: Sample, own: Sample) -> Sample:
    """The values of a sample by the seeds of another, both in order."""
    return replace(own, values=dict(zip(sorted(reference.values), own.in_order.tolist(), strict=False)))
