"""Whitening of natural images, without images: `patch_whitening` with a covariance in closed form.

Colour patches are taken to have the covariance Σ = C ⊗ S over channels and taps. S is that of a power
spectrum 1/f^2.4 on images of 32 pixels a side (`corrinit._signal.spectrum`). C is the correlation of the
three colours, from the axes of natural images a_1 = (1, 1, 1)/√3, a_2 = (1, 0, −1)/√2 and
a_3 = (1, −2, 1)/√6 (Ohta, Kanade & Sakai 1980) and the shares λ of the variance along them,

    C ∝ Σ_j λ_j a_j a_jᵀ,

scaled to a unit diagonal, as images come standardized by channel. With E the eigenvectors of Σ and Λ its
eigenvalues, W = (Λ + ε)^(−1/2) Eᵀ fills the first convolution as in `patch_whitening`: on inputs of this
covariance its outputs are uncorrelated, of variance 1. At another scale all filters are multiplied alike.

The first convolution is the first of more than one tap, and any before it that sees one channel or three.
Channels other than three are taken to be uncorrelated. All other convolutions are Kaiming normal.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.conv import _ConvTransposeNd

from corrinit._signal.spectrum import natural
from corrinit.kernels import tap_offsets
from corrinit.methods.method import Convolution, Method
from corrinit.methods.patch_whitening import EPSILON, whitening_filters

COLOUR_SHARES = (0.903, 0.078, 0.019)
"""λ: the eigenvalues 0.2175, 0.0188 and 0.0045 of the covariance of RGB values in ImageNet, by their sum.

Published with fb.resnet.torch for the colour augmentation of Krizhevsky, Sutskever & Hinton 2012; the
eigenvectors beside them lie within 2° of the axes above.
"""

_COLOUR_AXES: NDArray[np.float64] = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])

_SIDE = 32
"""Pixels on a side of the images."""


def colour_correlation(channels: int) -> NDArray[np.float64]:
    """C: of three channels that of red, green and blue, of others I.

    >>> colour_correlation(3).round(2)
    array([[1.  , 0.9 , 0.77],
           [0.9 , 1.  , 0.9 ],
           [0.77, 0.9 , 1.  ]])
    """
    if channels != 3:
        return np.eye(channels)
    covariance = _COLOUR_AXES.T * COLOUR_SHARES @ _COLOUR_AXES
    deviations = np.sqrt(covariance.diagonal())
    return covariance / np.outer(deviations, deviations)


@lru_cache
def patch_covariance(
    channels: int, kernel_size: tuple[int, ...], dilation: tuple[int, ...]
) -> NDArray[np.float64]:
    """Σ = C ⊗ S of standardized patches, in the order of a weight: channel by channel, taps row-major."""
    moments = natural((_SIDE,) * len(kernel_size))
    steps = tap_offsets(kernel_size) * np.array(dilation)
    apart = np.clip(steps[:, None, :] - steps[None, :, :], 1 - _SIDE, _SIDE - 1) + _SIDE - 1
    spatial = moments[tuple(np.moveaxis(apart, -1, 0))]
    result = np.asarray(np.kron(colour_correlation(channels), spatial), np.float64)
    result.setflags(write=False)
    return result


def _covariance(convolution: Convolution) -> NDArray[np.float64] | None:
    """Σ of what a first convolution sees; None of any other layer."""
    channels, taps = convolution.shape[1], convolution.taps
    sees_images = convolution.depth == 0 and convolution.kernel_size and (taps > 1 or channels in (1, 3))
    if not sees_images or isinstance(convolution.module, _ConvTransposeNd):
        return None
    dilation: tuple[int, ...] = convolution.module.dilation  # pyright: ignore[reportAssignmentType]
    return patch_covariance(channels, convolution.kernel_size, tuple(dilation))


def _own_std(convolution: Convolution) -> float:
    covariance = _covariance(convolution)
    if covariance is None:
        return convolution.he_std
    inverse = 1 / (np.maximum(np.linalg.eigvalsh(covariance), 0)[::-1] + EPSILON)
    signed = np.tile(inverse, 2)[: convolution.rows]
    rotated = max(0, convolution.rows - len(signed))  # of which each has the mean norm
    return float(np.sqrt((signed.sum() + rotated * inverse.mean()) / convolution.rows / len(inverse)))


def _draw(weight: Tensor, convolution: Convolution, std: float, generator: torch.Generator) -> None:
    weight.normal_(0, std, generator=generator)
    covariance = _covariance(convolution)
    if covariance is None:
        return
    factor = std / _own_std(convolution)
    for group in weight.split(convolution.rows):
        filters = whitening_filters(torch.from_numpy(covariance.copy()), group.flatten(1).double())
        group.copy_(factor * filters.view(group.shape))


METHOD = Method(
    name="natural_whitening",
    source="whitening after Coates & Ng 2011 and Jordan 2024; colours after Ohta, Kanade & Sakai 1980",
    std=_own_std,
    draw=_draw,
)
