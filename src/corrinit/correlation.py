"""`SpatialCorrelation`: how the taps of a kernel, or the pixels of a patch, are correlated."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import permutations, product
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from corrinit import spd
from corrinit.errors import CorrelationError, CorrInitWarning
from corrinit.kernels import (
    Matrix,
    Metric,
    exponential,
    mean_off_diagonal,
    number_of_taps,
    tap_distances,
    tap_offsets,
)


class ProfilePoint(NamedTuple):
    """The mean correlation of all pairs of taps at one distance."""

    distance: float
    correlation: float
    pairs: int


@dataclass(frozen=True, eq=False)
class SpatialCorrelation:
    """The correlation matrix R of the n = k_1 ⋯ k_d taps of a kernel, numbered row-major.

    The same value also describes inputs: M, the second-moment correlation of the n pixels of a patch.

    Args:
        matrix: n × n; finite, symmetric, unit diagonal, positive semi-definite. Copied, then read-only.
        kernel_size: taps per axis, such as (3, 3); may be left out for square kernels.
        provenance: where it comes from: names to text, kept in the correlation file.

    Raises:
        CorrelationError: if the matrix is no correlation, or its size is not that of the kernel.

    >>> from corrinit import kernels
    >>> R = SpatialCorrelation(kernels.exponential((3, 3), mean=0.26))
    >>> R
    SpatialCorrelation(kernel_size=(3, 3), mean=0.260)
    """

    matrix: Matrix
    kernel_size: tuple[int, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __init__(
        self,
        matrix: ArrayLike,
        kernel_size: Sequence[int] | None = None,
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        valid = spd.validate(matrix)
        size = _square_kernel(len(valid)) if kernel_size is None else tuple(kernel_size)
        if (taps := number_of_taps(size)) != len(valid):
            n = len(valid)
            raise CorrelationError(
                f"the correlation is {n}×{n}; a {format_size(size)} kernel needs {taps}×{taps}"
                + (f": it is one of a {format_size(guess)} kernel" if (guess := _guess(n, len(size))) else "")
            )
        valid.setflags(write=False)
        object.__setattr__(self, "matrix", valid)
        object.__setattr__(self, "kernel_size", tuple(int(k) for k in size))
        text = {str(name): str(value) for name, value in (provenance or {}).items()}
        object.__setattr__(self, "provenance", MappingProxyType(text))

    @classmethod
    def identity(cls, kernel_size: Sequence[int]) -> SpatialCorrelation:
        """Independent taps, R = I."""
        return cls(np.eye(number_of_taps(kernel_size)), kernel_size, {"source": "independent"})

    @classmethod
    def nearest(
        cls,
        matrix: ArrayLike,
        kernel_size: Sequence[int] | None = None,
        provenance: Mapping[str, str] | None = None,
    ) -> SpatialCorrelation:
        """The correlation nearest to a symmetric matrix (Higham 2002).

        How far it moved is warned of (`CorrInitWarning`) and kept in the provenance as `psd_repair`.
        """
        repaired = spd.nearest_correlation(matrix)
        provenance = dict(provenance or {})
        if repaired.distance > spd.TOLERANCE:
            provenance["psd_repair"] = f"Frobenius distance {repaired.distance:.6g}"
            warnings.warn(
                f"the matrix was not a correlation; the nearest one is {repaired.distance:.3g} away",
                CorrInitWarning,
                stacklevel=2,
            )
        return cls(repaired.matrix, kernel_size, provenance)

    @property
    def mean(self) -> float:
        """Mean off-diagonal correlation."""
        return mean_off_diagonal(self.matrix)

    @cached_property
    def root(self) -> Matrix:
        """The symmetric C with C C = R, read-only."""
        root = spd.symmetric_root(self.matrix)
        root.setflags(write=False)
        return root

    def inner(self, other: SpatialCorrelation) -> float:
        """⟨R, M⟩ = Σ_ij R_ij M_ij, the factor by which taps and inputs together amplify a signal.

        For independent inputs, M = I, it is n; for identical inputs, M = 1, it is ΣR (Eq. 17).
        """
        self.require(other.kernel_size)
        return float((self.matrix * other.matrix).sum())

    def require(self, kernel_size: Sequence[int]) -> None:
        """Raise a `CorrelationError` unless this is a correlation of a kernel of that size."""
        wanted = tuple(kernel_size)
        if wanted != self.kernel_size:
            n, taps = len(self.matrix), number_of_taps(wanted)
            raise CorrelationError(
                f"the correlation is {n}×{n}, of a {format_size(self.kernel_size)} kernel; "
                f"a {format_size(wanted)} kernel needs {taps}×{taps}"
                + (f": use .resize({wanted})" if len(wanted) == len(self.kernel_size) else "")
            )

    def with_strength(self, strength: float) -> SpatialCorrelation:
        """Off-diagonal entries times α = `strength` (Table 5 of the paper).

        α = 0 gives independent taps, α = 1 this correlation. α > 1 can leave the cone of positive
        semi-definite matrices; then the nearest correlation is taken, and the distance is warned of.
        """
        if not (np.isfinite(strength) and strength >= 0):
            raise CorrelationError(f"strength is {strength}; it is a factor of at least 0")
        if strength == 1:
            return self
        scaled = strength * self.matrix
        np.fill_diagonal(scaled, 1.0)
        return self.nearest(scaled, self.kernel_size, {**self.provenance, "strength": repr(float(strength))})

    def symmetrize(self) -> SpatialCorrelation:
        """Average over the flips of every axis and the permutations of axes of equal length.

        For square kernels these are the eight flips and rotations. The result is again a correlation.
        """
        size = self.kernel_size
        grid = np.arange(len(self.matrix)).reshape(size)
        axes = range(len(size))
        orders = [order for order in permutations(axes) if tuple(size[a] for a in order) == size]
        images = [
            np.flip(grid.transpose(order), tuple(a for a in axes if flips[a])).ravel()
            for order in orders
            for flips in product((False, True), repeat=len(size))
        ]
        mean = np.mean([self.matrix[np.ix_(image, image)] for image in images], axis=0)
        return SpatialCorrelation(mean, size, {**self.provenance, "symmetrized": "flips and rotations"})

    def resize(self, kernel_size: Sequence[int]) -> SpatialCorrelation:
        """The correlation of a kernel of another size, in which neighbours are correlated as here.

        The correlation becomes a function of the displacement between taps: the mean over all pairs with
        that displacement. Displacements longer than this kernel decay on, from the longest one measured, as
        exp(−δ/ℓ), with ℓ from the exponential kernel of the same mean. A result that is not positive
        semi-definite is repaired, with a warning.

        Args:
            kernel_size: the new size, with as many axes.

        >>> SpatialCorrelation(exponential((3, 3), length_scale=1.0)).resize((5, 5)).matrix[0, 4].round(6)
        np.float64(0.018316)
        """
        size = tuple(int(k) for k in kernel_size)
        if size == self.kernel_size:
            return self
        if len(size) != len(self.kernel_size):
            raise CorrelationError(
                f"a {format_size(self.kernel_size)} correlation cannot be resized to {format_size(size)}: "
                "the number of axes differs"
            )
        by_lag = self.by_displacement()
        limit = np.array(self.kernel_size) - 1
        offsets = tap_offsets(size)
        lags = offsets[:, None, :] - offsets[None, :, :]
        known = np.clip(lags, -limit, limit)
        beyond = np.abs(lags - known).sum(axis=-1)
        resized = by_lag[tuple(np.moveaxis(known + limit, -1, 0))] * self._decay_per_tap() ** beyond
        provenance = {**self.provenance, "resized_from": format_size(self.kernel_size)}
        return self.nearest(resized, size, provenance)

    def profile(self, metric: Metric = "euclidean") -> tuple[ProfilePoint, ...]:
        """Mean correlation by distance between taps, nearest first (Figure 1 of the paper)."""
        upper = np.triu_indices(len(self.matrix), k=1)
        distances = tap_distances(self.kernel_size, metric)[upper]
        values = self.matrix[upper]
        return tuple(
            ProfilePoint(float(d), float(values[distances == d].mean()), int((distances == d).sum()))
            for d in np.unique(distances)
        )

    def by_displacement(self) -> Matrix:
        """Mean correlation of taps at each displacement −(k−1) … k−1, shape (2 k_1 − 1, ..., 2 k_d − 1)."""
        offsets = tap_offsets(self.kernel_size)
        lags = (offsets[:, None, :] - offsets[None, :, :]) + np.array(self.kernel_size) - 1
        shape = tuple(2 * k - 1 for k in self.kernel_size)
        flat = np.ravel_multi_index(tuple(np.moveaxis(lags, -1, 0)), shape).ravel()
        sums = np.bincount(flat, self.matrix.ravel(), minlength=int(np.prod(shape)))
        return (sums / np.bincount(flat, minlength=int(np.prod(shape)))).reshape(shape)

    def _decay_per_tap(self) -> float:
        """exp(−1/ℓ) of the city-block exponential kernel with this mean; 0 if the mean is not positive."""
        mean = self.mean
        if mean <= 0:
            return 0.0
        if mean > 1 - 1e-9:
            return 1.0
        longest = int(np.argmax(self.kernel_size))
        neighbours = np.ravel_multi_index(
            tuple(int(axis == longest) for axis in range(len(self.kernel_size))), self.kernel_size
        )
        return float(exponential(self.kernel_size, mean=mean)[0, neighbours])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpatialCorrelation):
            return NotImplemented
        return (
            self.kernel_size == other.kernel_size
            and np.array_equal(self.matrix, other.matrix)
            and dict(self.provenance) == dict(other.provenance)
        )

    def __hash__(self) -> int:
        return hash((self.kernel_size, (self.matrix + 0.0).tobytes()))  # +0.0: −0.0 equals 0.0

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.matrix, self.kernel_size, dict(self.provenance))

    def __repr__(self) -> str:
        return f"SpatialCorrelation(kernel_size={self.kernel_size}, mean={self.mean:.3f})"


DEFAULT_MEAN = 0.26
"""Mean off-diagonal correlation of the 3×3 filters of a trained ResNet-10, as the paper reports it."""


@lru_cache
def default_correlation(kernel_size: tuple[int, ...]) -> SpatialCorrelation:
    """The correlation used where none is given: separable exponential, mean 0.26 on a 3×3 kernel.

    Every kernel size gets the length scale that gives the 3×3 kernel that mean, so neighbouring taps are
    correlated alike in all of them.

    >>> default_correlation((3, 3))
    SpatialCorrelation(kernel_size=(3, 3), mean=0.260)
    """
    neighbours = exponential((3, 3), mean=DEFAULT_MEAN)[0, 1]
    length_scale = float(-1 / np.log(neighbours))
    provenance = {"source": f"exponential kernel, city-block metric, length scale {length_scale:.6g}"}
    return SpatialCorrelation(exponential(kernel_size, length_scale), kernel_size, provenance)


def format_size(kernel_size: Sequence[int]) -> str:
    """A kernel size as people write it.

    >>> format_size((3, 3))
    '3×3'
    """
    return "×".join(str(k) for k in kernel_size)


def _square_kernel(taps: int) -> tuple[int, int]:
    side = round(taps**0.5)
    if side * side != taps:
        raise CorrelationError(f"{taps} taps form no square kernel; give kernel_size, such as (1, {taps})")
    return side, side


def _guess(taps: int, axes: int) -> tuple[int, ...] | None:
    side = round(taps ** (1 / axes))
    return (side,) * axes if side**axes == taps else None
