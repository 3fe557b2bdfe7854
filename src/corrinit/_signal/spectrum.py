"""The second moments of what enters a model, by displacement.

An input law takes the size of the input in pixels and gives c(δ) = E[x(p) x(p + δ)] / E[x²] for all
displacements δ that fit: an array of shape (2 n_1 − 1, ..., 2 n_d − 1) with δ = 0 in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corrinit.errors import PlanError

Array: TypeAlias = NDArray[np.float64]
InputLaw: TypeAlias = Callable[[tuple[int, ...]], Array]

NATURAL_EXPONENT = 2.4
"""p of the power spectrum 1/f^p of natural images in two dimensions; 2 would be scale invariance."""

_GRID = 3
"""Sides of the image in a side of the periodic grid.

With it, p = 2.4 agrees within .01 with c(δ) of Tiny-ImageNet shrunk to 32 pixels, up to 8 pixels.
"""

_SMALLEST_GRID = 16
_LARGEST_GRID = {1: 1 << 16, 2: 1024, 3: 128}


def natural(size: tuple[int, ...]) -> Array:
    """Natural images, normalized to mean zero: a power spectrum 1/f^2.4 in two dimensions.

    In d dimensions it is 1/f^(d + 0.4), so that lines and planes through a volume look alike. The image is a
    piece of a periodic grid three times as large, whose mean is taken away: so an image of 32 pixels and a
    photograph of 256 have the same moments at the same share of their side. Displacements are in pixels.

    >>> natural((32, 32))[31, 31:34].round(2)
    array([1.  , 0.88, 0.77])
    """
    return power_law(NATURAL_EXPONENT)(size)


def white(size: tuple[int, ...]) -> Array:
    """Independent pixels of mean zero."""
    field = np.zeros(tuple(2 * n - 1 for n in size))
    field[tuple(n - 1 for n in size)] = 1
    return field


def power_law(exponent: float) -> InputLaw:
    """Inputs of power spectrum 1/f^(exponent + d − 2) in d dimensions, see `natural`."""
    if not math.isfinite(exponent):
        raise PlanError(f"the exponent of the power spectrum is {exponent}; natural images have 2.4")
    return lambda size: _power_law(float(exponent), tuple(size))


def measured(moments: ArrayLike) -> InputLaw:
    """Inputs of these second moments.

    Args:
        moments: c(δ) with δ = 0 in the middle, shape (2 l_1 + 1, ..., 2 l_d + 1), as
            `moments_by_displacement` has it; displacements beyond it have the moments at its
            edge.

    Raises:
        PlanError: if its middle is not positive, or an axis has no middle.
    """
    values = np.asarray(moments, np.float64)
    middle = tuple(n // 2 for n in values.shape)
    if values.ndim == 0 or any(n % 2 == 0 for n in values.shape) or not values[middle] > 0:
        raise PlanError(
            f"moments of shape {values.shape} have no positive value in the middle, at displacement 0; "
            "give E[x(p) x(p + δ)] for as many δ on either side"
        )
    relative = values / values[middle]

    def law(size: tuple[int, ...]) -> Array:
        if len(size) != values.ndim:
            raise PlanError(f"moments along {values.ndim} axes do not fit an input of size {size}")
        return resized(relative, [n - 1 for n in size])

    return law


def moments_by_displacement(images: ArrayLike) -> Array:
    """c(δ) of some images: means over images, channels and the pairs of pixels that lie δ apart.

    Args:
        images: shape (N, C, *spatial), scaled as the network sees them.
    """
    images = np.asarray(images, np.float64)
    size, axes = images.shape[2:], tuple(range(2, images.ndim))
    room = [2 * n for n in size]  # twice the size, so that no pair wraps around
    power = np.square(np.abs(np.fft.rfftn(images, s=room, axes=axes))).mean(axis=(0, 1))
    sums = np.fft.irfftn(power, s=room, axes=tuple(range(len(size))))
    lags = np.ix_(*(np.arange(1 - n, n) for n in size))
    pairs = math.prod(n - np.abs(lag) for n, lag in zip(size, lags, strict=True))
    moments = sums[lags] / pairs
    return moments / moments[tuple(n - 1 for n in size)]


def resized(moments: Array, reach: Sequence[int]) -> Array:
    """Moments for displacements up to `reach` per axis; those at the edge are repeated beyond it."""
    middle = [n // 2 for n in moments.shape]
    return moments[
        np.ix_(
            *(
                np.clip(np.arange(-want, want + 1), -have, have) + have
                for want, have in zip(reach, middle, strict=True)
            )
        )
    ]


@lru_cache(maxsize=16)
def _power_law(exponent: float, size: tuple[int, ...]) -> Array:
    dimensions = len(size)
    side = min(max(_SMALLEST_GRID, _GRID * max(size, default=1)), _LARGEST_GRID.get(dimensions, 128))
    frequencies = np.meshgrid(
        *[np.fft.fftfreq(side, 1 / side)] * (dimensions - 1),
        np.fft.rfftfreq(side, 1 / side),
        indexing="ij",
        sparse=True,
    )
    squared = np.asarray(sum(f**2 for f in frequencies))
    squared[(0,) * dimensions] = 1
    power = squared ** (-(exponent + dimensions - 2) / 2)
    power[(0,) * dimensions] = 0  # images are normalized: their mean carries nothing
    moments = np.fft.irfftn(power, s=(side,) * dimensions, axes=tuple(range(dimensions)))
    half = side // 2 - 1
    lags = np.ix_(*(np.clip(np.arange(1 - n, n), -half, half) for n in size))
    result = moments[lags] / moments[(0,) * dimensions]
    result.flags.writeable = False  # shared by the cache
    return result
