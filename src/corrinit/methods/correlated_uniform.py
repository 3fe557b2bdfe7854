"""Uniform taps with the correlation of trained filters, as `correlated` has Gaussian ones.

With z ~ N(0, R_z), R_z = 2 sin(π R / 6) by entries, and d the relative deviations of the taps,

    w = √3 s d (2 Φ(z) − 1)

is uniform within ± √3 s d, and its taps have the correlation R: uniforms of a Gaussian copula of correlation
ρ_z have 6/π arcsin(ρ_z / 2) (Pearson 1907, On further methods of determining correlation). Where R_z is no
correlation matrix, the nearest one takes its place.

“A uniform distribution may also be used” (Schneider, Section 2), of independent taps; this is one for
correlated ones.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from corrinit._correlation import SpatialCorrelation
from corrinit._spd import nearest_correlation, symmetric_root
from corrinit.methods import correlated
from corrinit.methods.method import Convolution, Method


def copula(correlation: SpatialCorrelation) -> SpatialCorrelation:
    """R_z, the correlation of Gaussian taps whose ranks have the correlation R.

    >>> copula(SpatialCorrelation([[1.0, 0.5], [0.5, 1.0]], (2,))).matrix[0, 1].round(4)
    np.float64(0.5176)
    """
    matrix = nearest_correlation(2 * np.sin(np.pi / 6 * correlation.matrix)).matrix
    return SpatialCorrelation(matrix, correlation.kernel_size)


def _draw(weight: Tensor, convolution: Convolution, std: float, generator: torch.Generator) -> None:
    taps = weight.normal_(generator=generator).view(-1, convolution.taps)
    sizes = torch.ones(convolution.taps)
    if convolution.correlation is not None:
        root = symmetric_root(copula(convolution.correlation).matrix)
        taps.copy_(taps @ torch.as_tensor(root, dtype=taps.dtype))
        sizes = torch.as_tensor(convolution.correlation.deviations.copy())
    taps.div_(math.sqrt(2)).erf_().mul_(math.sqrt(3) * std * sizes.to(taps.dtype))


METHOD = Method(
    name="correlated_uniform",
    source="after Schneider, Correlated initialization for correlated data, Algorithm 1",
    std=correlated.METHOD.std,
    draw=_draw,
    correlation=correlated.METHOD.correlation,
    uses_correlation=True,
    own_scale="paper",
)
