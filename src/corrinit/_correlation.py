"""`SpatialCorrelation`: how the taps of a kernel, or the pixels of a patch, vary together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from itertools import permutations, product
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from corrinit import _spd as spd
from corrinit._correlation_views import correlation_html, correlation_renderables
from corrinit._displacement import mean_by_displacement, resized_deviations, resized_matrix
from corrinit._spd import Matrix, Vector
from corrinit.errors import CorrelationError, CorrInitWarning, KernelMismatchError
from corrinit.kernels import Metric, exponential, mean_off_diagonal, number_of_taps, tap_distances

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


class ProfilePoint(NamedTuple):
    """The mean correlation of all pairs of taps at one distance."""

    distance: float
    correlation: float
    pairs: int


@dataclass(frozen=True, eq=False, repr=False)
class SpatialCorrelation:
    """How the n = k_1 ⋯ k_d taps of a kernel vary together: correlation R and relative deviations d.

    Taps are numbered row-major. With D = diag(d) their covariance is s² D R D, where s² is the mean variance;
    d = 1 where nothing else is said, and then this is R alone. The same value also describes inputs: M, the
    second moments of the n pixels of a patch.

    Args:
        matrix: R, n × n; finite, symmetric, unit diagonal, positive semi-definite. Copied, then read-only.
        kernel_size: taps per axis, such as (3, 3); may be left out for square kernels.
        provenance: where it comes from: names to text, kept in the correlation file.
        deviations: d, shape (n,), at least 0, mean square 1 (`corrinit._spd.relative_deviations` scales
            others); default: ones. What R says of a tap with d = 0 has no effect.

    Attributes:
        axes: R_1, ..., R_d of a separable R = R_1 ⊗ ⋯ ⊗ R_d, see `separable`; otherwise None.

    Raises:
        CorrelationError: if the matrix is no correlation or too large, its size is not that of the kernel, or
            the deviations are no relative deviations of its taps.

    >>> from corrinit import kernels
    >>> R = SpatialCorrelation(kernels.exponential((3, 3), mean=0.26))
    >>> R
    SpatialCorrelation(kernel_size=(3, 3), mean=0.260)
    >>> R.with_deviations(kernels.centre_weighted((3, 3), width=0.8))
    SpatialCorrelation(kernel_size=(3, 3), mean=0.260, deviations=0.717 to 1.566)
    """

    kernel_size: tuple[int, ...]
    provenance: Mapping[str, str]
    deviations: Vector
    axes: tuple[Matrix, ...] | None

    def __init__(
        self,
        matrix: ArrayLike,
        kernel_size: Sequence[int] | None = None,
        provenance: Mapping[str, str] | None = None,
        *,
        deviations: ArrayLike | None = None,
    ) -> None:
        valid = spd.validate(matrix)
        n = len(valid)
        taps = number_of_taps(size := _square_kernel(n) if kernel_size is None else kernel_size)
        if taps != n:
            raise KernelMismatchError(
                f"the correlation is {n}×{n}; a {format_size(size)} kernel needs {taps}×{taps}"
                + (
                    f": it is one of a {format_size(guess)} kernel" if (guess := _guess(n, len(size))) else ""
                ),
                shape=(n, n),
            )
        vars(self)["matrix"] = _read_only(valid)
        self._set(size, provenance, deviations, None)

    @classmethod
    def separable(
        cls,
        axes: Sequence[ArrayLike],
        provenance: Mapping[str, str] | None = None,
        *,
        deviations: ArrayLike | None = None,
    ) -> SpatialCorrelation:
        """R = R_1 ⊗ ⋯ ⊗ R_d from a correlation matrix per axis, for kernels too large for n × n numbers.

        `matrix` is computed if it is asked for; what can do without, does.

        Args:
            axes: R_a, k_a × k_a, for every axis a of the kernel.
            provenance: see `SpatialCorrelation`.
            deviations: see `SpatialCorrelation`; they need not be separable.

        >>> line = exponential((51,), length_scale=1.0)
        >>> large = SpatialCorrelation.separable([line, line])
        >>> large.kernel_size, round(large.total)
        ((51, 51), 11777)
        """
        valid = tuple(_read_only(spd.validate(axis)) for axis in axes)
        number_of_taps(size := tuple(map(len, valid)))
        made = cls.__new__(cls)
        made._set(size, provenance, deviations, valid)
        return made

    def _set(
        self,
        kernel_size: Sequence[int],
        provenance: Mapping[str, str] | None,
        deviations: ArrayLike | None,
        axes: tuple[Matrix, ...] | None,
    ) -> None:
        taps = number_of_taps(kernel_size)
        vars(self).update(  # past __setattr__, which is closed
            kernel_size=tuple(int(k) for k in kernel_size),
            provenance=MappingProxyType({str(k): str(text) for k, text in (provenance or {}).items()}),
            deviations=_read_only(
                np.ones(taps) if deviations is None else spd.validate_deviations(deviations, taps)
            ),
            axes=axes,
        )

    @classmethod
    def identity(cls, kernel_size: Sequence[int]) -> SpatialCorrelation:
        """Independent taps of equal deviation, R = I and d = 1."""
        if number_of_taps(kernel_size) > _FEW_TAPS:
            return cls.separable([np.eye(k) for k in kernel_size], {"source": "independent"})
        return cls(np.eye(number_of_taps(kernel_size)), kernel_size, {"source": "independent"})

    @classmethod
    def from_covariance(
        cls,
        covariance: ArrayLike,
        kernel_size: Sequence[int] | None = None,
        provenance: Mapping[str, str] | None = None,
    ) -> SpatialCorrelation:
        """R and d of a covariance of any scale. A tap without variance is correlated with no other.

        >>> SpatialCorrelation.from_covariance([[8, 2], [2, 2]], (2,)).covariance.round(6).tolist()
        [[1.6, 0.4], [0.4, 0.4]]
        """
        matrix, deviations = spd.split_covariance(covariance)
        return cls(matrix, kernel_size, provenance, deviations=deviations)

    @classmethod
    def nearest(
        cls,
        matrix: ArrayLike,
        kernel_size: Sequence[int] | None = None,
        provenance: Mapping[str, str] | None = None,
        *,
        deviations: ArrayLike | None = None,
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
        return cls(repaired.matrix, kernel_size, provenance, deviations=deviations)

    @cached_property
    def matrix(self) -> Matrix:
        """R, n × n, read-only; of a separable R computed when it is first asked for.

        Raises:
            CorrelationError: if it would be too large.
        """
        assert self.axes is not None
        spd.require_dense(len(self.deviations))
        return _read_only(_product(self.axes))

    @cached_property
    def covariance(self) -> Matrix:
        """D R D, n × n, trace n, read-only; R itself where d = 1."""
        if self.is_flat:
            return self.matrix
        return _read_only(self.matrix * np.outer(self.deviations, self.deviations))

    @cached_property
    def root(self) -> Matrix:
        """The symmetric C with C C = R, read-only."""
        if self.axis_roots is None:
            return _read_only(spd.symmetric_root(self.matrix))
        spd.require_dense(len(self.deviations))
        return _read_only(_product(self.axis_roots))

    @cached_property
    def axis_roots(self) -> tuple[Matrix, ...] | None:
        """The symmetric roots C_a of the axes of a separable R, for which C = C_1 ⊗ ⋯ ⊗ C_d; else None."""
        return self.axes and tuple(_read_only(spd.symmetric_root(axis)) for axis in self.axes)

    @cached_property
    def factor(self) -> Matrix:
        """D C, read-only: for z ~ N(0, I), D C z has the covariance D R D. C itself where d = 1."""
        return self.root if self.is_flat else _read_only(self.deviations[:, None] * self.root)

    @cached_property
    def is_flat(self) -> bool:
        """Whether all taps have the same deviation, d = 1."""
        return bool((self.deviations == 1).all())

    @cached_property
    def is_identity(self) -> bool:
        """Whether taps are independent and of the same deviation, R = I and d = 1."""
        return self.is_flat and all(_is_identity(R) for R in self.axes or (self.matrix,))

    @property
    def mean(self) -> float:
        """Mean off-diagonal correlation, whatever the deviations."""
        n = len(self.deviations)
        if self.axes is None or n == 1:
            return mean_off_diagonal(self.matrix) if self.axes is None else 0.0
        return (prod(float(axis.sum()) for axis in self.axes) - n) / (n * (n - 1))

    @property
    def total(self) -> float:
        """Σ_ij (D R D)_ij, the variance of the sum of the taps beside that of one: ΣR of Eq. 17 if d = 1."""
        if self.axes is None:
            return float(self.covariance.sum())
        if self.is_flat:
            return prod(float(axis.sum()) for axis in self.axes)
        weighted = self.deviations.reshape(self.kernel_size)
        product = weighted
        for axis, matrix in enumerate(self.axes):
            product = np.moveaxis(np.tensordot(matrix, product, (1, axis)), 0, axis)
        return float((weighted * product).sum())

    def inner(self, other: SpatialCorrelation | Matrix) -> float:
        """⟨D R D, M⟩ = Σ_ij (D R D)_ij M_ij, by which taps and inputs together amplify a signal.

        For independent inputs, M = I, it is n; for identical inputs, M = 1, it is `total`.

        Args:
            other: M, of a kernel of the same size, or an n × n array of second moments.
        """
        if isinstance(other, SpatialCorrelation):
            self.require(other.kernel_size)
            if self.axes and other.axes and self.is_flat and other.is_flat:
                return prod(float((R * M).sum()) for R, M in zip(self.axes, other.axes, strict=True))
            return float((self.covariance * other.covariance).sum())
        n = len(self.deviations)
        moments = np.asarray(other, dtype=np.float64)
        if moments.shape != (n, n) or not np.isfinite(moments).all():
            raise KernelMismatchError(
                f"the second moments have shape {moments.shape}; a {format_size(self.kernel_size)} kernel "
                f"needs {n}×{n} finite numbers",
                shape=moments.shape,
            )
        return float((self.covariance * moments).sum())

    def with_deviations(
        self, deviations: ArrayLike | None, provenance: Mapping[str, str] | None = None
    ) -> SpatialCorrelation:
        """The same R with other relative deviations, None for d = 1, and with more provenance."""
        provenance = {**self.provenance, **(provenance or {})}
        if self.axes is not None:
            return self.separable(self.axes, provenance, deviations=deviations)
        return SpatialCorrelation(self.matrix, self.kernel_size, provenance, deviations=deviations)

    def require(self, kernel_size: Sequence[int]) -> None:
        """Raise a `CorrelationError` unless this is a correlation of a kernel of that size."""
        number_of_taps(kernel_size)
        wanted = tuple(kernel_size)
        if wanted != self.kernel_size:
            n, taps = len(self.deviations), number_of_taps(wanted)
            raise KernelMismatchError(
                f"the correlation is {n}×{n}, of a {format_size(self.kernel_size)} kernel; "
                f"a {format_size(wanted)} kernel needs {taps}×{taps}"
                + (f": use .resize({wanted})" if len(wanted) == len(self.kernel_size) else ""),
                shape=wanted,
            )

    def with_strength(self, strength: float) -> SpatialCorrelation:
        """Off-diagonal entries times α = `strength` (Table 5 of the paper).

        α = 0 gives independent taps, α = 1 this correlation; deviations stay. α > 1 can leave the cone of
        positive semi-definite matrices; then the nearest correlation is taken, and the distance is warned of.
        A separable R is so for α = 1 alone.
        """
        if not (np.isfinite(strength) and strength >= 0):
            raise CorrelationError(f"strength is {strength}; it is a factor of at least 0")
        if strength == 1:
            return self
        scaled = strength * self.matrix
        np.fill_diagonal(scaled, 1.0)
        provenance = {**self.provenance, "strength": repr(float(strength))}
        deviations = None if self.is_flat else self.deviations
        return self.nearest(scaled, self.kernel_size, provenance, deviations=deviations)

    def symmetrize(self) -> SpatialCorrelation:
        """Average of D R D over the flips of every axis and the permutations of axes of equal length.

        For square kernels these are the eight flips and rotations. The result is again a correlation, with
        deviations of the same symmetry.
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
        mean = np.mean([self.covariance[np.ix_(image, image)] for image in images], axis=0)
        provenance = {**self.provenance, "symmetrized": "flips and rotations"}
        if self.is_flat:  # its diagonal is one but for rounding, which is not to become deviations
            return SpatialCorrelation(mean, size, provenance)
        return self.from_covariance(mean, size, provenance)

    def resize(self, kernel_size: Sequence[int]) -> SpatialCorrelation:
        """The correlation of a kernel of another size, in which neighbours are correlated as here.

        The correlation becomes a function of the displacement between taps: the mean over all pairs with
        that displacement. Displacements longer than this kernel decay on, from the longest one measured, as
        exp(−δ/ℓ), with ℓ from the exponential kernel of the same mean. A result that is not positive
        semi-definite is repaired, with a warning. A separable R is resized axis by axis.

        Deviations keep their place about the centre, in taps: the variance is interpolated linearly between
        taps, and beyond this kernel it is that of the nearest border tap. d = 1 stays so.

        Args:
            kernel_size: the new size, with as many axes.

        >>> SpatialCorrelation(exponential((3, 3), length_scale=1.0)).resize((5, 5)).matrix[0, 4].round(6)
        np.float64(0.018316)
        """
        number_of_taps(kernel_size)
        size = tuple(int(k) for k in kernel_size)
        if size == self.kernel_size:
            return self
        if len(size) != len(self.kernel_size):
            raise KernelMismatchError(
                f"a {format_size(self.kernel_size)} correlation cannot be resized to {format_size(size)}: "
                "the number of axes differs"
            )
        deviations = None if self.is_flat else resized_deviations(self.deviations, self.kernel_size, size)
        provenance = {**self.provenance, "resized_from": format_size(self.kernel_size)}
        if self.axes is None:
            resized = resized_matrix(self.matrix, self.kernel_size, size)
            return self.nearest(resized, size, provenance, deviations=deviations)
        pieces = [
            SpatialCorrelation(R, R.shape[:1]).resize((k,)) for R, k in zip(self.axes, size, strict=True)
        ]
        for piece in pieces:
            provenance |= {name: text for name, text in piece.provenance.items() if name == "psd_repair"}
        return self.separable([piece.matrix for piece in pieces], provenance, deviations=deviations)

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
        return mean_by_displacement(self.matrix, self.kernel_size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpatialCorrelation):
            return NotImplemented
        return (
            self.kernel_size == other.kernel_size
            and np.array_equal(self.deviations, other.deviations)
            and dict(self.provenance) == dict(other.provenance)
            and self._equal_matrices(other)
        )

    def _equal_matrices(self, other: SpatialCorrelation) -> bool:
        if self.axes and other.axes:
            return all(map(np.array_equal, self.axes, other.axes))
        if len(self.deviations) > spd.DENSE_LIMIT:  # then one is separable, and the other cannot be
            return False
        return np.array_equal(self.matrix, other.matrix)

    def __hash__(self) -> int:
        # the first row alone, as it is the same number by number for a product and for its matrix
        row = self.matrix[0] if self.axes is None else _product([axis[0] for axis in self.axes])
        parts = (row + 0.0, self.deviations + 0.0)  # +0.0: −0.0 equals 0.0
        return hash((self.kernel_size, *(part.tobytes() for part in parts)))

    def __reduce__(self) -> tuple[object, ...]:
        deviations = None if self.is_flat else self.deviations
        if self.axes is not None:
            return _separable, (self.axes, dict(self.provenance), deviations)
        return _dense, (self.matrix, self.kernel_size, dict(self.provenance), deviations)

    def __repr__(self) -> str:
        text = f"kernel_size={self.kernel_size}, mean={self.mean:.3f}"
        if not self.is_flat:
            text += f", deviations={self.deviations.min():.3f} to {self.deviations.max():.3f}"
        return f"SpatialCorrelation({text})"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield repr(self)
        yield from correlation_renderables(self, options.max_width)

    def _repr_html_(self) -> str:
        return correlation_html(self)


