"""Many runs: what is finished is kept, what is left is made, here or in worker processes.

With several jobs every run has a process of its own, so one that is killed takes nothing along. Records and
checkpoints are on disk at all times: a sweep stopped in any way goes on where it stood.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypedDict

import torch
from typing_extensions import Unpack

from corrinit._atomic import replacing
from corrinit.errors import ConfigError, CorrInitError, RunBusyError, one_line
from corrinit.lab.data.dataset import load
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.observation import Observation
from corrinit.lab.runs.index import finished_runs
from corrinit.lab.runs.observed import check_needs
from corrinit.lab.runs.record import ERROR, Metrics, RunRecord
from corrinit.lab.training.run import run

OnEpoch = Callable[[RunConfig, Metrics], object]
Failure = tuple[RunConfig, str]


class RunOptions(TypedDict, total=False):
    """The options of `corrinit.lab.training.run.run`, which documents them, as `sweep` passes them on."""

    checkpoint_every: int
    keep_weights: bool
    needs: Collection[str]
    reserve: Collection[int]
    observation: Observation
    study: str | None


@dataclass(frozen=True)
class Sweep:
    """How a sweep ended.

    Args:
        records: finished runs, in the order of their configurations.
        failures: configurations that did not finish, with the reason.
    """

    records: tuple[RunRecord, ...]
    failures: tuple[Failure, ...]


def sweep(
    configs: Sequence[RunConfig],
    runs: Path,
    *,
    jobs: int = 1,
    on_epoch: OnEpoch | None = None,
    on_failure: Callable[[RunConfig, str], object] = lambda config, reason: None,
    start_another: Callable[[], bool] = lambda: True,
    known: Iterable[RunRecord] = (),
    **options: Unpack[RunOptions],
) -> Sweep:
    """Bring all runs to their end.

    A run that fails is reported, and the others go on. Runs that another sweep is making are left for last,
    and waited for.

    Args:
        configs: what to run; the same configuration twice is run once.
        runs: the folder of all runs.
        jobs: runs at a time; with more than one, each in its own process with its share of the cores.
        on_epoch: called in this process with the configuration and metrics of each epoch as it ends.
        on_failure: called in this process with the configuration of a run that failed, and the reason.
        start_another: asked before each run is started; once it says no, those under way are brought to
            their end, and the others are left.
        known: finished records that were read before, and are not read again.
        options: see `corrinit.lab.training.run.run`.

    Raises:
        ConfigError: if `jobs` is not positive, or an endpoint that is needed does not exist.
        KeyboardInterrupt: on Ctrl-C, after the workers have been stopped; finished runs and checkpoints stay.
    """
    check_jobs(jobs)
    check_needs(options.get("needs", ()))
    finished = partial(
        finished_runs,
        runs,
        with_weights=options.get("keep_weights", False),
        needs=options.get("needs", ()),
        reserve=options.get("reserve", ()),
        skip_unreadable=True,  # as the run then says itself
    )
    wanted = {config.run_id: config for config in configs}
    records = {record.run_id: record for record in known}
    for record in finished([config for run_id, config in wanted.items() if run_id not in records]):
        records[record.run_id] = record
    left = [config for run_id, config in wanted.items() if run_id not in records]
    report = on_epoch or (lambda config, metrics: None)
    make = partial(_make_in_workers, jobs=jobs) if jobs > 1 else _make_here
    failures = []
    for failure in make(left, runs, report, options, start_another):
        on_failure(*failure)
        failures.append(failure)
    failed = {config for config, _ in failures}
    for record in finished([config for config in left if config not in failed]):
        records[record.run_id] = record
    return Sweep(tuple(records[run_id] for run_id in wanted if run_id in records), tuple(failures))


def _make_here(
    configs: Sequence[RunConfig],
    runs: Path,
    on_epoch: OnEpoch,
    options: RunOptions,
    start_another: Callable[[], bool],
) -> Iterator[Failure]:
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
            yield config, _fault(error, runs / config.run_id / ERROR)


def _make_in_workers(
    configs: Sequence[RunConfig],
    runs: Path,
    on_epoch: OnEpoch,
    options: RunOptions,
    start_another: Callable[[], bool],
    *,
    jobs: int,
) -> Iterator[Failure]:
    for data in {config.data for config in configs}:
        with suppress(CorrInitError):  # which the runs will meet again
            load(data)  # decodes it once, where the workers would all do so
    context = _context()
    threads = threads_per_run(jobs)
    queue = deque((config, False) for config in configs)
    working: dict[Connection, tuple[BaseProcess, RunConfig]] = {}
    try:
        while queue or working:
            while queue and len(working) < jobs:
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


def check_jobs(jobs: int) -> None:
    """Refuse a number of runs at a time that is none.

    Raises:
        ConfigError: if `jobs` is not positive.
    """
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}; it is the number of runs at a time, at least 1")


def threads_per_run(jobs: int) -> int:
    """The threads that each of so many runs at a time has: its share of those of this process."""
    return max(1, torch.get_num_threads() // jobs)


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
        messages.send(_fault(error, runs / config.run_id / ERROR))
    messages.close()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)  # without waiting for threads that the user's code may have left


def _fault(error: BaseException, file: Path) -> str:
    """What a fault of the program was, and where, in a line; its traceback is kept in a file."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not any(part in frame.filename for part in _NOT_THE_USERS)]
    where = (own or frames)[-1]
    line = f"{type(error).__name__}: {one_line(error)} ({where.filename}:{where.lineno})"
    try:
        with replacing(file) as opened:
            opened.write("".join(traceback.format_exception(error)).encode(errors="backslashreplace"))
    except CorrInitError:
        return line
    return f"{line}; the traceback is in {file}"


_NOT_THE_USERS = ("site-packages", str(Path(os.__file__).parent), str(Path(__file__).parents[1]))
"""Parts of the paths of code that is not the user's: of installed packages, of Python and of corrinit."""


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, so that its run is free at once."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _ending(exit_code: int) -> str:
    if exit_code < 0:
        return f"its process was killed ({signal.Signals(-exit_code).name}); repeat the command to go on"
    return f"its process ended with code {exit_code}; repeat the command to go on"
