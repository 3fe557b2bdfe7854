"""An index of runs: what is known of each, beside the folders of the runs, which stay the only truth.

Reading a record takes milliseconds, so that a folder of 10⁵ of them is read for minutes. What was read is
therefore kept, in `.index.parquet` beside the runs, together with the times and sizes that the operating
system had for the files of each record. A record is taken from there only while all of these are the same;
every other one is read. So the index may be missing, damaged, out of date, of another version or replaced by
two processes at once: that costs time, and nothing else. It is replaced whole, and where it cannot be
written, there is none.
"""

from __future__ import annotations

import gc
import io
import os
import re
import struct
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from itertools import starmap
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from corrinit._atomic import replacing
from corrinit._correlation_source import KERNELS
from corrinit._reading import read_sealed, sealed
from corrinit.errors import CorrInitError, RecordError, UnreadableError
from corrinit.lab.experiment import identity
from corrinit.lab.experiment.config import RunConfig, to_dict
from corrinit.lab.runs.indexed import IndexedRecord, Row, row_of
from corrinit.lab.runs.observed import reserve_name
from corrinit.lab.runs.record import WEIGHTS, RunRecord, finished_run, is_run, lacks, read_run
from corrinit.presets import preset_names

FILE = ".index.parquet"

FEWEST = 100
"""Runs that are worth an index: fewer are read in less time than anybody notices."""

SETTLED = 2 * 10**9
"""Nanoseconds after which no file system gives a file that is written again the time that it had before."""

FILES = ("config.json", "metrics.jsonl", "result.json", "updates.npz")
"""What a row is made of. Other files are looked at when they are asked for."""

Stamp = tuple[int, ...]
"""Of each file in turn the times of the last change, to content and in any way, and the size."""

ABSENT: Stamp = (0, 0, -1)
_packed = struct.Struct(f"<{len(FILES) * len(ABSENT)}q").pack

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("run", "settings", "last", "result")),
        *((name, pa.int64()) for name in ("seed", "protocol", "epochs", "diverged_in")),
        ("stamp", pa.binary()),
        ("sound", pa.bool_()),
    ],
    metadata={
        "corrinit": version("corrinit"),
        "protocols": ", ".join(str(change.number) for change in identity.CHANGES),
        "settings": ", ".join(to_dict(RunConfig())),
    },
)
"""The columns, and what they were made by: an index that was made by anything else is not used."""


@contextmanager
def without_collections() -> Iterator[None]:
    """Keep the garbage collector from going through 10⁵ records again and again while they are made.

    None of them is garbage, and looking takes longer than making them.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@without_collections()
def list_runs(root: Path) -> tuple[list[RunRecord], list[RecordError]]:
    """All records below a folder, ordered by path, and what is wrong with those that cannot be read.

    The same as `corrinit.lab.runs.record.read_runs`, but that what has not changed is not read again: a bit
    that flips on the disk is noticed when the metrics of its record are asked for.
    """
    known = _load(root)
    found: dict[str, RunRecord] = {}
    faults: list[RecordError] = []
    rows: dict[str, Row] = {}
    changed: list[str] = []
    for run, row in _folders(root, known, faults):
        if row is None:
            changed.append(run)
        else:
            rows[run], found[run] = row, IndexedRecord(root, row)
    now = _clock(root) if changed and len(rows) + len(changed) >= FEWEST else 0
    for run in changed:
        stamp = _stamp(root, run)
        try:
            found[run] = record = read_run(root / run)
        except RecordError as error:
            faults.append(error)
        else:
            if is_run(run) and _settled(stamp, now):
                rows[run] = row_of(run, record, stamp=_packed(*stamp), sound=_is_sound(root, record))
    _save(root, rows, new=sum(run in rows for run in changed))
    order = sorted(found, key=lambda run: run.split(os.sep))
    return [found[run] for run in order], faults


@without_collections()
def finished_runs(
    root: Path,
    configs: Iterable[RunConfig],
    *,
    with_weights: bool = False,
    needs: Collection[str] = (),
    reserve: Collection[int] = (),
    skip_unreadable: bool = False,
) -> list[RunRecord]:
    """The finished records of configurations, in their order, each as `finished_run` has it.

    Args:
        root: the folder of all runs.
        configs: the runs.
        with_weights: see `corrinit.lab.runs.record.finished_run`.
        needs: likewise.
        reserve: likewise.
        skip_unreadable: leave out records that cannot be looked at, instead of raising.

    Raises:
        ConfigError: if the correlation file of a configuration cannot be read.
        UnreadableError: if the operating system refuses to read a record.
    """
    known = _load(root)
    wanted = {config.run_id: config for config in configs}
    name = reserve_name(reserve)
    found: dict[str, RunRecord] = {}
    for run in known.keys() & wanted.keys():
        row = known[run]
        if not row.sound or row.stamp != _packed(*_stamp(root, run)):
            continue
        with suppress(CorrInitError):  # which reading it will meet again
            record = IndexedRecord(root, row)
            weights = not with_weights or (record.path / WEIGHTS).exists()
            if weights and not any(lacks(record, need, name) for need in needs):
                found[run] = record
    rows: dict[str, Row] = {}
    left = [run for run in wanted if run not in found]
    now = _clock(root) if left and len(known | wanted) >= FEWEST else 0
    for run in left:
        stamp = _stamp(root, run)
        try:
            record = finished_run(root, wanted[run], with_weights=with_weights, needs=needs, reserve=reserve)
        except CorrInitError:
            if not skip_unreadable:
                raise
        else:
            if record is not None:
                found[run] = record
                if _settled(stamp, now) and not _names_a_file(record.config):
                    rows[run] = row_of(run, record, stamp=_packed(*stamp), sound=True)
    _save(root, known | rows, new=len(rows))
    return [found[run] for run in wanted if run in found]


def _folders(
    root: Path, known: Mapping[str, Row], faults: list[RecordError]
) -> Iterator[tuple[str, Row | None]]:
    """The paths of all runs from that of their root, each with its row if none of its files has changed."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        row = known.get(folder)
        if row is not None and row.stamp == _packed(*_stamp(root, folder)):
            yield folder, row
            continue
        try:
            with os.scandir(root / folder) as entries:
                inside = [(each.name, each.is_dir(), each.is_symlink()) for each in entries]
        except FileNotFoundError:
            continue
        except OSError as error:
            faults.append(UnreadableError(f"{error.filename} cannot be read: {error.strerror}"))
            continue
        recorded = any(name == "config.json" and not is_dir for name, is_dir, _ in inside)
        if recorded:
            yield folder, None
        if not (recorded and is_run(folder)):
            waiting += [os.path.join(folder, name) for name, is_dir, link in inside if is_dir and not link]


