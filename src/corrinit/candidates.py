"""Which layers of a model may be drawn, and why the others may not: what a plan knows before its rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from warnings import warn

from torch import nn

from corrinit.errors import CorrInitWarning, PlanError
from corrinit.layer_plan import LayerPlan, listed
from corrinit.layers import (
    Kept,
    MemoryMap,
    constant_value,
    deliberate,
    has_values,
    is_deliberate_bias,
    is_loaded,
    is_of_parametrization,
    named_layers,
    own_parameters,
    require_shape,
    why_kept,
    why_parameter_kept,
    why_unwritable,
)
from corrinit.selectors import Selectors, as_sequence, select
from corrinit.unknown_layers import ConvolutionLike
from corrinit.weight_storage import stored_weight


@dataclass(frozen=True, eq=False)
class Candidate:
    """A layer of a model.

    Args:
        row: its row in the plan, as long as nothing is drawn.
        module: the layer.
        why: why its weight is not drawn; None if it may be.
        note: what the reason of a layer that is drawn adds.
        zero_bias: whether it has a bias that may be set to zero.
    """

    row: LayerPlan
    module: nn.Module
    why: Kept | None
    note: str = ""
    zero_bias: bool = False


def read_candidates(
    model: nn.Module,
    *,
    include: Selectors,
    exclude: Selectors,
    likes: Mapping[str, ConvolutionLike],
    reset_others: bool,
    keep_constants: bool,
) -> list[Candidate]:
    """Every layer of a model that has parameters, in module order; nothing is changed.

    Args:
        model: the model.
        include: the layers that may be drawn; default: all.
        exclude: those that may not.
        likes: how filters are read of classes that torch does not know, by layer.
        reset_others: whether what is not drawn is reset.
        keep_constants: whether weights, and biases other than 0, of which all entries are equal are kept.

    Raises:
        PlanError: if a selector matches nothing, or a layer is lazy or cannot be written.
    """
    included = select(model, include, "include") if include is not None else None
    excluded = select(model, exclude, "exclude")
    memory = MemoryMap()
    found: list[Candidate] = []
    for name, module in named_layers(model).items():
        require_shape(name, module)
        parameters = own_parameters(module)
        tensors = [*parameters.values(), *(module.buffers(recurse=False) if reset_others else ())]
        if is_of_parametrization(name) or not tensors:
            continue
        like = likes.get(name)
        stored = like.stored(name, module) if like else stored_weight(module)
        shape = stored.shape if stored is not None else tuple(tensors[0].shape)
        row = LayerPlan(name, type(module).__name__, shape, "keep", "", like=like)
        shared = {key: memory.claim(parameter, name) for key, parameter in parameters.items()}
        why: Kept | None
        if stored is not None and (reason := shared[like.weight if like else "weight"]):
            why = Kept(reason)
        elif name in excluded or (included is not None and name not in included):
            why = Kept("excluded" if name in excluded else "not included", protected=True)
        elif (why := why_parameter_kept(stored.parameter) if like and stored else why_kept(module)) is None:
            assert stored is not None
            if keep_constants and (value := constant_value(stored.parameter)) is not None:
                why = Kept(deliberate(value))
        if why is not None or stored is None:
            assert why is not None
            method = "reset" if reset_others and not why.protected else "keep"
            found.append(Candidate(replace(row, method=method, reason=why.reason), module, why))
            continue
        if has_values(stored.parameter) and (obstacle := why_unwritable(stored.parameter)):
            raise PlanError(f"layer {name}: the weight is {obstacle}; or exclude the layer")
        note, zero_bias = stored.note, False
        if (offset := parameters.get("bias")) is not None and offset.requires_grad:
            meant = keep_constants and is_deliberate_bias(offset, inputs=prod(shape[1:]))
            zero_bias = not (shared["bias"] or meant or is_loaded(offset))
            if meant:
                note = ", ".join(filter(None, (note, f"bias {offset.flatten()[0]:.4g} kept")))
        found.append(Candidate(replace(row, reset_others=reset_others), module, None, note, zero_bias))
    return found


def warn_of_layers_left_alone(
    model: nn.Module, candidates: Sequence[Candidate], include: Selectors
) -> None:
    """Say what an initialization would leave alone that one could expect it to draw."""
    unreached = [f"{c.row.name} ({c.row.reason})" for c in candidates if c.why is not None and c.why.unreached]
    if unreached:
        _warn(f"filters left alone: {listed(unreached)}")
    kept = {c.row.name: c.row.reason for c in candidates if c.why is not None and c.why.has_filters}
    drawn = {c.row.name for c in candidates if c.why is None}
    if not drawn:
        _warn(f"0 of {len(kept)} layers with filters drawn{_in_words(kept.values())}")
        return
    for selector in as_sequence(include):
        chosen = select(model, selector, "include")
        if not chosen & drawn:
            reasons = [reason for name, reason in kept.items() if name in chosen]
            _warn(f"include: no layer of {selector!r} is drawn{_in_words(reasons)}")


def _in_words(reasons: Iterable[str]) -> str:
    counts = [f"{count} {reason}" for reason, count in Counter(reasons).most_common()]
    return f": {listed(counts)}" if counts else ""


def _warn(message: str) -> None:
    warn(message, CorrInitWarning, stacklevel=4)
