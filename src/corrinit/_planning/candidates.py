"""Which layers of a model may be drawn, and why the others may not: what a plan knows before its rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from corrinit._layers import (
    Kept,
    MemoryMap,
    constant_value,
    deliberate,
    has_values,
    is_deliberate_bias,
    is_loaded,
    is_of_parametrization,
    is_protected,
    named_layers,
    own_parameters,
    require_shape,
    tells_loaded,
    why_kept,
    why_parameter_kept,
    why_unwritable,
)
from corrinit._layers.selectors import Selectors, as_sequence, select
from corrinit._layers.unknown_layers import ConvolutionLike
from corrinit._layers.weight_standardization import is_weight_standardized
from corrinit._layers.weight_storage import stored_weight
from corrinit._planning.layer_plan import LayerPlan, listed
from corrinit.errors import UnwritableWeightError, warn_caller
from corrinit.methods import Convolution


@dataclass(frozen=True, eq=False)
class Candidate:
    """A layer of a model.

    Args:
        row: its row in the plan, as long as nothing is drawn.
        module: the layer.
        why: why its weight is not drawn; None if it may be.
        note: what the reason of a layer that is drawn adds.
        zero_bias: whether it has a bias that may be set to zero.
        standardized: whether its weights are standardized in every pass, so that a scale has no effect.
        dtype: of the weight.
    """

    row: LayerPlan
    module: nn.Module
    why: Kept | None
    note: str = ""
    zero_bias: bool = False
    standardized: bool = False
    dtype: torch.dtype = torch.float32

    @property
    def taps(self) -> int:
        """The number of taps; 1 of a linear layer."""
        return prod(self.row.shape[2:])

    def layer(self, *, depth: float, gain: float, backward: bool) -> Convolution:
        """What methods may know of it.

        Args:
            depth: relative depth among the convolutions of more than one tap.
            gain: g.
            backward: whether n counts outputs.
        """
        row, module = self.row, self.module
        groups = row.like.count_groups(module) if row.like else getattr(module, "groups", 1)
        axis = 1 if backward == isinstance(module, _ConvTransposeNd) else 0
        sets = row.like.sets(module) if row.like else 1
        channels = row.shape[axis] // (groups * sets if axis == 0 else 1)
        return Convolution(
            row.name, module, row.shape, depth, channels, gain, groups=groups, backward=backward
        )


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
    standardizing: dict[type[nn.Module], bool] = {}
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
                why = Kept(deliberate(value), is_constant=True)
        if why is not None or stored is None:
            assert why is not None
            protected = why.protected or (parameters and all(map(is_protected, parameters.values())))
            method = "reset" if reset_others and not protected else "keep"
            found.append(Candidate(replace(row, method=method, reason=why.reason), module, why))
            continue
        if has_values(stored.parameter) and (obstacle := why_unwritable(stored.parameter)):
            raise UnwritableWeightError(f"the weight is {obstacle}; or exclude the layer", layer=name)
        note, zero_bias = stored.note, False
        if (offset := parameters.get("bias")) is not None and offset.requires_grad:
            meant = keep_constants and is_deliberate_bias(offset, inputs=prod(shape[1:]))
            zero_bias = not (shared["bias"] or meant or is_loaded(offset))
            if meant:
                note = ", ".join(filter(None, (note, f"bias {offset.flatten()[0]:.4g} kept")))
        if type(module) not in standardizing:
            standardizing[type(module)] = is_weight_standardized(module)
        row, scaleless = replace(row, reset_others=reset_others), standardizing[type(module)]
        dtype = stored.parameter.dtype
        found.append(Candidate(row, module, None, note, zero_bias, scaleless, dtype))
    return found


def warn_of_layers_left_alone(model: nn.Module, candidates: Sequence[Candidate], include: Selectors) -> None:
    """Say what an initialization would leave alone that one could expect it to draw."""
    unreached = [
        f"{c.row.name} ({c.row.reason})" for c in candidates if c.why is not None and c.why.unreached
    ]
    if unreached:
        warn_caller(f"filters left alone: {listed(unreached)}")
    if not tells_loaded(model):
        warn_caller(
            "transformers before version 5 does not mark which parameters it has loaded, so all are drawn; "
            "exclude those that come from a checkpoint"
        )
    reasons = [c.why for c in candidates if c.why is None or c.why.is_constant]
    constant = sum(why is not None for why in reasons)
    if constant > max(1, len(reasons) / 2):
        warn_caller(
            f"{constant} of {len(reasons)} weights are constant and taken to be meant so; memory fresh "
            'from to_empty() is too: others="reset" draws them and resets all else, keep_constants=False '
            "draws them"
        )
    kept = {c.row.name: c.row.reason for c in candidates if c.why is not None and c.why.has_filters}
    drawn = {c.row.name for c in candidates if c.why is None or c.row.method == "sequence"}
    if not drawn:
        nothing = "there is no convolution or linear layer of torch's in the model, so nothing is drawn"
        counted = f"0 of {len(kept)} layers with filters drawn{_in_words(kept.values())}"
        warn_caller(counted if kept else nothing)
        return
    for selector in as_sequence(include):
        chosen = select(model, selector, "include")
        if not chosen & drawn:
            reasons = [reason for name, reason in kept.items() if name in chosen]
            warn_caller(f"include: no layer of {selector!r} is drawn{_in_words(reasons)}")


def _in_words(reasons: Iterable[str]) -> str:
    counts = [f"{count} {reason}" for reason, count in Counter(reasons).most_common()]
    return f": {listed(counts)}" if counts else ""
