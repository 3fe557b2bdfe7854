"""`corrinit reproduce`: the paper's figures and tables, ours beside the paper's."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from corrinit.cli.progress import carry_out, require_success
from corrinit.cli.tally import run_names
from corrinit.errors import ConfigError, UnknownNameError
from corrinit.lab.comparison.groups import compare
from corrinit.lab.document.numbers import count, time_in_words
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.paper.agenda import agenda, bearing, undecided
from corrinit.lab.paper.claims import judge
from corrinit.lab.paper.experiments import CORRELATED
from corrinit.lab.paper.protocol import SCALES, Protocol, ScaleName, data_sources
from corrinit.lab.paper.report import write_paper_report
from corrinit.lab.paper.words import planned, watches_layers
from corrinit.lab.runs.design import designs
from corrinit.lab.runs.design import plan as note_design
from corrinit.lab.runs.index import finished_runs
from corrinit.lab.runs.observed import LAYERS
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.runs.table import Runs
from corrinit.lab.training.duration import durations, total
from corrinit.lab.training.sweep import threads_per_run

reproduce = App(
    name="reproduce",
    help="Repeat a figure or table of the paper, and lay the results beside it.\n\n"
    "Trains what is not recorded yet, then writes a report with the paper's numbers, ours, controls that "
    "the paper lacks, and a verdict on each of its claims. A stopped reproduction resumes.",
    help_epilogue="Example: corrinit reproduce table3 --scale smoke",
    help_format="plaintext",
)

ScaleOption = Annotated[
    ScaleName,
    Parameter(
        help="smoke: minutes, on digits; mini: 3,500 images, half the channels, half the epochs, 3 seeds; "
        "cpu: 10,000 images, half the epochs, 3 seeds; paper: everything."
    ),
]
Cifar10 = Annotated[
    str | None, Parameter(help="Where CIFAR-10 comes from: cifar10, parquet:DIR, or none to leave it out.")
]
Cifar100 = Annotated[str | None, Parameter(help="The same for CIFAR-100.")]
Models = Annotated[
    tuple[str, ...], Parameter(help="Only these networks of the paper, such as vgg8 or resnet10.")
]
Correlation = Annotated[
    str,
    Parameter(
        help="R where the paper takes that of its ResNet-10: default (the exponential kernel with the mean "
        "that the paper prints), a preset, or a correlation file. Table 4 keeps the R it names."
    ),
]
Resample = Annotated[
    bool,
    Parameter(help="Let every seed draw its own training images, where the scale trains on a part of them."),
]
Jobs = Annotated[int, Parameter(help="Runs at a time, each in its own process.")]
Budget = Annotated[
    str | None,
    Parameter(help="Start no run after that time, such as 2h or 90min; make those first that decide most."),
]
Output = Annotated[Path, Parameter(alias="-o", help="The report, one HTML file.")]
Markdown = Annotated[Path | None, Parameter(help="Write its text and tables to this file as well.")]
RunsFolder = Annotated[Path, Parameter(help="Folder of the run records.")]

NEXT = 5
"""Runs that the status names as the next ones."""


@reproduce.default
def carry_out_and_report(
    name: Annotated[
        str,
        Parameter(help="figure1, figure4 to figure6, table2 to table7, all, or words and its parts."),
    ],
    *,
    scale: ScaleOption = "smoke",
    cifar10: Cifar10 = None,
    cifar100: Cifar100 = None,
    models: Models = (),
    correlation: Correlation = "default",
    resample: Resample = False,
    budget: Budget = None,
    jobs: Jobs = 1,
    runs: RunsFolder = Path("runs"),
    output: Output = Path("reproduction.html"),
    markdown: Markdown = None,
) -> None:
    """Repeat a figure or table of the paper, and lay the results beside it.

    Finished runs are kept, also between tables that share them, and a stopped reproduction resumes.
    """
    seconds = None if budget is None else duration(budget)
    protocol = Protocol(
        scale, data_sources(cifar10=cifar10, cifar100=cifar100), models, correlation, resample
    )
    configs = protocol.runs(planned(name))
    if configs:
        note_design(runs, configs, seeds=SCALES[scale].seeds)
    needs = needs_of(name)
    made = None
    if configs and (seconds is not None or scale != "smoke"):  # which takes less time than to say how long
        plan = Plan(protocol, configs, runs, jobs, needs)
        made = plan.made
        sys.stderr.write(f"{plan.progress()}\n")
        configs = configs if seconds is None else plan.in_order
    end = float("inf") if seconds is None else time.monotonic() + seconds
    outcome = carry_out(
        configs,
        runs,
        jobs=jobs,
        observation=replace(SCALES[scale].observation, layers=bool(needs)),
        start_another=lambda: time.monotonic() < end,
        known=made,
        needs=needs,
    )
    if (left := len(configs) - len(outcome.records) - len(outcome.failures)) > 0:
        sys.stderr.write(f"the budget is spent; {count(left, 'run')} left: the same command goes on\n")
    command = shlex.join(["corrinit", *sys.argv[1:]])
    report = write_paper_report(
        name,
        protocol,
        Runs(outcome.records, designs([runs])),
        output,
        command=command,
        markdown=markdown,
    )
    sys.stdout.write(f"{report}\n")
    require_success(outcome)


@reproduce.command
def status(
    name: Annotated[str, Parameter(help="figure4 to figure6, table2 to table7, or all.")] = "all",
    *,
    scale: ScaleOption = "smoke",
    cifar10: Cifar10 = None,
    cifar100: Cifar100 = None,
    models: Models = (),
    correlation: Correlation = "default",
    resample: Resample = False,
    jobs: Jobs = 1,
    runs: RunsFolder = Path("runs"),
) -> None:
    """Say how far a reproduction is, how long the rest takes, and what comes next; nothing is trained."""
    sources = data_sources(cifar10=cifar10, cifar100=cifar100)
    protocol = Protocol(scale, sources, models, correlation, resample)
    configs = protocol.runs(planned(name))
    if not configs:
        raise UnknownNameError(f"no network is trained for {name} with these options: there is no status")
    plan = Plan(protocol, configs, runs, jobs, needs_of(name))
    sys.stdout.write("\n".join([plan.progress(), *plan.claims(), *plan.upcoming()]) + "\n")


class Plan:
    """What is made and what is left of the runs of a reproduction.

    Args:
        protocol: their protocol.
        configs: all of them.
        runs: the folder of their records.
        jobs: runs at a time.
        needs: endpoints without which a record does not count.
    """

    def __init__(
        self,
        protocol: Protocol,
        configs: Sequence[RunConfig],
        runs: Path,
        jobs: int,
        needs: Collection[str] = (),
    ) -> None:
        self.made: Sequence[RunRecord] = finished_runs(runs, configs, needs=needs)
        made = {record.run_id for record in self.made}
        self.jobs = jobs
        self.names = run_names(configs)
        left = [config for config in configs if config.run_id not in made]
        observation = SCALES[protocol.scale].observation
        threads = threads_per_run(jobs)
        self.seconds = durations(left, self.made, observation=observation, threads=threads)
        correlated = protocol.initialization(CORRELATED)
        self.bears_on = bearing(configs, correlated)
        self.undecided = undecided(judge(compare(Runs(self.made, designs([runs]))), correlated))
        self.left = agenda(left, self.seconds, self.bears_on, self.undecided)

    @property
    def in_order(self) -> list[RunConfig]:
        """All runs: those that are made, and then the others, those first that decide most."""
        return [record.config for record in self.made] + self.left

    def progress(self) -> str:
        """How many runs are made, and how long the others take."""
        planned = len(self.made) + len(self.left)
        rest = time_in_words(total(self.seconds, jobs=self.jobs))
        at_a_time = "one run" if self.jobs == 1 else f"{self.jobs} runs"
        told = f"; the others take about {rest}, {at_a_time} at a time" if self.left else ""
        return f"{len(self.made)} of {count(planned, 'run')} finished{told}"

    def claims(self) -> list[str]:
        """Which claims are undecided."""
        numbers = ", ".join(sorted(self.undecided))
        return [f"undecided claims: {numbers}" if numbers else "all claims are decided"]

    def upcoming(self) -> list[str]:
        """What comes next, and what it bears on."""
        return [
            f"next: {self.names[config]}, {time_in_words(self.seconds[config])}"
            + (f", for {', '.join(sorted(claims))}" if (claims := self._open(config)) else "")
            for config in self.left[:NEXT]
        ]

    def _open(self, config: RunConfig) -> frozenset[str]:
        return self.bears_on[config] & self.undecided


def needs_of(name: str) -> tuple[str, ...]:
    """What a record has to have to count for a figure or table, or an experiment beside them."""
    return (LAYERS,) if watches_layers(name) else ()


def duration(text: str) -> float:
    """Seconds of a time such as `2h`, `90min` or `1h30min`.

    Raises:
        ConfigError: if it is none.

    >>> duration("1h30min"), duration("45s")
    (5400.0, 45.0)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|min|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ConfigError(f"budget is {text!r}; it is a time such as 2h, 90min or 1h30min")
    return sum(float(number) * {"h": 3600, "min": 60, "s": 1}[unit] for number, unit in parts)
