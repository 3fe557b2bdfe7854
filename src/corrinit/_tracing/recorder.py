"""Writing down what a model does while a copy of it runs without weights.

The tensors of the copy are on the meta device: they have shapes and no values. Its layers are replaced by
what they do to shapes; everything else runs as it is, under a `TorchFunctionMode` that writes down each
function and what it was given. Where the model asks for a value, to decide on its way or to divide by it, it
is told 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from corrinit._signal.graph import NORMALIZATIONS, WEIGHTED, Kind, Step
from corrinit._signal.shapes import output_shape
from corrinit._tracing.elementwise import acts_elementwise
from corrinit._tracing.operations import (
    FUNCTION_KINDS,
    Replay,
    function_arguments,
    function_name,
    module_arguments,
    module_kind,
)
from corrinit.errors import ModelRunError

_RULED: frozenset[Kind] = frozenset(
    {
        *WEIGHTED, *NORMALIZATIONS, "activation", "add", "mul", "max_pool", "avg_pool", "adaptive_max_pool",
        "adaptive_avg_pool", "mean", "concat", "dropout",
    }
)  # fmt: skip
"""Kinds of functions whose output shape is known without running them."""

_QUOTIENTS = ("div", "divide", "true_divide")

_ASKING = (
    "item",
    "tolist",
    "__bool__",
    "__int__",
    "__float__",
    "__index__",
    "is_nonzero",
    "equal",
    "allclose",
)
"""Functions that give Python a value."""

_PATIENCE, _MOST_ANSWERS = 100, 10_000
"""Answers of 1 before they become 0, so that a loop which waits for a value ends; and all that are given."""


class Recorder(TorchFunctionMode):
    """Writes down the steps of a run, as functions are called and layers reached."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.asked: dict[str, int] = {}
        """How often the run asked for a value, by the function that gives it."""
        self._maker: dict[int, int] = {}
        self._alive: list[Tensor] = []  # an id is not used again while its tensor lives
        self._owner: dict[int, str] = {}
        self._scope: list[str] = [""]

    def attach(self, name: str, module: nn.Module) -> None:
        """Have a module of the copy report itself: a layer as one step, any other as a scope."""
        for key, parameter in (*module._parameters.items(), *module._buffers.items()):
            if parameter is not None:
                self._owner.setdefault(id(parameter), f"{name}.{key}" if name else key)
        kind = module_kind(module)
        if kind is None and not module._modules and not module._parameters and not module._buffers:
            kind = "activation" if acts_elementwise(module) else None
        if kind is not None:
            module.forward = _Layer(self, name, module, kind, module.forward)  # type: ignore[method-assign]
            return
        module.register_forward_pre_hook(lambda _module, _args: self._scope.append(name))
        module.register_forward_hook(
            lambda module, args, kwargs, outputs: self._leave(name, module, (args, kwargs), outputs),
            with_kwargs=True,
        )

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        asking = getattr(func, "__name__", "")
        if asking in _ASKING and isinstance(args[0], Tensor) and args[0].is_meta:
            return self._answer(asking, args[0])
        name = function_name(func)
        kind = FUNCTION_KINDS.get(name, "unknown")
        made = self._shape_only(func, name, kind, args, kwargs)
        outputs = func(*args, **kwargs) if made is None else made
        tensors = list(tensors_in(outputs))
        given = [t for t in tensors_in((args, kwargs)) if id(t) in self._maker]
        if tensors and given and not (kind == "unknown" and not tensors[0].is_floating_point()):
            self._record_function(func, name, kind, args, kwargs, tensors)
        return outputs

    def add(
        self, kind: Kind, operation: str, outputs: Sequence[Tensor], inputs: Sequence[int], **more: Any
    ) -> None:
        """Write down a step and what it made."""
        index = len(self.steps)
        more.setdefault("scope", self._scope[-1])
        self.steps.append(
            Step(index, kind, operation, inputs=tuple(inputs), shape=tuple(outputs[0].shape), **more)
        )
        for tensor in outputs:
            self._maker[id(tensor)] = index
        self._alive.extend(outputs)

    def _answer(self, asking: str, tensor: Tensor) -> Any:
        """What the run is told of a value that there is not: 1, or that something holds."""
        self.asked[asking.strip("_")] = self.asked.get(asking.strip("_"), 0) + 1
        asked = sum(self.asked.values())
        if asked > _MOST_ANSWERS:
            raise ModelRunError("it asks for values without end")
        value = int(asked <= _PATIENCE)
        if asking == "tolist":
            return np.full(tuple(tensor.shape), value).tolist()
        kind: type = {"__int__": int, "__index__": int, "__float__": float}.get(asking, bool)
        if asking == "item" and tensor.dtype != torch.bool:
            kind = float if tensor.is_floating_point() else int
        return kind(value)

    def made_by(self, tensor: Tensor) -> int | None:
        """The step that made a tensor; None if the input did not reach it."""
        return self._maker.get(id(tensor))

    def inputs_among(self, values: Any) -> list[int]:
        """The steps that made the tensors in some arguments, in order."""
        return [self._maker[id(t)] for t in tensors_in(values) if id(t) in self._maker]

    def _shape_only(
        self, func: Callable[..., Any], name: str, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Tensor | None:
        """The output without a run of the function, where its shape follows from that of its input.

        Torch's own shape rules are written in Python and import its compiler on first use, for a second.
        """
        given = list(tensors_in(args[:1] if kind not in ("add", "mul") else args))
        if kind not in _RULED or not given or not all(t.is_meta and t.is_floating_point() for t in given):
            return None
        if kwargs.get("out") is not None or kwargs.get("dtype") is not None or name.endswith("_indices"):
            return None
        arguments = function_arguments(kind, args, kwargs)
        shape = output_shape(kind, arguments, [tuple(t.shape) for t in given])
        if shape is None or arguments.get("return_indices") or name in ("stack", "hstack", "vstack"):
            return None
        return given[0] if _in_place(func, kwargs) else _empty(shape)

    def _record_function(
        self,
        func: Callable[..., Any],
        name: str,
        kind: Kind,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        outputs: Sequence[Tensor],
    ) -> None:
        inputs = self.inputs_among((args, kwargs))
        constants = [t for t in tensors_in((args, kwargs)) if id(t) not in self._maker]
        more: dict[str, Any] = {}
        if kind in ("add", "mul") and len(inputs) == 1:
            kind = "shift" if kind == "add" else "scale"
        if kind in ("scale", "shift"):
            if name in _QUOTIENTS and not isinstance(args[0], Tensor):
                kind = "unknown"
            more["arguments"] = {"number": _number(name, args)}
            more["name"] = ""
            if constants:
                more["arguments"] = {"parameter": self._owner.get(id(constants[0]), "")}
        elif kind == "mul" and name in _QUOTIENTS:
            kind = "unknown"
        elif kind == "activation":
            if isinstance(args[0], Tensor) and not constants and len(inputs) == 1:
                options = {k: v for k, v in kwargs.items() if k not in ("inplace", "out")}
                more["arguments"] = {"function": Replay(func, tuple(args[1:]), options)}
            elif name != "prelu":
                kind = "unknown"
        elif kind in FUNCTION_KINDS.values():
            more["arguments"] = function_arguments(kind, args, kwargs)
        owners = [self._owner[id(t)].rpartition(".")[0] for t in constants if id(t) in self._owner]
        if owners and "name" not in more:
            more["name"] = owners[0]
        self.add(kind, name, outputs, inputs, **more)

    def _leave(self, name: str, module: nn.Module, given: Any, outputs: Any) -> None:
        """A module ends: where it made tensors by ways that no function told of, it is itself the step."""
        self._scope.pop()
        inputs = self.inputs_among(given)
        made = [t for t in tensors_in(outputs) if id(t) not in self._maker]
        if made and inputs:
            self.add("unknown", type(module).__name__, made, inputs, name=name)


class _Layer:
    """Stands for the forward of a layer of the copy: makes an output of the right shape, and tells of it."""

    def __init__(
        self, recorder: Recorder, name: str, module: nn.Module, kind: Kind, forward: Callable[..., Any]
    ) -> None:
        self._recorder, self._name = recorder, name
        self._kind: Kind = kind
        self._operation, self._arguments = type(module).__name__, module_arguments(module, kind)
        self._in_place, self._forward = bool(getattr(module, "inplace", False)), forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        inputs = self._recorder.inputs_among((args, kwargs))
        first = next(tensors_in((args, kwargs)))
        if self._kind == "identity":
            return first
        shape = output_shape(self._kind, self._arguments, [tuple(first.shape)])
        if self._kind == "attention":
            outputs: Any = (_empty(first.shape), None)
        elif shape is not None and not self._arguments.get("return_indices"):
            outputs = first if self._in_place else _empty(shape)
        else:
            with torch._C.DisableTorchFunction():
                outputs = self._forward(*args, **kwargs)
        if inputs:
            self._recorder.add(
                self._kind,
                self._operation,
                list(tensors_in(outputs)),
                inputs,
                name=self._name,
                arguments=self._arguments,
            )
        return outputs


def _empty(shape: Sequence[int]) -> Tensor:
    with torch._C.DisableTorchFunction():  # so that it is no step
        return torch.empty(tuple(shape), device="meta")


def _in_place(func: Callable[..., Any], kwargs: Mapping[str, Any]) -> bool:
    name = getattr(func, "__name__", "")
    return bool(kwargs.get("inplace")) or (name.endswith("_") and not name.endswith("__"))


def _number(name: str, args: Sequence[Any]) -> float | None:
    """The number that a signal is multiplied by, or that is added to it; None if there is none."""
    numbers = [a for a in args if isinstance(a, (int, float)) and not isinstance(a, bool)]
    if name == "neg":
        return -1.0
    if not numbers:
        return None
    if name in _QUOTIENTS:
        return 1 / numbers[0] if numbers[0] else None
    return float(-numbers[0] if name in ("sub", "subtract") else numbers[0])


def tensors_in(values: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and mappings, in order; also in the fields of data classes."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from tensors_in(value)
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from tensors_in(value)
    elif hasattr(values, "__dataclass_fields__"):
        for value in vars(values).values():
            yield from tensors_in(value)
