"""What the adapters of other frameworks share, in numpy: R of a kernel, the gain, and D C z.

An adapter reads from the shape of a weight, whose layout it knows, the kernel size and the channels of both
sides; the rest is here and in `corrinit._scale`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from corrinit._correlation import SpatialCorrelation, format_size
from corrinit._correlation_source import CorrelationFamily, CorrelationSource, resolve
from corrinit.errors import CorrelationError, KernelMismatchError, UnfitTensorError

FanMode: TypeAlias = Literal["fan_in", "fan_out"]
Nonlinearity: TypeAlias = str | Callable[[Any], Any]

_GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}
"""Those of `torch.nn.init.calculate_gain`, by name."""

_LARGEST_DENSE = 256
"""Taps up to which one product of all taps is as fast as one along each axis."""


class Channels(NamedTuple):
    """How many channels an output sums over, and how many outputs an input reaches, at each tap."""

    inputs: int
    outputs: int

    def of(self, mode: FanMode) -> int:
        """The n of a fan mode."""
        if mode not in ("fan_in", "fan_out"):
            raise CorrelationError(f"mode is {mode!r}; it is 'fan_in' or 'fan_out'")
        return self.inputs if mode == "fan_in" else self.outputs


def correlation_of_kernels(source: CorrelationSource) -> Callable[[tuple[int, ...]], SpatialCorrelation]:
    """A function from a kernel size to the one correlation that a source has of it.

    Args:
        source: see `corrinit._correlation_source`.

    Raises:
        CorrelationError: if there is no such correlation; the function, if a size is missing, or the source
            has several of it for a weight of which nobody knows the depth.
    """
    try:
        given = resolve(source)
    except CorrelationError as error:
        raise CorrelationError(f"correlation: {error}") from error
    if isinstance(given, CorrelationFamily):
        return cache(given)
    by_size = {correlation.kernel_size: correlation for correlation in given}
    if len(by_size) < len(given):
        raise CorrelationError(
            f"{len(given)} correlations are given, several of one kernel size, and an initializer does not "
            "know the depth of its layer: give each layer an initializer of its own with one of them"
        )

    def of_size(kernel_size: tuple[int, ...]) -> SpatialCorrelation:
        if len(given) == 1:
            given[0].require(kernel_size)
        elif kernel_size not in by_size:
            raise KernelMismatchError(
                f"no correlation of a {format_size(kernel_size)} kernel is given, only of "
                f"{', '.join(map(format_size, by_size))}; give one, or a family such as 'exponential:0.3'"
            )
        return by_size[kernel_size]

    return of_size


def gain_of(nonlinearity: Nonlinearity, slope: float = 0.0) -> float:
    """The gain g of an activation f: torch's value where it has a name, else 1 / √E f(z)², z ~ N(0, 1).

    Args:
        nonlinearity: a name that `torch.nn.init.calculate_gain` knows, or f itself, a function that acts on
            each value of an array alone.
        slope: negative slope of the leaky ReLU.

    >>> round(gain_of("leaky_relu"), 4), round(gain_of(np.sin), 4)
    (1.4142, 1.5209)
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + slope**2))
    if isinstance(nonlinearity, str):
        if nonlinearity not in _GAINS:
            raise CorrelationError(
                f"nonlinearity is {nonlinearity!r}; it is 'leaky_relu', {', '.join(map(repr, _GAINS))}, "
                "or the function itself"
            )
        return _GAINS[nonlinearity]
    nodes = np.linspace(-10, 10, 4001)  # the trapezoidal rule is good at kinks too
    weights = np.exp(-(nodes**2) / 2)
    whole, half = (np.asarray(nonlinearity(z.astype(np.float32))) for z in (nodes, nodes[::2]))
    if whole.shape != nodes.shape or not np.allclose(whole[::2], half, atol=1e-6, equal_nan=True):
        raise CorrelationError(f"{nonlinearity} is not elementwise: its values depend on each other")
    values = whole.astype(np.float64)
    power = float(values**2 @ weights / weights.sum())
    if not 0 < power < math.inf:
        raise CorrelationError(f"{nonlinearity} leaves a signal of mean square {power}; it has no gain")
    return 1 / math.sqrt(power)


def correlate(independent: Any, correlation: SpatialCorrelation, tensordot: Callable[..., Any]) -> Any:
    """D C z of filters z whose taps are the leading axes, for the arrays of any library.

    Args:
        independent: z, shape (k_1, ..., k_d, ...).
        correlation: R = C C and d of kernels of the size (k_1, ..., k_d).
        tensordot: as numpy's, of the library that the array is of, exact to the precision of the array.

    >>> R = SpatialCorrelation([[1, 0.6], [0.6, 1]], (2,))
    >>> roots = correlate(np.eye(2), R, np.tensordot)  # the columns become those of C
    >>> (roots @ roots).round(6).tolist()
    [[1.0, 0.6], [0.6, 1.0]]
    """
    if correlation.is_identity:
        return independent
    size, dtype = correlation.kernel_size, independent.dtype
    roots = correlation.axis_roots
    if roots is None or len(correlation.deviations) <= _LARGEST_DENSE:
        return tensordot(correlation.factor.astype(dtype).reshape(*size, *size), independent, len(size))
    mixed = independent
    for axis, root in enumerate(roots):  # the axis that is summed over goes to the front, and back
        order = [*range(1, axis + 1), 0, *range(axis + 1, independent.ndim)]
        mixed = tensordot(root.astype(dtype), mixed, ([1], [axis])).transpose(order)
    return mixed * correlation.deviations.astype(dtype).reshape(size + (1,) * (independent.ndim - len(size)))


def require_kernel(shape: tuple[int, ...], size: tuple[int, ...], remedy: str) -> None:
    """Raise a `CorrelationError` unless a weight has taps.

    Args:
        shape: of the weight.
        size: of its kernel, the axes that are taps.
        remedy: what initializes the others.
    """
    if not size:
        raise UnfitTensorError(
            f"the weight has shape {shape}; one of a convolution has one or more axes for taps beside those "
            f"for inputs and outputs: use {remedy} for others",
            shape=shape,
        )


def require_deviation(std: float) -> float:
    """A deviation, unless it is none."""
    if not (math.isfinite(std) and std >= 0):
        raise CorrelationError(f"std is {std}; it must be finite and at least 0")
    return std
