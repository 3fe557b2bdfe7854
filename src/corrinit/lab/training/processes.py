"""Runs in this process, one after the other, or each in a process of its own, several at a time.

With a process for each, one that is killed takes nothing along. Records and checkpoints are on disk at all
times: what is stopped in any way goes on where it stood.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from corrinit.errors import CorrInitError, RunBusyError
from corrinit.lab.data.dataset import load
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.runs.record import ERROR, Metrics
from corrinit.lab.training.engine import Failure, OnEpoch, RunOptions, check_jobs, fault, threads_per_run
from corrinit.lab.training.run import run


def in_this_process(
    configs: Sequence[RunConfig],
    runs: Path,
    on_epoch: OnEpoch,
    options: RunOptions,
    start_another: Callable[[], bool],
) -> Iterator[Failure]:
    """The engine that makes runs here, one after the other."""
    queue = deque((config, False) for config in configs)
    of_the_caller: list[Exception] = []

    def tell(config: RunConfig, metrics: Metrics) -> None:
        try:
            on_epoch(config, metrics)
        except Exception as error:
            of_the_caller.append(error)
            raise

    while queue and start_another():
        config, patient = queue.popleft()
        try:
            run(config, runs, wait=patient, on_epoch=partial(tell, config), **options)
        except RunBusyError:
            queue.append((config, True))
        except CorrInitError as error:
            yield config, str(error)
        except (Exception, SystemExit) as error:  # of the user's model, and no reason to leave the others
            if of_the_caller:
                raise
            yield config, fault(error, runs / config.run_id / ERROR)


@dataclass(frozen=True)
class LocalProcesses:
    """The engine that makes each run in a process of its own, on this machine.

    Args:
        jobs: runs at a time, each with its share of the cores.

    Raises:
        ConfigError: if `jobs` is not positive.
    """

    jobs: int

    def __post_init__(self) -> None:
        check_jobs(self.jobs)

    def __call__(
        self,
        configs: Sequence[RunConfig],
        runs: Path,
        on_epoch: OnEpoch,
        options: RunOptions,
        start_another: Callable[[], bool],
    ) -> Iterator[Failure]:
        """Make all runs, yielding those that fail."""
        for data in {config.data for config in configs}:
            with suppress(CorrInitError):  # which the runs will meet again
                load(data)  # decodes it once, where the workers would all do so
        context = _context()
        threads = threads_per_run(self.jobs)
        queue = deque((config, False) for config in configs)
        working: dict[Connection, tuple[BaseProcess, RunConfig]] = {}
        try:
            while queue or working:
                while queue and len(working) < self.jobs:
                    if not start_another():
                        queue.clear()
                        break
                    config, patient = queue.popleft()
                    messages, end = context.Pipe(duplex=False)
                    worker = context.Process(  # pyright: ignore[reportAttributeAccessIssue]
                        target=_work, args=(config, runs, threads, patient, options, end), daemon=True
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
                        messages.close()
                        worker.join()
                        if worker.exitcode:
                            yield config, _ending(worker.exitcode)
                        continue
                    if isinstance(message, RunBusyError):
                        queue.append((config, True))
                    elif isinstance(message, Warning):
                        warnings.warn(message, stacklevel=2)
                    elif isinstance(message, str):
                        yield config, message
                    else:
                        on_epoch(config, message)
        finally:
            for worker, _ in working.values():
                worker.kill()
                worker.join()


def _context() -> BaseContext:
    """How processes start: forked from one that has imported everything, which takes seconds, or anew."""
    if os.name != "posix":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo", "sklearn.datasets"])  # also those used late
    return context


def _work(
    config: RunConfig, runs: Path, threads: int, patient: bool, options: RunOptions, messages: Connection
) -> None:
    """What a worker process does: one run, sending the metrics of each epoch, warnings, and why it failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    warnings.showwarning = lambda message, *_, **__: messages.send(message)
    try:
        run(config, runs, wait=patient, on_epoch=lambda metrics: messages.send(dict(metrics)), **options)
    except RunBusyError as error:
        messages.send(error)
    except CorrInitError as error:
        messages.send(str(error))
    except (Exception, SystemExit) as error:
        messages.send(fault(error, runs / config.run_id / ERROR))
    messages.close()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)  # without waiting for threads that the user's code may have left


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, so that its run is free at once."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _ending(exit_code: int) -> str:
    if exit_code < 0:
        return f"its process was killed ({signal.Signals(-exit_code).name}); repeat the command to go on"
    return f"its process ended with code {exit_code}; repeat the command to go on"
