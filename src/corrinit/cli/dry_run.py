"""`corrinit compare --dry-run`: how many runs a comparison takes, and about how long; nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from corrinit.lab.comparison.rounds import Contest, panels_at
from corrinit.lab.comparison.tuning import tuning_runs
from corrinit.lab.document.numbers import count, time_in_words
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.runs.index import finished_runs
from corrinit.lab.training.duration import durations, total
from corrinit.lab.training.sweep import threads_per_run


def foretold(
    base: RunConfig,
    arms: Sequence[Initialization],
    rates: Sequence[float] | None,
    contest: Contest,
    *,
    runs: Path,
    jobs: int,
) -> str:
    """The runs of a comparison, in sentences.

    The time is that of the updates and of the images scored, from runs of the network that this machine has
    recorded in the folder, else from one update that is timed here. Starting a process and reading the data
    come on top.

    Args:
        base: what the runs share.
        arms: what is compared.
        rates: learning rates at which all arms run; None where the best one of each is looked for.
        contest: how many seeds there are.
        runs: the folder of all runs.
        jobs: runs at a time.
    """
    opening = list(opening_runs(base, arms, rates, contest))
    tuning = list(tuning_runs(base, arms)) if rates is None else []
    made = finished_runs(runs, [*tuning, *opening])
    ids = {record.run_id for record in made}
    left = [config for config in [*tuning, *opening] if config.run_id not in ids]
    lines = []
    if tuning:
        lines.append(f"{count(len(tuning), 'run')} choose the learning rate of each of {len(arms)} arms.")
    panels = 1 if rates is None else len(rates)
    at = "" if panels == 1 else f" at {panels} learning rates"
    then = "Then " if tuning else ""
    lines.append(
        f"{then}{count(len(opening), 'run')} compare {len(arms)} arms from "
        f"{count(contest.seeds, 'seed')} each{at}"
        f"{', and a placebo' if contest.placebo else ''}."
    )
    if rates is None:
        lines.append(
            "Arms that are best at another rate than the baseline's run at both: up to twice as many."
        )
    if contest.max_seeds > contest.seeds:
        more = (contest.max_seeds - contest.seeds) * len(arms) * panels
        lines.append(f"While answers are open, up to {count(more, 'more run')}.")
    if made:
        lines.append(
            f"{count(len(made), 'run')} of these {'is' if len(made) == 1 else 'are'} finished already."
        )
    if not left:
        return "\n".join([*lines, "Nothing is left to run."])
    seconds = durations(left, made, threads=threads_per_run(jobs))
    at_a_time = "one run" if jobs == 1 else f"{jobs} runs"
    lines.append(
        f"The {count(len(left), 'run')} that are certain take about "
        f"{time_in_words(total(seconds, jobs=jobs))} on this machine, {at_a_time} at a time."
    )
    return "\n".join(lines)


def opening_runs(
    base: RunConfig, arms: Sequence[Initialization], rates: Sequence[float] | None, contest: Contest
) -> tuple[RunConfig, ...]:
    """The runs that are made whatever comes out; where rates are looked for, as if all arms chose one."""
    panels = panels_at((base.lr,) if rates is None else rates, arms)
    return replace(contest, base=base.setting, panels=panels).opening()
