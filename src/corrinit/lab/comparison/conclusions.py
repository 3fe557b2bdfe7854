"""What a user came for, setting by setting: the table, what it says in plain words, and the line to paste."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from corrinit.lab.comparison.contrasts import (
    ACCURACY,
    Standing,
    default_target,
    epochs_saved,
    standings,
)
from corrinit.lab.comparison.findings import arm_table, findings
from corrinit.lab.comparison.groups import Comparison
from corrinit.lab.comparison.names import AT_BEST, Compared
from corrinit.lab.comparison.tuning import Tuning
from corrinit.lab.comparison.verdict import divergence, unstable, unstable_in_words, verdicts
from corrinit.lab.document import figures
from corrinit.lab.document.figures import Range
from corrinit.lab.document.numbers import count
from corrinit.lab.document.page import Figure, Section, Table
from corrinit.lab.experiment.arm import BASELINE, controls, label
from corrinit.lab.experiment.snippet import line_of_code
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.statistics.contrast import Contrast, Inference
from corrinit.lab.statistics.targets import epochs_to, seconds_to


def conclusions(found: Compared, *, target: float | None = None) -> list[Section]:
    """A section for each setting among runs, and one for learning rates that were chosen.

    Args:
        found: what is compared.
        target: accuracy to which the time is measured; by default one that the baseline reaches.
    """
    sections = [_conclusion(comparison, name, target) for name, comparison in found.comparisons.items()]
    tables = tuple(_rate_table(tuning, name) for name, tuning in found.tunings.items())
    return [*sections, Section("Learning rates", items=tables)] if tables else sections


def _conclusion(comparison: Comparison, name: str, target: float | None) -> Section:
    if not comparison.arms:
        diverged = sum(map(len, comparison.diverged.values()))
        fate = f"All {count(diverged, 'run')} diverged" if diverged else "No run is finished"
        return Section(name, (f"{fate}.",))
    if comparison.find(BASELINE) is None:
        return Section(name, (f"No run of {label(BASELINE)} is finished, with which others are compared.",))
    rows = standings(comparison)
    controlled = {control for arm in comparison.initializations for control in controls(arm)}
    reached = target or default_target(comparison)
    assert reached is not None
    paragraphs = (
        *_planned(comparison),
        _recommendation(rows),
        *_instability(rows, name),
        *verdicts(comparison, rows, ACCURACY, target=reached, silent=controlled),
        *findings(comparison, name, rows),
    )
    tables = (arm_table(rows, inference=comparison.inference), _time_table(comparison, rows, reached))
    return Section(name, paragraphs, (*tables, *_gain_figure(rows)))


def _planned(comparison: Comparison) -> list[str]:
    """Why inference is not that of a fixed number of seeds."""
    if comparison.inference is not Inference.ANYTIME:
        return []
    return [
        f"Planned with {comparison.design}: intervals and p-values are those that hold whenever one looks or "
        "stops, and ask for more evidence than at a number of seeds that was fixed once."
    ]


def _instability(rows: Sequence[Standing], name: str) -> list[str]:
    found = unstable(rows)
    remedy = "choose a smaller one for each arm"
    if not name.endswith(AT_BEST):
        remedy = "choose the rate of each arm with --lr auto"
    return [unstable_in_words(found, remedy)] if found else []


def _recommendation(rows: Sequence[Standing]) -> str:
    """The most accurate arm among those that are better beyond doubt, and its line of code."""
    (baseline,) = (row for row in rows if row.gain is None)
    if baseline.sample.diverged:
        return (
            f"{divergence(baseline.name, baseline.sample.diverged, baseline.sample.runs)}: nothing can be "
            "tested against the runs that remain; compare at a smaller learning rate."
        )
    better = [row for row in rows if row.gain is not None and row.gain.direction > 0]
    if not better:
        return (
            f"No initialization was found to be better than {baseline.name}. Its line of code: "
            + line_of_code(baseline.arm)
        )
    best = max(better, key=lambda row: row.sample.summary.mean if row.sample.summary else 0.0)
    line = line_of_code(best.arm)
    return f"Most accurate of those that beat {baseline.name}: {best.name}. Its line of code: {line}"


def _time_table(comparison: Comparison, rows: Sequence[Standing], target: float) -> Table:
    saved = epochs_saved(comparison, rows, target)
    lines = []
    for arm in comparison.arms:
        curves = {seed: run.curve("test_accuracy").tolist() for seed, run in sorted(arm.runs.items())}
        epochs = [each for curve in curves.values() if (each := epochs_to(curve, target)) is not None]
        seconds = [
            each
            for seed, curve in curves.items()
            if (each := seconds_to(curve, _clock(arm.runs[seed]), target)) is not None
        ]
        runs = len(curves) + len(comparison.diverged.get(arm.initialization, ()))
        found = saved.get(arm.initialization)
        earlier = None if found is None or not found.contrast.n else found.contrast
        lines.append(
            (
                arm.label,
                f"{len(epochs)} of {runs}",
                f"{np.mean(epochs):.1f}" if epochs else "–",
                f"{np.mean(seconds):.0f}" if seconds else "–",
                "–" if earlier is None else f"{earlier.mean:+.1f}".replace("-", "−"),
                "–" if earlier is None else _ends(earlier),
            )
        )
    return Table(
        f"Time to {100 * target:g} % test accuracy",
        ("initialization", "reached by", "epochs", "seconds", "epochs saved", "95 % interval"),
        tuple(lines),
        f"Means over the runs that reach it; seconds are those of training alone. Epochs saved against "
        f"“{label(BASELINE)}” are paired by seed, over the seeds for which both reach it.",
    )


def _gain_figure(rows: Sequence[Standing]) -> list[Figure]:
    gains = [
        Range(
            row.name,
            100 * row.gain.mean,
            100 * max(row.gain.low, -1.0),
            100 * min(row.gain.high, 1.0),
            decided=row.gain.decided,
        )
        for row in rows
        if row.gain is not None and row.gain.fair and row.gain.n
    ]
    caption = (
        f"Mean difference from {label(BASELINE)} and its 95 % interval, not corrected for the number of "
        "arms; coloured if it is decided once corrected."
    )
    title, axis = "Gain over the baseline", "difference in accuracy (points)"
    return [figures.intervals(title, axis, gains, caption=caption)] if gains else []


def _clock(run: RunRecord) -> list[float]:
    return list(accumulate(epoch["seconds"] for epoch in run.metrics))


def _ends(estimate: Contrast) -> str:
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
