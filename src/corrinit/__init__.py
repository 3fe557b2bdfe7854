"""Initialize convolutional networks with the spatial correlation that trained filters have.

The names in `__all__` are the public ones. They are imported with numpy and torch when first used, so that
`corrinit --help` and the reading of correlations and reports stay quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from corrinit.errors import CorrInitError, CorrInitWarning

if TYPE_CHECKING:
    from corrinit._input_channels import adapt_inputs
    from corrinit.comparing import compare
    from corrinit.correlation import SpatialCorrelation
    from corrinit.correlation_io import load_correlation, save_correlation
    from corrinit.estimation import estimate, estimate_inputs, estimate_layers
    from corrinit.init import correlated_kaiming_normal_, correlated_normal_, correlated_xavier_normal_
    from corrinit.layers.unknown_layers import ConvolutionLike
    from corrinit.monitor import GradientMonitor
    from corrinit.planning import initialize, plan
    from corrinit.scale import signal_scale

__all__ = [
    "SpatialCorrelation",
    "initialize",
    "plan",
    "adapt_inputs",
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
    "SpatialCorrelation": "correlation",
    "initialize": "planning",
    "plan": "planning",
    "adapt_inputs": "_input_channels",
    "ConvolutionLike": "layers.unknown_layers",
    "correlated_normal_": "init",
    "correlated_kaiming_normal_": "init",
    "correlated_xavier_normal_": "init",
    "signal_scale": "scale",
    "estimate": "estimation",
    "estimate_layers": "estimation",
    "estimate_inputs": "estimation",
    "save_correlation": "correlation_io",
    "load_correlation": "correlation_io",
    "GradientMonitor": "monitor",
    "compare": "comparing",
}


_MODULES = ("kernels", "methods", "presets", "lightning", "transformers")


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
