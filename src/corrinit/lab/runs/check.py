"""What needs mending in a folder of run records, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from corrinit._reading import read_sealed
from corrinit.errors import CorrInitError, RecordError, UnreadableError
from corrinit.lab.experiment import identity
from corrinit.lab.runs.record import CHECKPOINT, ERROR, LOCK, WEIGHTS, RunRecord, read_runs

Kind: TypeAlias = Literal["damaged", "unreadable", "misnamed", "orphaned", "left over", "replaced", "failed"]

FILES = {
    *("config.json", "metrics.jsonl", "updates.npz", "correct.npz", "result.json"),
    *(CHECKPOINT, WEIGHTS, LOCK, ERROR),
}
REMAKE = "repeat the command that made it, or remove its folder"


@dataclass(frozen=True)
class Finding:
    """Something to mend.

    Args:
        path: of the record, or of the file.
        kind: `"damaged"` files; `"unreadable"` ones; a record under a name that is not its run's id
            (`"misnamed"`); a folder with files of a record and no configuration (`"orphaned"`); what a killed
            process left (`"left over"`); a record that would come out otherwise today (`"replaced"`); a run
            that ended with a fault of a program (`"failed"`).
        what: in words.
        remedy: what to do.
    """

    path: Path
    kind: Kind
    what: str
    remedy: str

    @property
    def harmless(self) -> bool:
        """Whether nothing is wrong with what is recorded."""
        return self.kind in ("left over", "replaced", "failed")

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: {self.what}; {self.remedy}"


def check_records(root: Path) -> list[Finding]:
    """Everything below a folder of records that is to be mended, by path. Nothing is changed."""
    records, faults = read_runs(root)
    found = [_faulty(fault, root) for fault in faults]
    for record in records:
        found += _of_record(record)
    found += _orphans(root)
    return sorted(found, key=lambda finding: (str(finding.path), finding.kind))


def _faulty(fault: RecordError, root: Path) -> Finding:
    if isinstance(fault, UnreadableError):
        return Finding(root, "unreadable", fault.message, "run the check again once it can be read")
    return Finding(root, "damaged", fault.message, REMAKE)


def _of_record(record: RunRecord) -> Iterator[Finding]:
    path = record.path
    try:
        run_id = identity.run_id(record.config, protocol=record.protocol)
        if run_id != path.name:
            yield Finding(path, "misnamed", f"it holds run {run_id}", f"rename it to {run_id}")
    except CorrInitError as error:
        told = f"its id cannot be told: {error.message}"
        yield Finding(path, "misnamed", told, "put the correlation file back")
    if record.finished:
        for read in (record.updates, record.correct):
            try:
                read()
            except RecordError as error:
                kind: Kind = "unreadable" if isinstance(error, UnreadableError) else "damaged"
                yield Finding(path, kind, error.message, REMAKE)
        if not record.current:
            today = identity.protocol_of(record.config)
            yield Finding(
                path,
                "replaced",
                f"it is of protocol {record.protocol}, today's is {today}",
                "keep it to compare runs of its time, or repeat the command that made it for one of today",
            )
        for name in (CHECKPOINT, LOCK):
            if (path / name).exists():
                yield Finding(path / name, "left over", "the run is finished", "remove the file")
    elif (path / CHECKPOINT).exists():
        try:
            read_sealed(path / CHECKPOINT)
        except RecordError as error:
            remedy = "remove the file; the run then starts anew"
            yield Finding(path / CHECKPOINT, "left over", error.message, remedy)
    for file in sorted(path.iterdir()):
        if file.name == ERROR:
            yield Finding(file, "failed", "a program failed", "read it, mend the cause and repeat the run")
        elif file.name.startswith(".") and file.name not in FILES and file.is_file():
            yield Finding(file, "left over", "a process was killed while it wrote", "remove the file")


def _orphans(root: Path) -> Iterator[Finding]:
    for folder in sorted({file.parent for name in FILES for file in root.glob(f"**/{name}")}):
        if (folder / "config.json").exists():
            continue
        if not any((folder / name).exists() for name in FILES - {LOCK}):
            yield Finding(folder, "left over", "a process was killed before its run began", "remove it")
        else:
            yield Finding(
                folder, "orphaned", "it has files of a run and no config.json", "remove it: the run is lost"
            )
