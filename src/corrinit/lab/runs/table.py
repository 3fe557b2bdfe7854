"""Run records as tables: choose them by their settings, and export them as one CSV or Parquet file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from corrinit._atomic import replacing
from corrinit.errors import ConfigError
from corrinit.lab.experiment.config import RunConfig, to_dict
from corrinit.lab.runs.record import RunRecord

Row = dict[str, Any]


def settings(config: RunConfig) -> Row:
    """The settings of a run in one level, the initialization by names such as `initialization.method`.

    >>> settings(RunConfig(lr=0.005))["lr"], settings(RunConfig())["initialization.strength"]
    (0.005, 1.0)
    """
    values = to_dict(config)
    arm = {f"initialization.{name}": value for name, value in values.pop("initialization").items()}
    return {**values, **arm}


def select(records: Iterable[RunRecord], conditions: Sequence[str]) -> list[RunRecord]:
    """The records that meet all conditions, in their order.

    Args:
        records: to choose from.
        conditions: each `name=value`, with a name as in `settings` or its last part, or the protocol:
            `model=vgg8`, `lr=0.1`, `scale=he`, `train_subset=none`, `protocol=1`.

    Raises:
        ConfigError: for a condition that is no `name=value`, or an unknown name.
    """
    wanted = dict(_parse(condition) for condition in conditions)
    return [
        record
        for record in records
        if all(_means(text, _settings_of(record)[name]) for name, text in wanted.items())
    ]


def table(records: Iterable[RunRecord], *, by_epoch: bool = False) -> pa.Table:
    """A row per run with its settings and result, or a row per epoch with its settings and metrics.

    What the result says of the data is in the column `provenance`.
    """
    rows: list[Row] = []
    for record in records:
        shared = {"run_id": record.run_id, **_settings_of(record)}
        if by_epoch:
            rows += [{**shared, **metrics} for metrics in record.metrics]
        else:
            provenance = {"provenance": record.result.get("data")}
            rows.append({**record.result, **shared, **provenance})
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


def _settings_of(record: RunRecord) -> Row:
    return {**settings(record.config), "protocol": record.protocol}


def _parse(condition: str) -> tuple[str, str]:
    """The full name and the text of a condition."""
    name, equals, text = condition.partition("=")
    if not equals:
        raise ConfigError(f"{condition!r} is no condition; write name=value, such as model=vgg8")
    known = [*settings(RunConfig()), "protocol"]
    short = {full.rpartition(".")[2]: full for full in known}
    if name not in known and name not in short:
        near = get_close_matches(name, [*known, *short], n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise ConfigError(f"runs have no setting {name!r}; {hint}")
    return short.get(name, name), text


def _means(text: str, value: object) -> bool:
    """Whether a text denotes a value."""
    if isinstance(value, float):
        try:
            return float(text) == value
        except ValueError:
            return False
    return text == (value if isinstance(value, str) else str(value).lower())
