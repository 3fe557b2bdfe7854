"""Run records: one folder a run, read without torch.

A folder named by the run's id holds `config.json` from the start, which also says by which protocol it is
run, `metrics.jsonl` (a line per epoch) and, at the end, `updates.npz` (totals per update), `correct.npz` (a
bit per test image) and `result.json` with the endpoints (`corrinit.lab.runs.observed`); the trained weights
too, if they were asked for. Every file is replaced whole, and `result.json` comes last: where it stands, the
run is finished. It ends with the digest of what it, the metrics and the configuration hold.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from corrinit._atomic import replacing, writing
from corrinit._reading import parse_object, read_arrays, read_text, with_digest, without_digest
from corrinit.errors import (
    ConfigError,
    CorrInitWarning,
    RecordError,
    RunBusyError,
    UnreadableError,
    WriteError,
)
from corrinit.lab.experiment import identity
from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.experiment.config import RunConfig, from_dict, to_dict
from corrinit.lab.experiment.setting import Setting
from corrinit.lab.runs.fields import Metrics, checked_metrics
from corrinit.lab.runs.layers import LayerHistory, read_layers
from corrinit.lab.runs.observed import (
    CORRECT,
    ENDPOINTS,
    LAYERS,
    PSNR,
    endpoints_of,
    read_correct,
    reserve_name,
)
from corrinit.lab.runs.result import RunResult, checked_result

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
LOCK = ".lock"
ERROR = "error.txt"
"""What is known of a fault of the program in the last attempt at a run that is not finished."""


class Status(Enum):
    """How far a run came."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    """Its loss became NaN or infinite."""
    UNFINISHED = "unfinished"


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One recorded run.

    Args:
        path: its folder.
        config: what determined it.
        metrics: one mapping per epoch; what could not be measured is NaN, what was not looked at is missing.
        result: what came out; empty while the run is not finished.
        protocol: by which it was made, as in `corrinit.lab.experiment.identity`.
    """

    path: Path
    config: RunConfig
    metrics: Sequence[Metrics]
    result: RunResult
    protocol: int = identity.CHANGES[0].number

    @property
    def run_id(self) -> str:
        """The name of the folder."""
        return self.path.name

    @property
    def setting(self) -> Setting:
        """What it shares with the runs that it is compared with."""
        return self.config.setting

    @property
    def arm(self) -> Initialization:
        """Its initialization, in canonical form."""
        return self.config.initialization.canonical

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.config.seed

    @property
    def status(self) -> Status:
        """How far it came."""
        if self.result.diverged or self.diverged_in is not None:
            return Status.DIVERGED
        return Status.FINISHED if self.finished else Status.UNFINISHED

    @property
    def told(self) -> dict[str, tuple[float, ...]]:
        """What a training loop of the user's own told, by metric: a final value, or one per epoch.

        Records align curves at their ends, so that a final value belongs to the last epoch.
        """
        names = [name for name in self.metrics[-1] if name != "epoch"] if self.metrics else []
        return {name: tuple(row[name] for row in self.metrics if name in row) for name in names}

    @property
    def diverged_in(self) -> int | None:
        """The first epoch with a loss that is not finite; None without any."""
        for epoch in self.metrics:
            losses = (epoch[name] for name in ("train_loss", "test_loss") if name in epoch)
            if not all(map(math.isfinite, losses)):
                return int(epoch["epoch"])
        return None

    @property
    def has_accuracy(self) -> bool:
        """Whether it has a final accuracy that counts: it is finished, classifies, and was trained here."""
        return self.status is Status.FINISHED and not self.config.noise and not self.config.is_user_loop

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.result != RunResult()

    @property
    def current(self) -> bool:
        """Whether the run would come out alike if it were made today."""
        return self.protocol == identity.protocol_of(self.config)

    def endpoint(self, name: str) -> float | None:
        """One of `corrinit.lab.runs.observed`; None if it was not recorded, NaN if the run diverged.

        Raises:
            KeyError: if there is no such endpoint.
        """
        if name not in (*ENDPOINTS, *PSNR):
            raise KeyError(name)
        if self.result.diverged:
            return math.nan
        if name not in self.result.endpoints and self.finished:  # recorded by epoch before it was an endpoint
            return self.metrics[-1].get(name)
        return self.result.endpoints.get(name)

    def curve(self, metric: str) -> NDArray[np.float64]:
        """A metric by epoch, shape (epochs,).

        An epoch that was not scored (`corrinit.lab.experiment.observation`) has the value on the straight
        line between the scored ones beside it.

        Raises:
            KeyError: if no epoch has the metric.
        """
        seen = [i for i, epoch in enumerate(self.metrics) if metric in epoch]
        if not seen:
            raise KeyError(metric)
        values = [self.metrics[i][metric] for i in seen]
        return np.interp(np.arange(len(self.metrics)), seen, values)

    def correct(self) -> dict[str, NDArray[np.bool_]] | None:
        """For each test image, was it right? By `"last"` and `"averaged"` weights, in the order of the data.

        None if that was not recorded, or the run diverged.

        Raises:
            RecordError: if the file is damaged.
        """
        with _reading(self.path):
            return read_correct(self.path)

    def layers(self) -> LayerHistory | None:
        """What its layers were like after every epoch; None if that was not kept.

        Raises:
            RecordError: if the file is damaged.
        """
        with _reading(self.path):
            return read_layers(self.path)

    def updates(self) -> dict[str, NDArray[np.float32]]:
        """Totals per update by name, each of shape (number of updates,).

        Raises:
            RecordError: if the run is not finished, or the file is damaged.
        """
        file = self.path / "updates.npz"
        arrays = read_arrays(file)
        if (
            any(each.dtype != np.float32 or each.ndim != 1 for each in arrays.values())
            or len({len(each) for each in arrays.values()}) > 1
        ):
            raise RecordError(f"{file} is damaged: it does not hold a number for each update")
        return arrays


