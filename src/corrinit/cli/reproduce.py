"""`corrinit reproduce`: the paper's figures and tables, ours beside the paper's."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from corrinit.cli.progress import carry_out, require_success
from corrinit.lab.paper import experiments
from corrinit.lab.paper_report import write_paper_report
from corrinit.lab.protocol import Protocol, ScaleName, data_sources


def reproduce(
    name: str,
    *,
    scale: ScaleName = "smoke",
    cifar10: str | None = None,
    cifar100: str | None = None,
    models: tuple[str, ...] = (),
    correlation: str = "default",
    resample: bool = False,
    jobs: int = 1,
    runs: Path = Path("runs"),
    output: Annotated[Path, Parameter(alias="-o")] = Path("reproduction.html"),
    markdown: Path | None = None,
) -> None:
    """Repeat a figure or table of the paper, and lay the results beside it.

    Finished runs are kept, also between tables that share them, and a stopped reproduction is taken up where
    it stood.

    Args:
        name: figure1, figure4 to figure6, table2 to table7, or all.
        scale: smoke: minutes, on digits; cpu: 10,000 images, half the epochs, 3 seeds; paper: everything.
        cifar10: Where CIFAR-10 comes from: cifar10, parquet:DIR, or none to leave it out.
        cifar100: The same for CIFAR-100.
        models: Only these networks of the paper, such as vgg8 or resnet10.
        correlation: R where the paper takes that of its ResNet-10: default (the exponential kernel with the
            mean that the paper prints), a preset, or a correlation file. Table 4 keeps the R it names.
        resample: Let every seed draw its own training images, where the scale trains on a part of them.
        jobs: Runs at a time, each in its own process.
        runs: Folder of the run records.
        output: The report, one HTML file.
        markdown: Write its text and tables to this file as well.
    """
    protocol = Protocol(
        scale, data_sources(cifar10=cifar10, cifar100=cifar100), models, correlation, resample
    )
    outcome = carry_out(protocol.runs(experiments(name)), runs, jobs=jobs)
    command = shlex.join(["corrinit", *sys.argv[1:]])
    report = write_paper_report(name, protocol, outcome.records, output, command=command, markdown=markdown)
    sys.stdout.write(f"{report}\n")
    require_success(outcome)
