"""Which input positions each output position of a layer sees: the geometry of convolutions and poolings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Index: TypeAlias = NDArray[np.int64]

MOST_TAPS = 343
"""Of a kernel that is looked at tap by tap, 18×18 or 7×7×7: its moments have that many rows and columns."""


@dataclass(frozen=True, eq=False)
class Windows:
    """The taps of a layer over a map of positions.

    Args:
        axes: per axis, the input position that output position p sees at tap t, shape (outputs, taps); −1
            where it sees a zero.
        size: input positions per axis.
        stride: σ per axis.
        dilation: δ per axis.
        transposed: whether the layer spreads its inputs: σ and δ then have their meaning of a transposed
            convolution.
        standing: per axis, which tap of the kernel each of these is; None where they are all of them.
    """

    axes: tuple[Index, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool = False
    standing: tuple[Index, ...] | None = None

    def thinned(self) -> tuple[Windows, tuple[Index, ...]]:
        """Windows of at most `MOST_TAPS` taps, each standing for those around it; and per axis, of which.

        Neighbouring pixels are alike, so a large kernel is summed up by fewer taps. Kernels that are small
        enough, and transposed ones, of which few taps meet at an output, are left as they are.
        """
        everything = tuple(np.arange(k) for k in self.taps)
        if self.transposed or prod(self.taps) <= MOST_TAPS:
            return self, everything
        most = int(MOST_TAPS ** (1 / len(self.taps)))
        members = tuple(np.arange(k) * min(k, most) // k for k in self.taps)
        standing = tuple(
            np.array([int(np.median(np.flatnonzero(member == block))) for block in range(member[-1] + 1)])
            for member in members
        )
        axes = tuple(axis[:, taps] for axis, taps in zip(self.axes, standing, strict=True))
        return replace(self, axes=axes, standing=standing), members

    @property
    def output_size(self) -> tuple[int, ...]:
        """Output positions per axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def taps(self) -> tuple[int, ...]:
        """Taps per axis."""
        return tuple(axis.shape[1] for axis in self.axes)

    @cached_property
    def positions(self) -> Index:
        """Row-major input position by output position and tap, −1 for zeros; shape (outputs, taps)."""
        outputs, taps = prod(self.output_size), prod(self.taps)
        total = np.zeros((*self.output_size, *self.taps), np.int64)
        inside = np.ones(total.shape, bool)
        for place, axis in enumerate(self.axes):
            shape = [1] * total.ndim
            shape[place], shape[len(self.axes) + place] = axis.shape
            index = axis.reshape(shape)
            total = total * self.size[place] + index
            inside &= index >= 0
        return np.where(inside, total, -1).reshape(outputs, taps)

    @cached_property
    def tap_lags(self) -> Index:
        """T − t′ for all pairs of taps, row-major, shape (taps, taps, axes)."""
        grid = np.meshgrid(*self._places, indexing="ij")
        offsets = np.stack([axis.ravel() for axis in grid], axis=1)
        return offsets[:, None] - offsets[None, :]

    @property
    def _places(self) -> tuple[Index, ...]:
        return self.standing or tuple(np.arange(k) for k in self.taps)

    def input_lags(self) -> tuple[Index, NDArray[np.bool_]]:
        """How far apart the inputs of two taps lie, shape (taps, taps, axes), and whether they ever meet."""
        lags = self.tap_lags * np.asarray(self.dilation)
        if not self.transposed:
            return lags, np.ones(lags.shape[:2], bool)
        steps = np.asarray(self.stride)
        return lags // steps, (lags % steps == 0).all(axis=-1)

    def by_lag(self, coefficients: Array) -> Array:
        """Σ C over the pairs of taps at each t − t′, which is 0 in the middle."""
        far = self._farthest
        total = np.zeros(tuple(2 * far + 1))
        np.add.at(total, tuple(np.moveaxis(self.tap_lags + far, -1, 0)), coefficients)
        return total

    @property
    def _farthest(self) -> Index:
        return np.array([places[-1] for places in self._places])

    def shifts(self, coefficients: Array, lags: Sequence[Index]) -> Iterator[tuple[float, list[Index]]]:
        """For outputs at some lags: the input lags per axis, and the weight of each way to get there.

        Args:
            coefficients: C, shape (taps, taps).
            lags: of the outputs, per axis.
        """
        by_lag = self.by_lag(coefficients)
        for place in np.argwhere(by_lag):
            weight, lag = float(by_lag[tuple(place)]), place - self._farthest
            if not self.transposed:
                pairs = zip(lags, self.stride, self.dilation, lag, strict=True)
                yield weight, [at * s + d * step for at, s, d, step in pairs]
                continue
            pairs = zip(lags, self.stride, self.dilation, lag, strict=True)
            apart = [(at + d * step, s) for at, s, d, step in pairs]
            # Where the lag is no multiple of the stride the two outputs share no pair of these taps.
            yield weight / prod(self.stride), [np.where(a % s == 0, a // s, _NEVER) for a, s in apart]


_NEVER = np.iinfo(np.int64).min // 2
"""An input lag that no pair of outputs has."""


def never(lags: Index) -> NDArray[np.bool_]:
    """Which input lags of `Windows.shifts` do not occur."""
    return lags == _NEVER


def convolution_windows(
    arguments: Mapping[str, Any], size: Sequence[int], *, transposed: bool, borders: bool = True
) -> Windows:
    """The windows of a convolution, transposed or not, over a map of this size.

    Args:
        arguments: of the layer, as `Step.arguments` has them.
        size: input positions per axis.
        transposed: whether it is transposed.
        borders: whether what lies beyond the map is what the layer pads with; otherwise the map goes on as
            if it were periodic.

    Raises:
        ValueError: if the kernel does not fit the map.
    """
    axes = []
    for axis, length in enumerate(size):
        k, stride = arguments["kernel_size"][axis], arguments["stride"][axis]
        dilation, (before, after) = arguments["dilation"][axis], arguments["padding"][axis]
        taps = dilation * np.arange(k)
        if transposed:
            extra = arguments["output_padding"][axis]
            outputs = (length - 1) * stride + dilation * (k - 1) + 1 - before - after + extra
            spread = np.arange(outputs)[:, None] + before - taps
            index = np.where(spread % stride == 0, spread // stride, -1)
            axes.append(np.where((index >= 0) & (index < length), index, -1))
            continue
        outputs = (length + before + after - dilation * (k - 1) - 1) // stride + 1
        if outputs < 1:
            raise ValueError(f"a map {length} long for a kernel that spans {dilation * (k - 1) + 1}")
        places = stride * np.arange(outputs)[:, None] - before + taps
        axes.append(fold(places, length, arguments["padding_mode"] if borders else "circular"))
    return Windows(
        tuple(axes), tuple(size), tuple(arguments["stride"]), tuple(arguments["dilation"]), transposed
    )


def pooling_windows(arguments: Mapping[str, Any], size: Sequence[int], output: Sequence[int]) -> Windows:
    """The windows of a pooling that makes a map of size `output`; places beyond the map are −1."""
    axes = len(size)
    kernel = per_axis(arguments["kernel_size"], axes)
    stride = per_axis(arguments.get("stride") or kernel, axes)
    margin, dilation = (
        per_axis(arguments.get("padding", 0), axes),
        per_axis(arguments.get("dilation", 1), axes),
    )
    index = [
        fold(
            stride[a] * np.arange(output[a])[:, None] - margin[a] + dilation[a] * np.arange(kernel[a]),
            size[a],
        )
        for a in range(axes)
    ]
    return Windows(tuple(index), tuple(size), tuple(stride), tuple(dilation))


def per_axis(value: Any, axes: int) -> tuple[Any, ...]:
    """One value per axis of what torch takes as a number or a sequence.

    >>> per_axis(2, 3), per_axis((1, 2), 2)
    ((2, 2, 2), (1, 2))
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(value) * (axes if len(value) == 1 else 1)
    return (value,) * axes


def fold(places: Index, length: int, mode: str = "zeros") -> Index:
    """Positions beyond a map, brought back into it as a padding mode does; −1 for zeros.

    >>> fold(np.array([-1, 0, 3]), 3, "circular"), fold(np.array([-1, 0, 3]), 3, "reflect")
    (array([2, 0, 0]), array([1, 0, 1]))
    """
    if mode == "circular":
        return places % length
    if mode == "replicate":
        return np.clip(places, 0, length - 1)
    if mode == "reflect" and length > 1:
        period = 2 * (length - 1)
        back = places % period
        return np.where(back < length, back, period - back)
    return np.where((places >= 0) & (places < length), places, -1)
