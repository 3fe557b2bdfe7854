"""`corrinit study`: plan a study before its first run, and check one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from corrinit.cli.check import checked, require_different
from corrinit.cli.compare import chosen_arms, learning_rates
from corrinit.cli.json_output import AsJson, print_json
from corrinit.errors import ConfigError, StudyError
from corrinit.lab.comparison.pilot import expectation, pilot_runs, quietest
from corrinit.lab.comparison.study import Study, correlations_of
from corrinit.lab.data.dataset import load
from corrinit.lab.document.numbers import count
from corrinit.lab.experiment.config import Precision, RunConfig, to_dict
from corrinit.lab.runs.endpoints import TEST_ACCURACY
from corrinit.lab.runs.endpoints import endpoint as declared
from corrinit.lab.runs.record import read_runs
from corrinit.lab.statistics.contrast import MARGIN


def plan_study(
    model: str = "small",
    /,
    *,
    question: str = "",
    data: str = "digits",
    methods: str = "kaiming_normal,correlated",
    controls: bool = True,
    lr: str = "0.1",
    seeds: int = 5,
    max_seeds: int | None = None,
    endpoint: str = TEST_ACCURACY.name,
    margin: float = MARGIN,
    epochs: int = 20,
    train_subset: int | None = None,
    resample: bool | None = None,
    width: float = 0.5,
    batch_size: int = 256,
    l2: float = 0.0,
    precision: Precision = "float32",
    placebo: bool = True,
    pilot: Path | None = None,
    output: Annotated[Path, Parameter(alias="-o")] = Path("study.toml"),
) -> None:
    """Plan a study: all that `corrinit compare --study FILE` is to do, before any run of it is made.

    The seeds are derived from the hash of everything else in the file, so that they are fresh, and the file
    cannot be edited without it being noticed. Pilot runs of the baseline alone tell what power to expect, and
    may choose the endpoint; they say nothing of which arm is better.

    Args:
        model: Your network, or a named one, as in corrinit compare.
        question: What the study is to answer, in words.
        data: Images, as in corrinit compare.
        methods: Names of methods, separated by commas.
        controls: Complete correlated methods to the 2×2 that tells correlation from scale.
        lr: Learning rates, separated by commas; they are fixed here and not chosen later.
        seeds: Number of seeds that every arm gets.
        max_seeds: More seeds for arms whose difference is still open, up to this number.
        endpoint: The accuracy that decides, such as test_accuracy or averaged_test_accuracy; or auto, for the
            one that varies least among pilot runs.
        margin: Differences up to this share count as none in practice.
        epochs: Passes over the training images.
        train_subset: Train on that many images only.
        resample: Let every seed draw its own of these images; by default as in corrinit compare.
        width: Factor on the numbers of channels, of named networks.
        batch_size: Images per update.
        l2: L2 regularization.
        precision: float32, or bfloat16 for automatic mixed precision.
        placebo: Run the baseline once more on seeds of its own.
        pilot: Folder of runs of the baseline in this setting, from which power is expected.
        output: The study, a TOML file.
    """
    if output.exists():
        raise StudyError(f"{output} exists; name another file, since a study is not to be overwritten")
    arms, rates = chosen_arms(methods, controls), learning_rates(lr)
    base = checked(
        RunConfig(
            data=data,
            train_subset=train_subset,
            model=model,
            width=width,
            epochs=epochs,
            batch_size=batch_size,
            l2=l2,
            lr=rates[0],
            precision=precision,
        ),
        resample=resample,
    )
    require_different(base, arms)
    records = [] if pilot is None else pilot_runs(read_runs(pilot)[0], base.setting, pilot)
    if endpoint == "auto" and not records:
        raise ConfigError("endpoint is 'auto', which pilot runs choose; name their folder with --pilot")
    decides = quietest(records) if endpoint == "auto" else _accuracy(endpoint)
    shared = {name: value for name, value in to_dict(base).items() if value is not None}
    for name in ("initialization", "seed", "lr"):
        del shared[name]
    most = seeds if max_seeds is None else max_seeds
    study = Study(
        question=question,
        arms=tuple(arm.spec for arm in arms),
        lr=rates,
        setting=shared,
        seeds=seeds,
        max_seeds=most,
        placebo=placebo,
        endpoint=decides,
        margin=margin,
        correlations=correlations_of(arms),
        images=load(base.data, train_subset=base.train_subset).provenance,
        expected=expectation(
            records, decides, seeds=most, fixed=most == seeds, tests=len(arms) - 1, margin=margin
        ),
    )
    _ = study.contest  # which refuses impossible numbers of seeds
    study.write(output)
    sys.stdout.write(
        f"{output}: study {study.digest[:12]}, {count(study.budget, 'run')} at most; "
        f"it ends {study.stopping}\n"
    )
    for name, value in study.expected.items():
        sys.stdout.write(f"{name.replace('_', ' ')}: {value}\n")


def check_study(file: Path, runs: Path | None = None, /, *, as_json: AsJson = False) -> None:
    """Say whether a study is intact, how many of its runs are there, and whether any was made outside of it.

    Args:
        file: The study.
        runs: Folder of run records.
        as_json: Print JSON instead.
    """
    study = Study.read(file)
    found: dict[str, Any] = {"study": study.digest, "intact": True}
    records = [] if runs is None else read_runs(runs)[0]
    outside = study.outside(records)
    if runs is not None:
        opening = {config.run_id for config in study.contest.opening()}
        own = {record.run_id for record in records if record.result.study == study.digest}
        found |= {
            "runs": len(own),
            "certain_runs": len(opening),
            "certain_runs_left": len(opening - own),
            "outside": [record.run_id for record in outside],
        }
    if as_json:
        print_json(found)
    else:
        sys.stdout.write(f"{file}: study {study.digest[:12]} is intact\n")
        if runs is not None:
            sys.stdout.write(
                f"{count(found['runs'], 'run')} of it in {runs}; {found['certain_runs_left']} of the "
                f"{found['certain_runs']} that are certain are left\n"
            )
    study.require_fresh(outside)


def _accuracy(name: str) -> str:
    known = declared(name)
    if not known.is_accuracy or known.beside is not None:
        raise ConfigError(f"endpoint is {name!r}; a study is decided by an accuracy, such as test_accuracy")
    return name
