"""Correlations of trained networks that come with the package.

Each preset is a folder of correlation files beside this one: `pooled.safetensors`, the correlation of all
filters of the network, and one file per layer. Their provenance says how the network was trained.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from corrinit._correlation import SpatialCorrelation
from corrinit._correlation_io import load_correlation
from corrinit.errors import UnknownCorrelationError

_FOLDER = Path(__file__).parent


def preset_names() -> tuple[str, ...]:
    """The names that `load_preset` knows."""
    return tuple(sorted(path.parent.name for path in _FOLDER.glob("*/pooled.safetensors")))


def preset_layers(name: str) -> tuple[str, ...]:
    """The layers of a preset, in the order of the network."""
    order = load_preset(name).provenance["layer names"].split(", ")
    return tuple(order)


def load_preset(name: str, layer: str | None = None) -> SpatialCorrelation:
    """The correlation of a trained network: pooled over its filters, or of one layer.

    Args:
        name: one of `preset_names`.
        layer: one of `preset_layers`; default: all layers pooled.

    Raises:
        CorrelationError: if there is no such preset or layer.
    """
    if name not in (names := preset_names()):
        near = get_close_matches(name, names, n=1, cutoff=0.4) or names
        raise UnknownCorrelationError(f"no preset is called {name!r}; there is {', '.join(near)}")
    if layer is not None and layer not in (layers := preset_layers(name)):
        raise UnknownCorrelationError(f"the preset {name} has no layer {layer!r}; it has {', '.join(layers)}")
    return _read(name, layer or "pooled")


@lru_cache(maxsize=64)  # the files are those of the installed package, and what is read cannot change
def _read(name: str, file: str) -> SpatialCorrelation:
    return load_correlation(_FOLDER / name / f"{file}.safetensors")
