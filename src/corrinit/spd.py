"""Correlation matrices as matrices: validation, repair, shrinkage and the symmetric root, in float64."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corrinit.errors import CorrelationError

Matrix = NDArray[np.float64]

TOLERANCE = 1e-6
"""How far from symmetric, unit-diagonal and positive semi-definite rounding may take a correlation."""


class NearestCorrelation(NamedTuple):
    """The result of a repair: the matrix, and its Frobenius distance from the input."""

    matrix: Matrix
    distance: float


def validate(matrix: ArrayLike) -> Matrix:
    """Check that a matrix is a correlation matrix, and return it as float64, exactly symmetric.

    Args:
        matrix: n × n; finite, symmetric, unit diagonal and positive semi-definite within `TOLERANCE`.

    Raises:
        CorrelationError: naming the first property that fails, its value, and the remedy.

    >>> validate([[1, 0.5], [0.5, 1]])
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    matrix = _finite_square(matrix)
    if (gap := float(np.abs(np.diag(matrix) - 1).max())) > TOLERANCE:
        raise CorrelationError(
            f"the diagonal is off by {gap:.3g}; a correlation has ones there: divide by the deviations"
        )
    if (lowest := float(np.linalg.eigvalsh(matrix)[0])) < -TOLERANCE:
        raise CorrelationError(
            f"the matrix is not positive semi-definite: its smallest eigenvalue is {lowest:.3g}; "
            "use SpatialCorrelation.nearest(...) to project it to the nearest correlation matrix"
        )
    return matrix


def nearest_correlation(matrix: ArrayLike, *, max_iterations: int = 1000) -> NearestCorrelation:
    """The correlation matrix nearest to a symmetric one in the Frobenius norm.

    Alternating projections between the positive semi-definite cone and the matrices of unit diagonal, with
    Dykstra's correction (Higham 2002, Algorithm 3.3). The result is positive semi-definite even if the
    iteration limit is reached: the last step projects to the cone and rescales to a unit diagonal.

    Args:
        matrix: n × n, finite and symmetric.
        max_iterations: limit on the projections, at least 1.

    >>> nearest_correlation([[1, 2], [2, 1]]).matrix.round(6)
    array([[1., 1.],
           [1., 1.]])
    """
    if max_iterations < 1:
        raise CorrelationError(f"max_iterations is {max_iterations}; the projection needs at least 1")
    original = _finite_square(matrix)
    current, correction = original.copy(), np.zeros_like(original)
    for _ in range(max_iterations):
        shifted = current - correction
        projected = _project_psd(shifted)
        correction = projected - shifted
        following = projected.copy()
        np.fill_diagonal(following, 1.0)
        change = np.linalg.norm(following - current)
        current = following
        if change <= 1e-12 * max(1.0, float(np.linalg.norm(current))):
            break
    repaired = _project_psd(current)
    deviations = np.sqrt(np.diag(repaired))
    repaired = repaired / np.outer(deviations, deviations)
    np.fill_diagonal(repaired, 1.0)
    repaired = (repaired + repaired.T) / 2
    return NearestCorrelation(repaired, float(np.linalg.norm(repaired - original)))


def shrink(matrix: Matrix, intensity: float) -> Matrix:
    """Shrink towards independence: (1 − intensity) R + intensity I.

    The same as multiplying the off-diagonal entries by α = 1 − intensity.

    Args:
        matrix: n × n correlation.
        intensity: in [0, 1].
    """
    if not 0 <= intensity <= 1:
        raise CorrelationError(f"shrinkage intensity is {intensity}; it lies in [0, 1]")
    return (1 - intensity) * matrix + intensity * np.eye(len(matrix))


def symmetric_root(matrix: Matrix) -> Matrix:
    """The symmetric positive semi-definite C with C C = R (C Cᵀ = R in Algorithm 1 of the paper).

    Unlike a Cholesky factor it exists for singular R, and it commutes with every flip or rotation of the
    grid that leaves R unchanged.
    """
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def _project_psd(matrix: Matrix) -> Matrix:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values.clip(min=0)) @ vectors.T


def _finite_square(matrix: ArrayLike) -> Matrix:
    try:
        matrix = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CorrelationError(f"the matrix does not consist of rows of real numbers: {error}") from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise CorrelationError(f"the matrix has shape {matrix.shape}; a correlation of n taps is n × n")
    if bad := int((~np.isfinite(matrix)).sum()):
        raise CorrelationError(f"{bad} of {matrix.size} entries are NaN or infinite; a correlation is finite")
    if (gap := float(np.abs(matrix - matrix.T).max())) > TOLERANCE:
        raise CorrelationError(
            f"the matrix is not symmetric: entries differ by up to {gap:.3g} from their mirror"
        )
    return (matrix + matrix.T) / 2
