"""The figures of reports, drawn from plain arrays and correlations.

Colours are those of Okabe & Ito (2008), told apart with every kind of colour vision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from corrinit import kernels
from corrinit._correlation import SpatialCorrelation, format_size
from corrinit.lab.document.blocks import STYLE, Figure, figure_svg, literal

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY = "#E69F00", "#56B4E9"
NEUTRAL = "#888888"


LINE = 0.075
"""Height of a line of text beside a drawing, as a share of the height of its axes."""

PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)


@dataclass(frozen=True)
class Style:
    """How an arm looks in every figure; `line` is `-` with full dots, or `--` with hollow ones."""

    name: str
    colour: str
    line: str


@dataclass(frozen=True, eq=False)
class Series:
    """One arm over training: `values` has shape (runs, epochs)."""

    style: Style
    epochs: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Dots:
    """The final values of one arm, by seed."""

    style: Style
    values: Mapping[int, float]


@dataclass(frozen=True)
class Range:
    """A difference from the baseline with its interval, and whether it is decided."""

    name: str
    mean: float
    low: float
    high: float
    decided: bool


@matplotlib.rc_context(STYLE)
def curves(
    title: str, label: str, series: Sequence[Series], *, log: bool = False, caption: str = ""
) -> Figure:
    """Mean over runs against epochs, shaded by ± 1 standard deviation.

    Args:
        title: of the figure.
        label: of the vertical axis.
        series: the arms.
        log: whether the vertical axis is logarithmic.
        caption: how to read it.
    """
    figure, axes = _canvas()
    for arm in series:
        _band(axes, arm, arm.style.colour)
    if log:
        axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel(literal(label))
    _integer_ticks(axes)
    _name_ends(axes, series)
    return Figure(title, figure_svg(figure), caption)


@matplotlib.rc_context(STYLE)
def small_multiples(
    title: str, label: str, series: Sequence[Series], *, log: bool = False, caption: str = ""
) -> Figure:
    """As `curves`, an arm per panel, each beside the mean of the first, which is dashed.

    For more arms than can be told apart in one panel.
    """
    reference, columns = series[0], 4
    rows = math.ceil((len(series) - 1) / columns)
    figure = Plot(figsize=(9.6, 0.6 + 1.7 * rows))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, arm in zip(grid, series[1:], strict=False):
        axes.plot(reference.epochs, reference.values.mean(axis=0), color=NEUTRAL, linestyle="--", linewidth=1)
        _band(axes, arm, BLUE)
        axes.set_title(literal(arm.style.name), fontsize=8)
        if log:
            axes.set_yscale("log")
        _integer_ticks(axes)
    for axes in grid[len(series) - 1 :]:
        axes.set_visible(False)
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel(literal(label), fontsize=9)
    return Figure(title, figure_svg(figure), f"Dashed: {reference.style.name}. {caption}".strip())


@matplotlib.rc_context(STYLE)
def paired_dots(title: str, label: str, arms: Sequence[Dots], *, caption: str = "") -> Figure:
    """Final values of every run, a row per arm; a line joins the runs of a seed, a bar marks the mean."""
    figure, axes = _rows([arm.style.name for arm in arms])
    for seed in sorted({seed for arm in arms for seed in arm.values}):
        points = [(arm.values[seed], y) for y, arm in enumerate(arms) if seed in arm.values]
        axes.plot(*zip(*points, strict=True), color=NEUTRAL, linewidth=0.8, alpha=0.6, zorder=1)
    for y, arm in enumerate(arms):
        colour, values = arm.style.colour, np.array(list(arm.values.values()))
        face = colour if arm.style.line == "-" else "none"
        axes.scatter(values, np.full(len(values), y), s=22, edgecolor=colour, facecolor=face, zorder=2)
        axes.vlines(values.mean(), y - 0.25, y + 0.25, color=colour, linewidth=2, zorder=3)
    axes.set_xlabel(literal(label))
    return Figure(title, figure_svg(figure), caption)


@matplotlib.rc_context(STYLE)
def intervals(title: str, label: str, ranges: Sequence[Range], *, caption: str = "") -> Figure:
    """Differences from the baseline with their intervals, a row per arm; coloured if decided."""
    figure, axes = _rows([each.name for each in ranges])
    axes.axvline(0, color=NEUTRAL, linewidth=0.8)
    for y, each in enumerate(ranges):
        colour = NEUTRAL if not each.decided else GREEN if each.mean > 0 else VERMILION
        if math.isfinite(each.low) and math.isfinite(each.high):
            axes.hlines(y, each.low, each.high, color=colour, linewidth=2)
        axes.plot(each.mean, y, "o", color=colour, markersize=5)
    axes.set_xlabel(literal(label))
    return Figure(title, figure_svg(figure), caption)


@matplotlib.rc_context(STYLE)
def heat_map(title: str, correlation: SpatialCorrelation, *, caption: str = "") -> Figure:
    """The matrix R: correlation between any two taps, numbered row by row."""
    figure, axes = _canvas()
    image = axes.pcolormesh(
        correlation.matrix, cmap="RdBu_r", vmin=-1, vmax=1, edgecolor="face", linewidth=0.3
    )
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.grid(visible=False)
    taps = np.arange(len(correlation.matrix))
    axes.set_xticks(taps + 0.5, [str(tap + 1) for tap in taps])
    axes.set_yticks(taps + 0.5, [str(tap + 1) for tap in taps])
    axes.set_xlabel(f"tap of the {format_size(correlation.kernel_size)} kernel")
    axes.set_ylabel("tap")
    figure.colorbar(image, ax=axes, label="correlation")
    return Figure(title, figure_svg(figure), caption)


@matplotlib.rc_context(STYLE)
def distance_profile(title: str, correlation: SpatialCorrelation, *, caption: str = "") -> Figure:
    """Mean correlation by city-block distance, beside the exponential kernel of the same mean."""
    figure, axes = _canvas()
    size = correlation.kernel_size
    axes.axhline(0, color=NEUTRAL, linewidth=0.8)
    if 0 < correlation.mean < 1:
        exponential = SpatialCorrelation(kernels.exponential(size, mean=correlation.mean), size)
        axes.plot(*_profile(exponential), color=NEUTRAL, linestyle="--", label="exponential of the same mean")
    axes.plot(*_profile(correlation), "o", color=VERMILION, label="R")
    axes.set_xlabel("city-block distance in taps")
    axes.set_ylabel("mean correlation")
    axes.set_ylim(top=1)
    _integer_ticks(axes)
    axes.legend()
    return Figure(title, figure_svg(figure), caption)


def _band(axes: Axes, arm: Series, colour: str) -> None:
    mean = arm.values.mean(axis=0)
    axes.plot(arm.epochs, mean, color=colour, linestyle=arm.style.line, label=literal(arm.style.name))
    if len(arm.values) > 1:
        sd = arm.values.std(axis=0, ddof=1)
        axes.fill_between(arm.epochs, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)


def _name_ends(axes: Axes, series: Sequence[Series]) -> None:
    """Write the name of each arm where its line ends, moved apart where the ends lie close."""
    axes.figure.canvas.draw_idle()
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = [float(to_axes.transform((arm.epochs[-1], arm.values.mean(axis=0)[-1]))[1]) for arm in series]
    order = sorted(range(len(series)), key=lambda i: ends[i])
    places: dict[int, float] = {}
    lowest = 0.0
    for i in order:
        places[i] = max(ends[i], lowest)
        lowest = places[i] + LINE
    if order and (beyond := places[order[-1]] - 1.0) > 0:  # a stack that reaches over the top moves down
        for i in order:
            places[i] -= beyond
    for i, arm in enumerate(series):
        axes.annotate(
            literal(arm.style.name),
            (1.02, places[i]),
            xycoords="axes fraction",
            color=arm.style.colour,
            fontsize=8,
            va="center",
            annotation_clip=False,
        )


def _rows(names: Sequence[str]) -> tuple[Plot, Axes]:
    """Axes with a named row for each arm, the first on top."""
    figure = Plot(figsize=(4.8, max(3.2, 0.8 + 0.28 * len(names))))
    axes = figure.subplots()
    axes.set_yticks(range(len(names)), [literal(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    return figure, axes


def _profile(correlation: SpatialCorrelation) -> tuple[list[float], list[float]]:
    points = correlation.profile("cityblock")
    return [point.distance for point in points], [point.correlation for point in points]


def _canvas() -> tuple[Plot, Axes]:
    figure = Plot()
    return figure, figure.subplots()


def _integer_ticks(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
