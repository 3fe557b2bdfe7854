"""What a model does to the second moments of a signal, whatever holds them.

K(p, q) = E[x(p) x(q)] over weights, images and channels, for one image, and X(p, q) the same for two
different images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from corrinit._signal.windows import Windows

Array: TypeAlias = NDArray[np.float64]
Map: TypeAlias = Callable[[Array], Array]


class Field(ABC):
    """Second moments over a map of positions, within an image and between images."""

    size: tuple[int, ...]

    @property
    @abstractmethod
    def power(self) -> Array:
        """v(p) = E[x(p)²], row-major."""

    @property
    def mean_square(self) -> float:
        """Mean of v over positions."""
        return float(self.power.mean())

    @abstractmethod
    def between(self) -> float:
        """Mean of X over all pairs of positions: the mean square of a channel's mean over a large batch."""

    @abstractmethod
    def within(self) -> float:
        """Mean of K over all pairs of positions: the mean square of an image's mean."""

    @abstractmethod
    def neighbours(self) -> float:
        """Correlation of neighbouring positions, less what a channel has in common over all images."""

    @abstractmethod
    def window_moments(self, windows: Windows) -> Array:
        """E[x_t x_t′] of the taps of a layer, mean over its output positions, shape (taps, taps)."""

    @abstractmethod
    def convolved(self, windows: Windows, coefficients: Array) -> Field:
        """Moments of y(p) = Σ_t w_t x(p, t) for weights with E[w_t w_t′] = C, shape (taps, taps)."""

    @abstractmethod
    def mapped(self, same: Map, power: Map) -> Field:
        """Moments after a function of each value.

        Args:
            same: from a correlation to the correlation afterwards (1 at 1).
            power: from v(p) to v(p) afterwards.
        """

    @abstractmethod
    def centred(self, share: float = 0.0, own: bool = False) -> Field:
        """Less the mean of each channel: over a batch, or over each image alone.

        Args:
            share: instead of all of an image's mean, the share of it in one channel.
            own: of each image.
        """

    @abstractmethod
    def plus(self, constant: float) -> Field:
        """With a constant added to every moment."""

    @abstractmethod
    def less_mean(self, square: float) -> Field:
        """Less a mean over channels of this mean square, which is larger where the signal is."""

    @abstractmethod
    def times(self, factor: float, between: float | None = None) -> Field:
        """With moments multiplied: those within an image, and those between images by another factor."""

    @abstractmethod
    def combined(self, other: Field, operation: Callable[[Array, Array], Array]) -> Field:
        """Moments of the sum or the product of two independent signals."""

    @abstractmethod
    def scaled_by_position(self, factors: Array) -> Field:
        """x(p) multiplied by a number that depends on the position alone."""

    @abstractmethod
    def resampled(self, size: tuple[int, ...]) -> Field:
        """Enlarged or shrunk to another size, each position a copy of the nearest one."""

    @abstractmethod
    def with_power(self, power: Array) -> Field:
        """The same moments between different positions, others at each one: noise added, or taken away."""
