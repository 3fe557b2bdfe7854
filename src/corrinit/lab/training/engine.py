"""What brings the runs of a sweep to their end: one interface, for this machine and for a cluster."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypedDict

import torch

from corrinit._atomic import replacing
from corrinit.errors import ConfigError, CorrInitError, one_line
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.observation import Observation
from corrinit.lab.runs.record import Metrics

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


class Engine(Protocol):
    """Makes runs.

    All that lasts is in the folder of the runs: an engine may lose anything else, its workers included, and
    what it has not finished is gone on with by the next one.
    """

    def __call__(
        self,
        configs: Sequence[RunConfig],
        runs: Path,
        on_epoch: OnEpoch,
        options: RunOptions,
        start_another: Callable[[], bool],
    ) -> Iterator[Failure]:
        """Make all runs, yielding those that fail as they do.

        Closing the iterator stops whatever it has started.

        Args:
            configs: what to run, none of it twice.
            runs: the folder of all runs.
            on_epoch: called in this process with the configuration and metrics of each epoch as it ends; what
                it raises is raised.
            options: see `corrinit.lab.training.run.run`.
            start_another: asked before each run is started; once it says no, none is.
        """
        ...


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


def fault(error: BaseException, file: Path) -> str:
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
