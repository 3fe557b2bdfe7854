"""What an initialization method is: a standard deviation of its own, and a way to draw at any."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor, nn

from corrinit.correlation import SpatialCorrelation
from corrinit.errors import ConfigError
from corrinit.weight_storage import writing_weight


@dataclass(frozen=True, eq=False)
class Convolution:
    """What a method may know of the convolution it fills.

    Args:
        name: of the layer, qualified, without the prefixes of wrappers.
        module: the layer itself.
        shape: of the weight: (out, in / groups, k_1, ..., k_d), or (in, out / groups, k_1, ..., k_d) for a
            transposed convolution.
        depth: position among the convolutions of more than one tap in module order, 0 for the first and 1
            for the last; a convolution of a single tap has the depth of the one before it.
        he_std: He's standard deviation, √(2 / (n k_1 ⋯ k_d)).
        correlated_std: that of the correlated method, √(2 / (n ΣR)).
        correlation: R; None for a single tap.
    """

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    depth: float
    he_std: float
    correlated_std: float
    correlation: SpatialCorrelation | None

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Taps per axis, (k_1, ..., k_d)."""
        return self.shape[2:]

    @property
    def groups(self) -> int:
        """Number of groups; the weight of each is a stretch of rows."""
        return self.module.groups  # pyright: ignore[reportReturnType]

    @property
    def rows(self) -> int:
        """Rows of the weight of one group."""
        return self.shape[0] // self.groups

    def rescale(self, factor: float) -> None:
        """Multiply the weight by a factor, through its parametrization where it has one."""
        current = self.module.weight
        assert isinstance(current, Tensor)
        with writing_weight(self.module) as weight:
            weight.copy_(current.detach() * factor)


Adapt: TypeAlias = Callable[[nn.Module, Sequence[Convolution], Tensor], None]


@dataclass(frozen=True)
class Method:
    """An initializer of convolutions.

    Args:
        name: what users call it.
        source: where it was published.
        std: the method's own standard deviation per weight: its root mean square, expected over draws.
        draw: fills a tensor of the shape of the weight, contiguous and on the CPU, at a given root mean
            square, from the generator alone.
        adapt: what is done once all weights are drawn, for methods that look at data: gets the model, its
            convolutions in module order, and training images (N, C, H, W) as the network gets them.
        correlation: R of the taps that it draws, for the scale `"measured"`; None if it states none.
    """

    name: str
    source: str
    std: Callable[[Convolution], float]
    draw: Callable[[Tensor, Convolution, float, torch.Generator], object]
    adapt: Adapt | None = None
    correlation: Callable[[Convolution], SpatialCorrelation] | None = None


def scaled(method: Method, std: float | Callable[[Convolution], float]) -> Method:
    """A method at another scale: the same weights but for a factor per layer.

    Args:
        method: any method; one that looks at data is rescaled after it has done so.
        std: root mean square of the weights of a layer, zeros included; expected over draws, exact where
            the method looks at data.

    Raises:
        ConfigError: for a number that is negative or not finite.
    """
    if not callable(std) and not (math.isfinite(std) and std >= 0):
        raise ConfigError(f"std is {std}; it is finite and at least 0")
    wanted = std if callable(std) else lambda _: float(std)
    adapt = method.adapt

    def adapt_and_rescale(model: nn.Module, convolutions: Sequence[Convolution], images: Tensor) -> None:
        assert adapt is not None
        adapt(model, convolutions, images)
        for convolution in convolutions:
            weight = convolution.module.weight
            assert isinstance(weight, Tensor)
            rms = weight.detach().double().square().mean().sqrt().item()
            if rms > 0:
                convolution.rescale(wanted(convolution) / rms)

    return replace(method, std=wanted, adapt=adapt and adapt_and_rescale)
