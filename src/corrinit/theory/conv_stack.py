"""The signal through layers of correlated filters, measured in random networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import conv1d, conv2d, conv3d, pad

from corrinit._correlation import SpatialCorrelation
from corrinit._init import correlated_normal_
from corrinit.errors import ValuesError
from corrinit.theory.samples import Array

_CONVOLUTIONS = {1: conv1d, 2: conv2d, 3: conv3d}


@dataclass(frozen=True, eq=False)
class StackMeasurement:
    """The signal in random convolution stacks.

    Args:
        second_moments: mean of y² over positions, channels and images, shape (networks, depth).
        input_fields: correlation m(δ) of each layer's inputs, mean over the networks, shape
            (depth, *spatial).
    """

    second_moments: Array
    input_fields: Array

    def relative_moments(self) -> tuple[Array, Array]:
        """E[y_l²] / E[y_1²], both means over the networks, and its standard error; shape (depth,) each.

        The error is the delta method's for a ratio of means of paired values.
        """
        moments = self.second_moments
        ratio = moments.mean(axis=0) / moments[:, 0].mean()
        residuals = (moments - ratio * moments[:, :1]) / moments[:, 0].mean()
        return ratio, residuals.std(axis=0, ddof=1) / np.sqrt(len(moments))


def measure_stack(
    images: torch.Tensor,
    correlation: SpatialCorrelation,
    *,
    channels: int,
    depth: int,
    std: float | Sequence[float],
    networks: int,
    seed: int,
) -> StackMeasurement:
    """Send images through random networks: `depth` convolutions, circular padding, ReLU between them.

    Args:
        images: shape (N, C, *spatial).
        correlation: R, of every layer.
        channels: output channels of every layer.
        depth: number of convolutions.
        std: standard deviation of a tap, one for all layers or one per layer.
        networks: number of networks, each with weights of its own.
        seed: of all the weights.
    """
    if networks < 2 or depth < 1 or channels < 1:
        raise ValuesError(f"{networks} networks of {depth} layers, {channels} channels: at least 2, 1 and 1")
    axes = len(correlation.kernel_size)
    stds = [float(std)] * depth if isinstance(std, int | float) else list(std)
    if images.dim() != axes + 2 or len(stds) != depth:
        raise ValuesError(
            f"images {tuple(images.shape)} and {len(stds)} scales do not fit {depth} layers of {axes}-d "
            "kernels: images are (N, C, *spatial), with one scale for all layers or one per layer"
        )
    generator = torch.Generator().manual_seed(seed)
    moments = np.empty((networks, depth))
    fields = np.zeros((depth, *images.shape[2:]))
    for network in range(networks):
        signal = images
        for layer in range(depth):
            fields[layer] += _field(signal) / networks
            weight = torch.empty(channels, signal.shape[1], *correlation.kernel_size, dtype=signal.dtype)
            correlated_normal_(weight, correlation, stds[layer], generator=generator)
            outputs = _circular(signal, weight)
            moments[network, layer] = outputs.square().mean().item()
            signal = outputs.relu_()
    return StackMeasurement(moments, fields)


def _circular(signal: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    margins = [m for k in reversed(weight.shape[2:]) for m in ((k - 1) // 2, k // 2)]
    return _CONVOLUTIONS[weight.dim() - 2](pad(signal, margins, mode="circular"), weight)


def _field(signal: torch.Tensor) -> Array:
    """m(δ) of one network's signal, as `measured_field` has it for images."""
    axes = tuple(range(2, signal.dim()))
    power = torch.fft.fftn(signal, dim=axes).abs().square().mean(dim=(0, 1))
    moments = torch.fft.ifftn(power).real
    return (moments / moments.flatten()[0]).numpy()
