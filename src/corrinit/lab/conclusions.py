"""What a user came for, setting by setting: the table, what it says in plain words, and the line to paste."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from corrinit.lab import figures
from corrinit.lab.arms import Initialization
from corrinit.lab.comparison import BASELINE, Arm, Comparison, controls, label
from corrinit.lab.figures import Range
from corrinit.lab.findings import arm_table, findings
from corrinit.lab.gains import Difference, Estimate, default_target, epochs_saved, epochs_to, seconds_to
from corrinit.lab.line_of_code import line_of_code
from corrinit.lab.page import Figure, Section, Table
from corrinit.lab.records import RunRecord
from corrinit.lab.sequential import INDIFFERENCE
from corrinit.lab.settings import named_comparisons, named_tunings
from corrinit.lab.standing import Setting, Standing, standings, verdicts
from corrinit.lab.tuning import Tuning
from corrinit.lab.verdict import ALPHA, POINTS, count


def conclusions(
    records: Sequence[RunRecord], *, target: float | None = None, sequential: bool = False
) -> list[Section]:
    """A section for each setting among runs, and one for learning rates that were chosen.

    Args:
        records: the runs.
        target: accuracy to which the time is measured; by default one that the baseline reaches.
        sequential: whether seeds were added until the answer was clear.
    """
    sections = [
        _conclusion(comparison, name, target, sequential)
        for name, comparison in named_comparisons(records).items()
    ]
    tables = tuple(_rate_table(tuning, name) for name, tuning in named_tunings(records).items())
    return [*sections, Section("Learning rates", items=tables)] if tables else sections


def _conclusion(comparison: Comparison, name: str, target: float | None, sequential: bool) -> Section:
    if not comparison.arms:
        diverged = len(_diverged(comparison))
        fate = f"All {count(diverged, 'run')} diverged" if diverged else "No run is finished"
        return Section(name, (f"{fate}.",))
    if comparison.baseline is None:
        return Section(name, (f"No run of {label(BASELINE)} is finished, with which others are compared.",))
    values, curves = _accuracies(comparison), {arm.label: _curves(arm) for arm in comparison.arms}
    setting = Setting(
        arms={label(arm): arm for arm in _initializations(comparison)},
        baseline=label(BASELINE),
        metric="accuracy",
        unit=POINTS,
        lower_is_better=False,
        anytime=sequential,
        indifference=INDIFFERENCE,
    )
    rows = standings(values, setting)
    named = [row for row in rows if setting.arms[row.arm] not in _controls(setting)]
    reached = target or default_target(curves[setting.baseline].values())
    paragraphs = (
        _recommendation(rows, setting),
        *verdicts(named, values, curves, setting, target=reached).split("\n\n"),
        *(() if sequential else findings(comparison, name)),
    )
    time_table = _time_table(comparison, reached, setting.estimate)
    return Section(name, paragraphs, (arm_table(rows, sequential=sequential), time_table, _gain_figure(rows)))


def _recommendation(rows: Sequence[Standing], setting: Setting) -> str:
    """The most accurate arm among those that are better beyond doubt, and its line of code."""
    better = [
        row
        for row in rows
        if row.values is not None and row.difference is not None and row.difference.low > 0 and row.p <= ALPHA
    ]
    if not better:
        return (
            f"No initialization was found to be better than {setting.baseline}. Its line of code: "
            + line_of_code(setting.arms[setting.baseline])
        )
    best = max(better, key=lambda row: row.values.mean if row.values else 0.0)
    line = line_of_code(setting.arms[best.arm])
    return f"Most accurate of those that beat {setting.baseline}: {best.arm}. Its line of code: {line}"


def _controls(setting: Setting) -> set[Initialization]:
    """Arms whose verdict is part of that on another."""
    return {control for arm in setting.arms.values() for control in controls(arm)}


def _accuracies(comparison: Comparison) -> dict[str, dict[int, float]]:
    """Final accuracies by arm and seed, in order of seeds; NaN for runs that diverged."""
    found = {label(arm): dict[int, float]() for arm in _initializations(comparison)}
    for arm in comparison.arms:
        found[arm.label] |= arm.accuracies
    for record in _diverged(comparison):
        found[label(record.config.initialization.canonical)][record.config.seed] = math.nan
    return {arm: dict(sorted(by_seed.items())) for arm, by_seed in found.items()}


def _initializations(comparison: Comparison) -> list[Initialization]:
    finished = [arm.initialization for arm in comparison.arms]
    diverged = [record.config.initialization.canonical for record in _diverged(comparison)]
    return list(dict.fromkeys([*finished, *diverged]))


def _diverged(comparison: Comparison) -> list[RunRecord]:
    return [out.record for out in comparison.left_out if out.reason.startswith("diverged")]


def _time_table(comparison: Comparison, target: float, estimate: Difference) -> Table:
    assert comparison.baseline is not None
    reference = _curves(comparison.baseline)
    rows = []
    for arm in comparison.arms:
        curves = _curves(arm)
        epochs = [each for curve in curves.values() if (each := epochs_to(curve, target)) is not None]
        seconds = [
            each
            for seed, curve in curves.items()
            if (each := seconds_to(curve, _clock(arm.runs[seed]), target)) is not None
        ]
        saved = None
        if arm is not comparison.baseline:
            saved = epochs_saved(curves, reference, target, difference=estimate).difference
        rows.append(
            (
                arm.label,
                f"{len(epochs)} of {len(curves)}",
                f"{np.mean(epochs):.1f}" if epochs else "–",
                f"{np.mean(seconds):.0f}" if seconds else "–",
                "–" if saved is None else f"{saved.mean:+.1f}".replace("-", "−"),
                "–" if saved is None else _ends(saved),
            )
        )
    return Table(
        f"Time to {100 * target:g} % test accuracy",
        ("initialization", "reached by", "epochs", "seconds", "epochs saved", "95 % interval"),
        tuple(rows),
        f"Means over the runs that reach it; seconds are those of training alone. Epochs saved against "
        f"“{label(BASELINE)}” are paired by seed, over the seeds for which both reach it.",
    )


def _gain_figure(rows: Sequence[Standing]) -> Figure:
    return figures.intervals(
        "Gain over the baseline",
        "difference in accuracy (points)",
        [
            Range(row.arm, 100 * row.difference.mean, 100 * row.difference.low, 100 * row.difference.high)
            for row in rows
            if row.difference is not None
        ],
        caption=f"Mean difference from {label(BASELINE)} and its 95 % interval, not corrected for the number "
        "of arms.",
    )


def _curves(arm: Arm) -> dict[int, list[float]]:
    return {seed: run.curve("test_accuracy").tolist() for seed, run in sorted(arm.runs.items())}


def _clock(run: RunRecord) -> list[float]:
    return list(accumulate(epoch["seconds"] for epoch in run.metrics))


def _ends(estimate: Estimate) -> str:
    if not math.isfinite(estimate.high - estimate.low):
        return "n = 1" if estimate.n == 1 else "too few"
    return f"{estimate.low:+.1f} to {estimate.high:+.1f}".replace("-", "−")


def _rate_table(tuning: Tuning, name: str) -> Table:
    """Accuracy on held-out images by arm and learning rate."""
    rates = sorted({lr for by_lr in tuning.accuracies.values() for lr in by_lr})
    rows = []
    for arm, by_lr in tuning.accuracies.items():
        accuracies = [by_lr.get(lr, math.nan) for lr in rates]
        shown = ["–" if math.isnan(accuracy) else f"{100 * accuracy:.2f}" for accuracy in accuracies]
        rows.append((label(arm), *shown, f"{tuning.best[arm]:g}" if arm in tuning.best else "–"))
    return Table(
        f"{name}: accuracy (%) on held-out images, by learning rate",
        ("initialization", *(f"{lr:g}" for lr in rates), "chosen"),
        tuple(rows),
        "One run each, of a seed that is not compared, tested on a fifth of the training images, held "
        "out from training; a dash: the run diverged. A rate at the end of the grid may not be the best one.",
    )
