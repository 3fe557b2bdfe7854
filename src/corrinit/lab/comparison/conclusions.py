"""What a user came for, setting by setting: the answer, the gains of all arms, and all of it in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from corrinit.lab.comparison.card import best, card
from corrinit.lab.comparison.contrasts import Standing, standings
from corrinit.lab.comparison.curves import CURVES, over_training
from corrinit.lab.comparison.endpoints_beside import noise, other_endpoints
from corrinit.lab.comparison.findings import arm_table, findings, gain_figure
from corrinit.lab.comparison.groups import Comparison
from corrinit.lab.comparison.names import AT_BEST, Compared
from corrinit.lab.comparison.placebo import placebo, placebo_in_words
from corrinit.lab.comparison.time_to_accuracy import default_target, epochs_saved
from corrinit.lab.comparison.tuning import Tuning
from corrinit.lab.comparison.verdict import unstable, unstable_in_words, verdicts
from corrinit.lab.document.blocks import Figure, Section, Table
from corrinit.lab.document.numbers import count
from corrinit.lab.experiment.arm import BASELINE, controls, label
from corrinit.lab.runs.endpoints import TEST_ACCURACY, Endpoint
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.statistics.contrast import Contrast, Inference
from corrinit.lab.statistics.targets import epochs_to, seconds_to


def conclusions(
    found: Compared,
    *,
    target: float | None = None,
    command: str = "",
    endpoint: Endpoint = TEST_ACCURACY,
) -> list[Section]:
    """For each setting among runs its answer and the reasons for it; then learning rates that were chosen.

    Args:
        found: what is compared.
        target: accuracy to which the time is measured; by default one that the baseline reaches.
        command: what the user typed to get the runs.
        endpoint: the accuracy that decides.
    """
    sections = [
        section
        for name, comparison in found.comparisons.items()
        for section in _conclusion(comparison, name, target, command, endpoint)
    ]
    tables = tuple(_rate_table(tuning, name) for name, tuning in found.tunings.items())
    return [*sections, Section("Learning rates", items=tables, folded=True)] if tables else sections


def _conclusion(
    comparison: Comparison, name: str, target: float | None, command: str, endpoint: Endpoint
) -> list[Section]:
    if not comparison.arms:
        diverged = sum(map(len, comparison.diverged.values()))
        fate = f"All {count(diverged, 'run')} diverged" if diverged else "No run is finished"
        return [Section(name, (f"{fate}.",))]
    if comparison.find(BASELINE) is None:
        return [Section(name, (f"No run of {label(BASELINE)} is finished, with which others are compared.",))]
    rows = standings(comparison, endpoint)
    copy = placebo(comparison, endpoint)
    controlled = {control for arm in comparison.initializations for control in controls(arm)}
    reached = target or default_target(comparison)
    assert reached is not None
    paragraphs = (
        *_planned(comparison),
        *_instability(rows, name),
        *verdicts(comparison, rows, endpoint, target=reached, silent=controlled),
        *findings(comparison, name, rows, endpoint),
        *placebo_in_words(copy, endpoint),
    )
    leader = best(rows)
    saved = None if leader is None else epochs_saved(comparison, rows, reached).get(leader.arm)
    answer = card(comparison, rows, saved, command=command, placebo=copy, endpoint=endpoint)
    table = arm_table(rows, copy, endpoint)
    return [
        Section(name, (), (answer, *gain_figure(rows, copy, endpoint), *_learning_curves(comparison), table)),
        Section(
            f"{name}: in words",
            paragraphs,
            (_time_table(comparison, rows, reached), *other_endpoints(comparison), *noise(comparison)),
            folded=True,
        ),
    ]


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


def _learning_curves(comparison: Comparison) -> list[Figure]:
    metric, title, axis, log = CURVES[0]
    return [over_training(comparison.arms, metric, title, axis, log=log)]


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
