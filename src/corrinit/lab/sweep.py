"""Many runs: what is finished is kept, what is left is made, here or in worker processes.

Every run has a process of its own, so one that is killed takes nothing along. Records and checkpoints are on
disk at all times: a sweep stopped in any way goes on where it stood.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from corrinit.errors import ConfigError, CorrInitError
from corrinit.lab.config import RunConfig
from corrinit.lab.records import Metrics, RunRecord, finished_run
from corrinit.lab.train import train

OnEpoch = Callable[[RunConfig, Metrics], object]


@dataclass(frozen=True)
class Sweep:
    """How a sweep ended.

    Args:
        records: finished runs, in the order of their configurations.
        failures: configurations that did not finish, with the reason.
    """

    records: tuple[RunRecord, ...]
    failures: tuple[tuple[RunConfig, str], ...]


def sweep(
    configs: Sequence[RunConfig], runs: Path, *, jobs: int = 1, on_epoch: OnEpoch | None = None
) -> Sweep:
    """Bring all runs to their end.

    Args:
        configs: what to run; the same configuration twice is run once.
        runs: the folder of all runs.
        jobs: runs at a time; with more than one, each in its own process with its share of the cores.
        on_epoch: called in this process with the configuration and metrics of each epoch as it ends.

    Raises:
        ConfigError: if `jobs` is not positive.
        KeyboardInterrupt: on Ctrl-C, after the workers have been stopped; finished runs and checkpoints stay.
    """
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}; it is the number of runs at a time, at least 1")
    wanted = list(dict.fromkeys(configs))
    left = [config for config in wanted if finished_run(runs, config) is None]
    report = on_epoch or (lambda config, metrics: None)
    failures = list(_sequential(left, runs, report) if jobs == 1 else _parallel(left, runs, jobs, report))
    records = (finished_run(runs, config) for config in wanted)
    return Sweep(tuple(record for record in records if record is not None), tuple(failures))


def _sequential(
    configs: Sequence[RunConfig], runs: Path, on_epoch: OnEpoch
) -> Iterator[tuple[RunConfig, str]]:
    for config in configs:
        try:
            train(config, runs, on_epoch=lambda metrics, config=config: on_epoch(config, metrics))
        except CorrInitError as error:
            yield config, str(error)


def _parallel(
    configs: Sequence[RunConfig], runs: Path, jobs: int, on_epoch: OnEpoch
) -> Iterator[tuple[RunConfig, str]]:
    posix = os.name == "posix"
    context = multiprocessing.get_context("forkserver" if posix else "spawn")
    if posix:
        context.set_forkserver_preload([__name__])
    threads = max(1, torch.get_num_threads() // jobs)
    waiting = list(reversed(configs))
    working: dict[Connection, tuple[BaseProcess, RunConfig]] = {}
    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                config = waiting.pop()
                messages, end = context.Pipe(duplex=False)
                worker = context.Process(  # pyright: ignore[reportAttributeAccessIssue]
                    target=_work, args=(config, runs, threads, end), daemon=True
                )
                worker.start()
                end.close()
                working[messages] = worker, config
            for messages in wait(list(working)):
                assert isinstance(messages, Connection)
                worker, config = working[messages]
                try:
                    message = messages.recv()
                except (EOFError, OSError):
                    del working[messages]
                    worker.join()
                    if worker.exitcode:
                        yield config, _ending(worker.exitcode)
                    continue
                if isinstance(message, str):
                    yield config, message
                else:
                    on_epoch(config, message)
    finally:
        for worker, _ in working.values():
            worker.kill()
            worker.join()


def _work(config: RunConfig, runs: Path, threads: int, messages: Connection) -> None:
    """What a worker process does: one run, sending the metrics of each epoch, or why it failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    try:
        train(config, runs, on_epoch=lambda metrics: messages.send(dict(metrics)))
    except CorrInitError as error:
        messages.send(str(error))
    except Exception:
        messages.send(traceback.format_exc())


def _ending(exit_code: int) -> str:
    how = (
        f"was killed ({signal.Signals(-exit_code).name})" if exit_code < 0 else f"ended with code {exit_code}"
    )
    return f"its process {how}; repeat the command to continue the run"
