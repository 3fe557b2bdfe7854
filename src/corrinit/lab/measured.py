"""The cells of the paper's tables and figures, filled with recorded runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from corrinit.lab.comparison import Arm, has_diverged, problem
from corrinit.lab.config import RunConfig
from corrinit.lab.decision import estimator
from corrinit.lab.design import Design, setting_of
from corrinit.lab.paper import Column, Experiment, Printed, Row
from corrinit.lab.protocol import Protocol
from corrinit.lab.records import RunRecord
from corrinit.lab.stats import Estimate, holm


@dataclass(frozen=True, eq=False)
class Cell:
    """What was measured for one cell.

    Args:
        arm: its finished runs; None if there are none.
        planned: how many runs the protocol asks for; 0 if the cell is left out.
        left_out: recorded runs that do not count, such as unfinished ones.
        difference: accuracy minus that of the uncorrelated row, paired by seed; None if there is no pair, or
            if this is the uncorrelated row.
        p: of that difference, Holm-corrected over the experiment; NaN if undefined, or without a fair sample.
        fair: whether no run of it or of the uncorrelated row diverged.
        printed: the paper's value; None where it prints nothing.
        printed_difference: the paper's value minus that of its uncorrelated row.
    """

    arm: Arm | None
    planned: int
    left_out: tuple[RunRecord, ...]
    printed: Printed | None
    printed_difference: float | None
    difference: Estimate | None = None
    p: float = float("nan")
    fair: bool = True

    @property
    def diverged(self) -> bool:
        """Whether any of its runs did."""
        return any(map(has_diverged, self.left_out))


@dataclass(frozen=True, eq=False)
class Measured:
    """An experiment of the paper with what was measured, by row, column and learning rate."""

    experiment: Experiment
    cells: dict[tuple[Row, Column, float], Cell]

    @property
    def records(self) -> list[RunRecord]:
        """The runs that count."""
        arms = [cell.arm for cell in self.cells.values() if cell.arm is not None]
        return [record for arm in arms for record in arm.runs.values()]

    @property
    def left_out(self) -> list[RunRecord]:
        """The runs that are recorded and do not count."""
        return [record for cell in self.cells.values() for record in cell.left_out]


def measure(
    experiment: Experiment,
    protocol: Protocol,
    records: Iterable[RunRecord],
    designs: Mapping[RunConfig, Design] | None = None,
) -> Measured:
    """Find the runs of every cell among records, and compare the rows with the uncorrelated one.

    Args:
        experiment: a figure of the paper, or a part of a table.
        protocol: which runs stand behind a cell.
        records: any; those that belong to no cell are ignored.
        designs: how many seeds were planned, by setting.
    """
    planned = designs or {}
    by_config = {_canonical(record.config): record for record in records}
    cells = {
        (row, column, lr): _cell(experiment, row, column, protocol.cell(row, column, lr), by_config)
        for row in experiment.rows
        for column in experiment.columns
        for lr in experiment.learning_rates
    }
    for (row, column, lr), cell in cells.items():
        reference = experiment.reference(row)
        if row != reference:
            against = cells[reference, column, lr]
            runs = protocol.cell(row, column, lr)
            difference = _difference(cell, against, planned.get(setting_of(runs[0])) if runs else None)
            fair = not cell.diverged and not against.diverged
            cells[row, column, lr] = replace(cell, difference=difference, fair=fair)
    return Measured(experiment, _corrected(cells))


def _cell(
    experiment: Experiment,
    row: Row,
    column: Column,
    configs: tuple[RunConfig, ...],
    by_config: dict[RunConfig, RunRecord],
) -> Cell:
    found = [by_config[key] for key in map(_canonical, configs) if key in by_config]
    finished = {record.config.seed: record for record in found if problem(record) is None}
    left_out = tuple(record for record in found if problem(record) is not None)
    printed = experiment.printed(row, column)
    baseline = experiment.printed(experiment.reference(row), column)
    return Cell(
        arm=Arm(configs[0].initialization.canonical, finished) if finished else None,
        planned=len(configs),
        left_out=left_out,
        printed=printed,
        printed_difference=printed.mean - baseline.mean if printed and baseline else None,
    )


def _canonical(config: RunConfig) -> RunConfig:
    """The same run, however its initialization is written."""
    return replace(config, initialization=config.initialization.canonical)


def _difference(cell: Cell, reference: Cell, design: Design | None) -> Estimate | None:
    if cell.arm is None or reference.arm is None:
        return None
    values, baseline = cell.arm.accuracies, reference.arm.accuracies
    seeds = sorted(values.keys() & baseline.keys())
    if not seeds:
        return None
    anytime = design is not None and design.anytime(max(len(values), len(baseline)))
    return estimator(anytime=anytime)([values[seed] for seed in seeds], [baseline[seed] for seed in seeds])


def _corrected(cells: dict[tuple[Row, Column, float], Cell]) -> dict[tuple[Row, Column, float], Cell]:
    nan = float("nan")
    p = holm([cell.difference.p if cell.difference and cell.fair else nan for cell in cells.values()])
    return {key: replace(cell, p=each) for (key, cell), each in zip(cells.items(), p.tolist(), strict=True)}
