"""Correlation matrices and deviations as arrays: validation, repair, the symmetric root, in float64.

A covariance is split as v̄ D R D: mean variance v̄, relative deviations D = diag(d) of mean square 1, and
correlation R.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corrinit.errors import (
    CorrelationError,
    NotACorrelationError,
    NotFiniteError,
    NotPositiveSemidefiniteError,
)

Matrix: TypeAlias = NDArray[np.float64]
Vector: TypeAlias = NDArray[np.float64]

TOLERANCE = 1e-6
"""How far rounding may take a correlation from symmetric, unit-diagonal and positive semi-definite, and the
mean square of relative deviations from 1."""

DENSE_LIMIT = 4096
"""Taps up to which a correlation is held as a matrix: at 4,096 it takes 128 MiB, and a minute to factor."""

_ABSURD = 1e100
"""Entries beyond this overflow where they are squared and added up."""


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
    require_dense(len(matrix))
    if (gap := float(np.abs(np.diag(matrix) - 1).max())) > TOLERANCE:
        raise NotACorrelationError(
            f"the diagonal is off by {gap:.3g}; a correlation has ones there: divide by the deviations"
        )
    if (lowest := float(np.linalg.eigvalsh(matrix)[0])) < -TOLERANCE:
        raise NotPositiveSemidefiniteError(
            f"the matrix is not positive semi-definite: its smallest eigenvalue is {lowest:.3g}; "
            "use SpatialCorrelation.nearest(...) to project it to the nearest correlation matrix"
        )
    return matrix


def relative_deviations(deviations: ArrayLike) -> Vector:
    """Deviations at any scale, divided by their root mean square: d with mean square 1.

    Args:
        deviations: one per tap, finite and at least 0, not all 0.

    >>> relative_deviations([0, 3, 4]).round(3).tolist()
    [0.0, 1.039, 1.386]
    """
    deviations = _deviations(deviations)
    largest = deviations.max()
    if largest == 0:
        raise NotACorrelationError("all deviations are 0; at least one tap must vary")
    scaled = deviations / largest  # no square of it overflows
    return scaled / np.sqrt(np.mean(scaled**2))


def validate_deviations(deviations: ArrayLike, taps: int) -> Vector:
    """Check that these are relative deviations of so many taps, and return a copy as float64.

    Raises:
        CorrelationError: naming what is wrong, its value, and the remedy.
    """
    deviations = _deviations(deviations)
    if deviations.shape != (taps,):
        raise NotACorrelationError(
            f"the deviations have shape {deviations.shape}; {taps} taps need shape ({taps},)",
            shape=deviations.shape,
        )
    mean_square = float(np.mean(deviations**2)) if deviations.max() < _ABSURD else np.inf
    if abs(mean_square - 1) > TOLERANCE:
        raise NotACorrelationError(
            f"the deviations have mean square {mean_square:.4g}; relative ones have 1: "
            "divide them by the root of their mean square"
        )
    return deviations


def split_covariance(covariance: ArrayLike) -> tuple[Matrix, Vector]:
    """R and d of a covariance v̄ D R D. A tap without variance is correlated with no other.

    Args:
        covariance: n × n, finite and symmetric, of a trace above 0.

    >>> matrix, deviations = split_covariance([[4, 1], [1, 1]])
    >>> matrix.tolist(), deviations.round(3).tolist()
    ([[1.0, 0.5], [0.5, 1.0]], [1.265, 0.632])
    """
    covariance = _finite_square(covariance)
    variance = np.diag(covariance)
    if (lowest := float(variance.min())) < 0:
        raise NotACorrelationError(f"a variance is {lowest:.3g}; the diagonal of a covariance is at least 0")
    deviations = np.sqrt(variance)
    inverse = np.divide(1, deviations, out=np.zeros_like(deviations), where=deviations > 0)
    matrix = covariance * np.outer(inverse, inverse)
    np.fill_diagonal(matrix, 1.0)
    return matrix, relative_deviations(deviations)


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


def require_dense(taps: int) -> None:
    """Raise a `CorrelationError` unless a correlation of so many taps may be held as a matrix."""
    if taps > DENSE_LIMIT:
        raise CorrelationError(
            f"{taps:,} taps are too many for a correlation matrix, {DENSE_LIMIT:,} is the limit: "
            "SpatialCorrelation.separable([...]) takes one matrix per axis instead"
        )


def _deviations(deviations: ArrayLike) -> Vector:
    try:
        deviations = _real(deviations)
    except (TypeError, ValueError, RuntimeError) as error:
        raise NotACorrelationError(f"the deviations are no real numbers: {error}") from error
    if deviations.ndim != 1 or not deviations.size:
        raise NotACorrelationError(
            f"the deviations have shape {deviations.shape}; there is one number per tap",
            shape=deviations.shape,
        )
    if bad := int((~np.isfinite(deviations)).sum()):
        raise NotFiniteError(f"{bad} of {deviations.size} deviations are NaN or infinite")
    if (lowest := float(deviations.min())) < 0:
        raise NotACorrelationError(f"a deviation is {lowest:.3g}; deviations are at least 0")
    return deviations


def _real(values: ArrayLike) -> NDArray[np.float64]:
    """A copy as float64; numpy would drop an imaginary part."""
    if np.iscomplexobj(values):
        raise TypeError("they are complex")
    return np.array(values, dtype=np.float64)


def _finite_square(matrix: ArrayLike) -> Matrix:
    try:
        matrix = _real(matrix)
    except (TypeError, ValueError, RuntimeError) as error:
        raise NotACorrelationError(f"the matrix does not consist of rows of real numbers: {error}") from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise NotACorrelationError(
            f"the matrix has shape {matrix.shape}; a correlation of n taps is n × n", shape=matrix.shape
        )
    if bad := int((~np.isfinite(matrix)).sum()):
        raise NotFiniteError(f"{bad} of {matrix.size} entries are NaN or infinite; a correlation is finite")
    if (largest := float(np.abs(matrix).max())) > _ABSURD:
        raise NotACorrelationError(
            f"an entry is as large as {largest:.3g}; correlations lie between -1 and 1"
        )
    if (gap := float(np.abs(matrix - matrix.T).max())) > TOLERANCE:
        raise NotACorrelationError(
            f"the matrix is not symmetric: entries differ by up to {gap:.3g} from their mirror"
        )
    return (matrix + matrix.T) / 2
