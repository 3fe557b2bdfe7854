"""Orthogonal: the weight, flattened to (out, in · taps), has orthonormal rows or columns up to scale.

In a grouped convolution, the weight of each group has.
"""

import math

import torch
from torch import Tensor

from corrinit.methods.method import Convolution, Method, independent_taps


def own_std(convolution: Convolution) -> float:
    """The root mean square of `torch.nn.init.orthogonal_` with gain 1: 1 / √max(rows, columns)."""
    return 1 / math.sqrt(max(convolution.rows, math.prod(convolution.shape[1:])))


def draw(weight: Tensor, convolution: Convolution, std: float, generator: torch.Generator) -> None:
    """Fill each group with `torch.nn.init.orthogonal_`, at a root mean square of `std`."""
    for group in weight.split(convolution.rows):
        torch.nn.init.orthogonal_(group, gain=std / own_std(convolution), generator=generator)


METHOD = Method(
    name="orthogonal",
    source="Saxe, McClelland & Ganguli 2014, Exact solutions to the nonlinear dynamics of learning",
    std=own_std,
    draw=draw,
    correlation=independent_taps,
)
