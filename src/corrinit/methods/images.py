"""Looking at a model while training images run through it, and leaving no trace but in its weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from corrinit.errors import ConfigError, CorrInitWarning, ModelRunError
from corrinit.methods.method import Convolution

Factor: TypeAlias = Callable[[Convolution, Tensor, Tensor], float]


@torch.no_grad()
def rescale_in_order(
    model: nn.Module, convolutions: Sequence[Convolution], images: Tensor, factor: Factor
) -> None:
    """Rescale each convolution when it first runs, so that later ones see what the earlier ones became.

    The images run through the model once.

    Args:
        model: batch normalization normalizes by the batch, as in training; dropout is off.
        convolutions: those to rescale.
        images: shape (N, C, H, W).
        factor: from a convolution, its inputs and its outputs to the factor on its weight.

    Raises:
        ConfigError: if the images do not run through the model.
    """
    waiting = {convolution.module: convolution for convolution in convolutions}

    def rescale(module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
        convolution = waiting.pop(module, None)
        if convolution is None:
            return outputs
        if (change := factor(convolution, inputs[0], outputs)) == 1:
            return outputs
        convolution.rescale(change)
        return module.forward(*inputs)

    hooks = [convolution.module.register_forward_hook(rescale) for convolution in convolutions]
    try:
        with _as_in_training(model):
            model(_like_the_weights(model, images))
    except ConfigError:
        raise
    except (RuntimeError, ValueError) as error:
        raise ModelRunError(
            f"images of shape {tuple(images.shape)} do not run through the model: {error}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    if waiting:
        names = ", ".join(convolution.name for convolution in waiting.values())
        warnings.warn(
            f"no image came through {names}; their weights keep the scale they were drawn at",
            CorrInitWarning,
            stacklevel=2,
        )


def _like_the_weights(model: nn.Module, images: Tensor) -> Tensor:
    parameter = next(model.parameters())
    return images.to(parameter.device, parameter.dtype)


@contextmanager
def _as_in_training(model: nn.Module) -> Iterator[None]:
    """Batch statistics without dropout; modes, buffers and random states are put back afterwards."""
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    devices = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    model.eval()
    for module in modes:
        if isinstance(module, _BatchNorm):
            module.train()
    try:
        with torch.random.fork_rng(devices=sorted(devices)):
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        for buffer, before in buffers:
            buffer.copy_(before)
