"""What a comparison says by other endpoints than the one that decides it, and where the noise is."""

from __future__ import annotations

import math
from collections.abc import Iterator

from corrinit.lab.comparison.contrasts import standings
from corrinit.lab.comparison.groups import Arm, Comparison
from corrinit.lab.document.blocks import Table
from corrinit.lab.document.numbers import Unit
from corrinit.lab.experiment.arm import label
from corrinit.lab.runs.endpoints import DECLARED, Endpoint
from corrinit.lab.statistics.contrast import Contrast
from corrinit.lab.statistics.noise import split_noise

BESIDE = ("averaged_test_accuracy", "averaged_unlooked_accuracy", "mean_test_accuracy", "test_loss")


def other_endpoints(comparison: Comparison) -> Iterator[Table]:
    """The gain of each arm by a few other endpoints, those that all runs tell; none if there is none."""
    told = [each for name in BESIDE if _told(comparison, each := DECLARED[name])]
    gains = {each: {row.arm: row.gain for row in standings(comparison, each)} for each in told}
    rows = tuple(
        (comparison.name(arm), *(_gain(gains[each][arm], each.unit) for each in told))
        for arm in comparison.initializations
        if arm != comparison.baseline
    )
    if told and rows:
        yield Table(
            "The same by other endpoints",
            ("initialization", *(f"{each.label} ({each.unit.name})" for each in told)),
            rows,
            f"Differences from “{label(comparison.baseline)}” with 95 % intervals. They decide nothing: an "
            "endpoint that is chosen for what it shows would. Test loss can go the other way than accuracy.",
        )


def noise(comparison: Comparison) -> Iterator[Table]:
    """The noise of test accuracy in two parts, for arms of two or more runs that kept each test image."""
    rows = tuple(row for arm in comparison.arms if (row := _noise_of(arm)))
    if rows:
        yield Table(
            "Where the noise of test accuracy is",
            ("initialization", "runs", "deviation between runs", "of test images", "of networks"),
            rows,
            "In points. Part of what accuracies vary between runs comes of having just these test images, "
            "and none of it would be left with more of them; the rest is of networks (Jordan 2024, Theorem "
            "2). Deviations of few runs are rough.",
        )


def _told(comparison: Comparison, endpoint: Endpoint) -> bool:
    return bool(comparison.records) and all(endpoint.read(run) is not None for run in comparison.records)


def _gain(gain: Contrast | None, unit: Unit) -> str:
    if gain is None or not gain.n:
        return "–"
    decimals = unit.decimals(gain)
    mean = unit.signed(gain.mean, decimals).removesuffix(f" {unit.name}")
    if not gain.fair or not math.isfinite(gain.high - gain.low):
        return mean
    return f"{mean} ({unit.interval(gain, decimals)})"


def _noise_of(arm: Arm) -> tuple[str, ...] | None:
    kept = [right["last"] for run in arm.records if (right := run.correct()) and "last" in right]
    if len(kept) < 2 or len({len(each) for each in kept}) > 1:
        return None
    found = split_noise(kept)
    parts = (math.sqrt(found.total), found.images_sd, found.network_sd)
    return (arm.label, str(found.runs), *(f"{100 * part:.2f}" for part in parts))
