"""Initialize convolutional networks with the spatial correlation that trained filters have.

The names in `__all__` are the public ones. They are imported with numpy and torch when first used, so that
`corrinit --help` and the reading of correlations and reports stay quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from corrinit.errors import CorrInitError, CorrInitWarning

if TYPE_CHECKING:
    from corrinit._correlation import SpatialCorrelation
    from corrinit._correlation_io import load_correlation, save_correlation
    from corrinit._estimation import estimate, estimate_inputs, estimate_layers
    from corrinit._init import correlated_kaiming_normal_, correlated_normal_, correlated_xavier_normal_
    from corrinit._layers.unknown_layers import ConvolutionLike
    from corrinit._monitor import GradientMonitor
    from corrinit._planning import initialize, plan
    from corrinit._scale import signal_scale
    from corrinit.lab.comparison.user_loops import compare

__all__ = [
    "SpatialCorrelation",
    "initialize",
    "plan",
    "ConvolutionLike",
    "correlated_normal_",
    "correlated_kaiming_normal_",
    "correlated_xavier_normal_",
    "signal_scale",
    "estimate",
    "estimate_layers",
    "estimate_inputs",
    "save_correlation",
    "load_correlation",
    "GradientMonitor",
    "compare",
    "CorrInitError",
    "CorrInitWarning",
]

_HOME_OF = {
    "SpatialCorrelation": "_correlation",
    "initialize": "_planning",
    "plan": "_planning",
    "ConvolutionLike": "_layers.unknown_layers",
    "correlated_normal_": "_init",
    "correlated_kaiming_normal_": "_init",
    "correlated_xavier_normal_": "_init",
    "signal_scale": "_scale",
    "estimate": "_estimation",
    "estimate_layers": "_estimation",
    "estimate_inputs": "_estimation",
    "save_correlation": "_correlation_io",
    "load_correlation": "_correlation_io",
    "GradientMonitor": "_monitor",
    "compare": "lab.comparison.user_loops",
}


_MODULES = ("kernels", "methods", "presets")


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
