"""Closed-form correlations between the taps of a kernel, as functions of their distance, and deviations.

A kernel of size (k_1, ..., k_d) has n = k_1 ⋯ k_d taps on an integer grid, numbered row-major. Every family
here returns the n × n correlation matrix of the taps, unit diagonal, positive semi-definite. Its one
parameter is a length scale ℓ in taps; it is given either directly or through the mean off-diagonal
correlation it shall produce. `centre_weighted` returns relative deviations of the taps, mean square 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from corrinit._arguments import real
from corrinit._spd import Matrix, Vector, relative_deviations, require_dense
from corrinit.errors import CorrelationError

Metric = Literal["cityblock", "euclidean"]

_MOST_AXES = 8
"""Axes of a kernel at most; convolutions have one to three."""


def tap_offsets(kernel_size: Sequence[int]) -> NDArray[np.int64]:
    """Grid positions of the taps of a kernel, in row-major order.

    Args:
        kernel_size: taps per axis, (k_1, ..., k_d).

    Returns:
        Integer array of shape (n, d).

    >>> tap_offsets((2, 2)).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    number_of_taps(kernel_size)
    return np.indices(tuple(kernel_size)).reshape(len(kernel_size), -1).T


def number_of_taps(kernel_size: Sequence[int]) -> int:
    """How many taps a kernel has, n = k_1 ⋯ k_d.

    Raises:
        CorrelationError: if this is no kernel size.
    """
    iterable = isinstance(kernel_size, Iterable) and not isinstance(kernel_size, str | bytes)
    size = tuple(kernel_size) if iterable else kernel_size
    if not (
        isinstance(size, tuple) and size and all(isinstance(k, (int, np.integer)) and k > 0 for k in size)
    ):
        raise CorrelationError(
            f"kernel size is {size!r}; it needs one positive number per axis, such as (3, 3)"
        )
    if len(size) > _MOST_AXES:
        raise CorrelationError(f"the kernel size has {len(size)} axes; a kernel has {_MOST_AXES} at most")
    return math.prod(map(int, size))


def tap_distances(kernel_size: Sequence[int], metric: Metric = "cityblock") -> Matrix:
    """Distances between all pairs of taps, shape (n, n), in taps.

    Args:
        kernel_size: taps per axis.
        metric: `"cityblock"` for Σ|Δ|, `"euclidean"` for √ΣΔ².
    """
    require_dense(number_of_taps(kernel_size))
    offsets = tap_offsets(kernel_size)
    lags = np.abs(offsets[:, None, :] - offsets[None, :, :]).astype(np.float64)
    if not isinstance(metric, str) or metric not in get_args(Metric):
        raise CorrelationError(f"metric is {metric!r:.80}; it is 'cityblock' or 'euclidean'")
    if metric == "cityblock":
        return lags.sum(axis=-1)
    return np.sqrt(np.square(lags).sum(axis=-1))


def mean_off_diagonal(matrix: Matrix) -> float:
    """Mean of the off-diagonal entries of a correlation matrix; 0 for a single tap.

    The paper's measure of how correlated a network is (0.26 for its ResNet, 0.18 for its VGG).
    """
    n = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (n * (n - 1))) if n > 1 else 0.0


def exponential(
    kernel_size: Sequence[int],
    length_scale: float | None = None,
    *,
    mean: float | None = None,
    metric: Metric = "cityblock",
) -> Matrix:
    """Exponential correlation, exp(−δ/ℓ).

    With the city-block metric it is separable, exp(−|Δy|/ℓ) exp(−|Δx|/ℓ): of the one-parameter families,
    the one that fits trained 3×3 filters best.

    Args:
        kernel_size: taps per axis.
        length_scale: ℓ > 0, in taps.
        mean: instead of `length_scale`, the mean off-diagonal correlation to reach, in (0, 1).
        metric: distance δ between taps.

    >>> float(exponential((3, 3), mean=0.26).sum().round(6))  # 9 + 72 × 0.26
    27.72
    """
    distances = tap_distances(kernel_size, metric)
    return _with_scale(lambda scale: np.exp(-distances / scale), kernel_size, length_scale, mean)


def gaussian(
    kernel_size: Sequence[int], length_scale: float | None = None, *, mean: float | None = None
) -> Matrix:
    """Gaussian (squared-exponential) correlation, exp(−δ²/(2ℓ²)), with the Euclidean distance δ.

    Args:
        kernel_size: taps per axis.
        length_scale: ℓ > 0, in taps.
        mean: instead of `length_scale`, the mean off-diagonal correlation to reach, in (0, 1).
    """
    distances = tap_distances(kernel_size, "euclidean")
    return _with_scale(lambda scale: np.exp(-0.5 * (distances / scale) ** 2), kernel_size, length_scale, mean)


