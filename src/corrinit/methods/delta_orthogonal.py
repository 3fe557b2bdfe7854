"""Delta-orthogonal: an orthogonal matrix at the central tap, zero at all others.

With stride 1 and circular padding the convolution is an isometry where it has at least as many outputs as
inputs. The paper leaves out convolutions of fewer outputs; here the rows of theirs are orthonormal. In a
grouped convolution each group has a matrix of its own. The gain is 1.
"""

import math

import numpy as np
import torch
from torch import Tensor

from corrinit._correlation import SpatialCorrelation
from corrinit.methods.method import Convolution, Method, independent_taps


def central_std(convolution: Convolution) -> float:
    """The root mean square of one orthonormal r × c matrix among the taps: 1 / √(max(r, c) taps)."""
    return 1 / math.sqrt(max(convolution.rows, convolution.shape[1]) * math.prod(convolution.kernel_size))


def _draw(weight: Tensor, convolution: Convolution, std: float, generator: torch.Generator) -> None:
    central = weight.zero_()[(..., *(k // 2 for k in convolution.kernel_size))]
    for group in central.split(convolution.rows):
        matrix = torch.nn.init.orthogonal_(torch.empty_like(group), generator=generator)
        group.copy_(matrix * (std / central_std(convolution)))


def _centre_only(convolution: Convolution) -> SpatialCorrelation:
    if convolution.taps == 1:
        return independent_taps(convolution)
    deviations = np.zeros(convolution.kernel_size)
    deviations[tuple(k // 2 for k in convolution.kernel_size)] = math.sqrt(convolution.taps)
    return independent_taps(convolution).with_deviations(deviations.ravel())


METHOD = Method(
    name="delta_orthogonal",
    source="Xiao et al. 2018, Dynamical isometry and a mean field theory of CNNs",
    std=central_std,
    draw=_draw,
    correlation=_centre_only,
)
