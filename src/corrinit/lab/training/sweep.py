"""Many runs: what is finished is kept, what is left is made, by one engine or another.

Records and checkpoints are on disk at all times: a sweep stopped in any way goes on where it stood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from typing_extensions import Unpack

from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.runs.index import finished_runs
from corrinit.lab.runs.observed import check_needs
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.training.engine import Engine, Failure, OnEpoch, RunOptions, check_jobs
from corrinit.lab.training.processes import LocalProcesses, in_this_process


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
    engine: Engine | None = None,
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
        engine: what makes the runs, instead of this machine with so many jobs.
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
    make = engine or (LocalProcesses(jobs) if jobs > 1 else in_this_process)
    failures = []
    for failure in make(left, runs, report, options, start_another):
        on_failure(*failure)
        failures.append(failure)
    failed = {config for config, _ in failures}
    for record in finished([config for config in left if config not in failed]):
        records[record.run_id] = record
    return Sweep(tuple(records[run_id] for run_id in wanted if run_id in records), tuple(failures))
