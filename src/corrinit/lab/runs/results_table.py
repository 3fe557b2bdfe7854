"""Results that people already have: a row a run in a CSV or Parquet file, by condition and seed.

Whatever could make a verdict mean something else than its reader thinks is an error: a run twice, a value
that is missing, text among numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from corrinit.errors import ResultsTableError, one_line

READERS = {".csv": csv.read_csv, ".parquet": parquet.read_table}
DIVERGED = "diverged"
"""The column that says of a run whether it diverged, unless another is named."""


@dataclass(frozen=True)
class Results:
    """Values of one metric.

    Args:
        values: by condition and seed, in the order of the file; NaN where the run diverged.
        rows: that were read.
    """

    values: Mapping[str, Mapping[int, float]]
    rows: int


def read_results(
    file: Path,
    *,
    group: Sequence[str],
    seed: str,
    metric: str,
    where: Sequence[str] = (),
    diverged: str | None = None,
) -> Results:
    """The results in a file.

    Args:
        file: `.csv` or `.parquet`.
        group: columns that together name a condition.
        seed: column of the seed, or of whatever else runs of all conditions have in common.
        metric: column of what is compared.
        where: conditions on rows, each `column=value`.
        diverged: column that is true where a run diverged; by default one of that name, if there is one.

    Raises:
        ResultsTableError: if there is no such file or column, or the rows are not what they should be.
    """
    table = _read(file)
    conditions = [_condition(each) for each in where]
    for name in (*group, seed, metric, *(name for name, _ in conditions), *([diverged] if diverged else [])):
        _require_column(file, table, name)
    flag = diverged or (DIVERGED if DIVERGED in table.column_names else None)
    rows = [row for row in table.to_pylist() if all(_means(text, row[name]) for name, text in conditions)]
    if not rows:
        what = f" where {' and '.join(where)}" if where else ""
        raise ResultsTableError(f"{file} has no rows{what}; name a file with a row for each run")
    seeds = _numbered(file, seed, [row[seed] for row in rows])
    found: dict[str, dict[int, float]] = {}
    for row, number in zip(rows, seeds, strict=True):
        condition = " ".join(_text(file, name, row[name]) for name in group)
        values = found.setdefault(condition, {})
        if number in values:
            raise ResultsTableError(
                f"{file} has two rows of {condition!r} and {seed} {row[seed]}; keep one of them, or choose "
                "the rows of one setting with --where COLUMN=VALUE"
            )
        lost = flag is not None and _is_true(row[flag])
        values[number] = math.nan if lost else _number(file, metric, row[metric], condition, row[seed])
    if len(found) < 2:
        raise ResultsTableError(
            f"{file} has one group, {next(iter(found))!r}, in {', '.join(group)}; a comparison needs two"
        )
    return Results(found, len(rows))


def _read(file: Path) -> pa.Table:
    if file.suffix not in READERS:
        raise ResultsTableError(f"{file} is no table of runs; its name ends in {' or '.join(READERS)}")
    if not file.is_file():
        raise ResultsTableError(f"there is no file {file}; name a table with a row for each run")
    try:
        return READERS[file.suffix](file)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ResultsTableError(
            f"{file} cannot be read ({one_line(error)}); write it again, with a header and a row for each run"
        ) from error


def _require_column(file: Path, table: pa.Table, name: str) -> None:
    number = table.column_names.count(name)
    if number > 1:
        raise ResultsTableError(f"{file} has {number} columns {name!r}; rename all but one")
    if not number:
        near = get_close_matches(name, table.column_names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(table.column_names)}"
        raise ResultsTableError(f"{file} has no column {name!r}; {hint}")


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ResultsTableError(f"{text!r} is no condition; write COLUMN=VALUE, such as lr=0.1")
    return name, value


def _means(text: str, value: object) -> bool:
    """Whether a text denotes the value of a cell."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(text) == value
        except ValueError:
            return False
    return text.lower() == ("" if value is None else str(value).lower())


def _text(file: Path, column: str, value: object) -> str:
    if value is None or value == "":
        raise ResultsTableError(f"{file} has a row without {column}; fill it in, or leave the row out")
    return str(value)


def _numbered(file: Path, column: str, values: Sequence[Any]) -> list[int]:
    """Seeds as numbers: whole ones as they are, anything else in the order of its texts."""
    if any(value is None or value == "" or value != value for value in values):
        raise ResultsTableError(f"{file} has a row without {column}; fill it in, or leave the row out")
    if all(isinstance(value, int) or (isinstance(value, float) and value.is_integer()) for value in values):
        return [int(value) for value in values]
    order = {text: number for number, text in enumerate(sorted(set(map(str, values))))}
    return [order[str(value)] for value in values]


def _number(file: Path, column: str, value: object, condition: str, seed: object) -> float:
    where = f"{file} has {value!r} as {column} of {condition!r} and seed {seed}"
    if isinstance(value, bool) or not (value is None or isinstance(value, int | float)):
        raise ResultsTableError(f"{where}; it is a number, so mend the cell or name another column")
    if value is None or not math.isfinite(value):
        raise ResultsTableError(
            f"{where}; leave the row out if the run never ended, or say that it diverged in a column of "
            f"truth values, {DIVERGED} or --diverged COLUMN"
        )
    return float(value)


def _is_true(value: object) -> bool:
    return value is True or value == 1 or str(value).lower() in ("true", "yes")