def _stamp(root: Path, run: str) -> Stamp:
    """The stamp of the files of a run, none of which has to be there."""
    stamp: list[int] = []
    for file in FILES:
        try:
            status = os.stat(f"{root}{os.sep}{run}{os.sep}{file}")
            stamp += (status.st_mtime_ns, status.st_ctime_ns, status.st_size)
        except OSError:  # reading it says which
            stamp += ABSENT
    return tuple(stamp)


def _settled(stamp: Stamp, now: int) -> bool:
    """Whether a file that changes from now on gets another stamp: none has changed a moment ago.

    A size is smaller than any time.
    """
    return max(stamp) < now - SETTLED


def _clock(root: Path) -> int:
    """The time by the file system, which need not be that of this machine; 0 if nothing can be written."""
    try:
        with tempfile.TemporaryFile(dir=root) as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return 0


def _is_sound(root: Path, record: RunRecord) -> bool:
    """Whether `finished_run` has the record whenever its folder is wanted, whatever lies elsewhere."""
    if not record.finished or _names_a_file(record.config):
        return False
    try:
        record.updates()
        return identity.run_id(record.config, protocol=record.protocol) == record.run_id
    except CorrInitError:
        return False


def _names_a_file(config: RunConfig) -> bool:
    """Whether the run's id follows from a correlation file, which may change."""
    arm = config.initialization
    named = [arm.correlation, *(rule.correlation or "default" for rule in arm.role_rules)]
    closed = {"default", "centre", *KERNELS, *preset_names()}
    return any(re.split("[:+]", name)[0] not in closed for name in named)


def _load(root: Path) -> dict[str, Row]:
    """The rows of the index by path; none if there is no index that can be used."""
    try:
        table = parquet.read_table(io.BytesIO(read_sealed(root / FILE)))
    except (RecordError, OSError, pa.ArrowException):
        return {}
    if not table.schema.equals(SCHEMA, check_metadata=True):
        return {}
    columns = [table.column(name).to_numpy().tolist() for name in Row._fields]  # which to_pylist is slow at
    return {row.run: row for row in starmap(Row, zip(*columns, strict=True))}


def _save(root: Path, rows: Mapping[str, Row], *, new: int) -> None:
    """Replace the index if that saves more time the next time than it takes: a hundredth of it is new."""
    if len(rows) < FEWEST or new * 100 <= len(rows):
        return
    columns = zip(*rows.values(), strict=True)
    table = pa.table(dict(zip(Row._fields, columns, strict=True)), SCHEMA)
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    with suppress(CorrInitError), replacing(root / FILE) as file:
        file.write(buffer.getvalue())
        file.write(sealed(buffer.getbuffer()))
