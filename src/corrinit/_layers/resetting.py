"""Giving a module the values that it has when it is built, whatever memory it was materialized in."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn

from corrinit._drawing.shards import write_
from corrinit._layers import ABSURD, has_values, why_unwritable
from corrinit._seeding import layer_generator
from corrinit.errors import UnwritableWeightError


def own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters and buffers of a module itself, without its children."""
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


def require_resettable(name: str, module: nn.Module, tensors: Collection[str], *, meta: bool = False) -> None:
    """Check that `reset` gives each of the named parameters and buffers of a module a value.

    Raises:
        PlanError: naming the first that it does not reach, or that cannot be written.
    """
    own = dict(own_tensors(module))
    for tensor in tensors:
        if (obstacle := why_unwritable(own[tensor])) and not (meta and not has_values(own[tensor])):
            raise UnwritableWeightError(f"{tensor} is {obstacle}", layer=name)
    values = dict(own_tensors(_reset_twin(name, module, seed=0)))
    for tensor in tensors:
        if bool(_is_unset(values[tensor]).any()):
            remedy = "" if meta else ", or exclude it to keep it as it is"
            raise UnwritableWeightError(
                f"{type(module).__name__} has no reset_parameters() that gives {tensor} "
                f"a value; write one{remedy}",
                layer=name,
            )


def reset(name: str, module: nn.Module, tensors: Collection[str], seed: int) -> None:
    """Give parameters and buffers of a module the values that its `reset_parameters` gives them.

    They are drawn on the CPU from the generator of the layer: equal on every device, in every precision and
    on every rank, and the global random state is untouched.
    """
    values = dict(own_tensors(_reset_twin(name, module, seed)))
    for tensor, target in own_tensors(module):
        if tensor in tensors:
            write_(target, values[tensor].detach())


def looks_uninitialized(module: nn.Module, tensors: Collection[str]) -> str | None:
    """The first of the named tensors with NaN, infinite or absurdly large values, or variances all zero."""
    for name, tensor in own_tensors(module):
        local = getattr(tensor, "_local_tensor", tensor).detach()
        if name not in tensors or local.numel() == 0 or not _is_ordinary(local):
            continue
        least, most = torch.aminmax(local)
        in_range = bool((least >= -ABSURD) & (most <= ABSURD))  # False for NaN
        if not in_range or (name == "running_var" and bool(most <= 0)):
            return name
    return None


def _is_ordinary(tensor: Tensor) -> bool:
    dense = has_values(tensor) and tensor.layout == torch.strided
    return dense and tensor.is_floating_point() and tensor.element_size() > 1


def _reset_twin(name: str, module: nn.Module, seed: int) -> nn.Module:
    """A copy of a module on the CPU, reset; what its `reset_parameters` does not reach stays unset."""
    twin = _unset_twin(module, {})
    own_reset = getattr(twin, "reset_parameters", None) or getattr(twin, "_reset_parameters", None)
    if callable(own_reset):
        with torch.random.fork_rng(devices=()), torch.no_grad():
            # manual_seed of torch itself would move the generators of all GPUs
            torch.default_generator.manual_seed(layer_generator(seed, name).initial_seed())
            own_reset()
    return twin


def _unset_twin(module: nn.Module, made: dict[int, Tensor]) -> nn.Module:
    """A copy without values: `reset_parameters` may change children, and what it changes must not count."""
    twin = object.__new__(type(module))
    state = {
        key: _unset(value, made) if isinstance(value, Tensor) else value
        for key, value in vars(module).items()
    }
    state["_parameters"] = {
        key: value if value is None else _unset(value, made) for key, value in module._parameters.items()
    }
    state["_buffers"] = {
        key: value if value is None else _unset(value, made) for key, value in module._buffers.items()
    }
    state["_modules"] = {
        key: value if value is None else _unset_twin(value, made) for key, value in module._modules.items()
    }
    twin.__dict__.update(state)
    return twin


def _unset(tensor: Tensor, made: dict[int, Tensor]) -> Tensor:
    if id(tensor) not in made:
        half = tensor.is_floating_point() and tensor.element_size() < 4
        dtype = torch.float32 if half else tensor.dtype
        values = torch.empty(tensor.shape, dtype=dtype, device="cpu")
        values.fill_(_unset_value(dtype))
        made[id(tensor)] = (
            nn.Parameter(values, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else values
        )
    return made[id(tensor)]


def _unset_value(dtype: torch.dtype) -> float | int | bool:
    if dtype.is_floating_point or dtype.is_complex:
        return float("nan")
    return True if dtype == torch.bool else torch.iinfo(dtype).max - 6


def _is_unset(values: Tensor) -> Tensor:
    unset = _unset_value(values.dtype)
    return values.isnan() if unset != unset else values == unset
