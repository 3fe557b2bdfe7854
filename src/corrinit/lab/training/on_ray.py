"""Runs as the tasks of a Ray cluster (https://docs.ray.io): one that is there, or one on this machine alone.

Ray places the runs, several on a GPU if each asks for a part of one, and repeats those whose worker or node
is lost, which then go on from their checkpoints. Each data set is decoded here and lies once in the memory of
each node. What lasts is in the folder of the runs alone, which all nodes have to see under one path.
"""

from __future__ import annotations

import os
import socket
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from corrinit._atomic import writing
from corrinit._factory import is_factory
from corrinit.errors import (
    ClusterError,
    ConfigError,
    CorrInitError,
    CorrInitWarning,
    missing_library,
    one_line,
)
from corrinit.lab.data.dataset import decoded
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.training.engine import Failure, OnEpoch, RunOptions
from corrinit.lab.training.ray_task import BUSY, Inbox, Job, make_run, versions

RETRIES = 3
"""Times that a run is begun again because its worker or node was lost."""

ANSWER = 10.0
"""Seconds in which a cluster has to answer."""

LOOK = 0.2
"""Seconds between two looks at what the workers have told."""


@dataclass(frozen=True)
class OnRay:
    """The engine that makes runs as tasks of a Ray cluster.

    Args:
        address: of the cluster, as `ray.init` takes it; None for that of the variable `RAY_ADDRESS`, else one
            that is started on this machine and stopped again.
        jobs: runs at a time, if it is started here.
        gpus_per_run: part of a GPU that a run gets.
        cpus_per_run: cores that a run gets, and threads that it has.

    Raises:
        ConfigError: for a number that is none of GPUs, or of jobs.
        MissingLibraryError: if Ray is not installed.
    """

    address: str | None = None
    jobs: int = 1
    gpus_per_run: float = 0.0
    cpus_per_run: int = 1

    def __post_init__(self) -> None:
        if not self.gpus_per_run >= 0 or (self.gpus_per_run > 1 and self.gpus_per_run % 1):
            raise ConfigError(
                f"gpus_per_run is {self.gpus_per_run:g}; it is a part of one GPU, such as 0.25, or a "
                "whole number"
            )
        if self.jobs < 1 or self.cpus_per_run < 1:
            raise ConfigError(
                f"jobs is {self.jobs} and cpus_per_run {self.cpus_per_run}; both are at least 1"
            )
        _ray()

    def __call__(
        self,
        configs: Sequence[RunConfig],
        runs: Path,
        on_epoch: OnEpoch,
        options: RunOptions,
        start_another: Callable[[], bool],
    ) -> Iterator[Failure]:
        """Make all runs, yielding those that fail."""
        if not configs:
            return
        runs = runs.resolve()
        by_id = {config.run_id: config for config in configs}
        with ExitStack() as open_until_the_end:
            ray = open_until_the_end.enter_context(self._connected())
            self._check_room(ray)
            mark = open_until_the_end.enter_context(_mark(runs))
            job = ray.put(Job(runs, mark, options, _files(configs), versions()))
            data = {spec: _shared(ray, spec) for spec in {config.data for config in configs}}
            inbox = ray.remote(num_cpus=0)(Inbox).remote()
            asked = {"num_cpus": self.cpus_per_run, "num_gpus": self.gpus_per_run}
            work = ray.remote(**asked, max_retries=RETRIES)(make_run)
            queue = deque((config, False) for config in configs)
            working: dict[Any, RunConfig] = {}

            def tell() -> None:
                for run_id, message in ray.get(inbox.take.remote()):
                    if isinstance(message, Warning):
                        warnings.warn(message, stacklevel=3)
                    else:
                        on_epoch(by_id[run_id], message)

            try:
                while queue or working:
                    while queue and len(working) < 2 * max(1, self._room(ray)):  # as many again are at hand
                        if not start_another():
                            queue.clear()
                            break
                        config, patient = queue.popleft()
                        task = work.remote(job, config, data[config.data], inbox, self.cpus_per_run, patient)
                        working[task] = config
                    if not working:
                        break
                    ray.wait(list(working), timeout=LOOK)
                    ended, _ = ray.wait(list(working), num_returns=len(working), timeout=0)
                    tell()
                    for task in ended:
                        config = working.pop(task)
                        reason = _outcome(ray, task)
                        if reason == BUSY:
                            queue.append((config, True))
                        elif reason is not None:
                            yield config, reason
            finally:
                for task in working:
                    with suppress(Exception):  # it is over, or its node is
                        ray.cancel(task, force=True)
                with suppress(Exception):
                    ray.kill(inbox)

    def _room(self, ray: Any) -> int:
        """Runs that the cluster as it is now has room for."""
        there = ray.cluster_resources()
        room = there.get("CPU", 0) / self.cpus_per_run
        return int(min(room, there.get("GPU", 0) / self.gpus_per_run) if self.gpus_per_run else room)

    def _check_room(self, ray: Any) -> None:
        if not self._room(ray):
            asked = f"{self.cpus_per_run} cores and {self.gpus_per_run:g} GPUs"
            warnings.warn(
                f"the Ray cluster has no room for a run, which asks for {asked}: unless it grows, the run "
                "waits for ever",
                CorrInitWarning,
                stacklevel=4,
            )

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Ray, connected to the cluster; to one that this program is connected to already, if it is."""
        ray = _ray()
        if ray.is_initialized():
            yield ray
            return
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"
        extent = {"num_cpus": self.jobs * self.cpus_per_run, "include_dashboard": False}
        try:
            _knock(address)
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="ERROR",
                **(extent if address == "local" else {}),
            )
        except Exception as error:  # which one depends on how far the connection came
            raise ClusterError(
                f"the Ray cluster at {address} does not answer: {one_line(error)[:200]}; see to it by ray "
                "status"
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def _ray() -> Any:
    """The module, which an extra installs.

    Raises:
        MissingLibraryError: if it is not there.
    """
    try:
        return import_module("ray")
    except ModuleNotFoundError as error:
        raise missing_library("the engine ray", error) from error


def _knock(address: str) -> None:
    """See that somebody answers at HOST:PORT or ray://HOST:PORT: Ray itself asks for minutes.

    Raises:
        OSError: if nobody does.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()


