"""What an initialization method is: a standard deviation of its own, and a way to draw at any."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from corrinit._correlation import SpatialCorrelation
from corrinit._drawing import Distribution
from corrinit._layers.weight_storage import writing_weight
from corrinit._method_info import MethodInfo
from corrinit._scale import Inputs, amplification, scale_for, transposed_amplification


@dataclass(frozen=True, eq=False)
class Convolution:
    """What a method may know of the layer it fills; of a linear layer too, as one without taps.

    Args:
        name: of the layer, qualified, without the prefixes of wrappers.
        module: the layer itself.
        shape: of the weight: (out, in / groups, k_1, ..., k_d), or (in, out / groups, k_1, ..., k_d) for a
            transposed convolution.
        depth: position among the convolutions of more than one tap in module order, 0 for the first and 1
            for the last; a layer of a single tap has the depth of the one before it.
        channels: n, the number of channels that each output sums over.
        gain: g, √2 for ReLU.
        correlation: R of the correlated method; None for a single tap, and where taps shall be independent.
        groups: number of groups; the weight of each is a stretch of rows.
        backward: whether n counts outputs, to keep the scale of the gradient.
    """

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    depth: float = 0.0
    channels: int = 1
    gain: float = math.sqrt(2)
    correlation: SpatialCorrelation | None = None
    groups: int = 1
    backward: bool = False

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Taps per axis, (k_1, ..., k_d); () for a linear layer."""
        return self.shape[2:]

    @property
    def taps(self) -> int:
        """The number of taps, k_1 ⋯ k_d."""
        return math.prod(self.kernel_size)

    @property
    def rows(self) -> int:
        """Rows of the weight of one group."""
        return self.shape[0] // self.groups

    @property
    def he_std(self) -> float:
        """He's standard deviation, g / √(n k_1 ⋯ k_d)."""
        return self.std_for(None, "independent")

    @property
    def paper_std(self) -> float:
        """That of the paper's method, g / √(n ΣR)."""
        return self.std_for(self.correlation, "identical")

    def std_for(self, correlation: SpatialCorrelation | None, inputs: Inputs) -> float:
        """G / √(n ⟨DRD, M⟩) for taps of a correlation, None for independent ones."""
        return scale_for(self.amplification(correlation, inputs), self.channels, self.gain)

    def amplification(self, correlation: SpatialCorrelation | None, inputs: Inputs) -> float:
        """⟨DRD, M⟩; of a transposed convolution its mean over the output positions."""
        taps = correlation or SpatialCorrelation.identity(self.kernel_size or (1,))
        if not isinstance(self.module, _ConvTransposeNd) or self.backward:
            return amplification(taps, inputs)
        module = self.module
        return transposed_amplification(taps, inputs, stride=module.stride, dilation=module.dilation)

    def rescale(self, factor: float) -> None:
        """Multiply the weight by a factor, through its parametrization where it has one."""
        current = self.module.weight
        assert isinstance(current, Tensor)
        with writing_weight(self.module) as weight:
            weight.copy_(current.detach() * factor)


Adapt: TypeAlias = Callable[[nn.Module, Sequence[Convolution], Tensor], None]
Draw: TypeAlias = Callable[[Tensor, Convolution, float, torch.Generator], object]


@dataclass(frozen=True)
class Method:
    """An initializer of convolutions.

    Args:
        name: what users call it.
        source: where it was published.
        std: the method's own standard deviation per weight: its root mean square, expected over draws.
        draw: the distribution of independent filters, drawn in blocks; or, for a method that needs the whole
            weight, what fills a tensor of its shape, contiguous and on the CPU, at a given root mean square,
            from the generator alone.
        correlation: R of the taps that it draws; None if it states none, as the scales `"measured"` and
            `"natural"` need.
        adapt: what is done once all weights are drawn, for methods that look at data: gets the model, its
            convolutions in module order, and training images (N, C, H, W) as the network gets them.
        uses_correlation: whether it draws with the R that the caller gives.
        own_scale: what its own standard deviation is called among the scales of `corrinit.plan`; None if it
            is none of them.
    """

    name: str
    source: str
    std: Callable[[Convolution], float]
    draw: Distribution | Draw
    correlation: Callable[[Convolution], SpatialCorrelation] | None = None
    adapt: Adapt | None = None
    uses_correlation: bool = False
    own_scale: str | None = None

    @property
    def info(self) -> MethodInfo:
        """What is to be known of it where it is not loaded."""
        return MethodInfo(self.own_scale, self.adapt is not None, self.uses_correlation, self.source)


def independent_taps(convolution: Convolution) -> SpatialCorrelation:
    """R = I, for methods that draw every tap on its own."""
    return SpatialCorrelation.identity(convolution.kernel_size or (1,))
