"""The dataflow of a model by the names that plans use, and without values that are about to be lost."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
from torch import nn

from corrinit._layers import named_layers
from corrinit._signal import Graph
from corrinit._tracing import read_graph


def model_graph(
    model: nn.Module,
    input_size: int | Sequence[int] | None,
    *,
    forgotten: Collection[str] = (),
) -> Graph:
    """The dataflow of a model, its layers named without the prefixes of wrappers.

    Args:
        model: any module, wrapped or not.
        input_size: see `read_graph`.
        forgotten: layers whose values say nothing, as they will be reset; they are taken to be as built.
    """
    layers = named_layers(model)
    graph = read_graph(_unsharded(layers.get("", model)), input_size)
    inner = dict(layers.get("", model).named_modules())
    names = {id(module): name for name, module in layers.items()}
    plain = {name: names.get(id(module), name) for name, module in inner.items()}
    modules = {
        plain[name]: _without_values(module) if plain[name] in forgotten else module
        for name, module in inner.items()
    }
    steps = (replace(step, name=plain.get(step.name, step.name)) for step in graph.steps)
    return replace(graph, steps=tuple(steps), modules=modules)


def _without_values(module: nn.Module) -> nn.Module:
    """A stand-in on the meta device, taken to have the values that such a module starts with."""
    return _twin(module, type(module), dict(module._modules))


def _unsharded(model: nn.Module) -> nn.Module:
    """A model as it was before FSDP2 gave its modules another class, without values; others as they are."""
    if not any(hasattr(parameter, "device_mesh") for parameter in model.parameters()):
        return model
    return _plain_twin(model, {})


def _plain_twin(module: nn.Module, made: dict[int, nn.Module]) -> nn.Module:
    if id(module) not in made:
        kind = type(module)
        bases = kind.__mro__
        own = bases[2] if bases[1].__name__ == "FSDPModule" else kind
        children = {n: None if m is None else _plain_twin(m, made) for n, m in module._modules.items()}
        made[id(module)] = _twin(module, own, children)
    return made[id(module)]


def _twin(module: nn.Module, kind: type[nn.Module], children: dict[str, nn.Module | None]) -> nn.Module:
    """A module of the same attributes, its parameters on the meta device, without hooks."""
    twin = object.__new__(kind)
    hooks = {key: OrderedDict() for key in vars(module) if key.endswith("_hooks")}
    twin.__dict__.update(vars(module) | hooks)
    for key in [
        key for key in twin.__dict__ if key.startswith("__composable_api")
    ]:  # of FSDP2, no copy of it
        del twin.__dict__[key]
    twin.__dict__["_modules"] = children
    twin.__dict__["_parameters"] = {
        name: None
        if parameter is None
        else nn.Parameter(torch.empty(parameter.shape, dtype=parameter.dtype, device="meta"), False)
        for name, parameter in module._parameters.items()
    }
    return twin
