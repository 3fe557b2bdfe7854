"""`corrinit compare`: which initialization suits this network on these data, and is the difference real?"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from corrinit.cli.check import checked, require_different
from corrinit.cli.dry_run import foretold, opening_runs
from corrinit.cli.engine import EngineName, chosen_engine
from corrinit.cli.json_output import AsJson, print_json, section_record
from corrinit.cli.progress import carry_out, require_success
from corrinit.cli.tensorboard import TensorBoard
from corrinit.errors import ConfigError, StudyError
from corrinit.lab.comparison.card import stamp
from corrinit.lab.comparison.conclusions import conclusions
from corrinit.lab.comparison.contrasts import standings
from corrinit.lab.comparison.coverage import coverages
from corrinit.lab.comparison.names import Compared, compared
from corrinit.lab.comparison.placebo import placebo_seeds
from corrinit.lab.comparison.report import write_report
from corrinit.lab.comparison.rounds import Contest, panels_at, panels_at_best, with_controls
from corrinit.lab.comparison.study import Study, study_section, study_stamp
from corrinit.lab.comparison.tuning import tuning_runs, tunings
from corrinit.lab.data.dataset import load
from corrinit.lab.document.blocks import Section
from corrinit.lab.document.terminal import show
from corrinit.lab.experiment.arm import BASELINE, parse_initializations
from corrinit.lab.experiment.config import Initialization, Precision, RunConfig
from corrinit.lab.runs.design import designs, plan
from corrinit.lab.runs.record import read_runs
from corrinit.lab.runs.table import Runs
from corrinit.lab.training.engine import Engine, OnEpoch
from corrinit.lab.training.sweep import Sweep
from corrinit.methods import require_scale


def compare(
    model: str = "small",
    /,
    *,
    data: str = "digits",
    methods: str = "kaiming_normal,correlated",
    lr: str = "0.1",
    seeds: int = 5,
    max_seeds: int | None = None,
    epochs: int = 20,
    target: float | None = None,
    train_subset: int | None = None,
    resample: bool | None = None,
    width: float = 0.5,
    batch_size: int = 256,
    l2: float = 0.0,
    precision: Precision = "float32",
    controls: bool = True,
    placebo: bool = True,
    jobs: int = 2,
    engine: EngineName = "local",
    address: str | None = None,
    gpus_per_run: float = 0.0,
    runs: Path = Path("runs"),
    output: Annotated[Path, Parameter(alias="-o")] = Path("report.html"),
    study: Path | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    tensorboard: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Compare initializations of a network on your data, each from the same seeds.

    All arms of a seed see the same images in the same order and have the same classifier. Every arm is
    compared with kaiming_normal. A method is NAME[:OPTION=VALUE]...: correlated:strength=0.5,
    correlated:correlation=R.safetensors, xavier_normal:scale=he. Finished runs are kept, and a stopped
    comparison resumes. How many seeds were planned is kept as well: where seeds are
    added, by --max-seeds or by another --seeds, every later report too asks for more evidence.

    Args:
        model: Your network, MODULE:FACTORY or PATH.py:FACTORY, a function without arguments; or small, vgg8,
            vgg16, vgg19, resnet10, resnet18, resnet34.
        data: folder:DIR with a sub-folder of images per class, parquet:DIR, digits, cifar10 or cifar100.
        methods: Names of methods, separated by commas.
        lr: Learning rates, separated by commas; or auto, for the best one of each method on images held out
            from training.
        seeds: Number of seeds that every method gets, from 0.
        max_seeds: More seeds for methods whose difference is still open, up to this number.
        epochs: Passes over the training images.
        target: Accuracy to which the time is measured, such as 0.8; by default one that kaiming_normal
            reaches.
        train_subset: Train on that many images only.
        resample: Let every seed draw its own of these images, so that intervals cover their choice too; by
            default where at least as many stay unused.
        width: Factor on the numbers of channels, of the networks that are named above.
        batch_size: Images per update.
        l2: L2 regularization.
        precision: float32, or bfloat16 for automatic mixed precision.
        controls: Complete correlated methods to the 2×2 that tells correlation from scale.
        placebo: Run kaiming_normal once more on seeds of its own, to see how far apart two copies of the same
            thing come to lie.
        jobs: Runs at a time, each in its own process.
        engine: Where runs are made. local: here; ray: on a Ray cluster, all of whose nodes see --runs.
        address: Of the Ray cluster: HOST:PORT, ray://HOST:PORT or auto; by default that in RAY_ADDRESS, else
            one is started here with --jobs runs at a time.
        gpus_per_run: Part of a GPU that each run gets on a Ray cluster, such as 0.25.
        runs: Folder of the run records.
        output: The report, one HTML file.
        study: Carry out the study in this file (corrinit study plan), which says all but where the
            runs are made and kept; whatever else is given is refused.
        dry_run: Say how many runs that makes and about how long they take, and train nothing.
        tensorboard: Write the curves of the runs to this folder as well, for `tensorboard --logdir`.
        as_json: Print the summary as JSON instead of tables; progress goes to the other stream as ever.
    """
    if study is not None:
        _refuse_changes(locals())
        maker = chosen_engine(engine, jobs=jobs, address=address, gpus_per_run=gpus_per_run)
        _carry_out_study(study, jobs, maker, runs, output, dry_run, tensorboard, as_json)
        return
    if target is not None and not 0 < target < 1:
        raise ConfigError(f"target is {target:g}; it is an accuracy between 0 and 1, such as 0.8")
    maker = chosen_engine(engine, jobs=jobs, address=address, gpus_per_run=gpus_per_run)
    contest = Contest(
        seeds=seeds,
        max_seeds=seeds if max_seeds is None else max_seeds,
        placebo=placebo_seeds(seeds) if placebo else (),
    )
    arms = chosen_arms(methods, controls)
    rates = None if lr == "auto" else learning_rates(lr)
    base = checked(
        RunConfig(
            data=data,
            train_subset=train_subset,
            model=model,
            width=width,
            epochs=epochs,
            batch_size=batch_size,
            l2=l2,
            precision=precision,
        ),
        resample=resample,
    )
    if base.resample and resample is None:
        sys.stderr.write("every seed draws its own training images; --no-resample: one draw for all seeds\n")
    require_different(base, arms)
    on_epoch = None if tensorboard is None else TensorBoard(tensorboard).epoch
    if dry_run:
        sys.stdout.write(foretold(base, arms, rates, contest, runs=runs, jobs=jobs) + "\n")
        return
    tuned = Sweep((), ())
    if rates is None:
        later = sum(config.epochs for config in opening_runs(base, arms, rates, contest))
        tuned = carry_out(
            tuning_runs(base, arms), runs, jobs=jobs, engine=maker, later=later, on_epoch=on_epoch
        )
        require_success(tuned)
        panels = panels_at_best(tunings(tuned.records)[0].best, arms)
    else:
        panels = panels_at(rates, arms)
    contest = replace(contest, base=base.setting, panels=panels)
    outcome = _made(contest, runs, jobs, maker, on_epoch)
    if outcome.records:
        found = compared(Runs((*tuned.records, *outcome.records), designs([runs])))
        said = conclusions(found, target=target, command=_command())
        _tell(found, said, stamp(list(found.comparisons.values())), output, as_json)
    require_success(outcome)


