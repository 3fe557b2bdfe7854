"""What a layer gets and what its weights are drawn from: the two sides of one step of a plan."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from math import prod
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from corrinit._layers.weight_storage import stored_weight
from corrinit._moments import tap_moments
from corrinit._signal.contrast import EQUAL
from corrinit._signal.graph import Step
from corrinit.errors import PlanError

Array: TypeAlias = NDArray[np.float64]
Index: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LayerInput:
    """What arrives at a convolution or a linear layer.

    Args:
        name: of the layer.
        step: of the graph: its kind, kernel, groups.
        channels: n, over which each output sums.
        mean_square: E[x²] over the positions of the map, padding not included.
        moments: M, second moments of the taps over E[x²], mean over the output positions, zeros of the
            padding included, shape (taps, taps): E[y²] = n s² ⟨D R D, M⟩ E[x²]. In a transposed convolution
            taps that meet no input at an output count as zeros there. In a kernel of more than
            `windows.MOST_TAPS` taps these are of taps that stand for others, too: see `standing_for`.
        members: per axis, the number of the tap in M that stands for each tap of the kernel.
        contrasts: mean squares of images over that of all, see `corrinit._signal.contrast`.
    """

    name: str
    step: Step
    channels: int
    mean_square: float
    moments: Array
    members: tuple[Index, ...] = (np.zeros(1, np.int64),)
    contrasts: Array = field(default_factory=lambda: EQUAL)

    @property
    def taps(self) -> int:
        """Number of taps of the kernel."""
        return prod(map(len, self.members))

    def standing_for(self, covariance: Array | None) -> Array:
        """D R D of the kernel, None for independent taps, summed over the taps that each in M stands for.

        Its inner product with M is ⟨D R D, M⟩, but for what M differs between taps that stand together.
        """
        if covariance is None:
            counts = [np.bincount(member) for member in self.members]
            return np.diag(reduce(np.multiply.outer, counts).ravel().astype(np.float64))
        if len(covariance) != self.taps:
            raise PlanError(
                f"its law is for {len(covariance)} taps; its kernel has {self.taps}", layer=self.name
            )
        if len(self.moments) == self.taps:
            return covariance
        total = covariance.reshape([len(member) for member in self.members] * 2)
        for axis, member in enumerate(self.members * 2):
            total = np.add.reduceat(total, np.flatnonzero(np.diff(member, prepend=-1)), axis)
        return total.reshape(self.moments.shape)

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Taps per axis; one tap for a linear layer."""
        return self.step.arguments.get("kernel_size", (1,))


@dataclass(frozen=True, eq=False)
class LayerLaw:
    """What the weights of a layer are drawn from.

    Args:
        covariance: D R D, of the taps of a filter relative to s², as `LayerInput.standing_for` gives it.
        std: s.
        bias: mean square of the biases.
    """

    covariance: Array
    std: float
    bias: float = 0.0


Law: TypeAlias = Callable[[LayerInput], LayerLaw]


def present_law(module: nn.Module, taps: int = 0) -> LayerLaw:
    """The law of the weights that a layer has now: second moments of its taps over all filters.

    A layer without weights to look at (on the meta device) is taken to have independent taps of He's scale.

    Args:
        module: a convolution or linear layer.
        taps: of its kernel; needed where the weights cannot be looked at.
    """
    stored = stored_weight(module)  # reading through the module could move what it normalizes by
    weight = None if stored is None else stored.value()
    if weight is None or weight.is_meta or not weight.is_floating_point() or hasattr(weight, "device_mesh"):
        inputs = getattr(module, "in_features", getattr(module, "in_channels", 1)) // getattr(
            module, "groups", 1
        )
        return LayerLaw(np.eye(max(taps, 1)), math.sqrt(2 / (inputs * max(taps, 1))))
    if weight.dim() == 2:
        weight = weight[..., None]
    moments = tap_moments(weight.transpose(0, 1) if isinstance(module, _ConvTransposeNd) else weight)
    second = moments.covariance + np.outer(moments.mean, moments.mean)
    return _relative(second, _mean_square(getattr(module, "bias", None)))


def kept_law(module: nn.Module, arriving: LayerInput) -> LayerLaw:
    """The law of the weights that a layer keeps; of He's scale where they do not fit what arrives."""
    law = present_law(module, arriving.taps)
    if len(law.covariance) == arriving.taps:
        return LayerLaw(arriving.standing_for(law.covariance), law.std, law.bias)
    return LayerLaw(arriving.standing_for(None), math.sqrt(2 / (arriving.taps * arriving.channels)))


def _relative(second: Array, bias: float) -> LayerLaw:
    square = float(second.diagonal().mean())
    if not 0 < square < math.inf:
        return LayerLaw(np.eye(len(second)), 0.0, bias)
    return LayerLaw(second / square, math.sqrt(square), bias)


def _mean_square(values: Tensor | None) -> float:
    if values is None or values.is_meta or not values.numel():
        return 0.0
    with torch.no_grad():
        return float(values.double().square().mean())