def matern(
    kernel_size: Sequence[int],
    length_scale: float | None = None,
    *,
    mean: float | None = None,
    nu: float = 1.5,
) -> Matrix:
    """Matérn correlation of smoothness ν = 3/2 or 5/2, with the Euclidean distance δ.

    With r = √(2ν) δ/ℓ: (1 + r) e^(−r) for ν = 3/2, (1 + r + r²/3) e^(−r) for ν = 5/2
    (Rasmussen & Williams 2006, Eq. 4.17). ν = 1/2 is `exponential(metric="euclidean")`.

    Args:
        kernel_size: taps per axis.
        length_scale: ℓ > 0, in taps.
        mean: instead of `length_scale`, the mean off-diagonal correlation to reach, in (0, 1).
        nu: smoothness ν.
    """
    if nu not in (1.5, 2.5):
        raise CorrelationError(f"nu is {nu}; Matérn is offered for 1.5 and 2.5")
    distances = tap_distances(kernel_size, "euclidean")

    def correlation(scale: float) -> Matrix:
        r = np.sqrt(2 * nu) * distances / scale
        return (1 + r + (r**2 / 3 if nu == 2.5 else 0)) * np.exp(-r)

    return _with_scale(correlation, kernel_size, length_scale, mean)


def constant(kernel_size: Sequence[int], mean: float) -> Matrix:
    """The same correlation between any two different taps (compound symmetry).

    Args:
        kernel_size: taps per axis.
        mean: the off-diagonal entry, in [−1/(n−1), 1]; 0 gives the identity, 1 perfectly correlated taps.
    """
    require_dense(n := number_of_taps(kernel_size))
    lowest = -1 / (n - 1) if n > 1 else -1.0
    if not lowest <= mean <= 1:
        raise CorrelationError(f"mean is {mean}; {n} taps can share a correlation from {lowest:.3g} to 1")
    return np.full((n, n), float(mean)) + (1 - mean) * np.eye(n)


def length_scale(family: Callable[..., Matrix], kernel_size: Sequence[int], mean: float) -> float:
    """The ℓ at which a family has a mean off-diagonal correlation on a kernel, in taps.

    Args:
        family: a function of this module that takes a length scale.
        kernel_size: taps per axis.
        mean: in (0, 1).

    >>> round(length_scale(exponential, (3, 3), mean=0.26), 4)
    1.2889
    """
    return _scale_for_mean(lambda scale: family(kernel_size, scale), kernel_size, mean)


def centre_weighted(kernel_size: Sequence[int], width: float) -> Vector:
    """Relative deviations that fall off from the centre, d ∝ exp(−r²/(4τ²)), mean square 1, shape (n,).

    The variance d² is a Gaussian of deviation τ. In kernels of even size the centre lies between taps.
    τ = 0 leaves the taps nearest to the centre alone, as in a delta-orthogonal start; τ = ∞ gives ones.

    Args:
        kernel_size: taps per axis.
        width: τ ≥ 0, in taps.

    >>> centre_weighted((3,), 0.8).round(3).tolist()
    [0.847, 1.251, 0.847]
    >>> centre_weighted((3,), 0).round(3).tolist()
    [0.0, 1.732, 0.0]
    """
    if not width >= 0:
        raise CorrelationError(f"width is {width}; it is a number of taps of at least 0")
    offsets = tap_offsets(kernel_size) - (np.array(kernel_size) - 1) / 2
    squares = np.square(offsets).sum(axis=-1)
    beyond = squares - squares.min()  # from the taps nearest to the centre, so that these never underflow
    if width == 0:
        return relative_deviations(beyond == 0)
    with np.errstate(over="ignore"):
        return relative_deviations(np.exp(-beyond / width / (4 * width)))


def _with_scale(
    correlation: Callable[[float], Matrix],
    kernel_size: Sequence[int],
    length_scale: float | None,
    mean: float | None,
) -> Matrix:
    if (length_scale is None) == (mean is None):
        raise CorrelationError(f"give either length_scale or mean; got {length_scale=} and {mean=}")
    if mean is not None:
        mean = real("mean", mean)
        length_scale = _scale_for_mean(correlation, kernel_size, mean)
    elif not 0 < (length_scale := real("length_scale", length_scale)) < np.inf:
        raise CorrelationError(f"length_scale is {length_scale}; it must be positive and finite")
    assert length_scale is not None
    return correlation(length_scale)


def _scale_for_mean(correlation: Callable[[float], Matrix], kernel_size: Sequence[int], mean: float) -> float:
    """The length scale whose mean off-diagonal correlation is `mean`, by bisection on log ℓ."""
    if not 0 < mean < 1:
        raise CorrelationError(
            f"mean is {mean}; a correlation that decays with distance has a mean in (0, 1)"
        )
    if np.prod(kernel_size) == 1:
        return 1.0
    low, high = -10.0, 30.0
    while high - low > 1e-14 * max(1.0, abs(low)):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if mean_off_diagonal(correlation(float(np.exp(middle)))) < mean:
            low = middle
        else:
            high = middle
    return float(np.exp(low))
