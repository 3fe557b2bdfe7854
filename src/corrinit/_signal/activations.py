"""What an elementwise function does to a Gaussian signal: its gain, and its dual activation.

For z, z′ standard normal with correlation ρ, the dual activation of φ is φ̂(ρ) = E[φ(z) φ(z′)] = Σ_j a_j² ρ^j
with the Hermite coefficients a_j = E[φ(z) h_j(z)], h_j normalized (Daniely, Frostig & Singer 2016). So one
integral per coefficient, on one grid, gives the second moments at every correlation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from corrinit.errors import ActivationError

Array: TypeAlias = NDArray[np.float64]
Activation: TypeAlias = Callable[[Array], Any]
"""φ: gives each value of an array another. `corrinit._tracing.TensorFunction` makes one of torch's."""

_REACH, _STEPS, _ORDER = 10.0, 4000, 60


_COARSE_NODES = np.linspace(-8, 8, 801)
_COARSE = _COARSE_NODES, np.exp(-(_COARSE_NODES**2) / 2) / np.exp(-(_COARSE_NODES**2) / 2).sum()
"""Nodes and weights for a mean square alone."""


class _Grid(NamedTuple):
    nodes: Array
    weights: Array
    polynomials: Array


@lru_cache(maxsize=1)
def _grid() -> _Grid:
    """Nodes, weights w_i = p(z_i) Δz and h_j(z_i), shape (order + 1, nodes).

    The trapezoidal rule: for smooth functions as exact as Gauss-Hermite, and unlike it good at kinks.
    """
    nodes = np.linspace(-_REACH, _REACH, _STEPS + 1)
    weights = np.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi) * (2 * _REACH / _STEPS)
    polynomials = np.empty((_ORDER + 1, len(nodes)))
    polynomials[0], polynomials[1] = 1, nodes
    for j in range(1, _ORDER):
        polynomials[j + 1] = (nodes * polynomials[j] - math.sqrt(j) * polynomials[j - 1]) / math.sqrt(j + 1)
    return _Grid(nodes, weights, polynomials)


@lru_cache(maxsize=1)
def _powers() -> tuple[Array, Array]:
    """Correlations −1 to 1, dense towards the ends, and their powers 0 to order + 1."""
    correlations = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 513))
    return correlations, correlations[:, None] ** np.arange(_ORDER + 2.0)


def gain(activation: Activation) -> float:
    """The gain that keeps a signal, g = 1 / √E[φ(z)²] for z standard normal.

    With it E[φ(g z)²] is 1 for functions such as ReLU (g = √2) that are homogeneous; for the others 1 / g² is
    what the function leaves of a signal of mean square 1.

    Args:
        activation: φ, elementwise.

    Raises:
        PlanError: if it is not elementwise, gives no finite values, or gives zeros only.

    >>> round(gain(lambda z: np.maximum(z, 0)), 4), round(gain(np.tanh), 4)
    (1.4142, 1.5925)
    """
    power = Dual(activation).mean_square
    if not 0 < power < math.inf:
        raise ActivationError(f"{activation} leaves a signal of mean square {power}; its gain is not defined")
    return 1 / math.sqrt(power)


class Dual:
    """The moments of φ(μ + σ z): its mean, mean square, and dual activation.

    Args:
        activation: φ, elementwise.
        deviation: σ ≥ 0.
        offset: μ.
    """

    def __init__(self, activation: Activation, deviation: float = 1.0, offset: float = 0.0) -> None:
        grid = _grid()
        values = evaluate(activation, offset + deviation * grid.nodes)
        weighted = values * grid.weights
        self.mean_square = float(weighted @ values)
        self._coefficients = grid.polynomials @ weighted
        self.mean = float(self._coefficients[0])

    def __call__(self, correlation: Array) -> Array:
        """φ̂(ρ) = E[φ(μ + σ z) φ(μ + σ z′)] for z, z′ of correlation ρ, any shape."""
        correlations, powers = _powers()
        squares = self._coefficients**2
        # What the truncated series lacks belongs to high orders, which count only near ρ = ±1.
        rest = max(self.mean_square - squares.sum(), 0.0)
        return np.interp(correlation, correlations, powers @ np.append(squares, rest))

    def slope(self) -> float:
        """φ̂′(0) = a_1²: how much of a weak correlation is left."""
        return float(self._coefficients[1] ** 2)


def mean_square(activation: Activation, deviations: Array, offsets: Array) -> Array:
    """E[φ(μ + σ z)²] for each of some σ ≥ 0, z standard normal.

    Args:
        activation: φ, elementwise.
        deviations: σ, any shape.
        offsets: μ, of a shape that fits.
    """
    nodes, weights = _COARSE
    values = evaluate(activation, (offsets[..., None] + deviations[..., None] * nodes).ravel())
    return values.reshape(*deviations.shape, -1) ** 2 @ weights


def evaluate(activation: Activation, values: Array) -> Array:
    """An activation of some values, in double precision.

    Raises:
        PlanError: if it does not give each value another.
    """
    try:
        result = activation(values)
    except Exception as error:
        raise ActivationError(f"{activation} cannot be evaluated on a vector: {error}") from error
    if not isinstance(result, np.ndarray) or result.shape != values.shape:
        raise ActivationError(f"{activation} is not elementwise: it does not keep the shape of a vector")
    return result.astype(np.float64, copy=False)


def is_homogeneous(activation: Activation) -> bool:
    """Whether φ(c x) = c φ(x) for c > 0, as of ReLU: then every σ gives the same dual, times σ²."""
    values = np.linspace(-3, 3, 25)
    return np.allclose(evaluate(activation, 2 * values), 2 * evaluate(activation, values), rtol=1e-9)
