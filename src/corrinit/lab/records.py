"""Run records: one folder a run, read without torch.

A folder named by the run's id holds `config.json` from the start, which also says by which protocol it is
run, `metrics.jsonl` (a line per epoch) and, at the end, `updates.npz` (totals per update), `correct.npz` (a
bit per test image) and `result.json` with the endpoints (`corrinit.lab.endpoints`); the trained weights too,
if they were asked for. Every file is replaced whole, and `result.json` comes last: where it stands, the run
is finished.
"""

from __future__ import annotations

import io
import json
import math
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from corrinit.atomic import replacing
from corrinit.errors import ConfigError, CorrInitError, CorrInitWarning
from corrinit.lab import identity
from corrinit.lab.config import RunConfig, from_dict, to_dict
from corrinit.lab.endpoints import CORRECT, ENDPOINTS, PSNR, endpoints_of, read_correct, reserve_name

Metrics = Mapping[str, float]

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
LOCK = ".lock"


class RecordError(CorrInitError):
    """A run record cannot be read."""


class RunBusyError(CorrInitError):
    """Another process is working on the run."""


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One recorded run.

    Args:
        path: its folder.
        config: what determined it.
        metrics: one mapping per epoch; what could not be measured is NaN, what was not looked at is missing.
        result: what came out; empty while the run is not finished.
        protocol: by which it was made, as in `corrinit.lab.identity`.
    """

    path: Path
    config: RunConfig
    metrics: tuple[Metrics, ...]
    result: Mapping[str, Any]
    protocol: int = identity.CHANGES[0].number

    @property
    def run_id(self) -> str:
        """The name of the folder."""
        return self.path.name

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.result)

    @property
    def current(self) -> bool:
        """Whether the run would come out alike if it were made today."""
        return self.protocol == identity.protocol_of(self.config)

    def endpoint(self, name: str) -> float | None:
        """One of `corrinit.lab.endpoints`; None if it was not recorded, NaN if the run diverged.

        Raises:
            KeyError: if there is no such endpoint.
        """
        if name not in (*ENDPOINTS, *PSNR):
            raise KeyError(name)
        if self.result.get("diverged"):
            return math.nan
        value = self.result.get(name, ...)
        if value is ... and self.finished:  # what was recorded epoch by epoch before it was an endpoint
            return self.metrics[-1].get(name)
        return None if value is ... else math.nan if value is None else value

    def curve(self, metric: str) -> NDArray[np.float64]:
        """A metric by epoch, shape (epochs,).

        An epoch that was not scored (`corrinit.lab.observation`) has the value on the straight line between
        the scored ones beside it.

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
        try:
            return read_correct(self.path)
        except (OSError, ValueError, LookupError) as error:
            raise RecordError(f"{self.path} has a damaged {CORRECT}.npz: {error}") from error

    def updates(self) -> dict[str, NDArray[np.float32]]:
        """Totals per update by name, each of shape (number of updates,).

        Raises:
            RecordError: if the run is not finished, or the file is damaged.
        """
        file = self.path / "updates.npz"
        try:
            with np.load(file) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise RecordError(f"{file} cannot be read: {error}") from error


def read_run(path: Path) -> RunRecord:
    """Read one record, finished or not.

    Raises:
        RecordError: if a file is missing or damaged, naming it.
    """
    config, protocol = _read_config(path / "config.json")
    metrics = _read_metrics(path / "metrics.jsonl") if (path / "metrics.jsonl").exists() else ()
    result = _read_json(path / "result.json") if (path / "result.json").exists() else {}
    if result and not result.get("diverged") and len(metrics) != config.epochs:
        raise RecordError(f"{path / 'metrics.jsonl'} holds {len(metrics)} of {config.epochs} epochs")
    return RunRecord(path, config, metrics, result, protocol)


def read_runs(root: Path) -> tuple[list[RunRecord], list[RecordError]]:
    """All records below a folder, ordered by path, and what is wrong with those that cannot be read."""
    records, faults = [], []
    for config in sorted(root.glob("**/config.json")):
        try:
            records.append(read_run(config.parent))
        except RecordError as error:
            faults.append(error)
    return records, faults


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
        needs: neither does one that lacks an endpoint of these names, or `"correct"`.
        reserve: nor, for endpoints on unused images, one that had others than these set apart.

    Raises:
        ConfigError: if the correlation file of the configuration cannot be read.
    """
    path = root / config.run_id
    if not (path / "result.json").exists() or (with_weights and not (path / WEIGHTS).exists()):
        return None
    try:
        record = read_run(path)
        record.updates()
        if any(_lacks(record, name, reserve_name(reserve)) for name in needs):
            return None
    except RecordError as error:
        warnings.warn(f"{error}; the run is made again", CorrInitWarning, stacklevel=2)
        return None
    return record


def _lacks(record: RunRecord, name: str, reserve: str | None) -> bool:
    """Whether a finished run would have an endpoint, or what `correct` gives, if it were made again."""
    if name == CORRECT:
        told = record.config.noise or record.result.get("diverged")  # it has none
        return record.correct() is None and not told
    if name not in endpoints_of(record.config):  # it is of networks with another task
        return False
    if "unused" not in name:
        return record.endpoint(name) is None
    if record.result.get("unused_images") == 0:  # there is nothing to observe
        return False
    return record.endpoint(name) is None or record.result.get("reserve") != reserve


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
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / LOCK, timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout as error:
        raise RunBusyError(f"run {config.run_id} is being made by another process") from error
    except OSError as error:
        raise CorrInitError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        yield path
    finally:
        if (path / "result.json").exists():  # nobody writes here any more, so nobody needs the lock
            (path / LOCK).unlink(missing_ok=True)
        lock.release()


def start(path: Path, config: RunConfig) -> None:
    """Begin a record, or go on with an unfinished one; whatever else is there is cleared away.

    That is what a killed process was writing, or what is left of a damaged record.
    """
    finished = (path / "result.json").exists()
    kept = {LOCK} if finished else {LOCK, CHECKPOINT, "metrics.jsonl"}
    for file in path.iterdir():
        if file.name not in kept:
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
    (path / CHECKPOINT).unlink(missing_ok=True)
    write_json(path / "result.json", {name: _finite(value) for name, value in result.items()})


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


def _read_config(file: Path) -> tuple[RunConfig, int]:
    """The configuration of a run, and the protocol by which it was made."""
    recorded = _read_json(file)
    protocol = recorded.pop("protocol", RunRecord.protocol)
    try:
        config = from_dict(identity.today(recorded))
    except ConfigError as error:
        raise RecordError(f"{file} holds no configuration: {error}") from error
    if protocol not in {identity.protocol_of(config, at=change.number) for change in identity.CHANGES}:
        raise RecordError(
            f"{file} has the protocol {protocol!r}, which this version of corrinit does not have for such a "
            f"run (its newest is {identity.protocol_of(config)}); read it by the version that made it"
        )
    return config, protocol


def _read_json(path: Path) -> dict[str, Any]:
    return _parse(_read_text(path), path)


def _read_metrics(path: Path) -> tuple[Metrics, ...]:
    rows = [_parse(line, path) for line in _read_text(path).splitlines()]
    return tuple({name: math.nan if v is None else v for name, v in row.items()} for row in rows)


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RecordError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise RecordError(f"{path} is damaged: it holds {type(value).__name__}, no JSON object")
    return value


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} cannot be read: {error}") from error
