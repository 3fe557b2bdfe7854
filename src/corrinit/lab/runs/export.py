"""Runs as one CSV or Parquet file: all settings and results, or all metrics by epoch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from corrinit._atomic import replacing
from corrinit.errors import ConfigError
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.runs.table import Row, Runs, settings_of


def table(records: Iterable[RunRecord], *, by_epoch: bool = False) -> pa.Table:
    """A row per run with its settings and result, or a row per epoch with its settings and metrics.

    What the result says of the data is in the column `provenance`, and the initialization in one text in
    `arm`: `placebo` for the runs that are one, where `Runs` with their designs are given.
    """
    rows: list[Row] = []
    placebos = records.placebos if isinstance(records, Runs) else frozenset[str]()
    for record in records:
        arm = "placebo" if record.run_id in placebos else record.arm.spec
        shared = {"run_id": record.run_id, "arm": arm, **settings_of(record)}
        if by_epoch:
            rows += [{**shared, **metrics} for metrics in record.metrics]
        else:
            rows.append({**record.result.row(), **shared, "provenance": record.result.data})
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def export(records: Iterable[RunRecord], path: Path, *, by_epoch: bool = False) -> None:
    """Write the `table` of records to a `.csv` or `.parquet` file, replacing an older one.

    Raises:
        ConfigError: if the file has another suffix.
        CorrInitError: if it cannot be written.
    """
    writers = {".csv": csv.write_csv, ".parquet": parquet.write_table}
    if path.suffix not in writers:
        raise ConfigError(f"the export is {str(path)!r}; its name ends in {' or '.join(writers)}")
    with replacing(path) as file:
        writers[path.suffix](table(records, by_epoch=by_epoch), file)


def _column(values: list[Any]) -> pa.Array:
    """Values of one type as they are; of several, which only later versions may record, as text."""
    try:
        return pa.array(values)
    except pa.ArrowException:
        return pa.array([None if value is None else str(value) for value in values])
