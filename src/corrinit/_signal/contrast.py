"""How the strength of a signal differs from image to image.

Natural images differ in contrast: the mean square of one is c times that of all, with c spread log-normally.
Layers, sums and pooling pass these ratios on, ReLU too. What is not homogeneous changes them: SiLU and GELU
give to strong images more than they give to weak ones, layer after layer, so that the mean over images grows
although an image of mean contrast keeps its strength. Normalization of each image alone makes them equal.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

NATURAL_CONTRAST = 0.5
"""Standard deviation of ln c: what Tiny-ImageNet shrunk to 32 pixels has."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)

SHARES: Array = _WEIGHTS / _WEIGHTS.sum()
"""The share of images that each value of c stands for."""

EQUAL: Array = np.ones_like(SHARES)
"""Contrasts of a signal that is equally strong in all images."""


def spread(deviation: float) -> Array:
    """Contrasts c of mean 1, log-normal, by the nodes of Gauss-Hermite quadrature.

    Args:
        deviation: standard deviation of ln c.

    >>> c = spread(NATURAL_CONTRAST)
    >>> round(float(SHARES @ c), 6), round(float(SHARES @ c**2) ** 0.5, 2)
    (1.0, 1.13)
    """
    return relative(np.exp(deviation * _NODES))


def relative(powers: Array) -> Array:
    """Contrasts of images of these mean squares; equal ones where there is no signal."""
    mean = float(SHARES @ powers)
    return powers / mean if mean > 0 else EQUAL
