"""The signal through layers of correlated filters, by algebra (Section 4 of the paper).

The inputs of a layer are a stationary field on a torus, described by the correlation of their second moments
at every displacement, m(δ) = E[x(p) x(p + δ)] / E[x²]: not centred, since ReLU outputs are never negative.
Taps of variance s² and correlation R, and n input channels, give pre-activations with

    E[y(p) y(p + δ)] = n s² E[x²] Σ_ij R_ij m(δ + t_j − t_i),    hence E[y²] = n s² ⟨R, M⟩ E[x²],

exactly; M is m at the displacements within a patch. Then E[ReLU(y)²] = E[y²]/2, exactly, and at the other
displacements x = ReLU(y) has the correlation of a rectified Gaussian pair (Cho & Saul 2009), which is the
limit of wide layers. So E[y²] is exact for every width and depth where only displacement 0 counts (R = I) and
where all pixels are equal (M = 1), and exact in the first layer always. Elsewhere it holds for wide layers
and for inputs whose second moments are the same everywhere; real images are not, and are measured beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corrinit._correlation import SpatialCorrelation
from corrinit._scale import scale_for
from corrinit.errors import CancelledSignalError, CorrelationError
from corrinit.kernels import tap_offsets
from corrinit.theory.samples import Array

RELU_SECOND_MOMENT = 0.5
"""E[ReLU(y)²] / E[y²] of a symmetric y."""


def identical_field(size: Sequence[int]) -> Array:
    """All pixels equal: m = 1 everywhere. The paper's "perfectly correlated" inputs."""
    return np.ones(tuple(size), dtype=np.float64)


def independent_field(size: Sequence[int]) -> Array:
    """Independent pixels of mean 0: m = 1 at displacement 0, else 0."""
    field = np.zeros(tuple(size))
    field[(0,) * field.ndim] = 1
    return field


def exponential_field(size: Sequence[int], length_scale: float) -> Array:
    """m(δ) = exp(−Σ|δ|/ℓ), the shorter way round the torus: inputs in between the two extremes.

    Args:
        size: pixels per axis of the torus.
        length_scale: ℓ > 0, in pixels.
    """
    if not 0 < length_scale < np.inf:
        raise CorrelationError(f"length_scale is {length_scale}; it must be positive and finite")
    steps = np.indices(tuple(size))
    around = sum(np.minimum(step, side - step) for step, side in zip(steps, size, strict=True))
    return np.exp(-np.asarray(around, np.float64) / length_scale)


def measured_field(images: ArrayLike) -> Array:
    """m(δ) of some images: their circular autocorrelation, mean over images and channels.

    For a convolution with circular padding, E[y²] over the positions of these images is exact.

    Args:
        images: shape (N, C, *spatial), in the scale in which the network sees them.
    """
    images = np.asarray(images, np.float64)
    axes = tuple(range(2, images.ndim))
    if images.ndim < 3 or not np.isfinite(images).all() or not images.any():
        raise CorrelationError(
            f"images of shape {images.shape} have no correlation; (N, C, *spatial), not all 0"
        )
    power = np.square(np.abs(np.fft.fftn(images, axes=axes))).mean(axis=(0, 1))
    moments = np.fft.ifftn(power).real
    return moments / moments[(0,) * moments.ndim]


def patch_correlation(field: Array, kernel_size: Sequence[int]) -> SpatialCorrelation:
    """M: the field at the displacements between the pixels of a patch.

    >>> patch_correlation(exponential_field((8, 8), length_scale=1.0), (3, 3))
    SpatialCorrelation(kernel_size=(3, 3), mean=0.187)
    """
    return SpatialCorrelation(field[_displacements(field, kernel_size)], kernel_size)


def convolved(field: Array, correlation: SpatialCorrelation) -> Array:
    """Σ_ij R_ij m(δ + t_j − t_i), the second moments of a layer's outputs in units of n s² E[x²].

    At displacement 0 it is ⟨R, M⟩.

    Args:
        field: m, shape of the torus.
        correlation: R.
    """
    by_displacement = np.zeros(field.shape)
    np.add.at(by_displacement, _displacements(field, correlation.kernel_size), correlation.matrix)
    return np.fft.ifftn(np.fft.fftn(by_displacement) * np.fft.fftn(field)).real


