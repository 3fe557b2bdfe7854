"""Reading the dataflow of a model by running a copy of it that has no weights.

The copy lives on the meta device: its tensors have shapes and no values, so that a run costs next to nothing
and needs no memory. Its layers are replaced by what they do to shapes; everything else runs as it is, under
a `TorchFunctionMode` that writes down each function and what it was given. Unlike `torch.fx.symbolic_trace`
this follows Python's control flow, sees through modules of any class, and knows every shape; it does not see
paths that the model takes only for other inputs.
"""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from corrinit._signal.elementwise import acts_elementwise
from corrinit._signal.graph import NORMALIZATIONS, WEIGHTED, Graph, Kind, Step
from corrinit._signal.operations import (
    FUNCTION_KINDS,
    Replay,
    function_arguments,
    function_name,
    module_arguments,
    module_kind,
)
from corrinit._signal.shapes import output_shape
from corrinit.errors import PlanError

BATCH = 2
SIDES = (32, 64, 128, 224, 256)
"""Pixels a side that are tried in turn, until the model takes its input."""

_RULED: frozenset[Kind] = frozenset(
    {
        *WEIGHTED, *NORMALIZATIONS, "activation", "add", "mul", "max_pool", "avg_pool", "adaptive_max_pool",
        "adaptive_avg_pool", "mean", "concat", "dropout",
    }
)  # fmt: skip
"""Kinds of functions whose output shape is known without running them."""


_QUOTIENTS = ("div", "divide", "true_divide")


def read_graph(model: nn.Module, input_size: int | Sequence[int] | None = None) -> Graph:
    """The dataflow of a model, in order of execution; the model is left as it is, and never run.

    Args:
        model: any module. Hooks that it carries are not called.
        input_size: pixels a side, pixels per axis, or the shape of one input (channels, *pixels). Without it
            32 pixels a side are tried, then 64, 128, 224, 256; a model that starts with a linear layer gets
            its features.

    Returns:
        The graph; where the model cannot be run, its layers in the order of registration, with the reason.

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
    refusals: list[str] = []
    for shape in shapes:
        for training in (True, False):
            try:
                with _nothing_changes():
                    return _trace(model, modules, shape, training)
            except Exception as error:  # whatever a foreign model raises, the plan goes on without its graph
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                if refusals.count(reason) == 2:  # the same for another input: the input is not to blame
                    return _in_module_order(modules, reason)
                refusals.append(reason)
    return _in_module_order(modules, refusals[-1] if refusals else "no layer tells the shape of its input")


def _input_shapes(
    modules: Mapping[str, nn.Module], input_size: int | Sequence[int] | None
) -> list[tuple[int, ...]]:
    first = next((m for m in modules.values() if isinstance(m, (_ConvNd, nn.Linear))), None)
    axes = len(first.kernel_size) if isinstance(first, _ConvNd) else 0
    channels = first.in_channels if isinstance(first, _ConvNd) else 0
    if input_size is None:
        if isinstance(first, nn.Linear):
            return [(BATCH, first.in_features)]
        widths = {m.in_channels for m in modules.values() if isinstance(m, _ConvNd)}
        # The layer that sees the input need not be registered first; images have 3 channels or 1.
        candidates = dict.fromkeys([channels, *(n for n in (3, 1) if n in widths)])
        return [(BATCH, n, *(side,) * axes) for side in SIDES for n in candidates if first is not None]
    size = (input_size,) * (axes or 1) if isinstance(input_size, int) else tuple(input_size)
    if not size or not all(isinstance(n, (int, np.integer)) and n > 0 for n in size):
        raise PlanError(
            f"input size is {input_size!r}; it is a number of pixels, or a shape such as (3, 32, 32)"
        )
    return [(BATCH, channels, *size) if axes and len(size) == axes else (BATCH, *size)]


def _trace(model: nn.Module, modules: Mapping[str, nn.Module], shape: Sequence[int], training: bool) -> Graph:
    inner = getattr(model, "_orig_mod", model)  # torch.compile's wrapper cannot be copied
    prefix = "" if inner is model else "_orig_mod."
    clone = _without_weights(inner).train(training)
    recorder = _Recorder()
    for name, module in clone.named_modules():
        recorder.attach(prefix + name if name else prefix.rstrip("."), module)
    with torch.device("meta"):
        example = torch.empty(tuple(shape))
        recorder.add("input", "input", [example], ())
        with recorder:
            result = clone(example)
    if not any(step.kind in WEIGHTED for step in recorder.steps) and any(map(_is_layer, modules.values())):
        raise PlanError("its run meets none of its layers")
    outputs = dict.fromkeys(i for t in _tensors(result) if (i := recorder.made_by(t)) is not None)
    return Graph(tuple(recorder.steps), modules, "trace", "", tuple(shape), tuple(outputs))


class _Recorder(TorchFunctionMode):
    """Writes down the steps of a run, as functions are called and layers reached."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
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
        name = function_name(func)
        kind = FUNCTION_KINDS.get(name, "unknown")
        made = self._shape_only(func, name, kind, args, kwargs)
        outputs = func(*args, **kwargs) if made is None else made
        tensors = list(_tensors(outputs))
        given = [t for t in _tensors((args, kwargs)) if id(t) in self._maker]
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

    def made_by(self, tensor: Tensor) -> int | None:
        """The step that made a tensor; None if the input did not reach it."""
        return self._maker.get(id(tensor))

    def inputs_among(self, values: Any) -> list[int]:
        """The steps that made the tensors in some arguments, in order."""
        return [self._maker[id(t)] for t in _tensors(values) if id(t) in self._maker]

    def _shape_only(
        self, func: Callable[..., Any], name: str, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Tensor | None:
        """The output without a run of the function, where its shape follows from that of its input.

        Torch's own shape rules are written in Python and import its compiler on first use, for a second.
        """
        given = list(_tensors(args[:1] if kind not in ("add", "mul") else args))
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
        constants = [t for t in _tensors((args, kwargs)) if id(t) not in self._maker]
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
        made = [t for t in _tensors(outputs) if id(t) not in self._maker]
        if made and inputs:
            self.add("unknown", type(module).__name__, made, inputs, name=name)


class _Layer:
    """Stands for the forward of a layer of the copy: makes an output of the right shape, and tells of it."""

    def __init__(
        self, recorder: _Recorder, name: str, module: nn.Module, kind: Kind, forward: Callable[..., Any]
    ) -> None:
        self._recorder, self._name = recorder, name
        self._kind: Kind = kind
        self._operation, self._arguments = type(module).__name__, module_arguments(module, kind)
        self._in_place, self._forward = bool(getattr(module, "inplace", False)), forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        inputs = self._recorder.inputs_among((args, kwargs))
        first = next(_tensors((args, kwargs)))
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
                list(_tensors(outputs)),
                inputs,
                name=self._name,
                arguments=self._arguments,
            )
        return outputs


