"""How strong a signal has to be so that an activation hands it on at the strength that is wanted.

A layer puts out y ~ N(0, v), which passes an activation f. With v such that E f(y)² = q, where q is the mean
square of the inputs of the layer, the signal keeps its strength from layer to layer, whatever f. For ReLU
this is v = 2 q, He's gain √2; for an f that is not homogeneous it depends on q.
"""

from __future__ import annotations

import math
from difflib import get_close_matches

import numpy as np
from torch import nn
from torch.nn import functional

from corrinit._signal import Graph, Step, activations
from corrinit._signal.activations import Array, evaluate, gain
from corrinit._signal.contrast import EQUAL, SHARES
from corrinit._tracing import Activation, TensorFunction
from corrinit.errors import ActivationError, PlanError

_TORCH = ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu")
_NAMED = ("gelu", "silu", "mish", "hardswish", "elu", "celu", "relu6", "softplus", "hardtanh", "hardsigmoid")


def gain_of(nonlinearity: str | Activation | None, slope: float = 0.0) -> float:
    """The gain g of an activation: torch's own value where torch has one, else 1 / √E f(z)², z ~ N(0, 1).

    Args:
        nonlinearity: a name that `torch.nn.init.calculate_gain` knows, or of a function in
            `torch.nn.functional`; or a callable that acts on each value alone. None and `"follows"` mean
            ReLU.
        slope: negative slope of a leaky ReLU.

    Raises:
        PlanError: if nothing is called so, or the activation has no gain.

    >>> import torch
    >>> [round(gain_of(name), 4) for name in ("relu", "gelu", torch.sin)]
    [1.4142, 1.5335, 1.5209]
    """
    if nonlinearity is None or (isinstance(nonlinearity, str) and nonlinearity == "follows"):
        return math.sqrt(2)
    if not isinstance(nonlinearity, str):
        return gain(TensorFunction(nonlinearity))
    if nonlinearity in _NAMED:
        return gain(TensorFunction(getattr(functional, nonlinearity)))
    try:
        return nn.init.calculate_gain(nonlinearity, slope)  # pyright: ignore[reportArgumentType]
    except ValueError:
        known = get_close_matches(nonlinearity, (*_TORCH, *_NAMED), n=3, cutoff=0.5) or (*_TORCH, *_NAMED)
        raise ActivationError(
            f"nonlinearity is {nonlinearity!r}; it is a callable, or {', '.join(map(repr, known))}"
        ) from None


class Power:
    """E f(y)² for y ~ N(0, v), as a function of v that can be inverted.

    Args:
        activation: f, a function of arrays that acts on each value alone.

    Raises:
        PlanError: if it does not.

    >>> power = Power(lambda values: np.maximum(values, 0))
    >>> round(power.before(0.7), 3), Power(np.tanh).before(1.0)
    (1.4, 1.0)
    """

    def __init__(self, activation: activations.Activation) -> None:
        nodes = np.linspace(-8, 8, 801)
        weights = np.exp(-(nodes**2) / 2)
        values = evaluate(activation, np.sqrt(_POWERS)[:, None] * nodes)
        self.after: Array = values**2 @ (weights / weights.sum())
        """E f(y)² for each v of a grid."""

    @property
    def at_unit(self) -> float:
        """E f(z)² for z ~ N(0, 1)."""
        return float(self.after[_UNIT])

    def before(self, wanted: float, contrasts: Array = EQUAL) -> float:
        """V for which E f(y)², mean over images, is what is wanted.

        1 where there is none, as f saturates, or does not vanish at 0: it then hands on what it makes of unit
        deviation, and from the next layer on that is kept. If f saturates, v is at most what the gain at unit
        deviation gives.

        Args:
            wanted: E f(y)².
            contrasts: mean squares of images over that of all, so that y ~ N(0, c v) in an image.
        """
        if not 0 < self.at_unit < math.inf:
            return wanted
        if np.allclose(self.after, _POWERS * self.at_unit, rtol=1e-4):  # homogeneous: f(c y) = c f(y)
            return wanted / self.at_unit
        after = np.interp(np.log(np.outer(_POWERS, contrasts)), np.log(_POWERS), self.after) @ SHARES
        rising = np.maximum.accumulate(after)
        if not rising[0] < wanted < rising[-1]:
            return 1.0
        found = float(np.exp(np.interp(math.log(wanted), np.log(rising + 1e-300), np.log(_POWERS))))
        saturates = rising[-1] < 10 * self.at_unit
        return min(found, wanted / self.at_unit) if saturates else found


class Powers:
    """What the activations of a model hand on, found once for those that are alike.

    Args:
        graph: the dataflow of the model.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[object, Power | None] = {}

    def of(self, step: Step) -> Power | None:
        """What the activation of a step hands on; None where it acts on more than each value alone."""
        function = step.arguments.get("function") or self._graph.modules.get(step.name)
        if function is None:
            return None
        key = _alike(function)
        if key not in self._known:
            try:
                self._known[key] = Power(self._graph.on_arrays(function))
            except PlanError:
                self._known[key] = None
        return self._known[key]


def _alike(function: Activation) -> object:
    """Equal for activations that are the same function; the text of others may hide what sets them apart."""
    of_torch = type(function).__module__.startswith("torch.nn.")
    if isinstance(function, nn.Module) and of_torch and next(function.parameters(), None) is None:
        return repr(function)
    return id(function)


_POWERS = np.geomspace(1e-4, 1e4, 321)
_UNIT = 160
