"""The metrics of a record that are read anywhere, and what each may hold.

A record holds a value for each metric and epoch. Metrics that an earlier version did not measure are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from corrinit.errors import RecordError, one_line
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.runs.observed import endpoints_of

Metrics = Mapping[str, float]

Kind: TypeAlias = Literal["number", "share", "amount", "count", "text", "truth value", "single value"]
"""`share` is a number from 0 to 1, `amount` one that is not negative, `count` a whole one."""

REQUIRED = ("epoch", "train_loss")
"""Metrics without which an epoch says nothing."""

MONITORED = ("seconds", "sign_changes", "gradient_mean_abs", "gradient_l2", "weight_correlation")
"""Metrics that not every version measured, and not every run does."""

METRICS: dict[str, Kind] = {
    "epoch": "count",
    "train_loss": "number",
    "train_accuracy": "share",
    "test_loss": "number",
    "test_accuracy": "share",
    "seconds": "amount",
    "sign_changes": "share",
    "gradient_mean_abs": "amount",
    "gradient_l2": "amount",
    "weight_correlation": "number",
}

LARGEST_COUNT = 2**63
"""Whole numbers are smaller: a table has no place for others."""


def checked_metrics(rows: Sequence[Mapping[str, Any]], config: RunConfig, file: Path) -> tuple[Metrics, ...]:
    """Rows of metrics, each value checked; null, and what was not monitored, is NaN.

    An epoch that was not scored has no scores; the first one is scored.

    Raises:
        RecordError: naming the file, the epoch and the metric.
    """
    found, scores = [], ("test_loss", endpoints_of(config)[0])
    if config.is_user_loop:
        return tuple(_user_metrics(row, number, file) for number, row in enumerate(rows, 1))
    for number, row in enumerate(rows, 1):
        scored = number == 1 or any(name in row for name in scores)
        if missing := [name for name in (*REQUIRED, *(scores if scored else ())) if name not in row]:
            raise RecordError(f"{file} is damaged: epoch {number} has no {missing[0]}")
        for name, value in row.items():
            check(value, METRICS.get(name, "number"), f"{file} is damaged: in epoch {number} {name}")
        if row["epoch"] != number:
            raise RecordError(f"{file} is damaged: epoch {row['epoch']} stands where {number} belongs")
        measured = {name: math.nan if value is None else value for name, value in row.items()}
        found.append(dict.fromkeys(MONITORED, math.nan) | measured)
    return tuple(found)


def _user_metrics(row: Mapping[str, Any], number: int, file: Path) -> Metrics:
    """What a training loop of the user's own told of an epoch: any numbers, under any names."""
    if row.get("epoch") != number or len(row) < 2:
        raise RecordError(f"{file} is damaged: epoch {number} is not there, or empty")
    for name, value in row.items():
        check(value, "number", f"{file} is damaged: in epoch {number} {name}")
    return {name: math.nan if value is None else float(value) for name, value in row.items()}


def check(value: object, kind: Kind, what: str) -> None:
    """Refuse a value that is none of its kind; None, what is not known, is of every kind.

    Raises:
        RecordError: beginning with `what` it is.
    """
    if value is not None and not _is(value, kind):
        raise RecordError(f"{what} is {one_line(value)[:80]}, no {kind}")


def _is(value: object, kind: Kind) -> bool:
    if kind == "single value":
        return any(_is(value, each) for each in get_args(Kind) if each != kind)
    if isinstance(value, bool) or kind == "truth value":
        return isinstance(value, bool) and kind == "truth value"
    if isinstance(value, str) or kind == "text":
        return isinstance(value, str) and kind == "text"
    if not isinstance(value, int | float) or (isinstance(value, int) and abs(value) >= LARGEST_COUNT):
        return False
    if not math.isfinite(value) or (kind == "count" and not isinstance(value, int)):
        return False
    return kind == "number" or (value >= 0 and (kind != "share" or value <= 1 + 1e-6))  # means are rounded
