"""Gaussian filters whose covariance is a closed form, flatter and wider the deeper the layer.

Our reading of the paper's construction, with Gaussians of variance σ that wrap around at the borders of the
kernel, z centred on its middle tap and C_pq = z at the displacement of p from q:

    Σ = z zᵀ ⊙ (C − S / 2),  S_pq = (z_p + z_q) / 2,  negative eigenvalues set to zero.

Taps near the middle vary most, neighbours are positively correlated, distant taps negatively. σ grows with
the depth d in [0, 1] as σ_0 + v d + a d² / 2.

Of this the paper leaves open or does otherwise: it draws depthwise filters alone, here every filter of a
spatial convolution is one; the three constants of σ, which it tunes for each network, are fixed; and Σ is
scaled so that the mean variance of the taps is He's, as the paper's networks normalize what filters put out.
A single tap is Gaussian. None of this has been compared with the authors' code.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from corrinit._correlation import SpatialCorrelation
from corrinit.kernels import Matrix, tap_offsets
from corrinit.methods.method import Convolution, Method, independent_taps

START, SPEED, ACCELERATION = 0.16, 0.32, 2.88
"""σ_0, v and a of the variance schedule."""


@lru_cache
def covariance(kernel_size: tuple[int, ...], depth: float) -> Matrix:
    """Σ of the taps, mean variance 1.

    Args:
        kernel_size: (k_1, ..., k_d).
        depth: d, from 0 for the first convolution to 1 for the last.
    """
    sigma = START + SPEED * depth + ACCELERATION * depth**2 / 2
    size, taps = np.array(kernel_size), tap_offsets(kernel_size)

    def gaussian(displacement: np.ndarray) -> Matrix:
        wrapped = (displacement + size // 2) % size - size // 2
        return np.exp(-np.square(wrapped).sum(axis=-1) / (2 * sigma))

    z = gaussian(taps - size // 2)
    around = gaussian(taps[:, None, :] - taps[None, :, :])
    values, vectors = np.linalg.eigh(np.outer(z, z) * (around - (z[:, None] + z[None, :]) / 4))
    nearest = (vectors * np.maximum(values, 0)) @ vectors.T
    result = nearest * (len(taps) / np.trace(nearest))
    result.setflags(write=False)
    return result


def _correlation(convolution: Convolution) -> SpatialCorrelation:
    if convolution.taps == 1:
        return independent_taps(convolution)
    values = covariance(convolution.kernel_size, convolution.depth)
    source = {"source": f"closed form at depth {convolution.depth:.3g}"}
    return SpatialCorrelation.from_covariance(values, convolution.kernel_size, source)


METHOD = Method(
    name="convolutional_covariance",
    source="Trockman, Willmott & Kolter 2023, Understanding the covariance structure of conv. filters",
    std=lambda convolution: convolution.he_std,
    draw="normal",
    correlation=_correlation,
    own_scale="he",
)
