"""How strong a signal has to be so that an activation hands it on at the strength at which it came.

A layer gets inputs of mean square q and puts out y ~ N(0, v), which passes an activation f. With
v such that E f(y)² = q the signal keeps its strength from layer to layer, whatever f. For ReLU this is v = 2 q,
He's gain √2; for an f that is not homogeneous it depends on q. The gain of the layer is g = √(v / q).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from difflib import get_close_matches
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from corrinit.errors import PlanError

Activation: TypeAlias = Callable[[Tensor], Tensor]

_TORCH = ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu")
_NAMED = ("gelu", "silu", "mish", "hardswish", "elu", "celu", "relu6", "softplus", "hardtanh", "hardsigmoid")
_Z = torch.linspace(-8, 8, 1601, dtype=torch.float64)
_WEIGHTS = torch.exp(-_Z.square() / 2) / torch.exp(-_Z.square() / 2).sum()


@torch.no_grad()
def mean_square(activation: Activation, power: float) -> float:
    """E f(y)² for y ~ N(0, v), by quadrature.

    Args:
        activation: f, a function of a tensor that acts on each value alone.
        power: v.

    >>> round(mean_square(torch.relu, 2.0), 6)
    1.0
    """
    values = activation((math.sqrt(power) * _Z).float()).double()
    return float((_WEIGHTS * values.square()).sum())


def gain_of(nonlinearity: str | Activation | None, slope: float = 0.0) -> float:
    """The gain g of an activation: torch's own value where torch has one, else 1 / √E f(z)², z ~ N(0, 1).

    Args:
        nonlinearity: a name that `torch.nn.init.calculate_gain` knows, of a function in
            `torch.nn.functional`, or a callable that acts on each value alone; None, and `"follows"`, for ReLU.
        slope: negative slope of a leaky ReLU.

    Raises:
        PlanError: if nothing is called so, or the activation has no gain.

    >>> gain_of("relu"), round(gain_of("gelu"), 4), round(gain_of(torch.sin), 4)
    (1.4142135623730951, 1.5335, 1.5211)
    """
    if nonlinearity is None or (isinstance(nonlinearity, str) and nonlinearity == "follows"):
        return math.sqrt(2)
    if isinstance(nonlinearity, str):
        try:
            return nn.init.calculate_gain(nonlinearity, slope)  # pyright: ignore[reportArgumentType]
        except ValueError:
            found = getattr(functional, nonlinearity, None) or getattr(torch, nonlinearity, None)
            if nonlinearity not in _NAMED or found is None:
                near = get_close_matches(nonlinearity, (*_TORCH, *_NAMED), n=3, cutoff=0.5)
                known = near or (*_TORCH, *_NAMED)
                raise PlanError(
                    f"nonlinearity is {nonlinearity!r}; it is a callable, or {', '.join(map(repr, known))}"
                ) from None
            nonlinearity = found
    assert callable(nonlinearity)
    power = mean_square(nonlinearity, 1.0)
    if not 0 < power < math.inf:
        raise PlanError(f"nonlinearity: E f(z)² is {power} for {nonlinearity!r}, so it has no gain")
    return 1 / math.sqrt(power)


def power_before(activation: Activation | None, arriving: float) -> float:
    """v, the mean square that a layer shall give the values before an activation; q where none follows.

    Where no v gives E f(y)² = q, as f saturates or never vanishes, v is 1: the activation then hands on what
    it makes of unit deviation, and keeps that from the next layer on. v never exceeds what the gain at unit
    deviation gives, q / E f(z)², if f saturates.

    Args:
        activation: f.
        arriving: q, mean square of the inputs of the layer.

    >>> round(power_before(torch.relu, 0.7), 4), power_before(None, 0.7), power_before(torch.tanh, 1.0)
    (1.4, 0.7, 1.0)
    """
    if activation is None or not (0 < arriving < math.inf):
        return arriving
    at_unit = mean_square(activation, 1.0)
    if not 0 < at_unit < math.inf:
        return arriving
    if math.isclose(mean_square(activation, 4.0), 4 * at_unit, rel_tol=1e-4):  # homogeneous: f(c y) = c f(y)
        return arriving / at_unit
    low, high = 1e-3 * arriving, 1e3 * arriving
    if not mean_square(activation, low) < arriving < mean_square(activation, high):
        return 1.0
    for _ in range(40):
        middle = math.sqrt(low * high)
        if mean_square(activation, middle) < arriving:
            low = middle
        else:
            high = middle
    saturates = mean_square(activation, 100.0) < 10 * at_unit
    return min(high, arriving / at_unit) if saturates else high
