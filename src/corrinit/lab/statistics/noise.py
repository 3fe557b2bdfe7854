"""The noise of an accuracy in two parts: which test images there happen to be, and which network came out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from corrinit.errors import ValuesError


@dataclass(frozen=True)
class Noise:
    """The variance of the accuracy of a run, split.

    Args:
        runs: of one condition, R.
        images: on which each was tested, N.
        total: variance of the accuracy between runs, on these images.
        images_part: its part that comes of having N images; 0 with infinitely many.
        network_part: the rest: the variance of the accuracy on all images that there could be. Its estimate
            is unbiased and can be negative.
    """

    runs: int
    images: int
    total: float
    images_part: float
    network_part: float

    @property
    def images_sd(self) -> float:
        """Standard deviation of the part of the images."""
        return math.sqrt(max(0.0, self.images_part))

    @property
    def network_sd(self) -> float:
        """Standard deviation of the part of the network; 0 where its variance is estimated below 0."""
        return math.sqrt(max(0.0, self.network_part))


def split_noise(correct: ArrayLike | Sequence[ArrayLike]) -> Noise:
    """What of the variance between runs is that of networks, rather than of their luck with the test images.

    With c_ri = 1 where run r is right about image i, accuracies a_r = Σ_i c_ri/N and V = var_r a_r, the
    variance of the accuracy on all images that there could be is estimated without bias by

        V_network = (N V − W) / (N − 1),    W = (1/N) Σ_i var_r c_ri,

    all var with R − 1. For W/N is what V would be if runs were right about each image independently of the
    others. The part of the images is V − V_network. All of it is of runs of one condition: images in common
    make no accuracy of two conditions equal, but leave this part in their difference.

    Args:
        correct: shape (R, N): for each of two or more runs, each image.

    Raises:
        ValueError: for fewer than two runs or images.

    Source:
        Jordan, On the variance of neural network training with respect to test sets and distributions (ICLR
        2024), Theorem 2.

    >>> lucky = np.random.default_rng(0).random((100, 5000)) < 0.6  # each image a coin of its own
    >>> found = split_noise(lucky)
    >>> f"{100 * found.images_sd:.2f} and {100 * found.network_sd:.2f} points"
    '0.69 and 0.04 points'
    """
    c = np.asarray(correct, np.float64)
    if c.ndim != 2 or min(c.shape) < 2:
        raise ValuesError(f"right answers have the shape {c.shape}; give at least 2 runs by 2 images")
    runs, images = c.shape
    total = float(c.mean(1).var(ddof=1))
    by_image = float(c.var(0, ddof=1).mean())
    network = (images * total - by_image) / (images - 1)
    return Noise(runs, images, total, total - network, network)
