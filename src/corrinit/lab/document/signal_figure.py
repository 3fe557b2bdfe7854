"""How strong the signal is in the layers of a network under several recipes."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from corrinit._signal.report import SignalReport
from corrinit.lab.document.blocks import STYLE


@matplotlib.rc_context(STYLE)
def signal_figure(signals: Mapping[str, SignalReport], *, title: str = "") -> Figure:
    """Draw the root mean square of the outputs of every layer, over that of the images.

    Args:
        signals: the signal under each recipe, by its name.
        title: of the figure.
    """
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for name, signal in signals.items():
        values = [max(layer.output, 0.0) ** 0.5 for layer in signal.layers]
        axes.plot(range(1, len(values) + 1), values, "o-", label=name, markersize=3.5, linewidth=1.6)
    axes.axhline(1, color="#888888", linewidth=0.8)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("layer")
    axes.set_ylabel("root mean square of its outputs")
    axes.legend()
    if title:
        axes.set_title(title, fontsize=11)
    return figure
