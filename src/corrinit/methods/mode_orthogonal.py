"""Orthogonal over channels, correlated over taps: an orthogonal matrix for each mode of the taps.

With Σ = D R D = Σ_j λ_j u_j u_jᵀ the covariance of the taps, and Q_j an out × in matrix with orthonormal rows
or columns, drawn for each j on its own,

    W = s √max(out, in) Σ_j √λ_j Q_j ⊗ u_j.

Filters have the covariance s² Σ in the mean, as those of `correlated`. Where there are not more outputs than
inputs, all filters of an output together are orthogonal to those of any other, and as long. With all variance
in the central tap (`centre:0`) this is `delta_orthogonal`. Ours.

In a grouped convolution each group has matrices of its own; in a depthwise one they are signs.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from corrinit.methods import correlated
from corrinit.methods.method import Convolution, Method

_NEGLIGIBLE = 1e-6
"""Share of the variance below which a mode is left out."""


def _draw(weight: Tensor, convolution: Convolution, std: float, generator: torch.Generator) -> None:
    taps = convolution.taps
    covariance = np.eye(taps) if convolution.correlation is None else convolution.correlation.covariance
    values, vectors = np.linalg.eigh(covariance)
    modes = [
        (value, vector) for value, vector in zip(values, vectors.T, strict=True) if value > taps * _NEGLIGIBLE
    ]
    for group in weight.zero_().split(convolution.rows):
        matrix = torch.empty(group.shape[:2], dtype=group.dtype)
        size = std * math.sqrt(max(matrix.shape))
        for value, vector in modes:
            torch.nn.init.orthogonal_(matrix, gain=size * math.sqrt(value), generator=generator)
            shape = torch.as_tensor(vector, dtype=group.dtype).view(convolution.kernel_size)
            group += torch.einsum("oi,...->oi...", matrix, shape)


METHOD = Method(
    name="mode_orthogonal",
    source="after Xiao et al. 2018, Dynamical isometry and a mean field theory of CNNs",
    std=correlated.METHOD.std,
    draw=_draw,
    correlation=correlated.METHOD.correlation,
    uses_correlation=True,
    own_scale="paper",
)