_FEW_TAPS = 343
"""Kernels of up to so many taps, 7×7×7, take a matrix where they could do with one per axis: it costs
milliseconds."""

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
    return product_form(exponential, length_scale, provenance, kernel_size)


def product_form(
    kernel: Callable[..., Matrix],
    length_scale: float,
    provenance: Mapping[str, str],
    kernel_size: tuple[int, ...],
) -> SpatialCorrelation:
    """A closed form that is a product over the axes: as a matrix or, for a large kernel, by its axes.

    Args:
        kernel: `kernels.exponential` or `kernels.gaussian`.
        length_scale: ℓ, in taps.
        provenance: see `SpatialCorrelation`.
        kernel_size: taps per axis.
    """
    if number_of_taps(kernel_size) > _FEW_TAPS:
        return SpatialCorrelation.separable([kernel((k,), length_scale) for k in kernel_size], provenance)
    return SpatialCorrelation(kernel(kernel_size, length_scale), kernel_size, provenance)


def format_size(kernel_size: Sequence[int]) -> str:
    """A kernel size as people write it.

    >>> format_size((3, 3))
    '3×3'
    """
    return "×".join(str(k) for k in kernel_size)


def _dense(
    matrix: Matrix, kernel_size: tuple[int, ...], provenance: dict[str, str], deviations: Vector | None
) -> SpatialCorrelation:
    return SpatialCorrelation(matrix, kernel_size, provenance, deviations=deviations)


def _separable(
    axes: tuple[Matrix, ...], provenance: dict[str, str], deviations: Vector | None
) -> SpatialCorrelation:
    return SpatialCorrelation.separable(axes, provenance, deviations=deviations)


def _product(factors: Sequence[Matrix]) -> Matrix:
    """Their Kronecker product."""
    return np.asarray(reduce(np.kron, factors), dtype=np.float64)


def _is_identity(matrix: Matrix) -> bool:
    return np.array_equal(matrix, np.eye(len(matrix)))


def _read_only(array: Matrix) -> Matrix:
    array.setflags(write=False)
    return array


def _square_kernel(taps: int) -> tuple[int, int]:
    side = round(taps**0.5)
    if side * side != taps:
        raise KernelMismatchError(f"{taps} taps form no square kernel; give kernel_size, such as (1, {taps})")
    return side, side


def _guess(taps: int, axes: int) -> tuple[int, ...] | None:
    side = round(taps ** (1 / axes))
    return (side,) * axes if side**axes == taps else None
