"""`corrinit demo`: does correlated initialization help here, and is it the correlation or the scale?"""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from corrinit.cli.check import checked, require_different
from corrinit.cli.progress import carry_out, require_success
from corrinit.errors import ConfigError
from corrinit.lab.comparison.conclusions import conclusions
from corrinit.lab.comparison.names import compared
from corrinit.lab.comparison.report import write_report
from corrinit.lab.comparison.signal import signal_section, signals
from corrinit.lab.document.terminal import show
from corrinit.lab.experiment.arm import DEMO
from corrinit.lab.experiment.config import Precision, RunConfig
from corrinit.lab.networks.catalog import PLAIN
from corrinit.lab.runs.design import designs, plan
from corrinit.lab.runs.table import Runs
from corrinit.lab.training.engine import check_jobs


def demo(
    *,
    data: str = "digits",
    model: str = "plain10-gelu",
    epochs: int = 2,
    seeds: int = 5,
    train_subset: int | None = None,
    resample: bool = False,
    width: float = 0.5,
    batch_size: int = 64,
    lr: float = 0.01,
    l2: float = 0.0,
    precision: Precision = "float32",
    jobs: int = 2,
    runs: Path = Path("runs"),
    output: Annotated[Path, Parameter(alias="-o")] = Path("report.html"),
) -> None:
    """Train a network from five initializations, each from several seeds, and write a report.

    Four of them cross independent and correlated taps with He's scale and the smaller one of the correlated
    method, so that what correlation does is told from what the scale does; the fifth is the default recipe.
    Runs of one seed are paired: same draws, same order of images. Finished runs are kept, and a stopped demo
    resumes. Before that, it is shown what each initialization does to the signal in the network.

    Args:
        data: digits, cifar10, cifar100, parquet:DIR or folder:DIR.
        model: plain10-gelu, plain10 or plain20, which have no normalization; small, vgg8, vgg16, vgg19,
            resnet10, resnet18 or resnet34; or MODULE:FACTORY, PATH.py:FACTORY.
        epochs: Passes over the training images.
        seeds: Number of seeds, from 0.
        train_subset: Train on that many images only.
        resample: Let every seed draw its own of these images, so that intervals cover their choice too.
        width: Factor on the numbers of channels.
        batch_size: Images per update.
        lr: Learning rate.
        l2: L2 regularization.
        precision: float32, or bfloat16 for automatic mixed precision.
        jobs: Runs at a time, each in its own process.
        runs: Folder of the run records.
        output: The report, one HTML file.
    """
    check_jobs(jobs)
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}; a comparison needs at least 1, and an interval at least 2")
    base = checked(
        RunConfig(
            data=data,
            train_subset=train_subset,
            model=model,
            width=width,
            batch_norm=model not in PLAIN,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            l2=l2,
            precision=precision,
        ),
        resample=resample,
    )
    configs = [replace(base, initialization=arm, seed=seed) for seed in range(seeds) for arm in DEMO]
    require_different(base, DEMO)
    before = signal_section(signals(base, DEMO), model)
    show([before])
    plan(runs, configs, seeds=seeds)
    outcome = carry_out(configs, runs, jobs=jobs)
    if outcome.records:
        command = shlex.join(["corrinit", *sys.argv[1:]])
        found = compared(Runs(outcome.records, designs([runs])))
        said = conclusions(found, command=command)
        report = write_report(found, output, command=command, answers=[*said, before])
        show([section for section in said if not section.folded])
        sys.stdout.write(f"{report}\n")
    require_success(outcome)
