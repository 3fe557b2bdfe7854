"""Run records: one folder a run, read without torch.

A folder named by the run's id holds `config.json` from the start, `metrics.jsonl` (a line per epoch) and, at
the end, `updates.npz` (totals per update) and `result.json`. Every file is replaced whole, and
`result.json` comes last: where it stands, the run is finished.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from corrinit.atomic import replacing
from corrinit.errors import CorrInitError
from corrinit.lab.config import RunConfig, from_dict

Metrics = Mapping[str, float]


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
        metrics: one mapping per epoch.
        result: what came out; empty while the run is not finished.
    """

    path: Path
    config: RunConfig
    metrics: tuple[Metrics, ...]
    result: Mapping[str, Any]

    @property
    def run_id(self) -> str:
        """The name of the folder."""
        return self.path.name

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.result)

    def updates(self) -> dict[str, NDArray[np.float32]]:
        """Totals per update by name, each of shape (number of updates,)."""
        try:
            with np.load(self.path / "updates.npz") as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError) as error:
            raise RecordError(f"{self.path / 'updates.npz'} cannot be read: {error}") from error


def read_run(path: Path) -> RunRecord:
    """Read one record.

    Raises:
        RecordError: if a file is missing or damaged, naming it.
    """
    config = _read_json(path / "config.json")
    lines = path / "metrics.jsonl"
    try:
        metrics = tuple(json.loads(line) for line in lines.read_text().splitlines()) if lines.exists() else ()
    except (OSError, ValueError) as error:
        raise RecordError(f"{lines} cannot be read: {error}; delete {path} to run it again") from error
    result = _read_json(path / "result.json") if (path / "result.json").exists() else {}
    return RunRecord(path, from_dict(config), metrics, result)


def read_runs(root: Path) -> tuple[list[RunRecord], list[RecordError]]:
    """All records below a folder, ordered by run id, and what is wrong with those that cannot be read."""
    records, faults = [], []
    for config in sorted(root.glob("**/config.json")):
        try:
            records.append(read_run(config.parent))
        except CorrInitError as error:
            faults.append(RecordError(str(error)))
    return records, faults


def finished_run(root: Path, config: RunConfig) -> RunRecord | None:
    """The finished record of a configuration, or None; a damaged one counts as not finished."""
    try:
        record = read_run(root / config.run_id)
    except CorrInitError:
        return None
    return record if record.finished else None


@contextmanager
def claimed(root: Path, config: RunConfig) -> Iterator[Path]:
    """The folder of a run, held by this process alone while it works on it.

    The operating system frees the claim when the process ends, however it ends.

    Raises:
        RunBusyError: if another process holds it.
    """
    path = root / config.run_id
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunBusyError(f"run {config.run_id} is being made by another process") from error
    try:
        yield path
    finally:
        lock.release()


def write_metrics(path: Path, metrics: Sequence[Metrics]) -> None:
    """Replace the metrics of a run."""
    with replacing(path / "metrics.jsonl") as file:
        file.write("".join(json.dumps(row) + "\n" for row in metrics).encode())


def write_updates(path: Path, updates: Mapping[str, NDArray[np.floating]]) -> None:
    """Replace the totals per update of a run, in single precision."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: values.astype(np.float32) for name, values in updates.items()})  # pyright: ignore[reportArgumentType]
    with replacing(path / "updates.npz") as file:
        file.write(buffer.getvalue())


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read: {error}; delete {path.parent} to run it again") from error
    if not isinstance(value, dict):
        raise RecordError(f"{path} holds no JSON object; delete {path.parent} to run it again")
    return value
