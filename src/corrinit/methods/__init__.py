"""Initializers under one protocol: the same layers, the same draws per seed, the same scale if wanted.

A method fills the weights of convolutions. Linear layers and biases are alike under every method, so two
methods differ in the filters alone. Any method can be run at its own scale, at He's, or at that of the
correlated method: the control that separates what correlation does from what a smaller scale does.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Literal, TypeAlias, get_args

from torch import nn

from corrinit.correlation import SpatialCorrelation
from corrinit.errors import ConfigError
from corrinit.layers import writing_weight
from corrinit.methods import correlated, kaiming_normal, orthogonal, xavier_normal
from corrinit.methods.method import Convolution, Method
from corrinit.planning import plan
from corrinit.seeding import canonical_name, layer_generator

Scale: TypeAlias = Literal["own", "he", "correlated"]

METHODS: dict[str, Method] = {
    method.name: method
    for method in (kaiming_normal.METHOD, correlated.METHOD, orthogonal.METHOD, xavier_normal.METHOD)
}


def initialize(
    model: nn.Module,
    method: str,
    *,
    seed: int,
    correlation: SpatialCorrelation | None = None,
    strength: float = 1.0,
    scale: Scale = "own",
) -> None:
    """Initialize a model with a named method at a chosen scale, in place.

    Args:
        model: a model with rectifiers (the gain is √2).
        method: a name in `METHODS`.
        seed: root seed; methods that start from Gaussian draws start from the same ones.
        correlation: R of the correlated method and its scale; default: `default_correlation`.
        strength: α, factor on the off-diagonal entries of R.
        scale: standard deviation of each tap: the method's `"own"`, `"he"` for √(2 / (n k²)), or
            `"correlated"` for √(2 / (n ΣR)), whatever the method.

    Raises:
        ConfigError: for an unknown method or scale.
        PlanError: if the model cannot be initialized; it is as it was.
    """
    chosen = find(method)
    if scale not in get_args(Scale):
        raise ConfigError(f"scale is {scale!r}; it is one of {', '.join(get_args(Scale))}")
    he = plan(model, correlation=correlation, strength=strength, inputs="independent", missing="resize")
    own = plan(model, correlation=correlation, strength=strength, inputs="identical", missing="resize")
    he.apply(model, seed=seed)
    modules = {canonical_name(name): module for name, module in model.named_modules()}
    for he_layer, own_layer in zip(he.layers, own.layers, strict=True):
        if he_layer.std is None or own_layer.std is None or len(he_layer.shape) < 3:
            continue
        convolution = Convolution(he_layer.shape, he_layer.std, own_layer.std, own_layer.correlation)
        stds = {"own": chosen.std(convolution), "he": he_layer.std, "correlated": own_layer.std}
        with writing_weight(modules[he_layer.name]) as weight:
            chosen.draw(weight, convolution, stds[scale], layer_generator(seed, he_layer.name))


def find(name: str) -> Method:
    """The method of a name; an unknown one is an error that suggests the nearest."""
    if name not in METHODS:
        near = get_close_matches(name, METHODS, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(METHODS)}"
        raise ConfigError(f"no initialization method is called {name!r}; {hint}")
    return METHODS[name]
