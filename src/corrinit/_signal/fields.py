"""The two ways in which second moments over a map are held.

Small maps hold K and X for all pairs of positions, which is exact at every border. Large maps hold the mean
square at each position, v(p), a correlation that depends on the displacement, and one number for different
images: K(p, q) = √(v(p) v(q)) ρ(q − p), X(p, q) = √(v(p) v(q)) χ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from corrinit._signal.field import Array, Field, Map
from corrinit._signal.spectrum import resized
from corrinit._signal.windows import Index, Windows, never

if TYPE_CHECKING:
    from typing_extensions import override
else:  # a mark for type checkers, which the standard library has from Python 3.12 on

    def override(method):
        return method


MOST_PAIRS = 256
"""Positions of the largest map that is held pair by pair."""

_MOST_LAGS = 1 << 15

_FEW_TAPS = 64
"""Of a kernel whose pairs of taps are followed one lag at a time."""


@dataclass(frozen=True, eq=False)
class PairField(Field):
    """K and X for all pairs of positions, shape (P, P) each."""

    same: Array
    cross: Array
    size: tuple[int, ...]

    @property
    @override
    def power(self) -> Array:
        return np.maximum(self.same.diagonal(), 0)

    @override
    def between(self) -> float:
        return float(self.cross.mean())

    @override
    def within(self) -> float:
        return float(self.same.mean())

    @override
    def neighbours(self) -> float:
        grid = np.arange(len(self.same)).reshape(self.size)
        common = self.between()
        products, powers = [], []
        for axis, length in enumerate(self.size):
            left, right = (np.take(grid, range(*cut), axis).ravel() for cut in ((0, length - 1), (1, length)))
            products.append(self.same[left, right])
            powers += [self.power[left], self.power[right]]
        if not any(p.size for p in products):
            return 1.0
        variance = np.concatenate(powers).mean() - common
        return float((np.concatenate(products).mean() - common) / variance) if variance > 0 else 0.0

    @override
    def window_moments(self, windows: Windows) -> Array:
        index = windows.positions
        padded = np.pad(self.same, (0, 1))  # position −1 is a zero
        total = np.zeros((index.shape[1],) * 2)
        for chunk in np.array_split(index, max(1, index.size * index.shape[1] >> 20)):
            total += padded[chunk[:, :, None], chunk[:, None, :]].sum(axis=0)
        return total / len(index)

    @override
    def convolved(self, windows: Windows, coefficients: Array) -> Field:
        outputs = prod(windows.output_size)
        if outputs > MOST_PAIRS:
            return _by_displacement(self).convolved(windows, coefficients)
        same, cross = (_both_sides(k, windows, coefficients) for k in (self.same, self.cross))
        return PairField(same, cross, windows.output_size)

    @override
    def mapped(self, same: Map, power: Map) -> Field:
        root = np.sqrt(self.power)
        scale = np.outer(root, root)
        after = np.sqrt(power(self.power))
        grown = np.outer(after, after)
        return PairField(
            same(_safe(self.same, scale)) * grown, same(_safe(self.cross, scale)) * grown, self.size
        )

    @override
    def centred(self, share: float = 0.0, own: bool = False) -> Field:
        if not own:
            taken = self.cross - _less_means(self.cross, 1.0)
            return PairField(self.same - taken, self.cross - taken, self.size)
        return PairField(_less_means(self.same, share), _less_means(self.cross, share), self.size)

    @override
    def plus(self, constant: float) -> Field:
        return PairField(self.same + constant, self.cross + constant, self.size)

    @override
    def less_mean(self, square: float) -> Field:
        root = np.sqrt(self.power)
        taken = np.outer(root, root) * min(square / max(self.mean_square, 1e-300), 1.0)
        return PairField(self.same - taken, self.cross - taken, self.size)

    @override
    def times(self, factor: float, between: float | None = None) -> Field:
        return PairField(self.same * factor, self.cross * (factor if between is None else between), self.size)

    @override
    def combined(self, other: Field, operation: Callable[[Array, Array], Array]) -> Field:
        assert isinstance(other, PairField)
        return PairField(operation(self.same, other.same), operation(self.cross, other.cross), self.size)

    @override
    def scaled_by_position(self, factors: Array) -> Field:
        scale = np.outer(factors, factors)
        return PairField(self.same * scale, self.cross * scale, self.size)

    @override
    def resampled(self, size: tuple[int, ...]) -> Field:
        if prod(size) > MOST_PAIRS:
            return _by_displacement(self).resampled(size)
        at = _nearest(self.size, size)
        return PairField(self.same[np.ix_(at, at)], self.cross[np.ix_(at, at)], size)

    @override
    def with_power(self, power: Array) -> Field:
        same = self.same.copy()
        np.fill_diagonal(same, power)
        return PairField(same, self.cross, self.size)


@dataclass(frozen=True, eq=False)
class LagField(Field):
    """Mean square by position, shape (P,); correlation by displacement, 0 in the middle; and χ."""

    squares: Array
    correlation: Array
    common: float
    size: tuple[int, ...]

    @property
    @override
    def power(self) -> Array:
        return self.squares

    @override
    def between(self) -> float:
        return self.common * float(np.sqrt(self.squares).mean() ** 2)

    @override
    def within(self) -> float:
        """With the number of pairs at each displacement as its weight."""
        mean = self.correlation
        for n in reversed(self.size):
            reach = mean.shape[-1] // 2
            weights = np.maximum(n - np.abs(np.arange(-reach, reach + 1)), 0.0)
            weights[[0, -1]] += (n * n - weights.sum()) / 2  # what lies further apart is like the edge
            mean = mean @ (weights / n**2)
        return float(mean) * float(np.sqrt(self.squares).mean() ** 2)

    @override
    def neighbours(self) -> float:
        middle = tuple(n // 2 for n in self.correlation.shape)
        values = []
        for axis, far in enumerate(middle):
            if far:
                at = list(middle)
                at[axis] += 1
                values.append(self.correlation[tuple(at)])
        left = 1 - self.common
        return float((np.mean(values) - self.common) / left) if values and left > 1e-12 else 0.0

    @override
    def window_moments(self, windows: Windows) -> Array:
        roots = self._roots(windows)
        return (roots.T @ roots) / len(roots) * self._between_taps(windows)

    @override
    def convolved(self, windows: Windows, coefficients: Array) -> Field:
        roots = self._roots(windows)
        squares = np.maximum(((roots @ (coefficients * self._between_taps(windows))) * roots).sum(axis=1), 0)
        uncorrected = self._convolved_correlation(windows, coefficients)
        middle = tuple(n // 2 for n in uncorrected.shape)
        scale, common = uncorrected[middle], self.common * self._spread(windows, coefficients)
        if scale <= 0:
            return zeros(windows.output_size)
        result = LagField(squares, uncorrected / scale, float(common / scale), windows.output_size)
        return result.compact()

    @override
    def mapped(self, same: Map, power: Map) -> Field:
        common = float(same(np.array([self.common]))[0])
        return replace(self, squares=power(self.squares), correlation=same(self.correlation), common=common)

    @override
    def centred(self, share: float = 0.0, own: bool = False) -> Field:
        if not own:
            return self._less(self.common, self.common)
        taken = share * self.within() / max(float(np.sqrt(self.squares).mean() ** 2), 1e-300)
        return self._less(taken, self.common - self.common * (1 - share))

    @override
    def plus(self, constant: float) -> Field:
        mean = self.mean_square
        if mean + constant <= 0:
            return zeros(self.size)
        share = constant / (mean + constant)
        return LagField(
            np.maximum(self.squares + constant, 0),
            self.correlation * (1 - share) + share,
            self.common * (1 - share) + share,
            self.size,
        )

    @override
    def less_mean(self, square: float) -> Field:
        taken = min(square / max(self.mean_square, 1e-300), 1.0)
        return self._less(taken, taken)

    @override
    def times(self, factor: float, between: float | None = None) -> Field:
        if factor <= 0:
            return zeros(self.size)
        common = self.common * (1.0 if between is None else between / factor)
        return replace(self, squares=self.squares * factor, common=common)

    @override
    def combined(self, other: Field, operation: Callable[[Array, Array], Array]) -> Field:
        assert isinstance(other, LagField)
        mine, its = self.mean_square, other.mean_square
        reach = [max(a, b) // 2 for a, b in zip(self.correlation.shape, other.correlation.shape, strict=True)]
        moments = operation(mine * resized(self.correlation, reach), its * resized(other.correlation, reach))
        common = float(operation(np.array(mine * self.common), np.array(its * other.common)))
        total = moments[tuple(reach)]
        if total <= 0:
            return zeros(self.size)
        squares = operation(self.squares, other.squares)
        return LagField(squares, moments / total, common / float(total), self.size)

    @override
    def scaled_by_position(self, factors: Array) -> Field:
        return replace(self, squares=self.squares * factors**2)

    @override
    def resampled(self, size: tuple[int, ...]) -> Field:
        correlation = self.correlation
        for axis, (n, m, far) in enumerate(zip(self.size, size, lag_reach(size), strict=True)):
            middle = correlation.shape[axis] // 2
            # Copies that lie δ apart come from positions δ n/m apart, rounded up or down in proportion.
            places = np.clip(np.arange(-far, far + 1) * n / m, -middle, middle) + middle
            low = np.minimum(places.astype(np.int64), max(2 * middle - 1, 0))
            part = (places - low).reshape([-1 if a == axis else 1 for a in range(correlation.ndim)])
            high = np.minimum(low + 1, 2 * middle)
            correlation = (1 - part) * correlation.take(low, axis) + part * correlation.take(high, axis)
        squares = self.squares[_nearest(self.size, size)]
        return LagField(squares, correlation, self.common, size).compact()

    @override
    def with_power(self, power: Array) -> Field:
        shrink = self.mean_square / max(float(power.mean()), 1e-300)
        correlation = self.correlation * shrink
        correlation[tuple(n // 2 for n in correlation.shape)] = 1
        return LagField(power, correlation, self.common * shrink, self.size)

    def compact(self) -> Field:
        """The same moments pair by pair, if the map is small enough for that."""
        if prod(self.size) > MOST_PAIRS:
            return self
        places = np.indices(self.size).reshape(len(self.size), -1)
        reach = [n // 2 for n in self.correlation.shape]
        lags = tuple(
            np.clip(at[None, :] - at[:, None], -far, far) + far for at, far in zip(places, reach, strict=True)
        )
        root = np.sqrt(self.squares)
        scale = np.outer(root, root)
        correlation = self.correlation[lags] if lags else np.ones((1, 1))
        return PairField(scale * correlation, scale * self.common, self.size)

    def _less(self, taken: float, between: float) -> Field:
        """With `taken` subtracted from every correlation in an image, `between` from those of two images."""
        left = 1 - taken
        if left <= 1e-12:
            return zeros(self.size)
        return LagField(
            self.squares * left, (self.correlation - taken) / left, (self.common - between) / left, self.size
        )

    def _roots(self, windows: Windows) -> Array:
        return np.append(np.sqrt(self.squares), 0.0)[windows.positions]

    def _between_taps(self, windows: Windows) -> Array:
        lags, meet = windows.input_lags()
        return np.where(meet, self._at(list(np.moveaxis(lags, -1, 0))), 0.0)

    def _at(self, lags: Sequence[NDArray[np.int64]]) -> Array:
        reach = [n // 2 for n in self.correlation.shape]
        return self.correlation[
            tuple(np.clip(lag, -far, far) + far for lag, far in zip(lags, reach, strict=True))
        ]

    def _convolved_correlation(self, windows: Windows, coefficients: Array) -> Array:
        reach = lag_reach(windows.output_size)
        lags = [np.arange(-far, far + 1) for far in reach]
        if not windows.transposed and prod(windows.taps) > _FEW_TAPS:
            return _correlated(self.correlation, windows, windows.by_lag(coefficients), lags)
        total = np.zeros(tuple(2 * far + 1 for far in reach))
        far = [n // 2 for n in self.correlation.shape]
        for weight, at in windows.shifts(coefficients, lags):
            grid = np.ix_(*(np.clip(lag, -f, f) + f for lag, f in zip(at, far, strict=True)))
            term = self.correlation[grid]
            if windows.transposed:
                for axis, lag in enumerate(at):
                    shape = [1] * total.ndim
                    shape[axis] = len(lag)
                    term = term * ~never(lag).reshape(shape)
            total += weight * term
        return total

    @staticmethod
    def _spread(windows: Windows, coefficients: Array) -> float:
        """Σ C over the pairs of taps that two outputs share, mean over phases."""
        if not windows.transposed:
            return float(coefficients.sum())
        # Outputs of two images have phases of their own: every pair of taps meets, in 1 of ∏σ² pairs.
        return float(coefficients.sum()) / prod(windows.stride) ** 2


def zeros(size: tuple[int, ...]) -> Field:
    """No signal."""
    positions = prod(size)
    if positions <= MOST_PAIRS:
        return PairField(np.zeros((positions,) * 2), np.zeros((positions,) * 2), size)
    return LagField(np.zeros(positions), np.zeros((1,) * len(size)), 0.0, size)


def stationary(moments: Array, size: tuple[int, ...]) -> Field:
    """A signal of mean square 1 with these moments by displacement, nothing in common between images."""
    return LagField(np.ones(prod(size)), resized(moments, lag_reach(size)), 0.0, size).compact()


def lag_reach(size: Sequence[int]) -> tuple[int, ...]:
    """The largest displacements that are kept: all of them, unless there are too many."""
    reach = [n - 1 for n in size]
    while prod(2 * far + 1 for far in reach) > _MOST_LAGS:
        reach = [min(far, max(1, max(reach) * 7 // 8)) for far in reach]
    return tuple(reach)


def _correlated(correlation: Array, windows: Windows, weights: Array, lags: Sequence[Index]) -> Array:
    """Σ_l W(l) ρ(σ δ + d l) for outputs δ apart, by the convolution theorem; ρ is constant beyond its edge.

    Args:
        correlation: ρ by displacement.
        windows: of the layer, with its stride σ and dilation d.
        weights: W by the lag l of two taps.
        lags: δ per axis.
    """
    reach = [n // 2 for n in correlation.shape]
    inner = [d * (n // 2) for d, n in zip(windows.dilation, weights.shape, strict=True)]
    outer = [s * int(at[-1]) for s, at in zip(windows.stride, lags, strict=True)]
    sides = [np.arange(-far - span, far + span + 1) for far, span in zip(outer, inner, strict=True)]
    wide = correlation[np.ix_(*(np.clip(at, -far, far) + far for at, far in zip(sides, reach, strict=True)))]
    spread = np.zeros([2 * span + 1 for span in inner])
    spread[tuple(slice(None, None, d) for d in windows.dilation)] = weights
    axes = tuple(range(wide.ndim))
    product = np.fft.rfftn(wide, axes=axes) * np.fft.rfftn(spread, wide.shape, axes=axes).conj()
    total = np.fft.irfftn(product, wide.shape, axes=axes)
    return total[tuple(slice(0, 2 * far + 1, s) for far, s in zip(outer, windows.stride, strict=True))]


def _both_sides(moments: Array, windows: Windows, coefficients: Array) -> Array:
    """Σ_tt′ C_tt′ K(p + t, q + t′) for all pairs of outputs; one side after the other."""
    index = windows.positions
    padded = np.pad(moments, (0, 1))
    if index.shape[1] == 1:
        return coefficients[0, 0] * padded[index, index.T]
    total = np.zeros((len(index), len(index)))
    weights = coefficients.diagonal()
    if np.count_nonzero(coefficients) == np.count_nonzero(weights):  # independent taps meet only themselves
        for weight, tap in zip(weights, index.T, strict=True):
            total += weight * padded[np.ix_(tap, tap)]
        return total
    rows = np.tensordot(coefficients, padded[index.T], axes=(0, 0))  # (taps, outputs, inputs + 1)
    for tap, row in enumerate(rows):
        total += row[:, index[:, tap]]
    return total


def _nearest(size: Sequence[int], wanted: Sequence[int]) -> NDArray[np.int64]:
    grid = np.arange(prod(size)).reshape(tuple(size))
    return grid[np.ix_(*(np.arange(m) * n // m for n, m in zip(size, wanted, strict=True)))].ravel()


def _less_means(moments: Array, share: float) -> Array:
    """E[(x(p) − μ)(x(q) − μ)] with μ the mean over positions, or a share of what that takes away."""
    means = moments.mean(axis=1)
    return moments - share * (means[:, None] + means[None, :] - means.mean())


def _safe(moments: Array, scale: Array) -> Array:
    return np.clip(np.divide(moments, scale, out=np.zeros_like(moments), where=scale > 0), -1, 1)


def _by_displacement(field: PairField) -> LagField:
    """The field of a small map as one that depends on displacements: means over the pairs of positions."""
    places = np.indices(field.size).reshape(len(field.size), -1)
    lags = tuple(at[None, :] - at[:, None] + n - 1 for at, n in zip(places, field.size, strict=True))
    shape = tuple(2 * n - 1 for n in field.size)
    root = np.sqrt(field.power)
    scale = np.outer(root, root)
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, lags, field.same)
    np.add.at(counts, lags, scale)
    correlation = _safe(sums, counts)
    middle = tuple(n - 1 for n in field.size)
    correlation[middle] = 1
    common = float(field.cross.sum() / scale.sum()) if scale.sum() > 0 else 0.0
    return LagField(field.power.copy(), correlation, common, field.size)
