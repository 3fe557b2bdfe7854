"""Dirac: each output passes on the input of the same number, as far as there is one; other outputs are zero.

Nothing is drawn. An output without an input stays zero, and behind a ReLU it never learns.
"""

import torch
from torch import Tensor

from corrinit.methods.delta_orthogonal import central_std
from corrinit.methods.method import Convolution, Method


def _draw(weight: Tensor, convolution: Convolution, std: float, generator: torch.Generator) -> None:
    torch.nn.init.dirac_(weight, convolution.groups).mul_(std / central_std(convolution))


METHOD = Method(
    name="dirac",
    source="Zagoruyko & Komodakis 2017, DiracNets; torch.nn.init.dirac_",
    std=central_std,
    draw=_draw,
)
