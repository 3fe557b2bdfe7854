"""The paper's figures of trained networks, drawn from our runs and presets."""

from __future__ import annotations

from corrinit.lab.document import figures
from corrinit.lab.document.blocks import Figure, figure_svg
from corrinit.lab.document.correlation_figure import correlation_figure
from corrinit.lab.document.figures import BLUE, VERMILION, Series, Style
from corrinit.lab.paper.cells import Cell, Measured
from corrinit.lab.paper.experiments import Row
from corrinit.presets import load_preset, preset_layers

PANELS = (
    ("sign_changes", "Gradient sign changes", "share of parameters", False),
    ("gradient_mean_abs", "Gradient magnitude", "mean absolute gradient", True),
    ("test_accuracy", "Accuracy", "test accuracy", False),
)
"""Metric, title, label and logarithmic axis of each panel of Figures 4 to 6."""


def training_figures(measured: Measured) -> tuple[Figure, ...]:
    """The panels of one of Figures 4 to 6: for each quantity, a panel per learning rate.

    Rows without finished runs are missing from a panel, panels without any are left out.
    """
    drawn = []
    for metric, title, label, log in PANELS:
        for lr in measured.experiment.learning_rates:
            series = [
                _series(row, cell, metric)
                for (row, _, cell_lr), cell in measured.cells.items()
                if cell_lr == lr and cell.arm is not None
            ]
            if series:
                caption = "Mean over seeds; shading: ± 1 standard deviation. Dashed: small scale."
                drawn.append(
                    figures.curves(f"{title}, learning rate {lr:g}", label, series, log=log, caption=caption)
                )
    return tuple(drawn)


def _series(row: Row, cell: Cell, metric: str) -> Series:
    assert cell.arm is not None
    colour = BLUE if row.initialization.method == "kaiming_normal" else VERMILION
    line = "--" if row.initialization.canonical.scale == "paper" else "-"
    return Series(
        Style(row.label + cell.mark, colour, line), cell.arm.curve("epoch")[0], cell.arm.curve(metric)
    )


def preset_figure(name: str, title: str) -> Figure:
    """Figure 1 for a preset: correlation by distance in each layer, and the matrix of all layers."""
    layers = [load_preset(name, layer) for layer in preset_layers(name)]
    drawing = correlation_figure(load_preset(name), layers)
    return Figure(
        title, figure_svg(drawing), "Left: by distance, a line per layer; right: all layers pooled."
    )
