"""The dataflow of a model that cannot be run as a whole: of its parts, one after the other.

Parts that run alone, as most blocks do, are read like a model; of the others, the layers are taken in the
order in which they were registered. What a part hands over to the next is what it gives, on a map of the size
that the next one takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from corrinit._signal.graph import NORMALIZATIONS, WEIGHTED, Graph, Kind, Step
from corrinit._signal.shapes import output_shape
from corrinit._tracing.activations import Activation, TensorFunction
from corrinit._tracing.arguments import BATCH, image, tokens
from corrinit._tracing.elementwise import acts_elementwise
from corrinit._tracing.operations import module_arguments, module_kind
from corrinit._tracing.running import Run, run

_SIDE = 32
"""Pixels a side where nothing tells the size of a map."""

_HIDDEN = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "softplus",
    "tanh",
)  # fmt: skip
"""Functions that stand between layers."""


def read_in_parts(modules: Mapping[str, nn.Module], shape: Sequence[int], reason: str) -> Graph:
    """The dataflow of a model by its parts.

    Args:
        modules: of the model, by name.
        shape: of its input, with the batch; empty if it is not known.
        reason: why it does not run as a whole.
    """
    reader = _Reader(modules, tuple(shape))
    reader.children("", modules[""], activations_of(modules[""], ""))
    alone = f"{reader.parts} of its parts did, and its parts" if reader.parts else "its layers"
    note = f"the model did not run as a whole ({reason}); {alone} are taken in the order of the modules"
    last = len(reader.steps) - 1
    return Graph(
        tuple(reader.steps),
        modules,
        "module order",
        reason,
        tuple(shape),
        (last,),
        (note,),
        is_one_layer=isinstance(modules[""], (_ConvNd, nn.Linear)),
        on_arrays=TensorFunction,
    )


def activations_of(module: nn.Module, name: str) -> list[str | Activation]:
    """The activations that a module holds, by name, and those that its methods mention.

    Args:
        module: one whose run is not known.
        name: of it.
    """
    if (
        isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    ):  # its modules tell all
        return []
    held = [
        f"{name}.{own}".lstrip(".") for own, m in module.named_children() if module_kind(m) == "activation"
    ]
    kinds = [kind for kind in type(module).__mro__ if not kind.__module__.startswith("torch.")]
    methods = [f for kind in kinds for own, f in vars(kind).items() if own != "__init__"]
    names = {word for f in methods if isinstance(f, FunctionType) for word in _names(f.__code__)}
    return [*held, *(getattr(functional, word) for word in _HIDDEN if word in names)]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


class _Reader:
    """Appends the steps of one part after the other, with the shape that the last one gave."""

    def __init__(self, modules: Mapping[str, nn.Module], shape: tuple[int, ...]) -> None:
        self.modules, self.shape = modules, shape
        self.steps = [Step(0, "input", "input", shape=shape)]
        self.parts = 0
        self._seen: set[int] = set()
        self._due: str | Activation | None = None  # what a layer passes if no other activation follows it

    def children(self, name: str, module: nn.Module, activations: Sequence[str | Activation]) -> None:
        """The parts of a module whose own run is not known."""
        for own, child in module.named_children():
            if id(child) not in self._seen:
                self._seen.add(id(child))
                self._part(f"{name}.{own}" if name else own, child, activations)

    def _part(self, name: str, module: nn.Module, activations: Sequence[str | Activation]) -> None:
        kind = module_kind(module)
        if kind is None and next(module.parameters(), None) is None and acts_elementwise(module):
            kind = "activation"
        if kind is not None:
            self._leaf(name, module, kind, activations)
        elif isinstance(module, (nn.ModuleList, nn.ModuleDict)):
            self.children(name, module, activations)
        elif not any(module_kind(m) in WEIGHTED | NORMALIZATIONS for m in module.modules()):
            return
        elif isinstance(found := self._run(name, module), Run):
            self._append(found, activations)
        else:
            self.children(name, module, activations_of(module, name))

    def _leaf(
        self, name: str, module: nn.Module, kind: Kind, activations: Sequence[str | Activation]
    ) -> None:
        arguments = module_arguments(module, kind)
        if kind in WEIGHTED:
            self._activate()
            self._hand_over(_fitting(self.shape, module))
        if kind == "activation":
            self._due = None
        self.shape = _after(self.shape, module, kind, arguments)
        self._add(kind, type(module).__name__, name=name, shape=self.shape, arguments=arguments)
        if kind in WEIGHTED and activations:
            self._due = activations[0]

    def _run(self, name: str, module: nn.Module) -> Run | str:
        inside = dict(module.named_modules())
        layer = next((m for m in inside.values() if _takes(m) is not None), None)
        fitting = () if layer is None else _fitting(self.shape, layer)
        shapes = dict.fromkeys(shape for shape in (self.shape, fitting) if len(shape) > 1)
        return run(module, inside, [*map(image, shapes), *tokens(inside)], name)

    def _append(self, found: Run, activations: Sequence[str | Activation]) -> None:
        self.parts += 1
        decisive = (s.kind for s in found.steps if s.kind in WEIGHTED | NORMALIZATIONS | {"activation"})
        if next(decisive, "") in WEIGHTED:
            self._activate()
        self._due = None
        before, places = len(self.steps) - 1, dict[int, int]()
        for step in found.steps:
            inputs = tuple(places[index] for index in step.inputs)
            if step.kind == "input":  # whatever enters a part comes from what was before it
                self._hand_over(step.shape, before)
            else:
                self.steps.append(replace(step, index=len(self.steps), inputs=inputs))
            places[step.index] = len(self.steps) - 1 if step.kind != "input" or step.shape else before
        last = found.steps[max(found.outputs, default=len(found.steps) - 1)]
        self.shape = last.shape
        if places[last.index] != len(self.steps) - 1:  # what follows takes the last step
            self._add("identity", "output", inputs=(places[last.index],), shape=last.shape)
        if last.kind in WEIGHTED | NORMALIZATIONS and activations:
            self._due = activations[0]

    def _activate(self) -> None:
        """Let a layer pass the activation that its module mentions, before the next layer."""
        if self._due is not None:
            due, self._due = self._due, None
            if isinstance(due, str):
                self._add("activation", type(self.modules[due]).__name__, name=due, shape=self.shape)
            else:
                word = getattr(due, "__name__", "activation")
                self._add("activation", word, shape=self.shape, arguments={"function": due})

    def _hand_over(self, shape: tuple[int, ...], before: int | None = None) -> None:
        """Give what was made last, or at another step, the shape that the next part takes."""
        source = self.steps[-1 if before is None else before]
        if shape == self.steps[0].shape and shape[:2] != source.shape[:2]:
            source = self.steps[0]  # it takes what the model takes, and not what was made last
        if before is not None or shape != source.shape or source is not self.steps[-1]:
            self._add("handover", "handover", inputs=(source.index,), shape=shape)
        self.shape = shape

    def _add(self, kind: Kind, operation: str, *, inputs: tuple[int, ...] | None = None, **more: Any) -> None:
        index = len(self.steps)
        self.steps.append(
            Step(index, kind, operation, inputs=(index - 1,) if inputs is None else inputs, **more)
        )


def _takes(module: nn.Module) -> tuple[int, int] | None:
    """How many channels a layer takes, and over how many axes of positions (-1: any number)."""
    if isinstance(module, _ConvNd):
        return module.in_channels, len(module.kernel_size)
    if isinstance(module, nn.Linear):
        return module.in_features, 0
    if isinstance(module, (_NormBase, nn.GroupNorm)):
        return getattr(module, "num_features", 0) or getattr(module, "num_channels", 0), -1
    return None


def _fitting(shape: tuple[int, ...], module: nn.Module) -> tuple[int, ...]:
    """The shape nearest to this one that a layer takes."""
    taken = _takes(module)
    assert taken is not None
    channels, axes = taken
    if axes == 0:
        return shape if shape and shape[-1] == channels else (BATCH, channels)
    size = (
        shape[2:] if axes in (-1, len(shape) - 2) and len(shape) > 2 else (_SIDE,) * (2 if axes < 0 else axes)
    )
    if isinstance(module, _ConvNd):
        reach = [d * (k - 1) + 1 for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        size = tuple(max(n, r) for n, r in zip(size, reach, strict=True))
    return (BATCH, channels, *size)


def _after(
    shape: tuple[int, ...], module: nn.Module, kind: Kind, arguments: Mapping[str, Any]
) -> tuple[int, ...]:
    """The shape that a layer gives; that of its input where it cannot be told."""
    try:
        if (known := output_shape(kind, arguments, [shape])) is not None:
            return known
        with torch.no_grad():
            given = torch.empty(shape, device="meta")
            made = type(module).forward(module, given) if kind in ("flatten", "upsample", "pad") else given
            return tuple(made.shape) if isinstance(made, Tensor) else shape
    except Exception:  # a shape that does not fit is that of another way through the model
        return shape