def read_run(path: Path) -> RunRecord:
    """Read one record, finished or not.

    Raises:
        RecordError: if a file is missing or damaged, naming it.
    """
    with _reading(path):
        config, protocol = _read_config(path / "config.json")
        told, ended = path / "metrics.jsonl", path / "result.json"
        metrics = _read_metrics(told, config) if told.exists() else ()
        result = _read_result(ended, config) if ended.exists() else RunResult()
    record = RunRecord(path, config, metrics, result, protocol)
    whole = len(metrics) == config.epochs or (bool(metrics) and (result.diverged or config.is_user_loop))
    if not whole if record.finished else len(metrics) > config.epochs:
        raise RecordError(f"{told} holds {len(metrics)} of {config.epochs} epochs")
    return record


def read_runs(root: Path) -> tuple[list[RunRecord], list[RecordError]]:
    """All records below a folder, ordered by path, and what is wrong with those that cannot be read.

    There are no runs in the folder of a run.
    """
    records: list[RunRecord] = []
    faults: list[RecordError] = []

    def unreadable(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            faults.append(UnreadableError(f"{error.filename} cannot be read: {error.strerror}"))

    found = []
    for folder, inside, files in os.walk(root, onerror=unreadable):
        if "config.json" in files:
            found.append(Path(folder))
            if is_run(folder):
                inside.clear()
    for folder in sorted(found):
        try:
            records.append(read_run(folder))
        except RecordError as error:
            faults.append(error)
    return records, faults


def is_run(folder: str) -> bool:
    """Whether a folder has a name as runs have it.

    >>> is_run("runs/0123456789abcdef"), is_run("runs/results")
    (True, False)
    """
    return _RUN.search(folder) is not None


_RUN = re.compile(rf"(^|{re.escape(os.sep)})[0-9a-f]{{16}}$")


def by_protocol(records: Sequence[RunRecord]) -> list[tuple[int | None, list[RunRecord]]]:
    """The records that may be compared with each other: those that held together before one of the changes.

    A record that a change does not touch holds before and after it; one that is touched, not beside those
    that replace it.

    Args:
        records: those of one setting, whatever their arms and seeds.

    Returns:
        Groups, the newest first, each with the number that the newest protocol had then; None for today. A
        group whose records are all in another is left out.
    """
    newest_first = [change.number for change in reversed(identity.CHANGES)]
    groups: list[tuple[int | None, list[RunRecord]]] = []
    for number in newest_first:
        held = [r for r in records if r.protocol == identity.protocol_of(r.config, at=number)]
        groups.append((None if number == newest_first[0] else number, held))
    paths = [{record.path for record in held} for _, held in groups]
    return [
        group
        for i, group in enumerate(groups)
        if not any(paths[i] <= newer for newer in paths[:i])
        and not any(paths[i] < older for older in paths[i + 1 :])
        and paths[i]
    ]


def finished_run(
    root: Path,
    config: RunConfig,
    *,
    with_weights: bool = False,
    needs: Collection[str] = (),
    reserve: Collection[int] = (),
) -> RunRecord | None:
    """The finished record of a configuration, or None.

    A damaged record is warned of (`CorrInitWarning`) and counts as not finished, so the run is made again.

    Args:
        root: the folder of all runs.
        config: the run.
        with_weights: a record without the trained weights does not count.
        needs: neither does one that lacks an endpoint of these names, or `"correct"` or `"layers"`.
        reserve: nor, for endpoints on unused images, one that had others than these set apart.

    Raises:
        ConfigError: if the correlation file of the configuration cannot be read.
        UnreadableError: if the operating system refuses to read the record. It may be sound, so it is left.
    """
    path = root / config.run_id
    with _reading(path):
        if not (path / "result.json").exists() or (with_weights and not (path / WEIGHTS).exists()):
            return None
    try:
        record = read_run(path)
        if identity.run_id(record.config, protocol=record.protocol) != path.name:
            raise RecordError(f"{path} holds another run than the one that it is named by")
        record.updates()
        if any(lacks(record, name, reserve_name(reserve)) for name in needs):
            return None
    except UnreadableError:
        raise
    except RecordError as error:
        warnings.warn(f"{error.message}; the run is made again", CorrInitWarning, stacklevel=2)
        return None
    return record


def lacks(record: RunRecord, name: str, reserve: str | None) -> bool:
    """Whether a finished run would have an endpoint, `correct` or `layers`, if it were made again."""
    if name == CORRECT:
        has_none = record.config.noise or record.result.diverged
        return record.correct() is None and not has_none
    if name == LAYERS:
        return record.layers() is None
    if name not in endpoints_of(record.config):  # it is of networks with another task
        return False
    if "unused" not in name:
        return record.endpoint(name) is None
    if record.result.unused_images == 0:  # there is nothing to observe
        return False
    return record.endpoint(name) is None or record.result.reserve != reserve


@contextmanager
def claimed(root: Path, config: RunConfig, *, wait: bool = False) -> Iterator[Path]:
    """The folder of a run, held by this process alone while it works on it.

    The operating system frees the claim when the process ends, however it ends.

    Args:
        root: the folder of all runs.
        config: the run.
        wait: if another process holds it, wait until that is done.

    Raises:
        RunBusyError: if another process holds it, unless told to wait.
        CorrInitError: if the folder cannot be made.
    """
    path = root / config.run_id
    lock = FileLock(path / LOCK, timeout=-1 if wait else 0)
    try:
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout as error:  # an OSError itself
                raise RunBusyError(f"run {config.run_id} is being made by another process") from error
    except NotImplementedError as error:
        raise WriteError(f"{root} lies on a file system without locks; choose another place") from error
    try:
        yield path
    finally:
        with suppress(OSError):  # what is left then costs nothing: the claim is void once the process ends
            if (path / "result.json").exists():  # nobody writes here any more, so nobody needs the lock
                (path / LOCK).unlink(missing_ok=True)
            lock.release()


def start(path: Path, config: RunConfig) -> None:
    """Begin a record, or go on with an unfinished one; whatever other files are there are cleared away.

    That is what a killed process was writing, or what is left of a damaged record. Folders are not ours, and
    are left alone.

    Raises:
        CorrInitError: if that cannot be done.
    """
    with writing(path):
        finished = (path / "result.json").exists()
        kept = {LOCK, "config.json"} | (set() if finished else {CHECKPOINT, "metrics.jsonl"})
        for file in path.iterdir():
            if file.name not in kept and (file.is_symlink() or not file.is_dir()):
                file.unlink()
    write_json(path / "config.json", {"protocol": identity.protocol_of(config), **to_dict(config)})


def write_metrics(path: Path, metrics: Sequence[Metrics]) -> None:
    """Replace the metrics of a run; NaN and infinite values become null."""
    lines = [json.dumps({name: _finite(value) for name, value in row.items()}) + "\n" for row in metrics]
    with replacing(path / "metrics.jsonl") as file:
        file.write("".join(lines).encode())


def finish(path: Path, updates: Mapping[str, NDArray[np.floating]], result: Mapping[str, Any]) -> None:
    """Complete a record whose metrics are written: the totals per update, then the result."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: values.astype(np.float32) for name, values in updates.items()}
    np.savez_compressed(buffer, **arrays)
    with replacing(path / "updates.npz") as file:
        file.write(buffer.getvalue())
    finite = {name: _finite(value) for name, value in result.items()}
    write_json(path / "result.json", with_digest(finite, _beside(path)))
    with suppress(OSError):  # it is superseded; as long as there is no result, it is all that there is
        (path / CHECKPOINT).unlink(missing_ok=True)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


def _read_config(file: Path) -> tuple[RunConfig, int]:
    """The configuration of a run, and the protocol by which it was made."""
    recorded = parse_object(read_text(file), file)
    protocol = recorded.pop("protocol", RunRecord.protocol)
    try:
        config = from_dict(identity.today(recorded))
    except ConfigError as error:
        raise RecordError(f"{file} holds no configuration: {error}") from error
    known = {identity.protocol_of(config, at=change.number) for change in identity.CHANGES}
    if type(protocol) is not int or protocol not in known:
        raise RecordError(
            f"{file} has the protocol {protocol!r}, which this version of corrinit does not have for such a "
            f"run (its newest is {identity.protocol_of(config)}); read it by the version that made it"
        )
    return config, protocol


def _read_metrics(file: Path, config: RunConfig) -> tuple[Metrics, ...]:
    return checked_metrics([parse_object(line, file) for line in read_text(file).splitlines()], config, file)


def _read_result(file: Path, config: RunConfig) -> RunResult:
    result = without_digest(parse_object(read_text(file), file), file, _beside(file.parent))
    return checked_result(result, config, file)


def _beside(path: Path) -> tuple[Path, Path]:
    """The files of a record that its digest vouches for, beside its result."""
    return path / "config.json", path / "metrics.jsonl"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Where a look at a folder fails, its record is unreadable."""
    try:
        yield
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror or error}") from error
