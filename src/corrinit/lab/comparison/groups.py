"""Runs put side by side: settings, their arms, and what pairing by seed says about them.

A setting is all that runs share but the initialization and the seed, and the protocol by which they were
made. An arm is one initialization in it. The arms of the 2×2, {independent, correlated} taps × {He, small}
scale, tell what correlation does from what a smaller scale does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from corrinit.lab.experiment.arm import BASELINE, Initialization, label, order
from corrinit.lab.experiment.setting import Setting
from corrinit.lab.runs.design import Design
from corrinit.lab.runs.record import Metrics, RunRecord, by_protocol
from corrinit.lab.statistics.decision import estimator
from corrinit.lab.statistics.paired import Difference, Estimate, Factorial, Summary, factorial, summary


@dataclass(frozen=True, eq=False)
class Arm:
    """The finished runs of one initialization, by seed."""

    initialization: Initialization
    runs: Mapping[int, RunRecord]

    @property
    def label(self) -> str:
        """What tables and figures call it."""
        return label(self.initialization)

    @property
    def accuracies(self) -> dict[int, float]:
        """Test accuracy at the end, by seed, in ascending order of seeds."""
        return {seed: self.runs[seed].result["test_accuracy"] for seed in sorted(self.runs)}

    @property
    def summary(self) -> Summary:
        """Mean and deviation of the test accuracies."""
        return summary(list(self.accuracies.values()))

    def curve(self, metric: str) -> NDArray[np.float64]:
        """A metric over training, shape (runs, epochs)."""
        return np.array([self.runs[seed].curve(metric) for seed in sorted(self.runs)])


@dataclass(frozen=True, eq=False)
class TwoByTwo:
    """The four arms that share an R and its strength, over the seeds that all four have."""

    correlated: Initialization
    seeds: tuple[int, ...]
    effects: Factorial
    together: Estimate
    """Correlated taps at the small scale minus independent taps at He's: the paper's comparison."""


@dataclass(frozen=True, eq=False)
class LeftOut:
    """A run that takes no part in the statistics, why, and the arm that it is a copy of, if it is one."""

    record: RunRecord
    reason: str
    copied: Initialization | None = None

    @property
    def arm(self) -> Initialization:
        """The arm that it would belong to, in canonical form."""
        return self.record.config.initialization.canonical


@dataclass(frozen=True, eq=False)
class Comparison:
    """All runs of one setting.

    Args:
        config: what they share.
        arms: those with finished runs, independent taps first.
        left_out: runs that are unfinished, diverged or duplicates.
        protocol: the older one that they are of; None for today's.
        design: how many seeds were planned; None if that is not recorded, and so as many as there are.
    """

    config: Setting
    arms: tuple[Arm, ...]
    left_out: tuple[LeftOut, ...]
    protocol: int | None = None
    design: Design | None = None

    @property
    def records(self) -> list[RunRecord]:
        """The finished runs, by arm and seed."""
        return [arm.runs[seed] for arm in self.arms for seed in sorted(arm.runs)]

    @property
    def missing(self) -> dict[str, list[int]]:
        """The seeds that other arms have and an arm lacks, by the label of the arm."""
        seeds = {seed for arm in self.arms for seed in arm.runs}
        lacking = {arm.label: sorted(seeds - arm.runs.keys()) for arm in self.arms}
        return {label: absent for label, absent in lacking.items() if absent}

    @property
    def anytime(self) -> bool:
        """Whether inference has to hold whenever one looks, since the seeds were not fixed beforehand."""
        if self.design is None:
            return False
        seeds: dict[Initialization, set[int]] = {}
        for record in [*self.records, *(out.record for out in self.left_out if has_diverged(out.record))]:
            seeds.setdefault(record.config.initialization.canonical, set()).add(record.config.seed)
        return any(self.design.anytime(len(present)) for present in seeds.values())

    @property
    def estimate(self) -> Difference:
        """How mean differences are estimated."""
        return estimator(anytime=self.anytime)

    @property
    def diverged(self) -> dict[Initialization, tuple[int, ...]]:
        """The seeds for which arms diverged, of those that did; their other runs are no fair sample."""
        found: dict[Initialization, list[int]] = {}
        for out in self.left_out:
            if has_diverged(out.record):
                found.setdefault(out.arm, []).append(out.record.config.seed)
        return {arm: tuple(sorted(seeds)) for arm, seeds in found.items()}

    @property
    def copies(self) -> dict[str, str]:
        """Arms whose runs all came out as those of another arm, and the label of that arm."""
        finished = {arm.initialization for arm in self.arms}
        return {
            label(out.arm): label(out.copied)
            for out in self.left_out
            if out.copied is not None and out.arm not in finished
        }

    @property
    def baseline(self) -> Arm | None:
        """The arm that the others are compared with; None if none of its runs is finished."""
        return self.find(BASELINE)

    def two_by_twos(self) -> tuple[TwoByTwo, ...]:
        """The 2×2 of every R and strength of which all four arms have a seed in common, and none diverged."""
        found = []
        for initialization in (arm.initialization for arm in self.arms):
            if (initialization.method, initialization.scale) != ("correlated", "paper"):
                continue
            arms = [
                self.find(BASELINE),
                self.find(replace(initialization, method="kaiming_normal")),
                self.find(replace(initialization, scale="he")),
                self.find(initialization),
            ]
            present = [arm for arm in arms if arm is not None and arm.initialization not in self.diverged]
            if len(present) < len(arms) or not (seeds := _common(*present)):
                continue
            independent_he, independent_small, correlated_he, correlated_small = (
                _values(arm, seeds) for arm in present
            )
            effects = factorial(
                independent_he=independent_he,
                independent_small=independent_small,
                correlated_he=correlated_he,
                correlated_small=correlated_small,
                difference=self.estimate,
            )
            together = self.estimate(correlated_small, independent_he)
            found.append(TwoByTwo(initialization, seeds, effects, together))
        return tuple(found)

    def find(self, initialization: Initialization) -> Arm | None:
        """The arm of an initialization in canonical form; None if none of its runs is finished."""
        return next((arm for arm in self.arms if arm.initialization == initialization), None)


def compare(
    records: Iterable[RunRecord], designs: Mapping[Setting, Design] | None = None
) -> tuple[Comparison, ...]:
    """Group runs into settings, ordered by configuration, and set aside those that cannot be compared.

    Args:
        records: the runs.
        designs: how many seeds were planned, by setting, as `corrinit.lab.runs.design.designs` reads it.
    """
    settings: dict[Setting, list[RunRecord]] = {}
    for record in records:
        settings.setdefault(record.config.setting, []).append(record)
    ordered = sorted(settings, key=lambda config: json.dumps(asdict(config)))
    planned = designs or {}
    return tuple(
        _comparison(config, together, protocol, planned.get(config))
        for config in ordered
        for protocol, together in by_protocol(settings[config])
    )


def problem(record: RunRecord) -> str | None:
    """Why a run has no final accuracy that counts, or None."""
    if record.config.noise:
        return "denoises images: it has a PSNR, and no accuracy"
    for epoch in record.metrics:
        if _is_lost(epoch):
            return f"diverged in epoch {epoch['epoch']:g}"
    if not record.finished:
        return f"unfinished: {len(record.metrics)} of {record.config.epochs} epochs are recorded"
    return None


def has_diverged(record: RunRecord) -> bool:
    """Whether the loss of a run became NaN or infinite."""
    return any(map(_is_lost, record.metrics))


def _is_lost(epoch: Metrics) -> bool:
    losses = (epoch[name] for name in ("train_loss", "test_loss") if name in epoch)  # not all are scored
    return not all(map(math.isfinite, losses))


def _comparison(
    config: Setting, records: Sequence[RunRecord], protocol: int | None, design: Design | None
) -> Comparison:
    arms: dict[Initialization, dict[int, RunRecord]] = {}
    seen: dict[tuple[int, str], Initialization] = {}
    left_out = []
    for record in sorted(records, key=_rank):
        initialization = record.config.initialization.canonical
        runs = arms.setdefault(initialization, {})
        reason = problem(record)
        if reason is None and record.config.seed in runs:
            reason = f"repeats run {runs[record.config.seed].run_id}"
        copied = None
        if reason is None:
            first = seen.setdefault((record.config.seed, _course(record)), initialization)
            copied = first if first != initialization else None
        if copied is not None:
            reason = f"came out as {label(copied)} did in every epoch: no layer was drawn differently"
        if reason is None:
            runs[record.config.seed] = record
        else:
            left_out.append(LeftOut(record, reason, copied))
    left_out.sort(key=lambda out: (out.record.config.seed, out.record.run_id))
    ordered = sorted(arms, key=order)
    finished = tuple(Arm(key, arms[key]) for key in ordered if arms[key])
    return Comparison(config, finished, tuple(left_out), protocol, design)


def _course(record: RunRecord) -> str:
    """All that was measured in training but times: equal for runs that computed the same."""
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in record.metrics]
    return json.dumps(rows, sort_keys=True)


def _rank(record: RunRecord) -> tuple[tuple[int, str, str, float, int], int, str]:
    """Arms in their order, so that a copy is one of an earlier arm; then seeds."""
    return order(record.config.initialization.canonical), record.config.seed, record.run_id


def _common(*arms: Arm) -> tuple[int, ...]:
    return tuple(sorted(set.intersection(*(set(arm.runs) for arm in arms))))


def _values(arm: Arm, seeds: Sequence[int]) -> NDArray[np.float64]:
    return np.array([arm.accuracies[seed] for seed in seeds])
