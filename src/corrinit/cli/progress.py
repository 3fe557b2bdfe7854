"""A sweep in the terminal: a bar with the time left, a line for each run that ends, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from corrinit.errors import CorrInitError
from corrinit.lab.comparison import label
from corrinit.lab.config import RunConfig
from corrinit.lab.records import Metrics, finished_run
from corrinit.lab.sweep import Sweep, sweep


def carry_out(configs: Sequence[RunConfig], runs: Path, *, jobs: int) -> Sweep:
    """Bring runs to their end, telling on the standard error stream how far they are.

    Args:
        configs: what to run.
        runs: the folder of all runs.
        jobs: runs at a time.

    Raises:
        KeyboardInterrupt: on Ctrl-C, after saying how to go on.
    """
    console = Console(stderr=True, highlight=False)
    epochs = {config: config.epochs for config in configs if finished_run(runs, config)}
    if epochs:
        console.print(f"{len(epochs)} of {len(configs)} runs are finished already, in {runs}")
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        total = sum(config.epochs for config in configs)
        task = progress.add_task("starting", total=total, completed=sum(epochs.values()))

        def show(config: RunConfig, metrics: Metrics) -> None:
            epochs[config] = int(metrics["epoch"])
            name, accuracy = _name(config), f"test accuracy {100 * metrics['test_accuracy']:.2f} %"
            if epochs[config] == config.epochs:
                console.print(f"{name}: {accuracy}")
            description = f"{name}, epoch {epochs[config]} of {config.epochs}: {accuracy}"
            progress.update(task, completed=sum(epochs.values()), description=description)

        try:
            return sweep(configs, runs, jobs=jobs, on_epoch=show)
        except KeyboardInterrupt:
            finished = sum(finished_run(runs, config) is not None for config in configs)
            console.print(
                f"{finished} of {len(configs)} runs are finished, in {runs}; "
                "the same command takes up the others where they stand"
            )
            raise


def require_success(outcome: Sweep) -> None:
    """Raise a `CorrInitError` if any run failed, with each reason once."""
    if not outcome.failures:
        return
    reasons: dict[str, list[RunConfig]] = {}
    for config, reason in outcome.failures:
        reasons.setdefault(reason, []).append(config)
    told = [f"{_named(configs)}: {reason}" for reason, configs in reasons.items()]
    total = len(outcome.failures) + len(outcome.records)
    raise CorrInitError(f"{len(outcome.failures)} of {total} runs failed: " + "; ".join(told))


def _named(configs: Sequence[RunConfig]) -> str:
    others = f" and {len(configs) - 1} more" if len(configs) > 1 else ""
    return _name(configs[0]) + others


def _name(config: RunConfig) -> str:
    return f"{label(config.initialization)}, seed {config.seed}"
