"""`corrinit report`: reports from recorded runs, without training and without torch."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from corrinit.errors import NoRunsError
from corrinit.lab.comparison.names import compared
from corrinit.lab.comparison.report import write_report
from corrinit.lab.paper.protocol import Protocol, ScaleName, data_sources
from corrinit.lab.paper.report import write_paper_report
from corrinit.lab.runs.table import Runs


def report(
    *folders: Path,
    paper: str | None = None,
    scale: ScaleName = "smoke",
    cifar10: str | None = None,
    cifar100: str | None = None,
    models: tuple[str, ...] = (),
    correlation: str = "default",
    resample: bool = False,
    target: float | None = None,
    output: Annotated[Path, Parameter(alias="-o")] = Path("report.html"),
    markdown: Path | None = None,
) -> None:
    """Write a report from recorded runs alone.

    How many seeds were planned is recorded with the runs of `corrinit compare`, and intervals and p-values
    obey it: they allow for seeds that were added until the answer was clear.

    Args:
        folders: Where the records are, at any depth.
        paper: Lay the runs beside this figure or table of the paper, or beside all. Without it, the report
            compares the initializations of every setting, as that of `corrinit compare` does.
        scale: Of the paper's protocol at which the runs were made: smoke, mini, cpu or paper.
        cifar10: Where CIFAR-10 came from, as in `corrinit reproduce`.
        cifar100: The same for CIFAR-100.
        models: Only these networks of the paper.
        correlation: R of the correlated rows, as in `corrinit reproduce`.
        resample: With --paper, of the runs for which every seed drew its own training images.
        target: Without --paper, accuracy to which the time is measured.
        output: The report, one HTML file.
        markdown: Write its text and tables to this file as well.
    """
    if not folders:
        raise NoRunsError("no folder of run records is named; write, for example, corrinit report runs")
    command = shlex.join(["corrinit", *sys.argv[1:]])
    runs = _read(folders)
    if paper is None:
        written = write_report(compared(runs), output, command=command, target=target, markdown=markdown)
    else:
        protocol = Protocol(
            scale, data_sources(cifar10=cifar10, cifar100=cifar100), models, correlation, resample
        )
        written = write_paper_report(paper, protocol, runs, output, command=command, markdown=markdown)
    sys.stdout.write(f"{written}\n")


def _read(folders: tuple[Path, ...]) -> Runs:
    for folder in folders:
        if not folder.is_dir():
            raise NoRunsError(f"there is no folder {folder}; name the folders of run records")
    runs, faults = Runs.read(folders)
    for fault in faults:
        sys.stderr.write(f"warning: {fault}\n")
    return runs