def _carry_out_study(
    file: Path,
    jobs: int,
    maker: Engine | None,
    runs: Path,
    output: Path,
    dry_run: bool,
    tensorboard: Path | None,
    as_json: bool,
) -> None:
    """All that a study says, and nothing else."""
    study = Study.read(file)
    base = checked(study.base, resample=study.base.resample)
    study.require_unchanged(base, load(base.data, train_subset=base.train_subset).provenance)
    contest = study.contest
    if dry_run:
        told = foretold(base, study.initializations, study.lr, contest, runs=runs, jobs=jobs)
        sys.stdout.write(f"{told}\n")
        return
    study.require_fresh(read_runs(runs)[0])
    on_epoch = None if tensorboard is None else TensorBoard(tensorboard).epoch
    outcome = _made(contest, runs, jobs, maker, on_epoch, study=study.digest)
    if outcome.records:
        found = compared(Runs(outcome.records, designs([runs])))
        decides = study.declared
        answers = {name: standings(each, decides) for name, each in found.comparisons.items()}
        said = [study_section(study, answers), *conclusions(found, endpoint=decides)]
        _tell(found, said, study_stamp(study), output, as_json)
    require_success(outcome)


def _made(
    contest: Contest,
    runs: Path,
    jobs: int,
    engine: Engine | None,
    on_epoch: OnEpoch | None,
    *,
    study: str | None = None,
) -> Sweep:
    """The runs of a contest, round by round."""
    plan(
        runs,
        contest.opening(),
        seeds=contest.seeds,
        max_seeds=contest.max_seeds,
        placebo=contest.placebo,
        study=study,
    )
    carry = partial(carry_out, jobs=jobs, engine=engine, on_epoch=on_epoch, study=study)
    outcome = carry(contest.opening(), runs)
    while not outcome.failures and (wanted := contest.following(outcome.records)):
        more = carry(wanted, runs)
        outcome = Sweep((*outcome.records, *more.records), more.failures)
    return outcome


