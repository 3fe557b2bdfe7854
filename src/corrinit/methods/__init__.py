"""Initializers under one protocol: the same layers, the same draws per seed, the same scale if wanted.

A method fills the weights of convolutions, those of a single tap (1×1) among them. Linear layers and biases
are alike under every method. Layers that `corrinit.plan` keeps are kept, and all methods that start from
Gaussian draws start from the same ones. Any method can be run at its own scale, at He's, or at that of the
correlated method: the control that separates what correlation does from what a smaller scale does.

A package adds methods through the entry point group `corrinit.methods`, each a `Method` under its name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from importlib.metadata import entry_points
from itertools import accumulate
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from corrinit.correlation_source import CorrelationFamily, CorrelationSource, resolve
from corrinit.errors import ConfigError, CorrelationError
from corrinit.init import write_
from corrinit.layers import named_layers
from corrinit.methods import (
    convolutional_covariance,
    correlated,
    delta_orthogonal,
    dirac,
    kaiming_normal,
    kaiming_uniform,
    lsuv,
    orthogonal,
    patch_whitening,
    pytorch_default,
    truncated_normal,
    xavier_normal,
    xavier_uniform,
)
from corrinit.methods.measured import at_measured_scale
from corrinit.methods.method import Convolution, Method, scaled
from corrinit.planning import LayerPlan, Plan, plan
from corrinit.seeding import layer_generator
from corrinit.weight_storage import writing_weight

Scale: TypeAlias = Literal["own", "he", "correlated", "measured"]

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (
        kaiming_normal,
        correlated,
        pytorch_default,
        kaiming_uniform,
        xavier_normal,
        xavier_uniform,
        truncated_normal,
        orthogonal,
        delta_orthogonal,
        dirac,
        lsuv,
        convolutional_covariance,
        patch_whitening,
    )
}
"""The methods that come with the package, by name."""

ENTRY_POINTS = "corrinit.methods"


def initialize(
    model: nn.Module,
    method: str,
    *,
    seed: int,
    correlation: CorrelationSource = None,
    strength: float = 1.0,
    scale: Scale = "own",
    images: Tensor | None = None,
) -> None:
    """Initialize a model with a named method at a chosen scale, in place.

    Args:
        model: a model with rectifiers (the gain is √2).
        method: a name in `METHODS`, or of an entry point.
        seed: root seed; methods that start from Gaussian draws start from the same ones.
        correlation: R of the correlated method and its scale, see `corrinit.correlation_source`; of several,
            from the first layer to the last, each convolution takes the one at its own relative depth.
            Default: `default_correlation`.
        strength: α, factor on the off-diagonal entries of R.
        scale: standard deviation of each tap: the method's `"own"`; whatever the method, `"he"` for
            √(2 / (n k²)) or `"correlated"` for √(2 / (n ΣR)); or `"measured"` for √(2 / (n ⟨R, M⟩)), with M
            measured at the inputs of each layer.
        images: training images (N, C, H, W) as the network gets them, for methods that look at data and for
            the measured scale; a few hundred are enough.

    Raises:
        ConfigError: for an unknown method or scale, or images that are missing or do not fit.
        PlanError: if the model cannot be initialized; it is as it was.
    """
    chosen = at_scale(find(method), scale)
    if chosen.adapt is not None and images is None:
        what = f"the scale {scale!r}" if scale == "measured" else f"the method {method!r}"
        raise ConfigError(f"{what} looks at training images; give a batch of them as images=(N, C, H, W)")
    layers = plan(model, inputs="independent").layers
    convolutions = _convolutions(model, layers, correlation, strength)
    zero_bias = {layer.name: layer.zero_bias for layer in layers}
    filled = {convolution.name for convolution in convolutions}
    Plan(tuple(layer for layer in layers if layer.name not in filled)).apply(model, seed=seed)

    def fill(convolution: Convolution) -> None:
        with writing_weight(convolution.module) as weight, torch.no_grad():
            precision = torch.float64 if weight.dtype == torch.float64 else torch.float32
            drawn = torch.empty(convolution.shape, dtype=precision)
            chosen.draw(drawn, convolution, chosen.std(convolution), layer_generator(seed, convolution.name))
            write_(weight, drawn)
            if zero_bias[convolution.name]:
                convolution.module.bias.zero_()  # pyright: ignore

    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        list(pool.map(fill, convolutions))
    if chosen.adapt is not None and images is not None and convolutions:
        chosen.adapt(model, convolutions, images)


def find(name: str) -> Method:
    """The method of a name: one of `METHODS`, which no entry point can replace, or that of an entry point.

    Raises:
        ConfigError: if there is none, with the nearest names; or if an entry point gives no method.
    """
    if name in METHODS:
        return METHODS[name]
    added = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in added:
        known = [*METHODS, *added]
        near = get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise ConfigError(f"no initialization method is called {name!r}; {hint}")
    try:
        method = added[name].load()
    except Exception as error:  # whatever a module does when it is imported
        raise ConfigError(
            f"the initialization method {name!r} cannot be loaded from its entry point "
            f"{added[name].value}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(method, Method):
        raise ConfigError(
            f"the entry point {added[name].value} of the initialization method {name!r} gives "
            f"{type(method).__name__}; it needs a corrinit.methods.Method"
        )
    return method


def needs_images(method: str, scale: Scale = "own") -> bool:
    """Whether `initialize` needs images for a method at a scale.

    >>> needs_images("lsuv", "he"), needs_images("orthogonal")
    (True, False)
    """
    return at_scale(find(method), scale).adapt is not None


def at_scale(method: Method, scale: Scale) -> Method:
    """A method at one of the scales of `initialize`.

    Raises:
        ConfigError: for an unknown scale, or the measured one of a method that states no correlation.
    """
    if scale == "own":
        return method
    if scale == "he":
        return scaled(method, lambda convolution: convolution.he_std)
    if scale == "correlated":
        return scaled(method, lambda convolution: convolution.correlated_std)
    if scale == "measured":
        return at_measured_scale(method)
    raise ConfigError(f"scale is {scale!r}; it is one of {', '.join(get_args(Scale))}")


def _convolutions(
    model: nn.Module,
    layers: Sequence[LayerPlan],
    correlation: CorrelationSource,
    strength: float,
) -> list[Convolution]:
    """The convolutions to fill, in module order, from the plan at He's scale."""
    try:
        resolved = resolve(correlation)
    except CorrelationError as error:
        raise ConfigError(f"correlation: {error}") from error
    sources = (resolved,) if isinstance(resolved, CorrelationFamily) else resolved
    plans = [
        {
            layer.name: layer
            for layer in plan(model, correlation=source, strength=strength, missing="resize").layers
        }
        for source in sources
    ]
    modules = named_layers(model)
    drawn = [layer for layer in layers if layer.rule != "keep" and len(layer.shape) > 2]
    spatial = list(accumulate(math.prod(layer.shape[2:]) > 1 for layer in drawn))
    found = []
    for layer, count in zip(drawn, spatial, strict=True):
        depth = max(count - 1, 0) / max(spatial[-1] - 1, 1)
        correlated_layer = plans[int(depth * (len(plans) - 1) + 0.5)][layer.name]
        assert layer.std is not None
        assert correlated_layer.std is not None
        found.append(
            Convolution(
                name=layer.name,
                module=modules[layer.name],
                shape=layer.shape,
                depth=depth,
                he_std=layer.std,
                correlated_std=correlated_layer.std,
                correlation=correlated_layer.correlation,
            )
        )
    return found
