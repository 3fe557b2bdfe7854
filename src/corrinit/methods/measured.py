"""The measured scale: s = g / √(n ⟨R, M⟩), with M measured at the inputs of each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.modules.conv import _ConvTransposeNd

from corrinit.correlation import SpatialCorrelation
from corrinit.errors import ConfigError, CorrelationError
from corrinit.methods.images import rescale_in_order
from corrinit.methods.method import Convolution, Method, scaled
from corrinit.moments import pixel_moments
from corrinit.scale import Inputs, amplification, transposed_amplification


def at_measured_scale(method: Method) -> Method:
    """A method whose draws are scaled to what training images give each layer, in order of execution.

    Each layer starts at He's scale, which is that for M = I, and is multiplied by √(⟨R, I⟩ / ⟨R, M⟩) when it
    first runs. With R = I nothing changes, as ⟨I, M⟩ is the number of taps.

    Args:
        method: one that states the correlation R of its taps.

    Raises:
        ConfigError: if it does not.
    """
    correlation = method.correlation
    if correlation is None:
        raise ConfigError(
            f'{method.name} states no correlation of its taps, which the scale "measured" needs; '
            'use "own", "he" or "correlated"'
        )

    def factor(convolution: Convolution, inputs: Tensor, outputs: Tensor) -> float:
        if math.prod(convolution.kernel_size) == 1:
            return 1.0
        taps = correlation(convolution)
        if (taps.matrix == np.eye(len(taps.matrix))).all():
            return 1.0
        measured = input_correlation(convolution, inputs)
        try:
            power = _amplification(convolution, taps, measured)
        except CorrelationError as error:
            raise ConfigError(f"layer {convolution.name}: {error}") from error
        if power <= 1e-9:
            raise ConfigError(
                f"layer {convolution.name}: ⟨R, M⟩ is {power:.3g}, so its filters cancel what it gets from "
                'the images; use the scale "he"'
            )
        return math.sqrt(_amplification(convolution, taps, "independent") / power)

    def adapt(model: nn.Module, convolutions: Sequence[Convolution], images: Tensor) -> None:
        rescale_in_order(model, convolutions, images, factor)

    return replace(scaled(method, lambda convolution: convolution.he_std), adapt=adapt)


def input_correlation(convolution: Convolution, inputs: Tensor) -> SpatialCorrelation:
    """M at a layer: E[x_i x_j] / √(E[x_i²] E[x_j²]) over the patches that its kernel meets, padding included.

    A tap that meets nothing but padding is taken to be uncorrelated with the others. Strides are not taken
    into account: the mean runs over all positions. A transposed convolution has the plain M of its inputs.

    Args:
        convolution: the layer.
        inputs: shape (N, C, *spatial).
    """
    module, size = convolution.module, convolution.kernel_size
    steps: Sequence[int] = (1,) * len(size)
    if not isinstance(module, _ConvTransposeNd):
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        inputs = pad(inputs, module._reversed_padding_repeated_twice, mode=mode)  # pyright: ignore
        steps = module.dilation  # pyright: ignore[reportAssignmentType]
    total = np.zeros((math.prod(size), math.prod(size)))
    for phase in product(*map(range, steps)):  # taps `step` apart are neighbours in one of the sub-grids
        grid = inputs[(..., *(slice(start, None, step) for start, step in zip(phase, steps, strict=True)))]
        patches = math.prod(length - k + 1 for length, k in zip(grid.shape[2:], size, strict=True))
        if all(length >= k for length, k in zip(grid.shape[2:], size, strict=True)):
            total += patches * pixel_moments(grid, size)
    power = total.diagonal()
    root = np.sqrt(np.where(power > 0, power, 1.0))
    moments = total / np.outer(root, root)
    np.fill_diagonal(moments, 1.0)
    return SpatialCorrelation(moments, size, {"source": f"inputs of {convolution.name}"})


def _amplification(convolution: Convolution, taps: SpatialCorrelation, inputs: Inputs) -> float:
    module = convolution.module
    if not isinstance(module, _ConvTransposeNd):
        return amplification(taps, inputs)
    return transposed_amplification(taps, inputs, stride=module.stride, dilation=module.dilation)
