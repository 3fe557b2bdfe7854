"""Runs put side by side: the arms of a setting, and the runs of each by seed.

The runs of a setting are compared if they were made by protocols that held together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from corrinit.lab.experiment.arm import BASELINE, Initialization, label, order
from corrinit.lab.experiment.setting import Setting
from corrinit.lab.runs.design import Design
from corrinit.lab.runs.endpoints import Endpoint
from corrinit.lab.runs.record import RunRecord, Status
from corrinit.lab.runs.table import Runs
from corrinit.lab.statistics.contrast import Inference, Sample


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
    def records(self) -> list[RunRecord]:
        """The runs in order of seeds."""
        return [self.runs[seed] for seed in sorted(self.runs)]

    def sample(self, endpoint: Endpoint, diverged: Sequence[int] = ()) -> Sample:
        """An endpoint of its runs; a run that does not tell it takes no part."""
        read = {seed: endpoint.read(self.runs[seed]) for seed in sorted(self.runs)}
        sample = Sample.of({seed: value for seed, value in read.items() if value is not None}, endpoint.name)
        return replace(sample, diverged=tuple(sorted({*sample.diverged, *diverged})))

    def curve(self, metric: str) -> NDArray[np.float64]:
        """A metric over training, shape (runs, epochs)."""
        return np.array([record.curve(metric) for record in self.records])


@dataclass(frozen=True, eq=False)
class LeftOut:
    """A run that takes no part in the statistics.

    Args:
        record: the run.
        repeats: run of the same arm and seed that stands in its place, if that is why.
        copies: arm whose run of the same seed came out alike in every epoch, if that is why.
    """

    record: RunRecord
    repeats: RunRecord | None = None
    copies: Initialization | None = None

    @property
    def reason(self) -> str:
        """Why, in words."""
        if self.repeats is not None:
            return f"repeats run {self.repeats.run_id}"
        if self.copies is not None:
            return f"came out as {label(self.copies)} did in every epoch: no layer was drawn differently"
        return shortfall(self.record)


@dataclass(frozen=True, eq=False)
class Comparison:
    """All runs of one setting.

    Args:
        setting: what they share.
        arms: those with finished runs, independent taps first.
        left_out: runs that are unfinished, diverged or duplicates.
        protocol: older protocol that they are of; None for today's.
        design: how many seeds were planned; None if that is not recorded, and so as many as there are.
        baseline: arm that the others are compared with.
        names: what arms are called, if not by their `label`.
        study: hash of the study that the runs were made for; None for none.
        placebo: runs of the baseline that are its placebo and came to an end, in order of seeds.
    """

    setting: Setting
    arms: tuple[Arm, ...]
    left_out: tuple[LeftOut, ...] = ()
    protocol: int | None = None
    design: Design | None = None
    baseline: Initialization = BASELINE
    names: Mapping[Initialization, str] = field(default_factory=dict)
    placebo: tuple[RunRecord, ...] = ()
    study: str | None = None

    def name(self, arm: Initialization) -> str:
        """What an arm is called."""
        return self.names.get(arm) or label(arm)

    def find(self, arm: Initialization) -> Arm | None:
        """The runs of an arm in canonical form; None if none is finished."""
        return next((each for each in self.arms if each.initialization == arm), None)

    def sample(self, arm: Initialization, endpoint: Endpoint) -> Sample:
        """An endpoint of the runs of an arm, by seed, and the seeds for which it diverged."""
        runs, baseline = self.find(arm) or Arm(arm, {}), self.find(self.baseline)
        given = endpoint.given([] if baseline is None else baseline.records)
        return runs.sample(given, self.diverged.get(arm, ()))

    def samples(self, endpoint: Endpoint) -> dict[Initialization, Sample]:
        """An endpoint of all arms, in their order."""
        return {arm: self.sample(arm, endpoint) for arm in self.initializations}

    @property
    def initializations(self) -> list[Initialization]:
        """The arms, those at the end of which all runs diverged."""
        return list(dict.fromkeys([*(arm.initialization for arm in self.arms), *self.diverged]))

    @property
    def records(self) -> list[RunRecord]:
        """The finished runs, by arm and seed."""
        return [record for arm in self.arms for record in arm.records]

    @property
    def missing(self) -> dict[str, list[int]]:
        """The seeds that other arms have and an arm lacks, by the label of the arm."""
        seeds = {seed for arm in self.arms for seed in arm.runs}
        lacking = {arm.label: sorted(seeds - arm.runs.keys()) for arm in self.arms}
        return {label: absent for label, absent in lacking.items() if absent}

    @property
    def inference(self) -> Inference:
        """That for any time if the seeds were not fixed beforehand, as the design says."""
        seeds: dict[Initialization, set[int]] = {}
        for record in [*self.records, *(out.record for out in self._diverged)]:
            seeds.setdefault(record.arm, set()).add(record.seed)
        anytime = self.design and any(self.design.anytime(len(present)) for present in seeds.values())
        return Inference.ANYTIME if anytime else Inference.FIXED

    @property
    def diverged(self) -> dict[Initialization, tuple[int, ...]]:
        """The seeds for which arms diverged, of those that did; their other runs are no fair sample."""
        found: dict[Initialization, set[int]] = {}
        for out in self._diverged:
            found.setdefault(out.record.arm, set()).add(out.record.seed)
        return {arm: tuple(sorted(seeds)) for arm, seeds in found.items()}

    @property
    def copies(self) -> dict[str, str]:
        """Arms whose runs all came out as those of another arm, and the label of that arm."""
        finished = {arm.initialization for arm in self.arms}
        return {
            label(out.record.arm): label(out.copies)
            for out in self.left_out
            if out.copies is not None and out.record.arm not in finished
        }

    @property
    def _diverged(self) -> list[LeftOut]:
        return [out for out in self.left_out if out.record.status is Status.DIVERGED]


def compare(runs: Runs) -> tuple[Comparison, ...]:
    """Runs by setting, in the order of its values; those that cannot be compared are set aside."""
    found = []
    for (setting, protocol), together in runs.by_setting().items():
        design = runs.designs.get(setting)
        # A study and what was tried beside it answer different questions, even where their settings are one.
        for study in dict.fromkeys(record.result.study for record in together):
            own = together.where(lambda record, study=study: record.result.study == study)
            planned = design and design.of(study)
            beside = side_by_side(setting, own, protocol=protocol, design=planned)
            found.append(replace(beside, study=study))
    return tuple(found)


def side_by_side(
    setting: Setting,
    records: Iterable[RunRecord],
    *,
    protocol: int | None = None,
    design: Design | None = None,
) -> Comparison:
    """The runs of one setting by arm and seed; of two runs of an arm and a seed, the first counts."""
    arms: dict[Initialization, dict[int, RunRecord]] = {}
    placebos: dict[int, RunRecord] = {}
    seen: dict[tuple[int, str], Initialization] = {}
    left_out = []
    # Arms in their order, so that a copy is one of an earlier arm; then seeds.
    for record in sorted(records, key=lambda record: (order(record.arm), record.seed, record.run_id)):
        if design is not None and record.seed in design.placebo and record.arm == BASELINE:
            if record.has_accuracy or record.status is Status.DIVERGED:
                placebos.setdefault(record.seed, record)
            continue
        runs = arms.setdefault(record.arm, {})
        if not record.has_accuracy:
            left_out.append(LeftOut(record))
        elif record.seed in runs:
            left_out.append(LeftOut(record, repeats=runs[record.seed]))
        elif (first := seen.setdefault((record.seed, _course(record)), record.arm)) != record.arm:
            left_out.append(LeftOut(record, copies=first))
        else:
            runs[record.seed] = record
    left_out.sort(key=lambda out: (out.record.seed, out.record.run_id))
    finished = tuple(Arm(arm, arms[arm]) for arm in sorted(arms, key=order) if arms[arm])
    placebo = tuple(placebos[seed] for seed in sorted(placebos))
    return Comparison(setting, finished, tuple(left_out), protocol, design, placebo=placebo)


def shortfall(record: RunRecord) -> str:
    """Why a run has no final accuracy that counts, in words."""
    if record.config.noise:
        return "denoises images: it has a PSNR, and no accuracy"
    if record.config.is_user_loop:
        return "comes from a training loop of the user's own, which corrinit.compare compares"
    if record.diverged_in is not None:
        return f"diverged in epoch {record.diverged_in}"
    return f"unfinished: {len(record.metrics)} of {record.config.epochs} epochs are recorded"


def _course(record: RunRecord) -> str:
    """All that was measured in training but times: equal for runs that computed the same."""
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in record.metrics]
    return json.dumps(rows, sort_keys=True)
