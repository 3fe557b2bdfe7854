"""Activations of torch as functions of arrays, which `corrinit._signal` is computed with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from corrinit._signal.activations import Array

Activation: TypeAlias = Callable[[Tensor], Tensor] | nn.Module


@dataclass(frozen=True, eq=False)
class TensorFunction:
    """A function of an array by a function or module of torch, without hooks, gradients or dropout.

    >>> TensorFunction(nn.ReLU())(torch.tensor([-1.0, 2.0]).numpy())
    array([0., 2.])
    """

    activation: Activation

    def __call__(self, values: Array) -> Any:
        """The activation of some values, in double precision."""
        function = _without_hooks(self.activation)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            result = function(torch.tensor(values, dtype=torch.float64))
        return result.double().numpy() if isinstance(result, Tensor) else result

    def __str__(self) -> str:
        return str(self.activation)


def _without_hooks(activation: Activation) -> Callable[[Tensor], Tensor]:
    if not isinstance(activation, nn.Module):
        return activation
    if isinstance(activation, nn.PReLU):  # one slope per channel: take their mean square
        slope = (
            0.25 if activation.weight.is_meta else float(activation.weight.detach().square().mean().sqrt())
        )
        return lambda values: torch.where(values > 0, values, slope * values)
    if isinstance(activation, nn.RReLU):
        middle = (activation.lower + activation.upper) / 2
        return lambda values: torch.where(values > 0, values, middle * values)
    return lambda values: type(activation).forward(activation, values)
