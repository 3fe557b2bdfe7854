"""The measured scale: s = g / √(n ⟨R, M⟩), with M measured at the inputs of each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.modules.conv import _ConvTransposeNd

from corrinit._correlation import SpatialCorrelation
from corrinit._moments import pixel_moments
from corrinit.errors import CancelledSignalError, ConfigError, CorrelationError
from corrinit.methods.images import rescale_in_order
from corrinit.methods.method import Convolution


def scale_to_images(model: nn.Module, layers: Sequence[Convolution], images: Tensor) -> None:
    """Rescale layers from He's scale to what training images give each, in order of execution.

    He's scale is that for M = I, so each weight is multiplied by √(⟨R, I⟩ / ⟨R, M⟩) when its layer first
    runs. With R = I nothing changes, as ⟨I, M⟩ is the number of taps.

    Args:
        model: the model, its weights drawn.
        layers: those to rescale; `correlation` is the R that their taps were drawn with.
        images: shape (N, C, H, W).

    Raises:
        ConfigError: if the filters of a layer cancel what it gets from the images, or they do not run.
    """
    rescale_in_order(model, [layer for layer in layers if layer.correlation is not None], images, _factor)


def _factor(layer: Convolution, inputs: Tensor, outputs: Tensor) -> float:
    assert layer.correlation is not None
    try:
        power = layer.amplification(layer.correlation, input_correlation(layer, inputs))
    except CorrelationError as error:
        raise ConfigError(f"{error}", layer=layer.name) from error
    if power <= 1e-9:
        raise CancelledSignalError(
            f'⟨R, M⟩ is {power:.3g}, so its filters cancel what it gets from the images; use the scale "he"',
            layer=layer.name,
        )
    return math.sqrt(layer.amplification(layer.correlation, "independent") / power)


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
