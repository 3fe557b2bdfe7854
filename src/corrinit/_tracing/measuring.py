"""The signal through a model as it is on some images: the measurement beside the prediction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from corrinit._signal.graph import WEIGHTED, Graph, Step
from corrinit._signal.law import LayerInput
from corrinit._signal.report import LayerSignal, SignalReport, StepSignal
from corrinit._signal.windows import Array, Windows, convolution_windows
from corrinit._tracing.reading import read_graph
from corrinit._tracing.weights import kept_law
from corrinit.errors import ModelRunError, PlanError

_MOST_VALUES = 1 << 25
"""Patch values that the moments of a layer are taken over; of more, as many are chosen at random."""


def measure(model: nn.Module, images: Tensor, graph: Graph | None = None) -> SignalReport:
    """The signal after each module and at each layer, in one run of the model on some images.

    The model runs in training mode without gradients, so that batch norm normalizes by these images. Its
    buffers, its modes and torch's generators are afterwards what they were.

    Args:
        model: with the weights that it shall have.
        images: one batch, on the device of the model: shape (N, C, *spatial), or (N, features).
        graph: of the model, to save reading it again.

    Returns:
        A report like that of `propagate`, of the steps that are modules.

    Raises:
        PlanError: if the model cannot run on these images.
    """
    graph = graph or read_graph(model, tuple(images.shape[1:]))
    last = _channels_last(graph)
    rows: dict[str, StepSignal] = {}
    layers: dict[str, LayerSignal] = {}

    def look(step: Step, module: nn.Module, args: tuple[Any, ...], outputs: Any) -> None:
        if step.name in rows or not isinstance(outputs, Tensor) or outputs.dim() < 2:
            return
        rows[step.name] = _row(step, outputs.movedim(-1, 1) if step.index in last else outputs)
        if step.kind in WEIGHTED and args and isinstance(args[0], Tensor):
            layers[step.name] = _layer(step, module, args[0], rows[step.name].mean_square)

    with _as_it_was(model), torch.no_grad():
        hooks = []
        try:
            for step in {s.name: s for s in reversed(graph.steps) if s.name}.values():
                hooks.append(graph.modules[step.name].register_forward_hook(partial(look, step)))
            model(images)
        except PlanError:
            raise
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise ModelRunError(
                f"the model cannot run on images of shape {tuple(images.shape)}: {reason}"
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
    order = list(dict.fromkeys(step.name for step in graph.steps))
    return SignalReport(
        tuple(rows[name] for name in order if name in rows),
        tuple(layers[name] for name in order if name in layers),
        ("measured on the images given",),
    )


def _channels_last(graph: Graph) -> set[int]:
    """The steps whose channels are the last axis: linear layers, norms of that axis, and what follows."""
    last: set[int] = set()
    for step in graph.steps:
        over_last = step.kind in ("linear", "rms_norm", "layer_norm")
        follows = step.kind in ("activation", "dropout", "scale", "shift", "mul") and step.inputs[0] in last
        if over_last or follows or len(step.shape) == 2:
            last.add(step.index)
    return last


def patch_moments(values: Tensor, windows: Windows) -> Array:
    """M: E[x_t x_t′] / E[x²] over the output positions of a layer, images and channels, shape (taps, taps).

    Args:
        values: shape (N, C, *spatial).
        windows: of the layer.
    """
    rows = values.detach().flatten(0, 1).flatten(1)
    index = torch.from_numpy(windows.positions).to(rows.device)
    most = max(64, _MOST_VALUES // index.numel())
    if len(rows) > most:  # at random: evenly spaced rows would fall on the same channels of every image
        chosen = np.random.default_rng(0).permutation(len(rows))[:most]
        rows = rows[torch.from_numpy(chosen).to(rows.device)]
    padded = torch.nn.functional.pad(rows.float(), (0, 1))  # position −1 is a zero
    taps = index.shape[1]
    total = torch.zeros(taps, taps, dtype=torch.float64)
    for chunk in padded.split(max(1, (1 << 20) // index.numel())):
        patches = chunk[:, index].reshape(-1, taps)
        total += (patches.T @ patches).to("cpu", torch.float64)
    square = float(rows.double().square().mean())
    return (total / (len(rows) * len(index))).numpy() / (square or 1.0)


def _layer(step: Step, module: nn.Module, inputs: Tensor, output: float) -> LayerSignal:
    arguments = step.arguments
    mean_square = float(inputs.double().square().mean())
    size = arguments.get("kernel_size", (1,))
    if step.kind == "linear":
        moments, channels = np.ones((1, 1)), arguments["in_features"]
        members = (np.zeros(1, np.int64),)
    else:
        channels = arguments["in_channels"] // arguments["groups"]
        transposed = step.kind == "transposed_conv"
        windows, members = convolution_windows(arguments, inputs.shape[2:], transposed=transposed).thinned()
        moments = patch_moments(inputs, windows)
    law = kept_law(module, LayerInput(step.name, step, channels, mean_square, moments, members))
    return LayerSignal(step.name, size, channels, mean_square, moments, law.covariance, law.std, output)


def _row(step: Step, outputs: Tensor) -> StepSignal:
    values = outputs.detach().flatten(2) if outputs.dim() > 2 else outputs.detach()[..., None]
    values = values.double()
    centred = values - values.mean((0, 2), keepdim=True)
    variance = float(centred.square().mean())
    samples = centred.movedim(1, 0).flatten(1)
    spread = samples @ samples.T
    return StepSignal(
        step.name,
        step.operation,
        values.shape[1],
        float(values.square().mean()),
        variance,
        _neighbours(centred.view(outputs.shape) if outputs.dim() > 2 else centred, variance),
        float(spread.trace() ** 2 / spread.square().sum().clamp_min(1e-300)),
    )


def _neighbours(centred: Tensor, variance: float) -> float:
    products = [
        (centred.narrow(axis, 0, n - 1) * centred.narrow(axis, 1, n - 1)).flatten()
        for axis in range(2, centred.dim())
        if (n := centred.shape[axis]) > 1
    ]
    if not products:
        return 1.0
    return float(torch.cat(products).mean()) / variance if variance > 0 else 0.0


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """The model in training mode; afterwards its buffers, modes and torch's generators are as before."""
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        try:
            model.train()
            yield
        finally:
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
            for module, training in modes.items():
                module.training = training
