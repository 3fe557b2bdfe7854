"""What pilot runs of the baseline alone say before a study: which endpoint is quiet, and the power."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from corrinit.errors import StudyError
from corrinit.lab.experiment.arm import BASELINE
from corrinit.lab.experiment.setting import Setting
from corrinit.lab.runs.endpoints import endpoint
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.statistics.contrast import Inference
from corrinit.lab.statistics.planning import power

CANDIDATES = ("test_accuracy", "averaged_test_accuracy", "mean_test_accuracy", "averaged_unlooked_accuracy")
"""Endpoints among which pilot runs may choose; of equals, the first."""

DIFFERENCES = (0.01, 0.02)
"""True differences for which power is told: one and two points."""


def pilot_runs(records: Iterable[RunRecord], setting: Setting, folder: Path) -> list[RunRecord]:
    """The runs of the baseline in a setting, whichever of its training images each seed draws.

    Raises:
        StudyError: if there are fewer than two, which have no deviation.
    """
    found = {
        record.seed: record
        for record in records
        if record.arm == BASELINE and replace(record.setting, resample=setting.resample) == setting
        if record.has_accuracy
    }
    if len(found) < 2:
        raise StudyError(
            f"{folder} has {len(found)} finished runs of {BASELINE.method} in this setting; a pilot has two "
            "or more, which corrinit compare makes"
        )
    return [found[seed] for seed in sorted(found)]


def deviation(records: Sequence[RunRecord], name: str) -> float | None:
    """The standard deviation of an endpoint among runs; None if not all tell it."""
    read = endpoint(name).read
    values = [value for record in records if (value := read(record)) is not None and math.isfinite(value)]
    return float(np.std(values, ddof=1)) if len(values) == len(records) else None


def quietest(records: Sequence[RunRecord]) -> str:
    """The endpoint that varies least among pilot runs, of those that all of them tell."""
    known = {name: sd for name in CANDIDATES if (sd := deviation(records, name)) is not None}
    return min(known, key=lambda name: known[name])


def expectation(
    records: Sequence[RunRecord], name: str, *, seeds: int, fixed: bool, tests: int, margin: float
) -> Mapping[str, Any]:
    """What a study may expect, by names; nothing without a pilot.

    Args:
        records: the pilot.
        name: of the endpoint.
        seeds: of every arm, at most.
        fixed: whether that many are made whatever comes out.
        tests: arms beside the baseline.
        margin: size up to which differences count as none.
    """
    if not records:
        return {}
    sd = deviation(records, name)
    if sd is None:
        raise StudyError(f"not all pilot runs tell {name}; make them again, or choose another endpoint")
    inference = Inference.FIXED if fixed else Inference.ANYTIME
    expected = {
        f"power_for_{100 * d:g}_points": round(power(d, sd, seeds, tests=tests, inference=inference), 3)
        for d in DIFFERENCES
        if d > margin
    }
    return {
        "pilot": [record.run_id for record in records],
        "deviation_of_a_run": round(sd, 6),
        **{key: value for key, value in expected.items() if math.isfinite(value)},
    }