def _tell(found: Compared, said: list[Section], first_line: str, output: Path, as_json: bool) -> None:
    """Write the report, and print what is said."""
    report = write_report(found, output, command=_command(), answers=said, first_line=first_line)
    covered = coverages(found.runs)
    if as_json:
        sections = [section_record(section) for section in said]
        print_json({"stamp": first_line, "coverage": covered, "sections": sections, "report": report})
    else:
        sys.stdout.write("\n".join([first_line, *covered]) + "\n\n")
        show(said)
        sys.stdout.write(f"{report}\n")


def _command() -> str:
    return shlex.join(["corrinit", *sys.argv[1:]])


OF_A_STUDY = (
    *("study", "jobs", "engine", "address", "gpus_per_run", "runs"),
    *("output", "dry_run", "tensorboard", "as_json"),
)
"""Options that change nothing of what a study says."""


def _refuse_changes(given: Mapping[str, object]) -> None:
    """Refuse every option beside a study that it decides itself, given at its default value or not."""
    words = {word.partition("=")[0].removeprefix("--").removeprefix("no-") for word in sys.argv[1:]}
    for name, parameter in signature(compare).parameters.items():
        named = name.replace("_", "-")
        if name not in OF_A_STUDY and (given[name] != parameter.default or named in words):
            what = "a model" if name == "model" else f"--{named}"
            raise StudyError(
                f"{what} is given beside --study, which says it; leave it out, or plan another study"
            )


def chosen_arms(methods: str, controls: bool) -> tuple[Initialization, ...]:
    """The arms that an option names, the baseline first."""
    named = parse_initializations(methods)
    for arm in named:
        for method, scale in arm.parts:
            require_scale(method, scale)
        arm.load_correlation()
    arms = with_controls(named) if controls else tuple(dict.fromkeys([BASELINE, *named]))
    if len(arms) < 2:
        raise ConfigError(f"methods is {methods!r}; name at least one beside kaiming_normal")
    return arms


def learning_rates(text: str) -> tuple[float, ...]:
    """Learning rates separated by commas."""
    try:
        return tuple(float(each) for each in text.split(","))
    except ValueError as error:
        raise ConfigError(
            f"lr is {text!r}; it is numbers separated by commas, such as 0.1,0.005, or auto"
        ) from error
