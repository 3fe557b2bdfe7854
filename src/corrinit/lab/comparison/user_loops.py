"""Fair comparison of initializations in a training loop of your own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corrinit._tables import Table, Tabular
from corrinit.errors import (
    ConfigError,
    ConflictError,
    NeedsImagesError,
    TrainingFunctionError,
    missing_library,
)

MOST_SEEDS = 100_000
"""More of them no comparison gets through."""

if TYPE_CHECKING:
    from torch import Tensor, nn

    from corrinit.lab.comparison.contrasts import Standing
    from corrinit.lab.experiment.arm import Initialization
    from corrinit.lab.training.user_loop import Metrics


@dataclass(frozen=True)
class FinishedRun:
    """One run, as `progress` is told of it.

    Args:
        method: the method, as it was given.
        seed: of the run.
        metrics: values after each epoch by metric; the last is the final one.
        kept: whether it was found in the folder instead of made.
    """

    method: str
    seed: int
    metrics: Metrics
    kept: bool


@dataclass(frozen=True, eq=False)
class MethodComparison(Tabular):
    """What came out; `print` it for the table and the verdict.

    Args:
        metric: what was compared.
        baseline: the method that the others are compared with.
        values: final values by method and seed; NaN or infinite where the run diverged.
        table: a row for each method.
        text: the table as plain text.
        verdict: what is known of each method, in words.
    """

    metric: str
    baseline: str
    values: Mapping[str, Mapping[int, float]]
    table: tuple[Standing, ...]
    text: str
    verdict: str

    def __str__(self) -> str:
        return f"{self.text}\n\n{self.verdict}"

    def _table(self) -> Table:
        names = ("method", "n", "mean", "sd", "difference", "low", "high", "p", "diverged")
        return Table(names, tuple(map(_values, self.table)), tuple(self.verdict.split("\n\n")))


def _values(row: Standing) -> tuple[object, ...]:
    """A row of a comparison as numbers: what is not known is None."""
    own, gain = row.sample.summary, row.gain
    return (
        row.name,
        *((0, None, None) if own is None else (own.n, own.mean, own.sd)),
        *((gain.mean, gain.low, gain.high) if gain is not None and gain.n else (None, None, None)),
        None if gain is None or math.isnan(gain.p_adjusted) else gain.p_adjusted,
        len(row.sample.diverged),
    )


def compare(
    train_fn: Callable[[nn.Module, int], Any],
    methods: Sequence[str],
    seeds: int | Sequence[int],
    *,
    model: Callable[[], nn.Module],
    baseline: str | None = None,
    metric: str | None = None,
    higher_is_better: bool = True,
    images: Tensor | None = None,
    max_seeds: int | None = None,
    indifference: float = 0.005,
    folder: str | PathLike[str] | None = None,
    progress: Callable[[FinishedRun], object] | None = None,
) -> MethodComparison:
    """Compare initialization methods in your own training loop, paired by seed.

    Every method gets the same seeds. For one seed, all start from the same model, the same draws and the same
    global random states of Python, numpy and torch (which the workers of a `DataLoader` follow), so that they
    differ in the initialization alone. These states, and torch's global switches (precision, determinism,
    threads, gradients), are as before after each run. What else is made outside of `train_fn` and `model`
    and changes, such as a generator or persistent workers, is yours to set by the seed. Runs are made in this
    process one by one, all methods of a seed before the next seed. Needs `pip install "corrinit[lab]"`.

    Without `max_seeds`, intervals are Student's and p-values those of the paired t test. With it, both hold
    whenever one stops (`corrinit.lab.statistics.anytime`). p-values are Holm-adjusted over the methods. A
    folder records how many seeds were planned: once a model was compared there with other numbers of
    seeds, or with `max_seeds`, later comparisons of it allow for that, too.

    Args:
        train_fn: trains the model in place, given the seed. Returns the final value of a metric, or a mapping
            of metrics to final values or to sequences with one value per epoch. NaN or infinite: diverged.
        methods: names, or specifications such as `"correlated:strength=0.5"`; `corrinit.methods.METHODS` has
            the names.
        seeds: their number, from 0, or the seeds themselves.
        model: a function without arguments that builds the model.
        baseline: one of the methods; by default `kaiming_normal` if it is among them, else the first.
        metric: the one to compare; by default the only one, or `"accuracy"`.
        higher_is_better: False for a loss or an error.
        images: shape (N, C, H, W), for methods that look at data.
        max_seeds: go on after `seeds` up to this number, with those methods alone whose difference from the
            baseline is still open.
        indifference: differences up to this size count as none in practice, and need no more seeds.
        folder: keep finished runs here as JSON, and do not repeat those that are there. It is for one
            `train_fn` with its data: take another folder when they change.
        progress: called after each run.

    Raises:
        ConfigError: for a method that does not exist, methods that leave a model the same, a metric that is
            not returned, or impossible numbers; if a run trains, or starts from, what belongs to the model of
            an earlier run.
        MissingLibraryError: if the extra `lab` is not installed.

    Whatever `train_fn` raises is passed on; with a folder, the runs before it are kept.
    """
    try:
        from corrinit.lab.comparison.contrasts import Outcome, standings
        from corrinit.lab.comparison.groups import Arm, Comparison
        from corrinit.lab.comparison.rounds import Contest
        from corrinit.lab.comparison.verdict import text_table, unstable, unstable_in_words, verdicts
        from corrinit.lab.document.numbers import unit_of
        from corrinit.lab.experiment.config import RunConfig
        from corrinit.lab.runs.design import Design, designs, plan
        from corrinit.lab.runs.record import RunRecord
        from corrinit.lab.training.user_loop import UserLoop, choose_metric, require_different_weights
    except ModuleNotFoundError as error:
        raise missing_library("corrinit.compare", error) from error
    _check_arguments(train_fn, methods, model, images)
    arms = _arms([*methods, *([] if baseline is None else [baseline])], images)
    reference = _default_baseline(arms) if baseline is None else baseline
    first, further = _seeds(seeds, max_seeds)
    loop = UserLoop(train_fn, model, images, None if folder is None else Path(folder))
    require_different_weights(
        (name, lambda arm=arm: loop.initialized(arm, min(first))) for name, arm in arms.items()
    )
    setting = loop.setting(min(first))
    names = {arm: name for name, arm in arms.items()}
    contest = Contest(
        base=setting,
        panels=(dict.fromkeys(names, setting.lr),),
        seeds=len(first),
        max_seeds=len(first) + len(further),
        numbers=(*first, *further),
        baseline=arms[reference],
    )
    design = Design(frozenset({len(first)}), sequential=max_seeds is not None)
    if loop.folder is not None:
        plan(loop.folder, contest.opening(), seeds=len(first), max_seeds=max_seeds)
        design |= designs([loop.folder]).get(setting, design)
    records: list[RunRecord] = []
    key = metric

    def carry_out(configs: Iterable[RunConfig]) -> None:
        nonlocal key
        for config in configs:
            record, kept = loop.run(config)
            metrics, name = record.told, names[record.arm]
            found = choose_metric(metrics, key)
            if found != key and records:
                where = "kept in the folder" if kept else "returned by train_fn"
                raise TrainingFunctionError(
                    f"the metrics {', '.join(metrics)}, {where} for {name} and seed {config.seed}, lack "
                    f"{key!r}, which the runs before have; every run has the same metrics"
                )
            key = found
            records.append(record)
            if progress is not None:
                progress(FinishedRun(name, config.seed, metrics, kept))

    carry_out(contest.opening())
    assert key is not None  # there is at least one seed
    metric_told = key
    curves = {record.run_id: record.told[key] for record in records}
    final = [curve[-1] for curve in curves.values()]
    outcome = Outcome(
        metric or key,
        unit_of(metric or key, final),
        read=lambda record: record.told[metric_told][-1],
        curve=lambda record: curve if len(curve := record.told[metric_told]) > 1 else None,
        higher_is_better=higher_is_better,
        margin=indifference,
    )
    contest = replace(contest, outcome=outcome)
    while further and (wanted := contest.following(records)):
        carry_out(wanted)
    by_arm = {arm: {record.seed: record for record in records if record.arm == arm} for arm in names}
    comparison = Comparison(
        setting,
        tuple(Arm(arm, runs) for arm, runs in by_arm.items()),
        design=design,
        baseline=arms[reference],
        names=names,
    )
    rows = standings(comparison, outcome)
    verdict = "\n\n".join(verdicts(comparison, rows, outcome))
    if outcome.is_accuracy and (found := unstable(rows)):
        verdict = f"{unstable_in_words(found, 'try a smaller rate')}\n\n{verdict}"
    return MethodComparison(
        metric=outcome.name,
        baseline=reference,
        values={
            names[arm]: {seed: record.told[key][-1] for seed, record in runs.items()}
            for arm, runs in by_arm.items()
        },
        table=rows,
        text=text_table(rows, outcome, inference=comparison.inference),
        verdict=verdict,
    )


def _check_arguments(train_fn: object, methods: object, model: object, images: object) -> None:
    """Refuse what would fail, or mean something else, only later."""
    from torch import Tensor, nn

    if not callable(train_fn) or isinstance(train_fn, nn.Module):
        raise ConfigError(f"train_fn is {_shown(train_fn)}; it is a function of a model and a seed")
    if isinstance(methods, str) or not isinstance(methods, Iterable):
        raise ConfigError(
            f"methods is {_shown(methods)}; it is a list of names: ['kaiming_normal', 'correlated']"
        )
    if isinstance(model, nn.Module) or not callable(model):
        raise ConfigError(
            f"model is {_shown(model)}; it is a function that builds one, such as lambda: Net(), as every "
            "run needs one of its own"
        )
    if images is not None and not (isinstance(images, Tensor) and images.dim() == 4):
        raise NeedsImagesError(f"images is {_shown(images)}; it is a tensor of shape (N, C, H, W)")


def _shown(value: object) -> str:
    """A value as an error shows it: plain ones as they are, others by their type."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)[:80]
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) else "")


