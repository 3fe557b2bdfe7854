"""What an initialization method is: a standard deviation of its own, and a way to draw at any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from corrinit.correlation import SpatialCorrelation


@dataclass(frozen=True)
class Convolution:
    """What a method may know of the convolution it fills.

    Args:
        shape: of the weight, (out, in / groups, k_1, ..., k_d).
        he_std: He's standard deviation, √(2 / (n k_1 ⋯ k_d)).
        correlated_std: that of the correlated method, √(2 / (n ΣR)).
        correlation: R; None for a single tap.
    """

    shape: tuple[int, ...]
    he_std: float
    correlated_std: float
    correlation: SpatialCorrelation | None


@dataclass(frozen=True)
class Method:
    """An initializer of convolutions.

    Args:
        name: what users call it.
        source: where it was published.
        std: the method's own standard deviation per weight.
        draw: fills a weight at a given standard deviation.
    """

    name: str
    source: str
    std: Callable[[Convolution], float]
    draw: Callable[[Tensor, Convolution, float, torch.Generator], object]