def _without_weights(model: nn.Module) -> nn.Module:
    """A copy of a model without hooks, its tensors on the meta device and in single precision."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        held = (*module._parameters.values(), *module._buffers.values(), *vars(module).values())
        for tensor in held:
            if isinstance(tensor, Tensor) and id(tensor) not in memo:
                dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
                empty = torch.empty(tensor.shape, dtype=dtype, device="meta")
                memo[id(tensor)] = (
                    nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
                )
    clone = copy.deepcopy(model, memo)
    for module in clone.modules():
        for hooks in (
            module._forward_hooks, module._forward_pre_hooks, module._backward_hooks,
            module._backward_pre_hooks,
        ):  # fmt: skip
            hooks.clear()
    return clone


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


def _in_module_order(modules: Mapping[str, nn.Module], reason: str) -> Graph:
    steps = [Step(0, "input", "input")]
    for name, module in modules.items():
        kind = module_kind(module)
        if kind is None:
            continue
        steps.append(
            Step(
                len(steps), kind, type(module).__name__, name, name.rpartition(".")[0], (len(steps) - 1,),
                arguments=module_arguments(module, kind),
            )
        )  # fmt: skip
    return Graph(tuple(steps), modules, "module order", reason, (), (len(steps) - 1,))


def _empty(shape: Sequence[int]) -> Tensor:
    with torch._C.DisableTorchFunction():  # so that it is no step
        return torch.empty(tuple(shape), device="meta")


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, (_ConvNd, nn.Linear))


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


def _tensors(values: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and mappings, in order; also in the fields of data classes."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _tensors(value)
    elif hasattr(values, "__dataclass_fields__"):
        for value in vars(values).values():
            yield from _tensors(value)