def _arms(names: Sequence[str], images: Tensor | None) -> dict[str, Initialization]:
    from corrinit.lab.experiment.arm import parse_initialization
    from corrinit.methods import needs_images

    arms: dict[str, Initialization] = {}
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"methods holds {_shown(name)}; it is a list of names")
    for name in dict.fromkeys(names):
        initialization = parse_initialization(name)
        if images is None and any(needs_images(*part) for part in initialization.parts):
            raise NeedsImagesError(
                f"{name!r} looks at training images; give a batch of them as images=(N, C, H, W)"
            )
        twin = next((known for known, arm in arms.items() if arm.canonical == initialization.canonical), None)
        if twin is not None:
            raise ConflictError(f"{twin!r} and {name!r} are the same initialization; leave one of them out")
        arms[name] = initialization
    if len(arms) < 2:
        raise ConfigError(f"methods are {list(arms)}; a comparison needs at least two")
    return arms


def _default_baseline(arms: Mapping[str, Initialization]) -> str:
    from corrinit.lab.experiment.arm import BASELINE

    return next((name for name, arm in arms.items() if arm.canonical == BASELINE), next(iter(arms)))


def _seeds(seeds: int | Sequence[int], max_seeds: int | None) -> tuple[Sequence[int], Sequence[int]]:
    """The seeds that every method gets, and those that may follow."""
    if max_seeds is not None and not _is_count(max_seeds):
        raise ConfigError(
            f"max_seeds is {_shown(max_seeds)}; it is a number of seeds, at most {MOST_SEEDS:,}"
        )
    if _is_count(seeds):
        first: Sequence[int] = range(int(seeds))  # pyright: ignore[reportArgumentType]
    elif isinstance(seeds, Iterable) and all(_is_whole(each) for each in seeds):
        first = tuple(dict.fromkeys(map(int, seeds)))
    else:
        raise ConfigError(
            f"seeds is {_shown(seeds)}; it is a number of seeds, at most {MOST_SEEDS:,}, or a list of them"
        )
    if not first or min(first) < 0 or max(first) >= 2**63:
        raise ConfigError(f"seeds is {seeds!r}; it is a number of seeds, or seeds from 0 upwards")
    if max_seeds is None:
        return first, ()
    if max_seeds < len(first):
        raise ConfigError(f"max_seeds is {max_seeds}; it is at least the number of seeds, {len(first)}")
    following = max(first) + 1
    return first, range(following, following + max_seeds - len(first))


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return _is_whole(value) and value <= MOST_SEEDS  # pyright: ignore[reportOperatorIssue]
