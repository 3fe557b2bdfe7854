"""A sweep in the terminal: a bar with the time left, a line for each run that ends, and what went wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from corrinit.errors import CorrInitError, FailedRunsError
from corrinit.lab.data.dataset import Dataset, load
from corrinit.lab.experiment.arm import label
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.observation import EVERYTHING, Observation
from corrinit.lab.runs.record import Metrics, RunRecord, finished_run
from corrinit.lab.runs.table import settings
from corrinit.lab.training.sweep import Sweep, sweep


def carry_out(
    configs: Sequence[RunConfig],
    runs: Path,
    *,
    jobs: int,
    observation: Observation = EVERYTHING,
    start_another: Callable[[], bool] = lambda: True,
    known: Sequence[RunRecord] | None = None,
    needs: Collection[str] = (),
) -> Sweep:
    """Bring runs to their end, telling on the standard error stream how far they are.

    Args:
        configs: what to run.
        runs: the folder of all runs.
        jobs: runs at a time.
        observation: on how many images they are scored, and how often.
        start_another: question that `corrinit.lab.training.sweep.sweep` asks before each run.
        known: the finished records among them, if they were read before.
        needs: endpoints without which a record does not count.

    Raises:
        KeyboardInterrupt: on Ctrl-C, after saying how to go on.
    """
    console = Console(stderr=True, highlight=False, markup=False)
    names = run_names(configs)
    if known is None:
        known = finished_runs(names, runs, needs)
    finished = {record.run_id for record in known}
    epochs = {config: config.epochs for config in names if config.run_id in finished}
    if epochs:
        console.print(f"{len(epochs)} of {len(names)} runs are finished already, in {runs}")
    with _bar(console) as progress:
        for data in sorted({config.data for config in names.keys() - epochs.keys()}):
            with suppress(CorrInitError):  # which the runs will meet again
                _load(data, progress)
        total = sum(config.epochs for config in names)
        task = progress.add_task("starting", total=total, completed=sum(epochs.values()))

        def show(config: RunConfig, metrics: Metrics) -> None:
            epoch = int(metrics["epoch"])
            diverged = not math.isfinite(metrics["train_loss"])
            epochs[config] = config.epochs if diverged else epoch
            score = _score(metrics)
            if epochs[config] == config.epochs:
                ending = f", diverged in epoch {epoch}" if diverged else ""
                console.print(f"{names[config]}{score}{ending}", soft_wrap=True)
            description = f"{names[config]}, epoch {epoch} of {config.epochs}{score}"
            progress.update(task, completed=sum(epochs.values()), description=description)

        try:
            return sweep(
                list(names),
                runs,
                jobs=jobs,
                on_epoch=show,
                start_another=start_another,
                observation=observation,
                known=known,
                needs=needs,
            )
        except KeyboardInterrupt:
            console.print(
                f"{len(finished_runs(names, runs, needs))} of {len(names)} runs are finished, in {runs}; "
                "the same command resumes the others",
                soft_wrap=True,
            )
            raise


def finished_runs(configs: Iterable[RunConfig], runs: Path, needs: Collection[str] = ()) -> list[RunRecord]:
    """The finished records among runs."""
    found = (finished_run(runs, config, needs=needs) for config in configs)
    return [record for record in found if record is not None]


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


def run_names(configs: Sequence[RunConfig]) -> dict[RunConfig, str]:
    """What to call each run: the settings in which they differ, the initialization and the seed."""
    flat = {config: settings(config) for config in configs}
    varying = [
        name
        for name in settings(RunConfig())
        if not name.startswith(("initialization.", "seed")) and len({s[name] for s in flat.values()}) > 1
    ]
    return {
        config: ", ".join(
            [
                *(f"{name} {values[name]}" for name in varying),
                label(config.initialization),
                f"seed {config.seed}",
            ]
        )
        for config, values in flat.items()
    }


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


def _score(metrics: Metrics) -> str:
    """How an epoch was scored, in words; nothing if it was not."""
    if "test_accuracy" in metrics:
        return f": test accuracy {100 * metrics['test_accuracy']:.2f} %"
    return f": test PSNR {metrics['test_psnr']:.2f} dB" if "test_psnr" in metrics else ""


def _first(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
