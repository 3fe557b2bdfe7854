"""The paper's Figure 1 for any network: correlation by distance, layer by layer, beside the matrix itself."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from corrinit._atomic import replacing
from corrinit._correlation import SpatialCorrelation, format_size
from corrinit.errors import ConfigError
from corrinit.lab.document.blocks import STYLE, literal

FORMATS = (".png", ".svg")


@matplotlib.rc_context(STYLE)
def correlation_figure(
    correlation: SpatialCorrelation, layers: Sequence[SpatialCorrelation] = (), *, title: str = ""
) -> Figure:
    """Draw a correlation: by distance on the left, as a matrix on the right.

    Args:
        correlation: R of the network, drawn in bold.
        layers: R of its layers in their order, coloured by depth.
        title: of the figure.
    """
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    profiles, matrix = figure.subplots(1, 2, width_ratios=(1.3, 1))
    _draw_profiles(profiles, correlation, layers)
    _draw_matrix(matrix, correlation)
    if title:
        figure.suptitle(literal(title), fontsize=11)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a `.png` or `.svg`; the same figure gives the same bytes.

    Raises:
        ConfigError: if the suffix is another.
        CorrInitError: if the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ConfigError(f"{path} has the suffix {suffix!r}; a figure is written as {' or '.join(FORMATS)}")
    drawn = io.BytesIO()
    metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "corrinit", "svg.fonttype": "none"}):
        figure.savefig(drawn, format=suffix[1:], dpi=160, metadata=metadata)
    with replacing(path) as file:
        file.write(drawn.getvalue())


def _draw_profiles(axes: Axes, correlation: SpatialCorrelation, layers: Sequence[SpatialCorrelation]) -> None:
    depth = ScalarMappable(Normalize(1, max(2, len(layers))), "viridis")
    colours = depth.to_rgba(np.arange(1, len(layers) + 1))
    for colour, layer in zip(colours, layers, strict=True):
        axes.plot(*_profile(layer), color=colour, linewidth=0.9, alpha=0.8)
    label = "all layers" if layers else f"R, mean {correlation.mean:.3f}"
    axes.plot(*_profile(correlation), "o-", color="black", linewidth=2.4, markersize=4, label=label)
    axes.axhline(0, color="#888888", linewidth=0.8)
    axes.set_xlabel("distance between taps")
    axes.set_ylabel("mean correlation")
    axes.legend()
    if len(layers) > 1:
        axes.figure.colorbar(depth, ax=axes, label="layer", ticks=MaxNLocator(integer=True))


def _draw_matrix(axes: Axes, correlation: SpatialCorrelation) -> None:
    image = axes.imshow(correlation.matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.grid(visible=False)
    taps = np.arange(len(correlation.matrix))
    if len(taps) <= 16:
        axes.set_xticks(taps, [str(tap + 1) for tap in taps])
        axes.set_yticks(taps, [str(tap + 1) for tap in taps])
    axes.set_xlabel(f"tap of the {format_size(correlation.kernel_size)} kernel, row by row")
    axes.figure.colorbar(image, ax=axes, label="correlation")


def _profile(correlation: SpatialCorrelation) -> tuple[list[float], list[float]]:
    points = correlation.profile("euclidean")
    return [point.distance for point in points], [point.correlation for point in points]
