"""The comparisons among run records, and what to call each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from corrinit.lab.comparison import Comparison, compare
from corrinit.lab.config import RunConfig
from corrinit.lab.records import RunRecord
from corrinit.lab.tuning import Tuning, each_at_its_best, tunings

UNTOLD = ("data", "model", "architecture", "tested_on")
"""Settings that are no part of what tells names apart: they are told anyway, or follow from others."""


def named_comparisons(records: Sequence[RunRecord]) -> dict[str, Comparison]:
    """A comparison for each setting, then one with each arm at its best learning rate if that was chosen."""
    comparisons = compare(record for record in records if record.config.tested_on == "test")
    named = dict(zip(_names([each.config for each in comparisons]), comparisons, strict=True))
    for name, tuning in named_tunings(records).items():
        if (comparison := each_at_its_best(comparisons, tuning)) is not None:
            named[f"{name}, each at its best learning rate"] = comparison
    return named


def named_tunings(records: Sequence[RunRecord]) -> dict[str, Tuning]:
    """The learning rates tried for each setting."""
    found = tunings(records)
    return dict(zip(_names([tuning.setting for tuning in found]), found, strict=True))


def _names(settings: Sequence[RunConfig]) -> list[str]:
    """What each setting is called: data and model, and whatever else tells it from the others."""
    configs = [asdict(setting) for setting in settings]
    varying = [
        name
        for name in asdict(RunConfig())
        if name not in UNTOLD and len({str(config[name]) for config in configs}) > 1
    ]
    names = []
    for config in configs:
        data = config["data"].partition(":")[2] or config["data"]
        others = [f"{name} {config[name]}" for name in varying]
        names.append(", ".join([Path(data).name, config["model"], *others]))
    return names
