"""What each layer is to its model: stem, dense, depthwise, head, ..., and what follows it.

The kind of a layer is read from its module; its place (stem, head, last before an addition, followed by
normalization) from the dataflow of the model. Where that is read by its parts, in the order of the modules,
a linear layer is also a head if no other one takes as many features as it gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from corrinit._planning.recipes import Role
from corrinit._signal.graph import Graph, Step


@dataclass(frozen=True)
class Place:
    """A layer's role, and what the model does with its output.

    Args:
        role: what it is.
        normalized: whether normalization follows, before any activation or layer; through an addition too.
        joins: whether it is the last layer of a residual branch whose output is added as it is.
        activation: the activation that its output passes next; None if there is none, or if it passes a
            sum that is normalized first: the sum itself goes on past the activation, and shall not grow.
        classes: number of scores; 0 unless it is a head.
    """

    role: Role
    normalized: bool = False
    joins: bool = False
    activation: Step | None = None
    classes: int = 0


class Filters(NamedTuple):
    """The filters of a module whose class torch does not know.

    Args:
        shape: as a convolution's.
        groups: of it.
    """

    shape: tuple[int, ...]
    groups: int


def places(
    layers: Mapping[str, nn.Module], graph: Graph | None, likes: Mapping[str, Filters] | None = None
) -> dict[str, Place]:
    """The place of each layer.

    Args:
        layers: convolutions and linear layers by name.
        graph: the dataflow; None if nothing depends on it: then the kind of the module alone decides.
        likes: what the layers hold that are of a class that torch does not know.
    """
    found = {name: _place(name, module, graph, (likes or {}).get(name)) for name, module in layers.items()}
    if graph is not None and graph.source != "trace":
        for name, module in layers.items():  # which layer is the last says nothing there
            if isinstance(module, nn.Linear) and _is_apart(module, layers):
                found[name] = Place("head", classes=module.out_features)
            elif isinstance(module, nn.Linear) and found[name].role == "head":
                found[name] = Place("linear")
    return found


def _is_apart(module: nn.Linear, layers: Mapping[str, nn.Module]) -> bool:
    """Whether a linear layer gives features that no other one takes, as a head does.

    So one more layer somewhere, used or not, does not change what the others are.
    """
    given = module.out_features
    taken = {m.in_features for m in layers.values() if isinstance(m, nn.Linear)}
    # queries, keys and values in one layer, or a gate beside what it gates, are taken in parts
    return not {given, given / 2, given / 3} & taken


def _place(name: str, module: nn.Module, graph: Graph | None, like: Filters | None) -> Place:
    kind = _kind(name, module, graph, like)
    if graph is None:
        return Place(kind)
    if name not in graph.layers:
        return Place(kind, joins=_ends_attention(name, graph))
    normalized = graph.is_normalized(name)
    joins = name in graph.branch_ends and not normalized
    classes = 0 if normalized or joins else _classes(name, module, graph)
    role: Role = kind
    if classes:
        role = "head"
    elif name in graph.stems and kind not in ("linear", "attention", "transposed"):
        role = "stem"
    in_a_sum = not normalized and graph.is_normalized(name, through_add=True)
    return Place(
        role,
        normalized=normalized or in_a_sum,
        joins=joins,
        activation=None if in_a_sum else graph.activation_after(name),
        classes=classes,
    )


def _kind(name: str, module: nn.Module, graph: Graph | None, like: Filters | None) -> Role:
    if like is None and not isinstance(module, _ConvNd):
        return "attention" if _in_attention(name, graph) else "linear"
    if isinstance(module, _ConvTransposeNd):
        return "transposed"
    if like is None:
        assert isinstance(module, _ConvNd)
        like = Filters(
            (module.out_channels, module.in_channels // module.groups, *module.kernel_size), module.groups
        )
    if len(like.shape) == 2:
        return "linear"
    if prod(like.shape[2:]) == 1:
        return "pointwise"
    if like.groups == 1:
        return "dense"
    return "depthwise" if like.shape[1] == 1 else "grouped"


def _in_attention(name: str, graph: Graph | None) -> bool:
    """Whether a linear layer belongs to a module that is called attention, as queries and values do."""
    if graph is None:
        return False
    parents = [name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)][:2]
    classes = (type(graph.modules[parent]).__name__.lower() for parent in parents if parent in graph.modules)
    return any("attention" in each or "attn" in each for each in classes)


def _ends_attention(name: str, graph: Graph) -> bool:
    """Whether a layer is the last one of a multi-head attention, in a model that adds."""
    parent, _, own = name.rpartition(".")
    is_last = own == "out_proj" and isinstance(graph.modules.get(parent), nn.MultiheadAttention)
    return is_last and any(step.kind == "add" for step in graph.steps)


def _classes(name: str, module: nn.Module, graph: Graph) -> int:
    """How many scores a layer gives; 0 if what it gives is no score.

    A head is a last layer that is linear, or a convolution of fewer outputs than inputs that does not put out
    an image (as many channels as the model was given) and is not activated, as in segmentation; or one whose
    outputs are pooled, as in SqueezeNet.
    """
    if name not in graph.heads:
        return 0
    if isinstance(module, nn.Linear):
        return module.out_features
    if not isinstance(module, _ConvNd) or isinstance(module, _ConvTransposeNd) or name in graph.stems:
        return 0
    image_channels = graph.input_shape[1] if len(graph.input_shape) > 1 else 0
    if module.out_channels == image_channels:
        return 0
    scores_each_position = module.out_channels < module.in_channels and not _activated(name, graph)
    return module.out_channels if scores_each_position or _pooled(name, graph) else 0


def _activated(name: str, graph: Graph) -> bool:
    activation = graph.activation_after(name)
    return activation is not None and activation.operation.lower() not in ("sigmoid", "logsigmoid", "tanh")


def _pooled(name: str, graph: Graph) -> bool:
    step = graph.layers[name]
    while followers := graph.followers(step):
        step = followers[0]
        if step.kind in ("adaptive_avg_pool", "adaptive_max_pool", "avg_pool", "mean"):
            return True
    return False