def relu_correlation(correlation: Array) -> Array:
    """E[ReLU(u) ReLU(v)] / E[ReLU(u)²] for jointly Gaussian u, v of equal variance and this correlation.

    (√(1 − ρ²) + (π − arccos ρ) ρ) / π: Cho & Saul (2009), the arc-cosine kernel of degree 1. It is 1/π for
    uncorrelated pre-activations, because ReLU outputs have a mean.

    >>> relu_correlation(np.array([-1.0, 0.0, 1.0])).round(4)
    array([0.    , 0.3183, 1.    ])
    """
    angle = np.arccos(np.clip(correlation, -1, 1))
    return (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi


@dataclass(frozen=True, eq=False)
class LayerSignal:
    """What enters a layer, and by how much the layer amplifies it.

    Args:
        inputs: M, the correlation of the inputs within a patch.
        amplification: ⟨R, M⟩: E[y²] = n s² ⟨R, M⟩ E[x²].
    """

    inputs: SpatialCorrelation
    amplification: float

    def keeping_scale(self, channels: int, gain: float = 2**0.5) -> float:
        """The standard deviation per tap that keeps the signal, s = g / √(n ⟨R, M⟩): E[y²] = g² E[x²]."""
        return scale_for(self.amplification, channels, gain)


def propagate(field: ArrayLike, correlation: SpatialCorrelation, depth: int) -> tuple[LayerSignal, ...]:
    """The correlation of the inputs and the amplification of each of `depth` layers, with ReLU between them.

    Args:
        field: m of the network's inputs, shape of the torus; every side at least 2k − 1.
        correlation: R, of every layer.
        depth: number of layers.

    Raises:
        CorrelationError: if the torus is too small for the kernel, or a layer cancels the signal.

    >>> alike = SpatialCorrelation(np.ones((9, 9)))
    >>> [round(layer.amplification, 2) for layer in propagate(independent_field((8, 8)), alike, 3)]
    [9.0, 50.11, 69.81]
    """
    field = np.asarray(field, np.float64)
    layers = []
    for _ in range(depth):
        moments = convolved(field, correlation)
        amplification = float(moments[(0,) * moments.ndim])
        if amplification <= 1e-9:
            raise CancelledSignalError(
                f"⟨R, M⟩ is {amplification:.3g} in layer {len(layers) + 1}: filters with this correlation "
                "cancel such inputs, and no signal is left to follow"
            )
        layers.append(LayerSignal(patch_correlation(field, correlation.kernel_size), amplification))
        field = relu_correlation(moments / amplification)
    return tuple(layers)


def output_moments(layers: Sequence[LayerSignal], growth: float) -> Array:
    """E[y_l²] / E[y_1²] for l = 1 ... depth: the product of n s² ⟨R, M_i⟩ / 2 over layers i = 2 ... l.

    Args:
        layers: from `propagate`.
        growth: n s², input channels times the variance of a tap.
    """
    factors = growth * RELU_SECOND_MOMENT * np.array([layer.amplification for layer in layers])
    return np.concatenate([[1.0], factors[1:]]).cumprod(dtype=np.float64)


def printed_moments(
    taps: int, depth: int, growth: float, *, correlated: bool, as_table: bool = False
) -> Array:
    """E[y_l²] / E[y_1²] as the paper has it, for l = 1 ... depth.

    Eqs. (14) and (16): (k⁴/2 n s²)^(l−1) where both inputs and weights are perfectly correlated, else
    (k²/2 n s²)^(l−1). Table 1 prints k^(2l) and k^l instead, with (n s²/2)^l.

    Args:
        taps: k², taps per filter.
        depth: number of layers.
        growth: n s², input channels times the variance of a tap.
        correlated: case (A) of Table 1; else (B), (C) and (D).
        as_table: Table 1 in place of the equations.
    """
    layer = np.arange(1.0, depth + 1)
    if as_table:
        side = np.sqrt(taps)
        return (growth * RELU_SECOND_MOMENT * side ** (2 if correlated else 1)) ** layer
    return (growth * RELU_SECOND_MOMENT * taps ** (2.0 if correlated else 1.0)) ** (layer - 1)


def _displacements(field: Array, kernel_size: Sequence[int]) -> tuple[NDArray[np.intp], ...]:
    """Indices of the displacements t_i − t_j into a field on the torus, each of shape (taps, taps)."""
    if len(kernel_size) != field.ndim or any(
        side < 2 * k - 1 for side, k in zip(field.shape, kernel_size, strict=True)
    ):
        raise CorrelationError(
            f"the field has size {field.shape}; a kernel of {tuple(kernel_size)} taps needs at least "
            f"{tuple(2 * k - 1 for k in kernel_size)}"
        )
    offsets = tap_offsets(kernel_size)
    lags = (offsets[:, None, :] - offsets[None, :, :]) % np.array(field.shape)
    return tuple(np.moveaxis(lags, -1, 0))
