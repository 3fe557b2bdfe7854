"""The signal through a model, step by step, as a value and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class StepSignal:
    """What leaves one step of a model.

    Args:
        name: of the module, or of the function.
        operation: its class, or the function.
        channels: number of channels.
        mean_square: E[x²].
        centred_power: variance over images and positions, mean over channels: what batch norm lets through.
        neighbour_correlation: of neighbouring positions, less the means of the channels.
        effective_channels: participation ratio (Σλ)² / Σλ² of the covariance of the channels.
    """

    name: str
    operation: str
    channels: int
    mean_square: float
    centred_power: float
    neighbour_correlation: float
    effective_channels: float


@dataclass(frozen=True, eq=False)
class LayerSignal:
    """What arrives at a convolution or a linear layer, and by how much it amplifies it.

    Args:
        name: of the layer.
        kernel_size: taps per axis.
        channels: n, over which each output sums.
        mean_square: E[x²] of what arrives.
        moments: M, see `LayerInput`.
        covariance: D R D.
        std: s.
        output: E[y²] = n s² ⟨D R D, M⟩ E[x²] (+ E[b²]).
    """

    name: str
    kernel_size: tuple[int, ...]
    channels: int
    mean_square: float
    moments: Array
    covariance: Array
    std: float
    output: float

    @property
    def amplification(self) -> float:
        """⟨D R D, M⟩."""
        return float((self.covariance * self.moments).sum())

    @property
    def largest_amplification(self) -> float:
        """Σ D R D: what it would be for inputs that are all equal."""
        return float(self.covariance.sum())


@dataclass(frozen=True, eq=False)
class SignalReport:
    """The signal through a model.

    Args:
        steps: what leaves each step, in order of execution.
        layers: what arrives at each convolution and linear layer, where it first runs.
        notes: what was approximated, passed on unchanged, or not known.
    """

    steps: tuple[StepSignal, ...]
    layers: tuple[LayerSignal, ...]
    notes: tuple[str, ...] = ()

    def layer(self, name: str) -> LayerSignal:
        """The layer of that name.

        Raises:
            KeyError: if the signal does not reach it.
        """
        return {layer.name: layer for layer in self.layers}[name]

    def __str__(self) -> str:
        by_name = {layer.name: layer for layer in self.layers}
        rows = [
            ("step", "operation", "channels", "mean square", "centred", "neighbours", "effective", "⟨DRD, M⟩")
        ]
        for step in self.steps:
            layer = by_name.get(step.name)
            rows.append(
                (
                    step.name,
                    step.operation,
                    str(step.channels),
                    f"{step.mean_square:.3g}",
                    f"{step.centred_power:.3g}",
                    f"{step.neighbour_correlation:.2f}",
                    f"{step.effective_channels:.1f}",
                    ""
                    if layer is None
                    else f"{layer.amplification:.2f} of {layer.largest_amplification:.2f}",
                )
            )
        return "\n".join([_table(rows, left=2), *(f"note: {note}" for note in self.notes)])


def beside(predicted: SignalReport, measured: SignalReport) -> str:
    """Predicted and measured ⟨D R D, M⟩ and mean squares of the layers that both reports know, as a table."""
    found = {layer.name: layer for layer in measured.layers}
    rows = [("layer", "⟨DRD, M⟩", "measured", "ratio", "E[x²]", "measured", "ratio")]
    for layer in predicted.layers:
        if (other := found.get(layer.name)) is None:
            continue
        amplification = float((layer.covariance * other.moments).sum())
        rows.append(
            (
                layer.name,
                *_pair(layer.amplification, amplification),
                *_pair(layer.mean_square, other.mean_square),
            )
        )
    return _table(rows, left=1)


def _pair(predicted: float, measured: float) -> tuple[str, str, str]:
    ratio = f"{predicted / measured:.3f}" if measured else ""
    return f"{predicted:.4g}", f"{measured:.4g}", ratio


def _table(rows: Sequence[Sequence[str]], left: int) -> str:
    """Columns of equal width; the first ones are words, the others numbers."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            text.ljust(width) if column < left else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
