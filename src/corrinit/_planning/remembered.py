"""The signal of models of equal structure, kept: sweeps over seeds and arms plan one model many times.

What the signal depends on is written down as text: the steps of the model, what each layer gets, the values
of what is kept as it is. Where that cannot be done for certain, as with code that torch does not bring,
nothing is kept.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from corrinit._correlation import SpatialCorrelation
from corrinit._layers.contents import content_digest
from corrinit._planning.choices import Choice
from corrinit._signal import Graph, SignalReport, Step

MOST = 16
"""Models whose signal is kept."""


class Scaled(NamedTuple):
    """The standard deviation of each layer, and the signal that it rests on."""

    stds: Mapping[str, float]
    signal: SignalReport


class Remembered:
    """The last few signals by the structure of their models; several threads may plan at once."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, Scaled] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, structure: str | None) -> Scaled | None:
        """What was kept for a structure."""
        with self._lock:
            if structure is None or structure not in self._found:
                return None
            self._found.move_to_end(structure)
            return self._found[structure]

    def keep(self, structure: str | None, stds: Mapping[str, float], signal: SignalReport) -> None:
        """Keep what was found, read-only; the one that was used longest ago goes if there are too many."""
        if structure is None:
            return
        for layer in signal.layers:
            layer.moments.setflags(write=False)
            layer.covariance.setflags(write=False)
        with self._lock:
            self._found[structure] = Scaled(dict(stds), signal)
            while len(self._found) > MOST:
                self._found.popitem(last=False)


def structure(
    graph: Graph, choices: Mapping[str, Choice], stds: Mapping[str, float], *, borders: bool
) -> str | None:
    """Equal for models and rules that give the same signal; None where that cannot be told.

    Args:
        graph: the dataflow.
        choices: what each layer that is drawn gets.
        stds: the standard deviations that are known beforehand.
        borders: whether maps end where they end.
    """
    try:
        facts = (
            borders,
            graph.input_shape,
            graph.outputs,
            [_step(step, graph, choices) for step in graph.steps],
            [(name, _choice(choice), stds[name]) for name, choice in choices.items()],
        )
    except _UnknownError:
        return None
    return hashlib.sha256(repr(facts).encode()).hexdigest()


class _UnknownError(Exception):
    """Something that the signal may depend on in a way that cannot be written down."""


def _step(step: Step, graph: Graph, choices: Mapping[str, Choice]) -> tuple[object, ...]:
    arguments = dict(step.arguments)
    function = arguments.pop("function", None)
    module = graph.modules.get(step.name) if step.name else None
    return (
        step.kind,
        step.operation,
        step.name,
        step.inputs,
        step.shape,
        _plain(arguments),
        None if function is None else _of_torch(function),
        None if module is None else _module(module, drawn=step.name in choices),
    )


def _module(module: nn.Module, *, drawn: bool) -> tuple[object, ...]:
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    values = () if drawn else tuple((name, _digest(tensor)) for name, tensor in own)
    if vars(module).get("parametrizations") is not None or module._forward_pre_hooks:
        raise _UnknownError
    return _of_torch(type(module)), repr(module), values


def _choice(choice: Choice) -> tuple[object, ...]:
    place, layer, rule = choice.place, choice.layer, choice.rule
    words = (rule.method, rule.scale, rule.nonlinearity)
    if choice.standardized or not all(word is None or isinstance(word, str) for word in words):
        raise _UnknownError
    return (
        *words,
        (choice.name, choice.scale_name, rule.small, rule.share),
        (place.role, place.normalized, place.joins, place.classes),
        None if place.activation is None else place.activation.index,
        (layer.shape, layer.channels, layer.gain),
        None if choice.taps is None else _taps(choice.taps),
    )


def _taps(correlation: SpatialCorrelation) -> str:
    """R and d, by its axes where it is a product of them: a large kernel has a large matrix."""
    parts = correlation.axes or (correlation.matrix,)
    digest = hashlib.sha256(correlation.deviations.tobytes())
    for part in parts:
        digest.update(repr(part.shape).encode() + part.tobytes())
    return digest.hexdigest()


def _of_torch(function: Any) -> str:
    """The name of something that torch brings."""
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", "")
    home = getattr(function, "__module__", None) or type(function).__module__
    if not name or "<" in name or not f"{home}.".startswith(("torch.", "builtins.", "_operator.")):
        raise _UnknownError
    return f"{home}.{name}"


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return sorted((str(name), _plain(each)) for name, each in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value))
    if value is None or isinstance(value, (bool, int, float, str, torch.dtype)):
        return value
    if isinstance(value, np.integer):
        return int(value)
    raise _UnknownError


def _digest(tensor: Tensor) -> str:
    if tensor.is_meta:
        return f"{tuple(tensor.shape)} without values"
    if hasattr(tensor, "device_mesh") or tensor.is_sparse:
        raise _UnknownError
    return f"{tuple(tensor.shape)} {content_digest(tensor)}"
