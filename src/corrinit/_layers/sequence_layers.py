"""Values for layers of sequences: multi-head attention, recurrent layers, embeddings.

Each matrix of theirs is drawn for itself, though torch stacks several in one parameter: the projections of
queries, keys and values, the gates of a recurrent layer.

| layer | parameter | value |
| :-- | :-- | :-- |
| attention | each projection | normal, Xavier: variance 2 / (n_in + n_out) |
| recurrent | each gate, from the inputs and from the projected state | normal, Xavier |
| recurrent | each gate, from the state | orthogonal: the state keeps its length (Saxe et al. 2014) |
| LSTM | bias of the forget gate | 1: the cell remembers at first (Jozefowicz et al. 2015) |
| all | other biases | 0 |
| embedding | each vector | normal, variance 1 / n: of length 1; that of the padding is 0 |

A part of which all entries are equal was set on purpose, and is kept: zero projections, other forget biases.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from corrinit._drawing.shards import write_
from corrinit._layers import constant_value, why_unwritable
from corrinit._seeding import layer_generator

Fill: TypeAlias = Callable[[Tensor, torch.Generator], object]


_PLAIN_NAME = re.compile(
    r"weight|in_proj_(weight|bias)|[qkv]_proj_weight|bias_[kv]|(weight|bias)_(ih|hh|hr)(_l\d+)?(_reverse)?"
)
"""Of the parameters of these layers."""


class _Part(NamedTuple):
    """Rows of a parameter that are one matrix, or one bias, and how they are filled."""

    parameter: str
    rows: slice
    fill: Fill


def sequence_rule(module: nn.Module) -> str | None:
    """What is drawn of a module, for the plan; None if it is no layer of sequences, or not a plain one.

    Where weights are computed from others (weight normalization), their names are not those of the layer.

    >>> sequence_rule(nn.LSTM(4, 8))
    'orthogonal recurrent gates, the others Xavier; forget bias 1'
    >>> sequence_rule(nn.Linear(4, 8)) is None
    True
    """
    if any(_PLAIN_NAME.fullmatch(key) is None for key, _ in module.named_parameters(recurse=False)):
        return None
    if is_parametrized(module):
        return None
    if isinstance(module, nn.MultiheadAttention):
        return "each projection Xavier"
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        gates = "orthogonal recurrent gates, the others Xavier"
        return f"{gates}; forget bias 1" if _has_forget_gate(module) else gates
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "vectors of length 1"
    return None


@torch.no_grad()
def draw_sequence_layer(name: str, module: nn.Module, tensors: Collection[str], seed: int) -> None:
    """Fill parameters of a layer of sequences, from a generator for each of them.

    Drawn on the CPU in float32, as convolutions are: equal on every device and rank, and in every precision.

    Args:
        name: of the layer.
        module: the layer.
        tensors: the names of its parameters that may be filled.
        seed: root seed.
    """
    own = dict(module.named_parameters(recurse=False))
    for key in [key for key in own if key in tensors]:
        generator = layer_generator(seed, f"{name}.{key}")
        before = own[key].detach()
        whole = before.full_tensor() if hasattr(before, "device_mesh") else before  # pyright: ignore
        values = whole.to("cpu", torch.float32, copy=True)
        for part in _parts(module):
            if part.parameter != key:
                continue
            drawn = torch.empty_like(values[part.rows])
            part.fill(drawn, generator)  # in any case, so that a part that is kept moves no other one
            if constant_value(values[part.rows]) is None:
                values[part.rows] = drawn
        if (padding := getattr(module, "padding_idx", None)) is not None:
            values[padding] = 0
        write_(own[key], values)


def unwritable_parameter(module: nn.Module, tensors: Collection[str]) -> str | None:
    """The first of the named parameters that cannot be filled, and why; None if all can."""
    for key, parameter in module.named_parameters(recurse=False):
        if key in tensors and (obstacle := why_unwritable(parameter)):
            return f"{key} is {obstacle}"
    return None


def _parts(module: nn.Module) -> Iterator[_Part]:
    own = [key for key, parameter in module.named_parameters(recurse=False) if parameter.numel()]
    layer: Any = module
    if isinstance(module, nn.MultiheadAttention):
        for key in own:
            if key == "in_proj_weight":
                yield from _stacked(key, layer.embed_dim, [_xavier] * 3)
            elif key in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                yield _Part(key, slice(None), _xavier)
            elif key == "in_proj_bias":
                yield from _stacked(key, layer.embed_dim, [_constant(0)] * 3)
    elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        for key in own:
            gates = getattr(module, key).shape[0] // layer.hidden_size
            fills = [_gate(key, forgets=gate == 1 and _has_forget_gate(module)) for gate in range(gates)]
            if key.startswith("weight_hr"):  # one matrix, from the state to a shorter one
                yield _Part(key, slice(None), _xavier)
            else:
                yield from _stacked(key, layer.hidden_size, fills)
    elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        yield _Part("weight", slice(None), _unit_vectors)


def _stacked(parameter: str, length: int, fills: list[Fill]) -> Iterator[_Part]:
    for place, fill in enumerate(fills):
        yield _Part(parameter, slice(place * length, (place + 1) * length), fill)


def _gate(parameter: str, *, forgets: bool) -> Fill:
    if parameter.startswith("bias"):
        # the two biases of a gate are added
        return _constant(1 if forgets and parameter.startswith("bias_ih") else 0)
    return _orthogonal if parameter.startswith("weight_hh") else _xavier


def _has_forget_gate(module: nn.Module) -> bool:
    return isinstance(module, (nn.LSTM, nn.LSTMCell))


def _xavier(matrix: Tensor, generator: torch.Generator) -> None:
    nn.init.xavier_normal_(matrix, generator=generator)


def _orthogonal(matrix: Tensor, generator: torch.Generator) -> None:
    nn.init.orthogonal_(matrix, generator=generator)


def _unit_vectors(matrix: Tensor, generator: torch.Generator) -> None:
    matrix.normal_(0, matrix.shape[1] ** -0.5, generator=generator)


def _constant(value: float) -> Fill:
    return lambda part, _: part.fill_(value)
