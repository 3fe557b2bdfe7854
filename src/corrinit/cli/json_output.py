"""`--json`: what a command would print as tables, as one JSON value on standard output."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
from cyclopts import Parameter

if TYPE_CHECKING:
    from corrinit._correlation import SpatialCorrelation
    from corrinit.lab.document.blocks import Section, Table

AsJson: TypeAlias = Annotated[bool, Parameter(name="--json", negative="")]
"""The option, alike in every command."""


def print_json(value: object) -> None:
    """Write a value as JSON, and nothing else; numbers that JSON lacks (NaN, infinite) become null."""
    sys.stdout.write(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def correlation_record(correlation: SpatialCorrelation) -> dict[str, Any]:
    """A correlation by names: all that the correlation file holds, and its profile."""
    return {
        "kernel_size": correlation.kernel_size,
        "mean": correlation.mean,
        "matrix": correlation.matrix,
        "deviations": correlation.deviations,
        "profile": [point._asdict() for point in correlation.profile()],
        "provenance": correlation.provenance,
    }


def table_record(table: Table) -> dict[str, Any]:
    """A table of a report by names, its cells the text that they are there."""
    return {
        "title": table.title,
        "caption": table.caption,
        "rows": [dict(zip(table.header, row, strict=True)) for row in table.rows],
    }


def section_record(section: Section) -> dict[str, Any]:
    """A part of a report by names; figures are left to the page."""
    from corrinit.lab.document.blocks import Card, Table

    return {
        "title": section.title,
        "cards": [
            asdict(item) | {"facts": dict(item.facts)} for item in section.items if isinstance(item, Card)
        ],
        "tables": [table_record(item) for item in section.items if isinstance(item, Table)],
        "paragraphs": section.paragraphs,
    }


def _plain(value: Any) -> Any:
    """Of values of numpy, paths and mappings, what JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
