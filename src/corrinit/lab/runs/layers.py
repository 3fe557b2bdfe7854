"""What a run kept of its layers by epoch: how their taps vary together, and how far they have come.

`layers.npz` in the folder of a run, of those runs alone that were asked for it
(`corrinit.lab.experiment.observation`). It is of the layers whose kernels have the most frequent size.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corrinit._atomic import replacing
from corrinit._correlation import SpatialCorrelation
from corrinit._reading import read_arrays
from corrinit.errors import RecordError

FILE = "layers.npz"

Values = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LayerHistory:
    """T looks at L layers of n taps, the first one before the first update, then one after each epoch.

    What cannot be told, such as a gradient before the first update, is NaN.

    Args:
        names: of the weights, L.
        kernel_size: of all of them.
        filters: number of filters of each, shape (L,).
        correlation: ρ_ij of the taps over the filters of a layer for i < j, shape (T, L, n (n − 1) / 2).
        deviations: d_i = √(v_i / mean v), shape (T, L, n).
        learned: as `correlation`, of what was learned: w less its projection on w(0).
        start: share of the weights that is their start, (w · w(0))² / (|w|² |w(0)|²), shape (T, L).
        centre: distance in pixels of the centre of mass of w² from the centre of the kernel, mean over the
            filters, shape (T, L).
        spread: root mean square distance in pixels of w² from its centre of mass, likewise.
        gradient: norm of the gradient of a layer, mean over the updates of the epoch, shape (T, L).
        probe_sign_changes: GradientSignChanges on a batch that stays the same, over the first update of each
            epoch, shape (T,).
        blocks: names of the residual blocks, B.
        block_correlation: correlation of the input of a block, as its shortcut passes it on, with its output
            on that batch, shape (T, B).
    """

    names: NDArray[np.str_]
    kernel_size: NDArray[np.int64]
    filters: NDArray[np.int64]
    correlation: Values
    deviations: Values
    learned: Values
    start: Values
    centre: Values
    spread: Values
    gradient: Values
    probe_sign_changes: Values
    blocks: NDArray[np.str_]
    block_correlation: Values

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean correlation of each look and layer, shape (T, L)."""
        return self.correlation.mean(axis=2, dtype=np.float64)

    @property
    def pooled(self) -> NDArray[np.float64]:
        """Correlations over all filters, each layer standardized, shape (T, n (n − 1) / 2)."""
        return np.average(self.correlation.astype(np.float64), axis=1, weights=self.filters)

    def layer(self, look: int, number: int) -> SpatialCorrelation:
        """R and d of a layer: its taps as they varied at one look."""
        taps = self.deviations.shape[2]
        matrix = np.eye(taps)
        upper = np.triu_indices(taps, 1)
        matrix[upper] = self.correlation[look, number]
        matrix.T[upper] = matrix[upper]
        size = tuple(self.kernel_size.tolist())
        return SpatialCorrelation(matrix, size, deviations=self.deviations[look, number].astype(np.float64))


def write_layers(path: Path, history: LayerHistory) -> None:
    """Keep a history in the folder of its run."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f.name: np.ascontiguousarray(getattr(history, f.name)) for f in fields(history)}
    np.savez_compressed(buffer, **arrays)
    with replacing(path / FILE) as file:
        file.write(buffer.getvalue())


def read_layers(path: Path) -> LayerHistory | None:
    """What `write_layers` kept in the folder of a run; None if nothing was.

    Raises:
        RecordError: if the file cannot be read, or is damaged.
    """
    file = path / FILE
    if not file.exists():
        return None
    arrays = read_arrays(file)
    if arrays.keys() != {field.name for field in fields(LayerHistory)} or not _fit(arrays):
        raise RecordError(f"{file} is damaged: it does not hold the layers of a run by epoch")
    return LayerHistory(**arrays)


def _fit(arrays: dict[str, NDArray[Any]]) -> bool:
    """Whether all arrays are of the same looks, layers, taps and blocks, and of the right types."""
    if arrays["deviations"].ndim != 3 or arrays["blocks"].ndim != 1 or arrays["kernel_size"].ndim != 1:
        return False
    looks, layers, taps = arrays["deviations"].shape
    pairs = taps * (taps - 1) // 2
    shapes: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("names", "filters"), (layers,)),
        **dict.fromkeys(("correlation", "learned"), (looks, layers, pairs)),
        **dict.fromkeys(("start", "centre", "spread", "gradient"), (looks, layers)),
        "probe_sign_changes": (looks,),
        "block_correlation": (looks, *arrays["blocks"].shape),
    }
    kinds = {**dict.fromkeys(("names", "blocks"), "U"), **dict.fromkeys(("filters", "kernel_size"), "i")}
    return (
        all(arrays[name].shape == shape for name, shape in shapes.items())
        and all(values.dtype.kind == kinds.get(name, "f") for name, values in arrays.items())
        and int(arrays["kernel_size"].prod()) == taps
    )
