"""A record as an index has it: what a listing tells of it is at hand, its metrics are read when asked for."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple, overload

from corrinit.errors import RecordError
from corrinit.lab.experiment.config import RunConfig, from_dict, to_dict
from corrinit.lab.runs.fields import Metrics
from corrinit.lab.runs.record import RunRecord, read_run
from corrinit.lab.runs.result import RunResult


class Row(NamedTuple):
    """What is kept of a record.

    Args:
        run: path of its folder, from that of all runs.
        stamp: times and sizes that its files had before they were read.
        sound: whether the run is finished, and no file of it is damaged or of another run.
        settings: its configuration with seed 0, as JSON.
        seed: the seed.
        protocol: by which it was made.
        epochs: how many have metrics.
        last: the metrics of the last one, as JSON; empty without any.
        diverged_in: the first epoch with a loss that is not finite; 0 without any.
        result: as JSON; empty while it is not finished.
    """

    run: str
    stamp: bytes
    sound: bool
    settings: str
    seed: int
    protocol: int
    epochs: int
    last: str
    diverged_in: int
    result: str


def row_of(run: str, record: RunRecord, *, stamp: bytes, sound: bool) -> Row:
    """What to keep of a record that was read."""
    return Row(
        run=run,
        stamp=stamp,
        sound=sound,
        settings=json.dumps(to_dict(replace(record.config, seed=0))),
        seed=record.seed,
        protocol=record.protocol,
        epochs=len(record.metrics),
        last=json.dumps(dict(record.metrics[-1])) if record.metrics else "",
        diverged_in=record.diverged_in or 0,
        result=json.dumps(record.result.row()) if record.finished else "",
    )


class IndexedRecord(RunRecord):
    """A record from its row.

    Args:
        root: the folder of all runs.
        row: what is kept of it.
    """

    _root: Path
    _row: Row

    def __init__(self, root: Path, row: Row) -> None:
        self.__dict__.update(_root=root, _row=row, protocol=row.protocol)

    @cached_property
    def path(self) -> Path:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Its folder."""
        return self._root / self._row.run

    @cached_property
    def config(self) -> RunConfig:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What determined it."""
        config = copy.copy(_with_seed_0(self._row.settings))
        object.__setattr__(config, "seed", self._row.seed)  # which was checked before it got into a row
        return config

    @cached_property
    def metrics(self) -> Sequence[Metrics]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """One mapping per epoch."""
        return _Metrics(self._root, self._row)

    @cached_property
    def result(self) -> RunResult:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What came out."""
        return RunResult.of(json.loads(self._row.result)) if self._row.result else RunResult()

    @property
    def run_id(self) -> str:
        """The name of the folder."""
        return self._row.run.rpartition(os.sep)[2]

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return bool(self._row.result)

    @property
    def diverged_in(self) -> int | None:
        """The first epoch with a loss that is not finite; None without any."""
        return self._row.diverged_in or None


class _Metrics(Sequence[Metrics]):
    """The metrics of a record. Their number and the last ones are known; for others the record is read."""

    def __init__(self, root: Path, row: Row) -> None:
        self._root = root
        self._row = row

    def __len__(self) -> int:
        return self._row.epochs

    @overload
    def __getitem__(self, index: int) -> Metrics: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Metrics]: ...
    def __getitem__(self, index: int | slice) -> Metrics | Sequence[Metrics]:
        if self._row.last and index in (-1, len(self) - 1):
            return self._last
        return self._all[index]

    @cached_property
    def _last(self) -> Metrics:
        return json.loads(self._row.last)

    @cached_property
    def _all(self) -> tuple[Metrics, ...]:
        path = self._root / self._row.run
        metrics = tuple(read_run(path).metrics)
        if len(metrics) != len(self):
            raise RecordError(f"{path} was changed by somebody while it was looked at; repeat the command")
        return metrics


@lru_cache(maxsize=1024)
def _with_seed_0(settings: str) -> RunConfig:
    return from_dict(json.loads(settings))
