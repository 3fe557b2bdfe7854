"""Orthogonal: the weight, flattened to (out, in · taps), has orthonormal rows or columns up to scale."""

import math

import torch
from torch import Tensor

from corrinit.methods.method import Convolution, Method


def _std(convolution: Convolution) -> float:
    """The root mean square of `torch.nn.init.orthogonal_` with gain 1: 1 / √max(rows, columns)."""
    rows, *columns = convolution.shape
    return 1 / math.sqrt(max(rows, math.prod(columns)))


def _draw(weight: Tensor, convolution: Convolution, std: float, generator: torch.Generator) -> None:
    drawn = torch.empty(convolution.shape)
    torch.nn.init.orthogonal_(drawn, gain=std / _std(convolution), generator=generator)
    weight.copy_(drawn)


METHOD = Method(
    name="orthogonal",
    source="Saxe, McClelland & Ganguli 2014, Exact solutions to the nonlinear dynamics of learning",
    std=_std,
    draw=_draw,
)
