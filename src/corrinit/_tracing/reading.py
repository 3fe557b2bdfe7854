"""Reading the dataflow of a model: by a run without weights, or of its parts where the whole does not run.

Unlike `torch.fx.symbolic_trace` a run follows Python's control flow, sees through modules of any class, and
knows every shape; it does not see paths that the model takes only for other inputs.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from corrinit._signal.graph import Graph
from corrinit._tracing.activations import TensorFunction
from corrinit._tracing.arguments import BATCH, MAPPING, image, tokens
from corrinit._tracing.parts import read_in_parts
from corrinit._tracing.running import run
from corrinit.errors import PlanError

SIDES = (32, 64, 128, 224, 256)
"""Pixels a side that are tried in turn, until the model takes its input."""


def read_graph(model: nn.Module, input_size: int | Sequence[int] | None = None) -> Graph:
    """The dataflow of a model, in order of execution; the model is left as it is, and never run.

    Args:
        model: any module. Hooks that it carries are not called.
        input_size: pixels a side, pixels per axis, or the shape of one input (channels, *pixels). Without it
            32 pixels a side are tried, then 64, 128, 224, 256; a model that starts with a linear layer gets
            its features. Other inputs that the model takes are guessed, see `corrinit._tracing.arguments`.

    Returns:
        The graph; where the model cannot be run, that of its parts in the order of registration, with the
        reason.

    Raises:
        PlanError: if the input size is no size.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    >>> _ = model(torch.zeros(1, 3, 16, 16))
    >>> graph = read_graph(model, 16)
    >>> [step.kind for step in graph.steps], graph.steps[1].shape
    (['input', 'conv', 'activation', 'flatten', 'linear'], (2, 8, 16, 16))
    """
    modules = dict(model.named_modules())
    shapes = _input_shapes(modules, input_size)
    images = [image(shape) for shape in shapes]
    first = [*images, *tokens(modules)] if not _embeds_first(modules) else [*tokens(modules), *images]
    with _nothing_changes():
        found = run(model, modules, [*first, MAPPING] if first else [])
        if isinstance(found, str):
            return read_in_parts(modules, shapes[0] if shapes else (), found)
    return Graph(
        found.steps,
        modules,
        "trace",
        input_shape=found.input_shape,
        outputs=found.outputs,
        notes=found.notes,
        is_one_layer=isinstance(model, (_ConvNd, nn.Linear)),
        on_arrays=TensorFunction,
    )


def _embeds_first(modules: Mapping[str, nn.Module]) -> bool:
    """Whether an embedding comes before any other layer."""
    kinds = (nn.Embedding, _ConvNd, nn.Linear)
    return isinstance(next((m for m in modules.values() if isinstance(m, kinds)), None), nn.Embedding)


def _input_shapes(
    modules: Mapping[str, nn.Module], input_size: int | Sequence[int] | None
) -> list[tuple[int, ...]]:
    convolutions = [m for m in modules.values() if isinstance(m, _ConvNd)]
    linear = next((m for m in modules.values() if isinstance(m, (_ConvNd, nn.Linear))), None)
    axes = len(convolutions[0].kernel_size) if convolutions else 0
    # The layer that sees the input need not be registered first; images have 3 channels or 1.
    widths = dict.fromkeys(m.in_channels for m in convolutions)
    channels = dict.fromkeys([*list(widths)[:1], *(n for n in (3, 1) if n in widths)])
    if input_size is None:
        vectors = [(BATCH, linear.in_features)] if isinstance(linear, nn.Linear) else []
        return vectors + [(BATCH, n, *(side,) * axes) for side in SIDES for n in channels]
    size = (input_size,) * (axes or 1) if isinstance(input_size, int) else input_size
    size = tuple(size) if isinstance(size, Iterable) else ()
    if not size or not all(isinstance(n, (int, np.integer)) and n > 0 for n in size):
        raise PlanError(
            f"input size is {input_size!r:.80}; it is a number of pixels, or a shape such as (3, 32, 32)"
        )
    if axes and len(size) == axes:
        return [(BATCH, n, *size) for n in channels]
    return [(BATCH, *size)]


@contextmanager
def _nothing_changes() -> Iterator[None]:
    """No generator moves, no gradient is kept, and what a model warns of is not about the user's data."""
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002
