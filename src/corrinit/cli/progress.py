"""A sweep on the standard error stream: live on a terminal, else a line for each run that ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from corrinit.cli.live import shown, whole
from corrinit.cli.tally import Tally, run_names, score_in_words, score_of
from corrinit.errors import CorrInitError, FailedRunsError
from corrinit.lab.data.dataset import Dataset, load
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.observation import EVERYTHING, Observation
from corrinit.lab.runs.index import finished_runs
from corrinit.lab.runs.record import Metrics, RunRecord
from corrinit.lab.training.engine import Engine, OnEpoch
from corrinit.lab.training.sweep import Sweep, sweep


def carry_out(
    configs: Sequence[RunConfig],
    runs: Path,
    *,
    jobs: int,
    engine: Engine | None = None,
    observation: Observation = EVERYTHING,
    start_another: Callable[[], bool] = lambda: True,
    known: Sequence[RunRecord] | None = None,
    needs: Collection[str] = (),
    study: str | None = None,
    later: int = 0,
    on_epoch: OnEpoch | None = None,
) -> Sweep:
    """Bring runs to their end, telling on the standard error stream how far they are.

    Args:
        configs: what to run.
        runs: the folder of all runs.
        jobs: runs at a time.
        engine: what makes them, instead of this machine with so many jobs.
        observation: on how many images they are scored, and how often.
        start_another: question that `corrinit.lab.training.sweep.sweep` asks before each run.
        known: the finished records among them, if they were read before.
        needs: endpoints without which a record does not count.
        study: hash of the study that the runs are made for.
        later: epochs of runs that are to follow these, which the time left is to cover too.
        on_epoch: called with the configuration and metrics of each epoch as it ends.

    Raises:
        KeyboardInterrupt: on Ctrl-C, after saying how to go on.
    """
    console = Console(stderr=True, highlight=False, markup=False)
    configs = list(dict.fromkeys(configs))
    if known is None:
        known = finished_runs(runs, configs, needs=needs)
    finished = {record.run_id for record in known}
    left = [config for config in configs if config.run_id not in finished]
    if len(left) < len(configs):
        console.print(f"{len(configs) - len(left)} of {len(configs)} runs are finished already, in {runs}")
    with _bar(console) as progress:
        for data in sorted({config.data for config in left}):
            with suppress(CorrInitError):  # which the runs will meet again
                _load(data, progress)
    tally = Tally(configs, known, later=later)

    def note(config: RunConfig, metrics: Metrics) -> None:
        ended = tally.add(config, metrics)
        if on_epoch is not None:
            on_epoch(config, metrics)
        if ended and (not console.is_terminal or not math.isfinite(metrics["train_loss"])):
            console.print(f"{_ending(tally.names[config], metrics)} ({whole(tally)})", soft_wrap=True)

    def fail(config: RunConfig, reason: str) -> None:
        tally.fail(config, reason)
        if not console.is_terminal:
            console.print(f"{tally.names[config]} failed: {reason} ({whole(tally)})", soft_wrap=True)

    try:
        with shown(tally, console) if console.is_terminal and left else nullcontext():
            return sweep(
                configs,
                runs,
                jobs=jobs,
                engine=engine,
                on_epoch=note,
                on_failure=fail,
                start_another=start_another,
                observation=observation,
                known=known,
                needs=needs,
                study=study,
            )
    except KeyboardInterrupt:
        made = finished_runs(runs, configs, needs=needs)
        console.print(
            f"{len(made)} of {len(configs)} runs are finished, in {runs}; "
            "the same command resumes the others",
            soft_wrap=True,
        )
        raise


def require_success(outcome: Sweep) -> None:
    """Raise a `CorrInitError` if any run failed, with each reason once."""
    if not outcome.failures:
        return
    names = run_names([config for config, _ in outcome.failures])
    failed: dict[str, list[str]] = {}
    for config, reason in outcome.failures:
        failed.setdefault(reason, []).append(names[config])
    if len(failed) == 1 and not outcome.records:
        raise FailedRunsError(next(iter(failed)))
    told = [f"{_first(runs)}: {reason}" for reason, runs in failed.items()]
    total = len(names) + len(outcome.records)
    raise FailedRunsError(f"{len(names)} of {total} runs failed: " + "; ".join(told))


def load_visibly(data: str, *, train_subset: int | None = None) -> Dataset:
    """Load a data set; if its images have to be decoded first, show how far that is."""
    with _bar(Console(stderr=True, highlight=False, markup=False)) as progress:
        return _load(data, progress, train_subset)


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _load(name: str, progress: Progress, train_subset: int | None = None) -> Dataset:
    task = progress.add_task(f"decoding {name}", visible=False, total=None)

    def show(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total, visible=True)

    dataset = load(name, train_subset=train_subset, progress=show)
    progress.remove_task(task)
    return dataset


def _ending(name: str, metrics: Metrics) -> str:
    """How a run ended, in words."""
    measure = "accuracy" if "test_accuracy" in metrics else "PSNR"
    score = score_of(metrics)
    told = "" if score is None else f": test {measure} {score_in_words(score, metrics)}"
    diverged = not math.isfinite(metrics["train_loss"])
    return f"{name}{told}" + (f", diverged in epoch {int(metrics['epoch'])}" if diverged else "")


def _first(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
