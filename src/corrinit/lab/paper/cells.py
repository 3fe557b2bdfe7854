"""The cells of the paper's tables and figures, filled with recorded runs.

A cell has the runs of the newest protocol of which it has any. A row is compared with runs that held beside
its own, so never across a change that touched either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from corrinit.lab.comparison.groups import Arm
from corrinit.lab.experiment import identity
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.identity import protocol_of, run_id
from corrinit.lab.experiment.setting import Setting
from corrinit.lab.paper.experiments import INDEPENDENT, Column, Experiment, Printed, Row
from corrinit.lab.paper.protocol import Protocol
from corrinit.lab.runs.design import Design
from corrinit.lab.runs.endpoints import TEST_ACCURACY
from corrinit.lab.runs.record import RunRecord, Status
from corrinit.lab.runs.table import Runs
from corrinit.lab.statistics.contrast import Contrast, Inference, Sample, as_family, estimates

Place: TypeAlias = tuple[Row, Column, float]
"""A row, a column and a learning rate."""

OLDER = "†"
"""Marks numbers of runs that an older protocol made."""


@dataclass(frozen=True, eq=False)
class Cell:
    """What was measured for one cell.

    Args:
        arm: its finished runs; None if there are none.
        planned: how many runs the protocol asks for; 0 if the cell is left out.
        left_out: recorded runs that do not count, such as unfinished ones.
        printed: the paper's value; None where it prints nothing.
        printed_difference: the paper's value minus that of its uncorrelated row.
        difference: accuracy minus that of the uncorrelated row; None for the uncorrelated row itself, and
            where no run of either is finished.
        reference: runs of the uncorrelated row that it is compared with.
    """

    arm: Arm | None
    planned: int
    left_out: tuple[RunRecord, ...]
    printed: Printed | None
    printed_difference: float | None
    difference: Contrast | None = None
    reference: Arm | None = None

    @property
    def mark(self) -> str:
        """Of its accuracy: `OLDER` if a run in it would come out otherwise today, else empty."""
        return "" if all(record.current for record in _runs(self.arm)) else OLDER

    @property
    def difference_mark(self) -> str:
        """Of its difference: `OLDER` if a run on either side would come out otherwise today, else empty."""
        return self.mark if all(record.current for record in _runs(self.reference)) else OLDER

    @property
    def sample(self) -> Sample:
        """Its final accuracies, and the seeds that diverged."""
        diverged = [record.seed for record in self.left_out if record.status is Status.DIVERGED]
        arm = Arm(INDEPENDENT, {}) if self.arm is None else self.arm
        return arm.sample(TEST_ACCURACY, diverged)


@dataclass(frozen=True, eq=False)
class Measured:
    """An experiment of the paper with what was measured, by row, column and learning rate."""

    experiment: Experiment
    cells: dict[Place, Cell]

    @property
    def records(self) -> list[RunRecord]:
        """The runs that count, those among them that others are only compared with."""
        arms = [arm for cell in self.cells.values() for arm in (cell.arm, cell.reference)]
        return list({record.path: record for arm in arms for record in _runs(arm)}.values())

    @property
    def left_out(self) -> list[RunRecord]:
        """The runs that are recorded and do not count."""
        return [record for cell in self.cells.values() for record in cell.left_out]


def measure(
    experiment: Experiment,
    protocol: Protocol,
    runs: Runs,
) -> Measured:
    """Find the runs of every cell among records, and compare the rows with the uncorrelated one.

    Args:
        experiment: a figure of the paper, or a part of a table.
        protocol: which runs stand behind a cell.
        runs: any; those that belong to no cell are ignored.
    """
    by_id = {record.run_id: record for record in runs}
    cells = {
        (row, column, lr): _cell(experiment, row, column, protocol.cell(row, column, lr), by_id)
        for row in experiment.rows
        for column in experiment.columns
        for lr in experiment.learning_rates
    }
    beside: dict[Place, list[Place]] = {}
    for (row, column, lr), cell in cells.items():
        reference = experiment.reference(row)
        configs, baseline = (protocol.cell(each, column, lr) for each in (row, reference))
        arm = _reference(cell, configs, baseline, by_id)
        if row != reference and cell.arm is not None and arm is not None:
            cells[row, column, lr] = replace(cell, reference=arm)
            beside.setdefault((reference, column, lr), []).append((row, column, lr))
    differences = {
        place: found
        for reference, places in beside.items()
        for place, found in _differences(reference, places, cells, protocol, runs.designs).items()
        if found.n
    }
    for place, difference in as_family(differences, "differences of this table").items():
        cells[place] = replace(cells[place], difference=difference)
    return Measured(experiment, cells)


def _differences(
    reference: Place,
    places: Sequence[Place],
    cells: Mapping[Place, Cell],
    protocol: Protocol,
    designs: Mapping[Setting, Design],
) -> dict[Place, Contrast]:
    """The rows of one setting minus its uncorrelated row; those beside the same runs lend each other."""
    found: dict[Place, Contrast] = {}
    design = designs.get(protocol.cell(*reference)[0].setting, Design())
    together: dict[tuple[str, ...], list[Place]] = {}
    for place in places:
        together.setdefault(tuple(record.run_id for record in _runs(cells[place].reference)), []).append(
            place
        )
    for same in together.values():
        arm = cells[same[0]].reference
        assert arm is not None
        samples = {place: cells[place].sample for place in same}
        samples[reference] = arm.sample(TEST_ACCURACY, cells[reference].sample.diverged)
        anytime = any(design.anytime(len(each.values)) for each in samples.values())
        inference = Inference.ANYTIME if anytime else Inference.FIXED
        found |= estimates(samples, {place: {place: 1.0, reference: -1.0} for place in same}, inference)
    return found


def _cell(
    experiment: Experiment,
    row: Row,
    column: Column,
    configs: Sequence[RunConfig],
    by_id: Mapping[str, RunRecord],
) -> Cell:
    held = [_found(configs, by_id, at) for at in _newest_first()]
    found = next((each for each in held if _finished(each)), next((each for each in held if each), []))
    printed = experiment.printed(row, column)
    baseline = experiment.printed(experiment.reference(row), column)
    return Cell(
        arm=_arm(configs, found),
        planned=len(configs),
        left_out=tuple(record for record in found if not record.has_accuracy),
        printed=printed,
        printed_difference=printed.mean - baseline.mean if printed and baseline else None,
    )


def _reference(
    cell: Cell, configs: Sequence[RunConfig], baseline: Sequence[RunConfig], by_id: Mapping[str, RunRecord]
) -> Arm | None:
    """The newest uncorrelated runs that held when the runs of a cell did."""
    for at in _newest_first() if cell.arm is not None else ():
        beside = _arm(baseline, _found(baseline, by_id, at))
        if beside is not None and _runs(_arm(configs, _found(configs, by_id, at))) == _runs(cell.arm):
            return beside
    return None


def _newest_first() -> list[int]:
    return [change.number for change in reversed(identity.CHANGES)]


def _found(configs: Sequence[RunConfig], by_id: Mapping[str, RunRecord], at: int) -> list[RunRecord]:
    """The records of runs by the protocol that each had while `at` was the newest."""
    ids = [run_id(config, protocol=protocol_of(config, at=at)) for config in configs]
    return [by_id[each] for each in ids if each in by_id]


def _finished(records: Iterable[RunRecord]) -> dict[int, RunRecord]:
    return {record.seed: record for record in records if record.has_accuracy}


def _arm(configs: Sequence[RunConfig], records: Iterable[RunRecord]) -> Arm | None:
    finished = _finished(records)
    return Arm(configs[0].initialization.canonical, finished) if finished else None


def _runs(arm: Arm | None) -> list[RunRecord]:
    return [] if arm is None else list(arm.runs.values())
