"""Means and second moments over the filters of a layer, or over the patches of images.

Products are taken block by block, so that no copy of the whole is made, and added up in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

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


def tap_moments(weight: Tensor) -> Moments:
    """The moments of the taps over the filters of a layer.

    Products are taken about zero. Where a mean exceeds its deviation this costs precision; then they are
    taken again, about the means.

    Args:
        weight: shape (out, in, k_1, ..., k_d), n = k_1 ⋯ k_d.

    Returns:
        The moments; NaN if the weight holds a value that is not finite, or is too large to be squared.
    """
    about_zero = _moments_about(weight, None)
    if (np.abs(about_zero.mean) > np.sqrt(about_zero.covariance.diagonal().clip(min=0))).any():
        return _moments_about(weight, about_zero.mean)
    return about_zero


class ChannelMeans(NamedTuple):
    """Means of a value over the filters of each output and input channel, and of its square over all."""

    by_output: Vector
    by_input: Vector
    square: float


def mean_by_channel(weight: Tensor, mean: Vector, linear: Vector, square: Vector) -> ChannelMeans:
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
    by_output: list[Tensor] = []
    by_input = torch.zeros(inputs, dtype=torch.float64)
    squares = 0.0
    for block in _blocks(weight, mean):
        filters = block.view(-1, len(mean))
        a, b = (torch.tensor(coefficients, dtype=block.dtype) for coefficients in (linear, square))
        values = ((filters @ a).square_() - filters.square_() @ b).view(-1, inputs)
        by_output.append(values.mean(dim=1, dtype=torch.float64))
        by_input += values.sum(dim=0)
        squares += float(values.square_().sum(dtype=torch.float64))
    return ChannelMeans(
        torch.cat(by_output).numpy(), (by_input / len(weight)).numpy(), squares / (len(weight) * inputs)
    )


def pixel_moments(images: Tensor, size: Sequence[int]) -> Matrix:
    """E[x_i x_j] over all patches inside the images, shape (n, n), n = k_1 ⋯ k_d.

    Args:
        images: shape (N, C, *spatial).
        size: of the patches, (k_1, ..., k_d).
    """
    taps = prod(size)
    patches = images.detach().flatten(0, 1)
    for axis, k in enumerate(size, start=1):
        patches = patches.unfold(axis, k, 1)
    positions = patches.shape[1 : 1 + len(size)]
    precise = _needs_float64(images, taps)
    products = np.zeros((taps, taps))
    for planes in patches.split(max(1, _BLOCK // (prod(positions) * taps))):
        for strip in planes.split(max(1, _BLOCK // (prod(positions[1:]) * taps)), dim=1):
            products += _sums(_as_float(strip, precise).reshape(-1, taps))[1]
    return products / (len(patches) * prod(positions))


def _moments_about(weight: Tensor, centre: Vector | None) -> Moments:
    filters, taps = weight.shape[0] * weight.shape[1], prod(weight.shape[2:])
    sums, products = np.zeros(taps), np.zeros((taps, taps))
    for block in _blocks(weight, centre):
        block_sums, block_products = _sums(block.view(-1, taps))
        sums += block_sums
        products += block_products
    offset = sums / filters
    with np.errstate(invalid="ignore", over="ignore"):
        covariance = products / filters - np.outer(offset, offset)
    return Moments(offset if centre is None else centre + offset, covariance)


def _sums(rows: Tensor) -> tuple[Vector, Matrix]:
    """Σ x and Σ x xᵀ over rows x, added up in their own precision over stretches, and in float64 over those.

    Through numpy: stretches fit the cache and are too short to be worth a second thread; torch would start
    one, and wait for it.
    """
    values, taps = rows.numpy(), rows.shape[1]
    sums, products = np.zeros(taps), np.zeros((taps, taps))
    ones = np.ones(_STRETCH, values.dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, len(values), _STRETCH):
            stretch = values[start : start + _STRETCH]
            sums += ones[: len(stretch)] @ stretch
            products += stretch.T @ stretch
    return sums, products


def _blocks(weight: Tensor, centre: Vector | None) -> Iterator[Tensor]:
    """Some output channels at a time, one a row; less `centre`, shape (n,)."""
    rows, precise = weight.detach().reshape(len(weight), -1), _needs_float64(weight, prod(weight.shape[2:]))
    for block in rows.split(max(1, _BLOCK // rows.shape[1])):
        block = _as_float(block, precise)
        if centre is not None:
            block = block - torch.tensor(centre, dtype=block.dtype).repeat(weight.shape[1])
        yield block


def _needs_float64(values: Tensor, taps: int) -> bool:
    return values.dtype == torch.float64 or taps > _FEW_TAPS or values.numel() < _MANY_VALUES


def _as_float(values: Tensor, precise: bool) -> Tensor:
    return values.to("cpu", torch.float64 if precise else torch.float32)
