"""What a module's parameters are, and whether they may be drawn anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized

from corrinit.errors import PlanError


def own_parameters(module: nn.Module) -> dict[str, Tensor]:
    """The parameters of the module itself, without its children; parametrized ones under their own name."""
    own: dict[str, Tensor] = dict(module.named_parameters(recurse=False))
    if is_parametrized(module):
        with torch.enable_grad():
            own |= {name: getattr(module, name) for name in module.parametrizations}  # pyright: ignore
    return own


def require_materialized(name: str, module: nn.Module) -> None:
    """Raise a `PlanError` if a parameter of the module has no values yet: lazy, or on the meta device."""
    for parameter_name, parameter in module.named_parameters(recurse=False):
        if torch.nn.parameter.is_lazy(parameter):
            raise PlanError(f"layer {name}: {parameter_name} is lazy; run one forward pass, then initialize")
        if parameter.is_meta:
            raise PlanError(
                f"layer {name}: {parameter_name} is on the meta device; materialize the model "
                "(model.to_empty(device=...)), then initialize"
            )


def reason_to_keep(module: nn.Module, weight: Tensor) -> str:
    """Why the weight of a module must not be drawn; empty if it may.

    Args:
        module: owner of the weight.
        weight: its weight, or its first parameter where it has none.
    """
    if not isinstance(module, (_ConvNd, nn.Linear)):
        return "no filters"
    if getattr(module, "_is_hf_initialized", False) or getattr(weight, "_is_hf_initialized", False):
        return "already loaded (_is_hf_initialized)"
    if not weight.requires_grad:
        return "frozen (requires_grad=False)"
    if not weight.is_floating_point():
        return f"weights of type {weight.dtype} cannot be drawn"
    if is_parametrized(module, "weight"):
        kinds = {type(p).__name__ for p in module.parametrizations["weight"]}  # pyright: ignore
        if kinds != {"_WeightNorm"}:
            return f"parametrized by {', '.join(sorted(kinds))}: cannot be written through"
    elif "weight" not in module._parameters:
        return "weight derived by a legacy hook: use torch.nn.utils.parametrizations"
    return ""


@contextmanager
def writing_weight(module: nn.Module) -> Iterator[Tensor]:
    """The weight of a module, to be filled in place; through its parametrization where it has one."""
    with torch.no_grad():
        if not is_parametrized(module, "weight"):
            yield module.weight  # pyright: ignore[reportReturnType]
            return
        weight = torch.empty_like(module.weight)  # pyright: ignore[reportArgumentType]
        yield weight
        module.weight = weight
