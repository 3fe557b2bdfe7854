"""The drawings of the theory page; each takes a result and returns a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure as Plot
from numpy.typing import ArrayLike

from corrinit.lab.document.blocks import STYLE
from corrinit.lab.document.figures import BLUE, GREEN, NEUTRAL, ORANGE, PURPLE, VERMILION
from corrinit.lab.theory import few_samples as reach
from corrinit.lab.theory import layers as signal
from corrinit.lab.theory import many_samples as descent
from corrinit.theory import Samples, descend
from corrinit.theory.samples import Array

WIDE = (9.6, 3.4)
INDEPENDENT, CORRELATED = VERMILION, BLUE


@matplotlib.rc_context(STYLE)
def reach_figure(result: reach.Reach, simulated: Mapping[str, Array]) -> Plot:
    """Figure 2: one sample and two weights; the expected distance and error against the number of samples."""
    figure = Plot(figsize=WIDE)
    plane, distance, unseen = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
    _one_sample(plane)
    pairs = {"independent": INDEPENDENT, "correlated": CORRELATED}
    for short, colour in pairs.items():
        name = f"{short}, He scale"
        distance.plot(
            reach.SIZES, result.distance[name] + result.optimum, color=colour, label=f"{short} start"
        )
        means, errors = simulated[name]
        distance.errorbar(
            reach.SIMULATED_SIZES, means, 2 * errors, fmt="o", markersize=4, color=colour, linewidth=1
        )
        unseen.plot(reach.SIZES, result.unseen[name] + result.optimum_unseen, color=colour)
    for axes, floor in ((distance, result.optimum), (unseen, result.optimum_unseen)):
        axes.plot(reach.SIZES, floor, color=NEUTRAL, linestyle="--", label="from 0, were it not dead")
        axes.set(xlabel="training samples n (9 weights)", ylim=(0, None), xticks=reach.SIZES)
    distance.set_title("E‖w(∞) − w*‖²: lines theory, dots runs")
    unseen.set_title("Squared error on unseen patches")
    distance.legend()
    return figure


def _one_sample(axes: Axes) -> None:
    """Descent along the direction of the only sample, from two starts of equal length."""
    sample, optimum = np.array([1.0, 0.75]), np.array([0.95, 0.8])
    samples = Samples.noiseless(sample[None], optimum)
    starts = np.array([[0.28, 0.40], [0.45, -0.2]])
    path = descend(samples, starts, 0.08, 200).weights[:, 0]
    across = np.array([-sample[1], sample[0]])
    line = optimum + np.outer([-0.78, 0.42], across)
    axes.plot(*line.T, color=NEUTRAL, linewidth=1, zorder=1)
    _label(axes, line[0], "w·X = y", NEUTRAL, shift=(0.03, 0.04))
    _arrow(axes, (0, 0), sample, GREEN)
    _label(axes, sample / 2, "sample X", GREEN, shift=(-0.08, -0.13))
    for i, (colour, name) in enumerate(((CORRELATED, "correlated"), (INDEPENDENT, "independent"))):
        axes.plot(*path[:, i].T, color=colour, marker=".", markersize=4, markevery=2)
        axes.plot(*path[-1, i], "o", color=colour, markersize=6)
        above = i == 0
        _label(axes, path[0, i], f"w(0) {name}", colour, shift=(-0.28, 0.18 if above else -0.13))
        _label(axes, path[-1, i], "w(∞)", colour, shift=(-0.08, 0.1) if above else (0.07, 0.0))
    axes.plot(*optimum, "*", color="black", markersize=12, zorder=3)
    _label(axes, optimum, "w*", "black", shift=(0.07, 0.04))
    axes.set(xlabel="$w_0$", ylabel="$w_1$", aspect="equal", xlim=(-0.1, 1.75), ylim=(-0.4, 1.35))
    axes.set_title("One sample: only its direction moves")


@matplotlib.rc_context(STYLE)
def two_weights_figure(result: descent.TwoWeights) -> Plot:
    """Figure 3: two samples in tap coordinates, in rotated coordinates, and the gap along each direction."""
    figure = Plot(figsize=WIDE)
    taps, rotated, gaps = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    path = result.descent.weights[:, 0]
    d = result.distances[1]
    samples = np.array([[1.0, d], [1.0, -d]])
    for axes, turn in ((taps, result.rotation), (rotated, np.eye(2))):
        for name, sample in zip(("X′", "X″"), samples @ turn.T, strict=True):
            _arrow(axes, (0, 0), sample, GREEN)
            _label(axes, sample, name, GREEN, shift=(0.03, 0.02))
        axes.plot(*(turn @ [1.0, 0.0]), "*", color="black", markersize=11, zorder=3)
        for i, colour in enumerate((CORRELATED, INDEPENDENT)):
            axes.plot(*(path[:, i] @ turn.T).T, color=colour, marker=".", markersize=4)
            axes.plot(*(turn @ path[0, i]), "o", color=colour, markersize=5)
        axes.set(aspect="equal")
    _label(taps, result.rotation[:, 0], "w*", "black", shift=(-0.03, 0.09))
    taps.set(xlabel="tap $w_0$", ylabel="tap $w_1$", title="Two taps, two samples")
    taps.set(xlim=(-0.08, 1.28), ylim=(-0.42, 1.08))
    _arrow(rotated, (1.18, 0.0), (1.18, d), NEUTRAL)
    _label(rotated, (1.18, d / 2), "$d_1$", NEUTRAL, shift=(0.03, 0.0))
    rotated.set(xlabel="along w*: fast", ylabel="across w*: slow", title="Rotated")
    rotated.set(xlim=(-0.1, 1.4), ylim=(-1.0, 0.55))
    _gaps(gaps, result)
    return figure


def _arrow(axes: Axes, start: ArrayLike, end: ArrayLike, colour: str) -> None:
    (x0, y0), (x1, y1) = np.asarray(start, np.float64), np.asarray(end, np.float64)
    style = {"arrowstyle": "-|>", "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0, "color": colour}
    axes.annotate("", (x1, y1), (x0, y0), arrowprops=style)


def _label(axes: Axes, at: ArrayLike, text: str, colour: str, shift: tuple[float, float]) -> None:
    x, y = np.asarray(at, np.float64) + shift
    axes.text(x, y, text, color=colour, fontsize=8)


def _gaps(axes: Axes, result: descent.TwoWeights) -> None:
    updates, rate = result.descent.steps, result.descent.learning_rate
    start = result.descent.weights[0, 0, 1]
    gap = np.abs(result.descent.weights[:, 0, 1] - [1.0, 0.0])
    lines = ((BLUE, 1 + result.distances[0] ** 2, "along w*: 1 − 2λ(1 + $d_0^2$)"),
             (PURPLE, result.distances[1] ** 2, "across: 1 − 2λ $d_1^2$"))  # fmt: skip
    for i, (colour, rate_of_direction, label) in enumerate(lines):
        closed = abs(start[i] - (1.0, 0.0)[i]) * np.abs(1 - 2 * rate * rate_of_direction) ** updates
        axes.plot(updates, closed, color=colour, label=label)
        axes.plot(updates[::3], gap[::3, i], "o", color=colour, markersize=3.5, fillstyle="none")
    axes.plot(np.abs(result.printed[:, 1]), color=ORANGE, linestyle="--", label="Eq. (4) as printed")
    axes.plot([], [], "o", color=NEUTRAL, markersize=3.5, fillstyle="none", label="simulated")
    axes.set(xlabel="updates", yscale="log", ylim=(1e-4, 30), title="Distance to w*, by direction")
    axes.legend(loc="lower right")


@matplotlib.rc_context(STYLE)
def patches_figure(spectrum: descent.Spectrum, time: descent.OverTime) -> Plot:
    """Theorem 3.1 in general: the directions of real patches, and how fast each is learned."""
    figure = Plot(figsize=(9.6, 4.6))
    grid = figure.add_gridspec(2, 18, height_ratios=(1, 3.4))
    limit = float(np.abs(spectrum.vectors).max())
    for i in range(9):
        axes = figure.add_subplot(grid[0, 2 * i : 2 * i + 2])
        vector = spectrum.vectors[:, i] * np.sign(spectrum.vectors[:, i].sum() or 1)
        axes.imshow(vector.reshape(3, 3), cmap="RdBu", norm=TwoSlopeNorm(0, -limit, limit))
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{spectrum.values[i] / spectrum.values[0]:.3f}", fontsize=9, loc="center")
        axes.spines[:].set_visible(False)
    decay, distance, loss = (figure.add_subplot(grid[1, 6 * i : 6 * i + 6]) for i in range(3))
    updates = np.arange(0, 201)
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, 9))
    for i, value in enumerate(spectrum.values / spectrum.values[0]):
        if i:
            decay.plot(updates, (1 - value) ** updates, color=shades[i], linewidth=1.3)
    shuffled = spectrum.shuffled[-1] / spectrum.shuffled[0]
    decay.plot(
        updates, (1 - shuffled) ** updates, color=NEUTRAL, linestyle="--", label="slowest, pixels shuffled"
    )
    decay.set(xlabel="updates", ylim=(0, 1.02), title="Gap left, by direction (2 to 9)")
    decay.legend()
    for axes, curves in ((distance, time.distance), (loss, time.loss)):
        for (name, values), colour in zip(curves.items(), (INDEPENDENT, CORRELATED), strict=True):
            axes.plot(time.steps + 1, values, color=colour, label=f"{name} start")
            if axes is distance:
                some = np.unique(np.geomspace(1, len(time.recorded), 14).astype(int)) - 1
                axes.plot(
                    time.recorded[some] + 1, time.simulated[name][some], "o", color=colour, markersize=3.5
                )
        axes.set(xscale="log", yscale="log", xlabel="1 + updates")
    distance.set(title="E‖w(t) − w*‖²: lines theory, dots simulated", ylim=(1e-4, 40))
    loss.set(title="Expected loss", ylim=(1e-6, 20))
    loss.legend()
    return figure


@matplotlib.rc_context(STYLE)
def cases_figure(results: tuple[signal.Case, ...]) -> Plot:
    """Table 1, layer by layer: printed, by algebra and measured."""
    figure = Plot(figsize=(9.6, 5.2))
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    layers = np.arange(1.0, signal.DEPTH + 1)
    for axes, case in zip(grid.flat, results, strict=True):
        axes.plot(layers, case.printed_table, ":", color=ORANGE, label="Table 1 as printed")
        axes.plot(layers, case.printed_equation, "--", color=VERMILION, label="Eqs. (14), (16)", zorder=3)
        axes.plot(layers, case.algebra, color=BLUE, label="algebra, ReLU mean and overlap counted")
        axes.errorbar(
            layers,
            case.measured,
            case.half_width,
            fmt="o",
            color="black",
            markersize=4,
            label="random networks",
        )
        axes.set(yscale="log", xticks=layers)
        axes.set_title(f"({case.name})  inputs {case.inputs} correlated, weights {case.weights}")
    for axes in grid[1]:
        axes.set_xlabel("layer l")
    for axes in grid[:, 0]:
        axes.set_ylabel("E[$y_l^2$] / E[$y_1^2$]")
    grid[0, 1].legend()
    return figure


@matplotlib.rc_context(STYLE)
def real_images_figure(result: signal.RealImages, ratio: float) -> Plot:
    """Real images: how correlated the inputs of each layer become, and what each scale makes of the signal.

    Args:
        result: the measurement.
        ratio: ΣR.
    """
    figure = Plot(figsize=WIDE)
    inputs, factor, kept = figure.subplots(1, 3)
    layers = np.arange(1.0, signal.DEPTH + 1)
    _algebra_and_dots(
        inputs, layers, np.array([layer.inputs.mean for layer in result.predicted]), result.correlation
    )
    inputs.set(ylim=(0, 1.02), title="Mean correlation of a layer's inputs")
    inputs.legend()
    _algebra_and_dots(
        factor, layers, np.array([layer.amplification for layer in result.predicted]), result.amplification
    )
    for height, name in ((9.0, "He: k²"), (ratio, "paper: ΣR")):
        factor.axhline(height, color=NEUTRAL, linestyle="--", linewidth=1)
        factor.text(layers[-1], height, name, color=NEUTRAL, fontsize=8, ha="right", va="bottom")
    factor.set(ylim=(0, 1.15 * ratio), title="Amplification ⟨R, M⟩")
    for values, colour, name in (
        (result.he, VERMILION, "He's scale"),
        (result.paper, ORANGE, "the paper's"),
        (result.kept, BLUE, "1/√⟨R, M⟩ by layer"),
    ):
        kept.plot(layers, values, "o-", color=colour, markersize=4, label=name)
    kept.set(yscale="log", title="Signal E[y²] / 2E[x²], measured")
    kept.legend()
    for axes in (inputs, factor, kept):
        axes.set(xlabel="layer", xticks=layers)
    return figure


def _algebra_and_dots(axes: Axes, layers: Array, algebra: Array, measured: Array) -> None:
    axes.plot(layers, algebra, color=BLUE, label="algebra")
    axes.plot(layers, measured, "o", color="black", markersize=4, label="random networks")
