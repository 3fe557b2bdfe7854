"""Learning rates chosen for each initialization by itself, on images held out from training.

An initialization can only be judged at its own best learning rate: one that is better at a common rate may
merely prefer that rate. A small logarithmic grid is run with three seeds that no other run uses, on a part of
the training images, so that the test images decide nothing. One seed is not enough: near the edge of what an
arm can bear, some runs collapse, and a rate at which the only one did not is no good choice. Comparisons at
chosen rates are conditional on the choice: their intervals do not know that it might have been another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean

from corrinit.lab.comparison.groups import Arm, Comparison, LeftOut
from corrinit.lab.experiment.arm import BASELINE
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.experiment.setting import Setting
from corrinit.lab.runs.record import RunRecord, by_protocol

GRID = (0.003, 0.01, 0.03, 0.1, 0.3)
"""Learning rates that are tried, about half a decade apart."""

SEEDS = (1_000_000, 1_000_001, 1_000_002)
"""Of the runs that choose: none that is compared."""


@dataclass(frozen=True, eq=False)
class Tuning:
    """The learning rates tried for one setting.

    Args:
        setting: what the runs share, at a learning rate of 1, tested on the test images.
        accuracies: on held-out images, by arm and learning rate: means over the seeds; NaN if a run diverged.
        protocol: the older one that the runs are of; None for today's.
    """

    setting: Setting
    accuracies: Mapping[Initialization, Mapping[float, float]]
    protocol: int | None = None

    @property
    def best(self) -> dict[Initialization, float]:
        """The learning rate of each arm with the highest accuracy, the smallest of equals.

        An arm that diverged at every rate is left out.
        """
        finite = {
            arm: {lr: accuracy for lr, accuracy in by_lr.items() if not math.isnan(accuracy)}
            for arm, by_lr in self.accuracies.items()
        }
        return {arm: max(sorted(by_lr), key=lambda lr: by_lr[lr]) for arm, by_lr in finite.items() if by_lr}


def tuning_runs(base: RunConfig, arms: Sequence[Initialization]) -> tuple[RunConfig, ...]:
    """Every arm at every rate of the grid with every seed, tested on images held out from training."""
    return tuple(
        replace(base, initialization=arm, lr=lr, seed=seed, tested_on="held_out")
        for seed in SEEDS
        for lr in GRID
        for arm in arms
    )


def tunings(records: Iterable[RunRecord]) -> tuple[Tuning, ...]:
    """What the runs on held-out images among records say, by setting."""
    settings: dict[Setting, list[RunRecord]] = {}
    for record in records:
        if record.config.tested_on == "held_out":
            settings.setdefault(_setting(record.config.setting), []).append(record)
    ordered = sorted(settings, key=lambda config: json.dumps(asdict(config)))
    return tuple(
        Tuning(setting, _accuracies(together), protocol)
        for setting in ordered
        for protocol, together in by_protocol(settings[setting])
    )


def each_at_its_best(comparisons: Sequence[Comparison], tuning: Tuning) -> Comparison | None:
    """One comparison in which every arm has the learning rate that was chosen for it.

    Args:
        comparisons: of any settings.
        tuning: the rates; only comparisons of its setting and protocol count.

    Returns:
        None if the baseline has no runs at its rate, or every arm has the same rate: then the comparison at
        that rate is the one.
    """
    best, found = tuning.best, dict[Initialization, Arm]()
    left_out, design, placebo = list[LeftOut](), None, ()
    for comparison in comparisons:
        if (_setting(comparison.setting), comparison.protocol) != (tuning.setting, tuning.protocol):
            continue
        if comparison.setting.lr == best.get(BASELINE):
            placebo = comparison.placebo
        at_best = {arm for arm, lr in best.items() if lr == comparison.setting.lr}
        found |= {arm.initialization: arm for arm in comparison.arms if arm.initialization in at_best}
        out = [each for each in comparison.left_out if each.record.arm in at_best]
        left_out += out
        if comparison.design is not None and (out or at_best & found.keys()):
            design = comparison.design | (design or comparison.design)
    if BASELINE not in found or len({best[initialization] for initialization in found}) == 1:
        return None
    arms = (found[BASELINE], *(arm for key, arm in found.items() if key != BASELINE))
    setting = replace(tuning.setting, lr=best[BASELINE])
    return Comparison(setting, arms, tuple(left_out), tuning.protocol, design, placebo=placebo)


def _accuracies(records: Iterable[RunRecord]) -> dict[Initialization, dict[float, float]]:
    found: dict[Initialization, dict[float, list[float]]] = {}
    for record in sorted(records, key=lambda record: record.config.lr):
        accuracy = record.result.endpoints["test_accuracy"] if record.has_accuracy else math.nan
        found.setdefault(record.arm, {}).setdefault(record.config.lr, []).append(accuracy)
    return {arm: {lr: fmean(each) for lr, each in by_lr.items()} for arm, by_lr in found.items()}


def _setting(setting: Setting) -> Setting:
    return replace(setting, lr=1.0, tested_on="test")
