"""The comparisons among run records, and what to call each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from corrinit.lab.comparison.groups import Comparison, compare
from corrinit.lab.comparison.tuning import Tuning, each_at_its_best, tunings
from corrinit.lab.experiment.arm import BASELINE
from corrinit.lab.experiment.setting import Setting
from corrinit.lab.runs.table import Runs

IN_EVERY_NAME = ("data", "model", "architecture", "tested_on")
"""Settings that names tell anyway, or that follow from those."""


AT_BEST = ", each at its best learning rate"


@dataclass(frozen=True, eq=False)
class Compared:
    """All that is compared among runs.

    Args:
        runs: the runs.
        comparisons: a comparison for each setting by its name, then one with each arm at its best learning
            rate if that was chosen.
        tunings: learning rates that were tried for each setting, by its name.
    """

    runs: Runs
    comparisons: Mapping[str, Comparison]
    tunings: Mapping[str, Tuning]


def compared(runs: Runs) -> Compared:
    """Compare runs. Arms that were run at their best rate alone make no comparison of their own."""
    tried = tunings(runs)
    named = dict(zip(_names(tried, [tuning.setting for tuning in tried]), tried, strict=True))
    comparisons = compare(runs.where(lambda record: record.setting.tested_on == "test"))
    at_best = {
        name + AT_BEST: comparison
        for name, tuning in named.items()
        if (comparison := each_at_its_best(comparisons, tuning)) is not None
    }
    shown = {arm for comparison in at_best.values() for arm in comparison.arms}
    own = [
        each
        for each in comparisons
        if each.find(BASELINE) or not each.arms or not shown.issuperset(each.arms)
    ]
    names = _names(own, [each.setting for each in own], told=("lr",) if at_best else ())
    return Compared(runs, dict(zip(names, own, strict=True)) | at_best, named)


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
        study = getattr(group, "study", None)
        made_for = [] if study is None else [f"study {study[:12]}"]
        names.append(", ".join([Path(data).name, config["model"], *others, *older, *made_for]))
    return names
