"""Layers that standardize their weight before they use it, so that no scale of it has an effect."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

_NAMES = re.compile(r"Std(Conv|Linear)|WSConv|Conv\w*WS$|Standardi[sz]ed|WeightStandard")
_PLAIN = (nn.Linear, *(getattr(nn, f"Conv{kind}{d}d") for kind in ("", "Transpose") for d in (1, 2, 3)))


def is_weight_standardized(module: nn.Module) -> bool:
    """Whether a convolution or linear layer standardizes its weight, as those of NF-ResNets and BiT do.

    A subclass of torch's layers is tried: of a copy with random weights w and no bias, the outputs with w and
    2 w are equal. Nothing of the module is run or changed, and it may be on the meta device. Where the copy
    cannot be run, the name of the class decides (`StdConv2d`, `ScaledStdConv2d`, `WSConv2d`, ...).

    >>> is_weight_standardized(nn.Conv2d(3, 8, 3))
    False
    """
    if not isinstance(module, (_ConvNd, nn.Linear)) or type(module) in _PLAIN:
        return False
    by_name = _NAMES.search(type(module).__name__) is not None
    if "weight" not in module._parameters:
        return by_name
    try:
        once, twice = (_output(module, factor) for factor in (1.0, 2.0))
    except Exception:  # the code of the class is the user's, and may need anything
        return by_name
    return bool(once.abs().amax() > 0) and torch.allclose(once, twice, rtol=1e-2, atol=1e-6)


@torch.no_grad()
def _output(module: nn.Module, factor: float) -> Tensor:
    """The output of a copy of a module whose weight is a factor times fixed random numbers."""
    generator = torch.Generator(device="cpu").manual_seed(0)
    twin = object.__new__(type(module))
    twin.__dict__.update(vars(module))
    for kind in ("_forward_pre_hooks", "_forward_hooks", "_modules"):
        twin.__dict__[kind] = {}  # hooks and children are the module's own, and must not run
    twin.__dict__["_buffers"] = {
        name: None if buffer is None else torch.ones(buffer.shape, device="cpu")
        for name, buffer in module._buffers.items()
    }
    twin.__dict__["_parameters"] = {
        name: None if parameter is None else nn.Parameter(torch.ones(parameter.shape, device="cpu"))
        for name, parameter in module._parameters.items()
    }
    twin.training = False
    weight = torch.randn(twin.weight.shape, generator=generator, device="cpu")  # pyright: ignore
    twin._parameters["weight"] = nn.Parameter(factor * weight)
    if twin._parameters.get("bias") is not None:
        twin._parameters["bias"] = nn.Parameter(torch.zeros(module.bias.shape, device="cpu"))  # pyright: ignore
    inputs = torch.randn(_input_shape(module), generator=generator, device="cpu")
    with torch.random.fork_rng(devices=()):
        return twin.forward(inputs)


def _input_shape(module: nn.Module) -> tuple[int, ...]:
    """One input that a kernel just covers."""
    if isinstance(module, nn.Linear):
        return (2, module.in_features)
    assert isinstance(module, _ConvNd)
    if isinstance(module, _ConvTransposeNd):
        return (1, module.in_channels, *(2 for _ in module.kernel_size))
    covered = (step * (k - 1) + 1 for step, k in zip(module.dilation, module.kernel_size, strict=True))
    return (1, module.in_channels, *covered)


def effective_deviation(module: nn.Module) -> float:
    """The root mean square of the weights that a layer computes with, once it has standardized them.

    Estimated from what a copy with random weights makes of independent inputs, up to √(1 / outputs).
    """
    outputs = _output(module, 1.0)
    assert isinstance(module, (_ConvNd, nn.Linear))
    summed = module.weight[0].numel()
    return float(outputs.double().square().mean().sqrt()) / summed**0.5
