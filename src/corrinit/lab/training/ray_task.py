"""What a task of a Ray cluster does: one run, on a node that is seen to be like the one of the sweep."""

from __future__ import annotations

import os
import platform
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import torch

from corrinit.errors import ClusterError, CorrInitError, RunBusyError
from corrinit.lab.data.dataset import provide
from corrinit.lab.data.source import Splits
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.runs.record import ERROR, Metrics
from corrinit.lab.training.engine import RunOptions, fault
from corrinit.lab.training.run import run

Message: TypeAlias = "Metrics | Warning"

BUSY = "busy"
"""Outcome of a run that another process is making."""


@dataclass(frozen=True)
class Job:
    """What all tasks of a sweep share.

    Args:
        runs: the folder of the runs.
        mark: a file in it, by which a node can tell that it sees the same one.
        options: of the runs.
        files: content of the files that configurations name by a relative path.
        versions: of what a result depends on, where the sweep is.
    """

    runs: Path
    mark: str
    options: RunOptions
    files: Mapping[str, bytes]
    versions: Mapping[str, str]


class Inbox:
    """An actor that keeps what the workers tell until it is asked."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, Message]] = []

    def put(self, run_id: str, message: Message) -> None:
        """Keep a message."""
        self.waiting.append((run_id, message))

    def take(self) -> list[tuple[str, Message]]:
        """Hand over all messages, each once."""
        taken, self.waiting = self.waiting, []
        return taken


def make_run(
    job: Job, config: RunConfig, data: tuple[str, Splits] | None, inbox: Any, threads: int, patient: bool
) -> str | None:
    """What a worker does: one run. Returns why it failed, if it did."""
    last: list[Any] = []

    def tell(message: Message) -> None:
        last[:] = [inbox.put.remote(config.run_id, message)]

    torch.set_num_threads(threads)
    warnings.showwarning = lambda message, *_, **__: tell(message)  # pyright: ignore[reportArgumentType]
    try:
        require_same(job)
        lay_out(job.files)
        if data is not None:
            provide(config.data, *data)
        run(config, job.runs, wait=patient, on_epoch=lambda metrics: tell(dict(metrics)), **job.options)
    except RunBusyError:
        return BUSY
    except CorrInitError as error:
        return str(error)
    except (Exception, SystemExit) as error:
        return fault(error, job.runs / config.run_id / ERROR)
    finally:
        if last:
            import_module("ray").get(last)  # messages of one worker arrive in their order
    return None


def versions() -> dict[str, str]:
    """What the records of runs that are compared have in common."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, "torch": version("torch"), "corrinit": version("corrinit")}


def require_same(job: Job) -> None:
    """See that a worker is like the process of the sweep, and sees what it sees.

    Raises:
        ClusterError: naming both versions, or the folder.
    """
    node = platform.node()
    for name, here in versions().items():
        if here != job.versions[name]:
            raise ClusterError(
                f"node {node} has {name} {here}, and the sweep {job.versions[name]}; install one version "
                "on both"
            )
    if not (job.runs / job.mark).exists():
        raise ClusterError(
            f"node {node} does not see the folder {job.runs} of the sweep; name one on a file system that "
            "all share"
        )


def lay_out(files: Mapping[str, bytes]) -> None:
    """Work in a folder where the files are found by the same paths."""
    if all(Path(name).is_file() and Path(name).read_bytes() == content for name, content in files.items()):
        return
    folder = Path(tempfile.mkdtemp(prefix="corrinit-"))
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    os.chdir(folder)