def _outcome(ray: Any, task: Any) -> str | None:
    """What a task that has ended returned, or what became of it."""
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        reason = one_line(error.cause or error)
        return f"the worker could not begin: {reason}; install there what is installed here"
    except ray.exceptions.RayError as error:
        told = one_line(error).partition(". ")[0]
        return f"its worker was lost {RETRIES + 1} times ({told}); repeat the command to go on"


@contextmanager
def _mark(runs: Path) -> Iterator[str]:
    """A file in the folder of the runs while they are made.

    Raises:
        WriteError: if nothing can be written there.
    """
    with ExitStack() as until_the_end:
        with writing(runs):
            runs.mkdir(parents=True, exist_ok=True)
            file = until_the_end.enter_context(tempfile.NamedTemporaryFile(prefix=".sweep-", dir=runs))
        yield Path(file.name).name


def _shared(ray: Any, spec: str) -> Any:
    """A data set in the memory of the cluster; None if it cannot be read, as each run then says."""
    try:
        name, splits = decoded(spec)
    except CorrInitError:
        return None
    arrays = {
        field: np.asarray(value) for field, value in vars(splits).items() if isinstance(value, np.ndarray)
    }
    return ray.put((name, replace(splits, **arrays)))


def _files(configs: Sequence[RunConfig]) -> dict[str, bytes]:
    """The files that configurations name by a path below the working directory, with their content."""
    named = {config.model.rpartition(":")[0] for config in configs if is_factory(config.model)}
    for arm in {config.initialization for config in configs}:
        named |= {arm.correlation, *(rule.correlation or "" for rule in arm.role_rules)}
    below = [Path(name) for name in named if name and not Path(name).is_absolute()]
    return {str(path): path.read_bytes() for path in below if ".." not in path.parts and path.is_file()}
