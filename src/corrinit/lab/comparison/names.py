"""The comparisons among run records, and what to call each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from corrinit.lab.comparison.groups import Comparison, compare
from corrinit.lab.comparison.tuning import Tuning, each_at_its_best, tunings
from corrinit.lab.experiment.arm import BASELINE
from corrinit.lab.experiment.setting import Setting
from corrinit.lab.runs.design import Design
from corrinit.lab.runs.record import RunRecord

IN_EVERY_NAME = ("data", "model", "architecture", "tested_on")
"""Settings that names tell anyway, or that follow from those."""


AT_BEST = ", each at its best learning rate"


def named_comparisons(
    records: Sequence[RunRecord], designs: Mapping[Setting, Design] | None = None
) -> dict[str, Comparison]:
    """A comparison for each setting, then one with each arm at its best learning rate if that was chosen.

    Arms that were run for the latter alone make no comparison of their own.

    Args:
        records: the runs.
        designs: how many seeds were planned, by setting.
    """
    tested = [record for record in records if record.config.tested_on == "test"]
    comparisons = compare(tested, designs)
    at_best = {
        name + AT_BEST: comparison
        for name, tuning in named_tunings(records).items()
        if (comparison := each_at_its_best(comparisons, tuning)) is not None
    }
    shown = {arm for comparison in at_best.values() for arm in comparison.arms}
    own = [
        each
        for each in comparisons
        if each.find(BASELINE) or not each.arms or not shown.issuperset(each.arms)
    ]
    names = _names(own, [each.setting for each in own], told=("lr",) if at_best else ())
    return dict(zip(names, own, strict=True)) | at_best


def named_tunings(records: Sequence[RunRecord]) -> dict[str, Tuning]:
    """The learning rates tried for each setting."""
    found = tunings(records)
    return dict(zip(_names(found, [tuning.setting for tuning in found]), found, strict=True))


def _names(
    groups: Sequence[Comparison | Tuning], settings: Sequence[Setting], *, told: Sequence[str] = ()
) -> list[str]:
    """What each setting is called: data and model, what is to be told, and what tells it from its like."""
    configs = [asdict(setting) for setting in settings]
    names = []
    for group, config in zip(groups, configs, strict=True):
        alike = [each for each in configs if all(each[name] == config[name] for name in IN_EVERY_NAME)]
        varying = [name for name in config if name in told or len({str(each[name]) for each in alike}) > 1]
        data = config["data"].partition(":")[2] or config["data"]
        others = [f"{name} {config[name]}" for name in varying]
        older = [] if group.protocol is None else [f"protocol {group.protocol}"]
        names.append(", ".join([Path(data).name, config["model"], *others, *older]))
    return names
