"""Taps by their displacement from one another, and taps of a kernel of another size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from corrinit._spd import Vector, relative_deviations, require_dense
from corrinit.kernels import Matrix, exponential, mean_off_diagonal, number_of_taps, tap_offsets


def mean_by_displacement(matrix: Matrix, kernel_size: Sequence[int]) -> Matrix:
    """Mean of the entries of an n × n matrix by the displacement −(k−1) … k−1 between their two taps.

    Args:
        matrix: of the n = k_1 ⋯ k_d taps.
        kernel_size: (k_1, ..., k_d).

    Returns:
        Shape (2 k_1 − 1, ..., 2 k_d − 1).
    """
    offsets = tap_offsets(kernel_size)
    lags = (offsets[:, None, :] - offsets[None, :, :]) + np.array(kernel_size) - 1
    shape = tuple(2 * k - 1 for k in kernel_size)
    flat = np.ravel_multi_index(tuple(np.moveaxis(lags, -1, 0)), shape).ravel()
    sums = np.bincount(flat, matrix.ravel(), minlength=int(np.prod(shape)))
    return (sums / np.bincount(flat, minlength=int(np.prod(shape)))).reshape(shape)


def resized_matrix(matrix: Matrix, kernel_size: Sequence[int], new_size: Sequence[int]) -> Matrix:
    """A matrix of a kernel of another size that depends on displacement as this one does on average.

    Displacements longer than the old kernel decay on, from the longest one measured, as exp(−δ/ℓ), with ℓ
    from the exponential kernel of the same mean. The result need not be positive semi-definite.
    """
    require_dense(number_of_taps(new_size))
    limit = np.array(kernel_size) - 1
    offsets = tap_offsets(new_size)
    lags = offsets[:, None, :] - offsets[None, :, :]
    known = np.clip(lags, -limit, limit)
    beyond = np.abs(lags - known).sum(axis=-1)
    by_lag = mean_by_displacement(matrix, kernel_size)
    return by_lag[tuple(np.moveaxis(known + limit, -1, 0))] * _decay_per_tap(matrix, kernel_size) ** beyond


def resized_deviations(deviations: Vector, kernel_size: Sequence[int], new_size: Sequence[int]) -> Vector:
    """Relative deviations of a kernel of another size: the variance at the same place about the centre.

    Between taps the variance is interpolated linearly along each axis; beyond the old kernel it is that of
    the nearest border tap. Where no tap varies there, all do alike.
    """
    variance = np.square(deviations).reshape(tuple(kernel_size))
    for axis, (old, new) in enumerate(zip(kernel_size, new_size, strict=True)):
        places = np.arange(new) - (new - 1) / 2 + (old - 1) / 2
        variance = np.apply_along_axis(
            lambda row, places=places, old=old: np.interp(places, np.arange(old), row), axis, variance
        )
    return relative_deviations(np.sqrt(variance.ravel()) if variance.any() else np.ones(variance.size))


def _decay_per_tap(matrix: Matrix, kernel_size: Sequence[int]) -> float:
    """exp(−1/ℓ) of the city-block exponential kernel with this mean; 0 if the mean is not positive."""
    mean = mean_off_diagonal(matrix)
    if mean <= 0:
        return 0.0
    if mean > 1 - 1e-9:
        return 1.0
    longest = int(np.argmax(kernel_size))
    neighbours = np.ravel_multi_index(
        tuple(int(axis == longest) for axis in range(len(kernel_size))), tuple(kernel_size)
    )
    return float(exponential(kernel_size, mean=mean)[0, neighbours])
