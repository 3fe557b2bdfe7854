"""What a set of runs was made with, as the foot of a report says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from corrinit.lab.document.numbers import count
from corrinit.lab.runs.record import RunRecord

NOT_RECORDED = "not recorded"


def provenance(records: Sequence[RunRecord], command: str) -> Mapping[str, str]:
    """Command, data, code, machine and time of finished runs; where they differ, every value."""
    facts = {"command": command}
    if records:
        names = ("data", "version", "commit", "hardware", "device", "threads", "torch")
        facts |= {name: "; ".join(distinct(records, name)) for name in names}
        seconds = sum(record.result.seconds or 0.0 for record in records)
        facts["training"] = f"{count(len(records), 'run')}, {seconds:,.0f} seconds in all"
        facts["date"] = max(record.result.finished or NOT_RECORDED for record in records)
    return facts


def distinct(records: Sequence[RunRecord], key: str) -> list[str]:
    """The values of a field of results that occur among runs, in order."""
    found = {getattr(record.result, key) for record in records}
    return sorted(NOT_RECORDED if value is None else str(value) for value in found)
