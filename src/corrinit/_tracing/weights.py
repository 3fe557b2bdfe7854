"""The laws of the weights that the layers of a torch model have now."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from corrinit._layers.weight_storage import stored_weight
from corrinit._moments import tap_moments
from corrinit._signal.law import Array, LayerInput, LayerLaw


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
