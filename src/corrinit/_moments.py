"""Means and second moments over the filters of a layer, or over the patches of images.

Products are taken block by block, so that no copy of the whole is made, and added up in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from corrinit._arrays import Array, as_array
from corrinit._spd import Matrix, Vector

_BLOCK = 1 << 20
"""Values in a block."""

_STRETCH = 4096
"""Rows in a stretch."""

_FEW_TAPS = 9
_MANY_VALUES = 1 << 17
"""Kernels of few taps in layers of many values are worked on in float32: entries of their correlation are
exact to about 1e-6. Elsewhere rounding would show in the smallest eigenvalues, so there it is float64."""


class Moments(NamedTuple):
    """Mean of each tap over the filters, shape (n,), and covariance of the taps, shape (n, n)."""

    mean: Vector
    covariance: Matrix


def tap_moments(weight: ArrayLike) -> Moments:
    """The moments of the taps over the filters of a layer.

    Products are taken about zero. Where a mean exceeds its deviation this costs precision; then they are
    taken again, about the means.

    Args:
        weight: array or tensor of shape (out, in, k_1, ..., k_d), n = k_1 ⋯ k_d.

    Returns:
        The moments; NaN if the weight holds a value that is not finite, or is too large to be squared.
    """
    values = as_array(weight)
    if values.strides[0] < values.strides[1]:  # filters count alike in any order: the one they are stored in
        values = values.swapaxes(0, 1)
    about_zero = _moments_about(values, None)
    if (np.abs(about_zero.mean) > np.sqrt(about_zero.covariance.diagonal().clip(min=0))).any():
        return _moments_about(values, about_zero.mean)
    return about_zero


class ChannelMeans(NamedTuple):
    """Means of a value over the filters of each output and input channel, and of its square over all."""

    by_output: Vector
    by_input: Vector
    square: float


def mean_by_channel(weight: Array, mean: Vector, linear: Vector, square: Vector) -> ChannelMeans:
    """Means of (a · x)² − b · x² over the centred filters x of a layer.

    Args:
        weight: shape (out, in, k_1, ..., k_d), n = k_1 ⋯ k_d.
        mean: of the taps, to be subtracted, shape (n,).
        linear: a, shape (n,).
        square: b, shape (n,).

    Returns:
        Shapes (out,) and (in,), and a number.
    """
    inputs = weight.shape[1]
    by_output: list[Vector] = []
    by_input = np.zeros(inputs)
    squares = 0.0
    for filters in _blocks(weight, mean):
        a, b = linear.astype(filters.dtype), square.astype(filters.dtype)
        values = (np.square(filters @ a) - np.square(filters) @ b).reshape(-1, inputs)
        by_output.append(values.mean(axis=1, dtype=np.float64))
        by_input += values.sum(axis=0)
        squares += float(np.square(values).sum(dtype=np.float64))
    return ChannelMeans(np.concatenate(by_output), by_input / len(weight), squares / (len(weight) * inputs))


def pixel_moments(images: ArrayLike, size: Sequence[int]) -> Matrix:
    """E[x_i x_j] over all patches inside the images, shape (n, n), n = k_1 ⋯ k_d.

    Args:
        images: array or tensor of shape (N, C, *spatial).
        size: of the patches, (k_1, ..., k_d).
    """
    taps = prod(size)
    values = as_array(images)
    planes = values.reshape(-1, *values.shape[2:])
    patches = sliding_window_view(planes, tuple(size), tuple(range(1, planes.ndim)))
    positions = patches.shape[1 : 1 + len(size)]
    precise = _needs_float64(values, taps)
    products = np.zeros((taps, taps))
    together, high = (max(1, _BLOCK // (prod(of) * taps)) for of in (positions, positions[1:]))
    for first in range(0, len(patches), together):
        for top in range(0, positions[0], high):
            strip = patches[first : first + together, top : top + high]
            products += _sums(_as_float(strip, precise).reshape(-1, taps))[1]
    return products / (len(patches) * prod(positions))


def _moments_about(weight: Array, centre: Vector | None) -> Moments:
    filters, taps = weight.shape[0] * weight.shape[1], prod(weight.shape[2:])
    sums, products = np.zeros(taps), np.zeros((taps, taps))
    for block in _blocks(weight, centre):
        block_sums, block_products = _sums(block)
        sums += block_sums
        products += block_products
    offset = sums / filters
    with np.errstate(invalid="ignore", over="ignore"):
        covariance = products / filters - np.outer(offset, offset)
    return Moments(offset if centre is None else centre + offset, covariance)


def _sums(rows: Array) -> tuple[Vector, Matrix]:
    """Σ x and Σ x xᵀ over rows x, added up in their own precision over stretches, and in float64 over those.

    Stretches fit the cache, and are too short to be worth a second thread.
    """
    taps = rows.shape[1]
    sums, products = np.zeros(taps), np.zeros((taps, taps))
    ones = np.ones(_STRETCH, rows.dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, len(rows), _STRETCH):
            stretch = rows[start : start + _STRETCH]
            sums += ones[: len(stretch)] @ stretch
            products += stretch.T @ stretch
    return sums, products


def _blocks(weight: Array, centre: Vector | None) -> Iterator[Array]:
    """The filters of some output channels at a time, one a row; less `centre`, shape (n,)."""
    taps = prod(weight.shape[2:])
    precise = _needs_float64(weight, taps)
    together = max(1, _BLOCK // (weight.shape[1] * taps))
    for first in range(0, len(weight), together):
        block = _as_float(weight[first : first + together].reshape(-1, taps), precise)
        yield block if centre is None else block - centre.astype(block.dtype)


def _needs_float64(values: Array, taps: int) -> bool:
    return values.dtype == np.float64 or taps > _FEW_TAPS or values.size < _MANY_VALUES


def _as_float(values: Array, precise: bool) -> Array:
    if not values.flags.aligned:  # mapped from any byte of a file; products would copy it time and again
        values = values.copy(order="K")
    with np.errstate(over="ignore"):
        return values.astype(np.float64 if precise else np.float32, copy=False)
