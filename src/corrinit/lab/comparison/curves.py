"""Arms over training: which quantities are drawn, and how an arm looks in every figure."""

from __future__ import annotations

from collections.abc import Sequence

from corrinit._method_info import BUILT_IN
from corrinit.lab.comparison.groups import Arm, final_accuracy
from corrinit.lab.document import figures
from corrinit.lab.document.blocks import Figure
from corrinit.lab.document.figures import PALETTE, Dots, Series, Style
from corrinit.lab.experiment.arm import Initialization

CURVES = (
    ("test_accuracy", "Test accuracy", "accuracy", False),
    ("train_loss", "Training loss", "cross-entropy", True),
    ("sign_changes", "Gradient sign changes", "share of parameters", False),
    ("gradient_mean_abs", "Gradient magnitude", "mean absolute gradient", True),
    ("weight_correlation", "Correlation of the weights", "mean off-diagonal correlation", False),
)
"""Metric, title, label and logarithmic axis of each figure over training."""


def over_training(arms: Sequence[Arm], metric: str, title: str, axis: str, *, log: bool) -> Figure:
    """A metric by epoch, mean and deviation over the runs of each arm."""
    draw = figures.curves if len(arms) <= len(PALETTE) else figures.small_multiples
    series = [
        Series(style, arm.curve("epoch")[0], arm.curve(metric))
        for arm, style in zip(arms, styles(arms), strict=True)
    ]
    return draw(title, axis, series, log=log, caption="Mean over seeds; shading: ± 1 standard deviation.")


def at_the_end(arms: Sequence[Arm]) -> Figure:
    """The final accuracy of every run."""
    dots = [
        Dots(style, {seed: 100 * value for seed, value in arm.sample(final_accuracy).values.items()})
        for arm, style in zip(arms, styles(arms), strict=True)
    ]
    caption = "A dot per run, a line per seed, a bar at each mean."
    return figures.paired_dots("Final test accuracy by seed", "accuracy (%)", dots, caption=caption)


def styles(arms: Sequence[Arm]) -> list[Style]:
    """Colour by kind of taps, line by scale; a method has the same colour in every report."""
    colours: dict[tuple[object, ...], str] = {}
    found = []
    for arm in arms:
        chosen = arm.initialization
        kind = _kind(chosen)
        if kind not in colours:
            own = PALETTE[_place(chosen.method) % len(PALETTE)]
            free = [colour for colour in (own, *PALETTE) if colour not in colours.values()]
            colours[kind] = free[0] if free else own
        found.append(Style(arm.label, colours[kind], "--" if chosen.scale == "paper" else "-"))
    return found


def _kind(arm: Initialization) -> tuple[object, ...]:
    independent = arm.method == "kaiming_normal"
    return (arm.rules, arm.method, *(() if independent else (arm.correlation, arm.strength)))


def _place(method: str) -> int:
    return list(BUILT_IN).index(method) if method in BUILT_IN else len(BUILT_IN)
