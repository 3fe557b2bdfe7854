"""A tensor that lies in memory or in a file: its name, shape and type are known before it is read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from corrinit.errors import WeightsError


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor that is read when it is asked for, and not kept.

    Args:
        shape: of the tensor.
        dtype: its type; None if it is one that torch has no tensors of.
        read: gives the values.
        place: equal for two tensors of the same values in the same memory; None if that is not known.
        obstacle: why the values cannot be used; empty if they can.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | None
    read: Callable[[], Tensor]
    place: Hashable = None
    obstacle: str = ""

    def computed(self, compute: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> StoredTensor:
        """The tensor that a function makes of this one, of another shape."""
        read = self.read
        return replace(self, shape=shape, read=lambda: compute(read()))


Tensors: TypeAlias = Mapping[str, StoredTensor]
"""A state dict."""


class LeftOut(NamedTuple):
    """A tensor that is not taken as filters, and why."""

    name: str
    reason: str


def in_memory(tensor: Tensor) -> StoredTensor:
    """A tensor of a state dict."""
    shape, dtype = tuple(tensor.shape), tensor.dtype
    if tensor.is_meta:
        return StoredTensor(shape, dtype, _raising("it is on the meta device"), None, "on the meta device")
    if tensor.layout != torch.strided or tensor.is_quantized:
        kind = "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        return StoredTensor(
            shape, dtype, _raising(f"it is {kind}"), None, f"it is {kind}, not a plain tensor"
        )
    value = tensor.detach()
    if type(value) is not Tensor:  # of a subclass, such as a distributed tensor, the memory is not its own
        whole = getattr(value, "full_tensor", lambda: value)
        return StoredTensor(shape, dtype, whole)
    bytes_there = value.untyped_storage().nbytes()
    obstacle = repeated(value.numel() * value.element_size(), bytes_there)
    place = (value.data_ptr(), shape, value.stride()) if value.numel() else None
    return StoredTensor(shape, dtype, lambda: value, place, obstacle)


def repeated(size: int, stored: int) -> str:
    """Why a tensor of so many bytes on a storage of fewer is not used: it can be far larger than memory."""
    if size <= stored:
        return ""
    return f"its {size:,} bytes repeat {stored:,} that are stored (an expanded tensor)"


def _raising(reason: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        raise WeightsError(f"the tensor has no values: {reason}")

    return read
