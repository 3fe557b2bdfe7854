"""Training samples of a single filter: what Section 3 of the paper calls S.

Every array has one axis for sample sets, so that many sets are simulated at once: `sets` sets of `n` samples
of `p` inputs. A filter w predicts ŷ = max(w·X, 0); the target is y = w*·X, plus whatever the filter cannot
express.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corrinit.errors import ConfigError, ValuesError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Samples:
    """Sample sets, their targets, and the filters that the targets come from.

    Args:
        inputs: X, shape (sets, n, p).
        targets: y, shape (sets, n).
        optima: w*, shape (sets, p).
    """

    inputs: Array
    targets: Array
    optima: Array

    def __post_init__(self) -> None:
        shape = self.inputs.shape
        if len(shape) != 3 or self.targets.shape != shape[:2] or self.optima.shape != (shape[0], shape[2]):
            raise ValuesError(
                f"inputs {shape}, targets {self.targets.shape} and optima {self.optima.shape} do not fit; "
                "they are (sets, n, p), (sets, n) and (sets, p)"
            )
        if not all(np.isfinite(part).all() for part in (self.inputs, self.targets, self.optima)):
            raise ValuesError("a sample or its target is NaN or infinite; samples are finite")

    @classmethod
    def noiseless(cls, inputs: ArrayLike, optima: ArrayLike) -> Samples:
        """Samples with y = w*·X.

        Args:
            inputs: X, shape (n, p) or (sets, n, p).
            optima: w*, shape (p,) or (sets, p). One of the two may have one set where the other has many.

        >>> Samples.noiseless([[1, 0], [0, 2]], [3, 4]).targets
        array([[3., 8.]])
        """
        inputs, optima = np.asarray(inputs, np.float64), np.atleast_2d(np.asarray(optima, np.float64))
        if inputs.ndim not in (2, 3) or optima.ndim != 2 or inputs.shape[-1] != optima.shape[-1]:
            raise ValuesError(
                f"inputs {inputs.shape} and optima {optima.shape} do not fit; "
                "they are (sets, n, p) and (sets, p)"
            )
        inputs = inputs[None] if inputs.ndim == 2 else inputs
        sets = max(len(inputs), len(optima))
        if {len(inputs), len(optima)} - {1, sets}:
            raise ValuesError(f"{len(inputs)} sample sets and {len(optima)} optima do not pair up")
        inputs = np.broadcast_to(inputs, (sets, *inputs.shape[1:]))
        optima = np.broadcast_to(optima, (sets, optima.shape[1]))
        return cls(inputs, np.einsum("snp,sp->sn", inputs, optima), optima)

    @classmethod
    def symmetric(cls, distances: ArrayLike) -> Samples:
        """The 2^p samples of Theorem 3.1: X = e_0 + a with a_i = ±d_i in every combination, w* = e_0.

        Args:
            distances: d_0, ..., d_(p−1), each in [0, 1], shape (p,).

        >>> Samples.symmetric([0, 0.5]).inputs
        array([[[ 1. ,  0.5],
                [ 1. , -0.5],
                [ 1. ,  0.5],
                [ 1. , -0.5]]])
        """
        d = np.asarray(distances, np.float64)
        if d.ndim != 1 or len(d) < 2 or not ((d >= 0) & (d <= 1)).all():
            raise ValuesError(f"distances are {d.tolist()}; Theorem 3.1 has p ≥ 2 of them, each in [0, 1]")
        optimum = np.eye(len(d))[0]
        return cls.noiseless(optimum + d * np.array(list(product((1.0, -1.0), repeat=len(d)))), optimum)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(sets, n, p)."""
        sets, n, p = self.inputs.shape
        return sets, n, p

    @property
    def second_moment(self) -> Array:
        """H = (1/n) Σ X Xᵀ, not centred, shape (sets, p, p)."""
        return second_moment(self.inputs)

    def plus(self, terms: ArrayLike) -> Samples:
        """The samples with y = w*·X + f(X): noise, or what the filter cannot express.

        Args:
            terms: f(X), shape (sets, n) or one that broadcasts to it.
        """
        return replace(self, targets=self.targets + np.asarray(terms, np.float64))

    def leaning(self, copies: int) -> Samples:
        """The samples with those of a positive input X_1 repeated, so that the set leans to one side.

        Every input keeps its magnitude; only the symmetry around w* is lost. The first set decides which.

        Args:
            copies: how often the samples with X_1 > 0 occur.
        """
        if copies < 1:
            raise ConfigError(f"copies is {copies}; every sample occurs at least once")
        times = np.where(self.inputs[0, :, 1] > 0, copies, 1)
        return replace(
            self, inputs=self.inputs.repeat(times, axis=1), targets=self.targets.repeat(times, axis=1)
        )


def second_moment(inputs: Array) -> Array:
    """H = (1/n) Σ X Xᵀ, not centred, of samples of shape (..., n, p).

    >>> second_moment(Samples.symmetric([0.5, 0.1]).inputs)[0].round(9) + 0.0  # diag(1 + d_0², d_1²)
    array([[1.25, 0.  ],
           [0.  , 0.01]])
    """
    inputs = np.asarray(inputs, np.float64)
    return inputs.swapaxes(-1, -2) @ inputs / inputs.shape[-2]


def patches(images: ArrayLike, kernel_size: tuple[int, int] = (3, 3)) -> Array:
    """Every patch of every channel of some images, row-major as the taps of a kernel.

    Args:
        images: shape (N, C, H, W).
        kernel_size: height and width of a patch.

    Returns:
        Shape (N · C · positions, k_1 k_2).

    >>> patches(np.arange(6.0).reshape(1, 1, 2, 3), (2, 2))
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.]])
    """
    images = np.asarray(images, np.float64)
    if images.ndim != 4 or any(side < k for side, k in zip(images.shape[2:], kernel_size, strict=True)):
        raise ValuesError(
            f"images have shape {images.shape}; they are (N, C, H, W), no smaller than {kernel_size}"
        )
    windows = np.lib.stride_tricks.sliding_window_view(images, kernel_size, axis=(2, 3))
    return windows.reshape(-1, kernel_size[0] * kernel_size[1])
