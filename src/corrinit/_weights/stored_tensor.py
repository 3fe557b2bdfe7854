"""A tensor that lies in memory or in a file: its name, shape and type are known before it is read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from corrinit._arrays import Array, as_array, is_tensor
from corrinit._weights.number_types import NumberType, number_type
from corrinit.errors import NoValuesError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor that is read when it is asked for, and not kept.

    Args:
        shape: of the tensor.
        dtype: its type; None if it is one that is not read.
        read: gives the values, of a type that numpy has: those it lacks are widened to float32.
        place: equal for two tensors of the same values in the same memory; None if that is not known.
        obstacle: why the values cannot be used; empty if they can.
        is_filter: whether the file says that it is filters, in the order (out, in, k_1, …, k_d); if it does
            not, names and shapes have to tell.
    """

    shape: tuple[int, ...]
    dtype: NumberType | None
    read: Callable[[], Array]
    place: Hashable = None
    obstacle: str = ""
    is_filter: bool = False

    def computed(self, compute: Callable[[Array], Array], shape: tuple[int, ...]) -> StoredTensor:
        """The tensor that a function makes of this one, of another shape."""
        read = self.read
        return replace(self, shape=shape, read=lambda: compute(read()))


Tensors: TypeAlias = Mapping[str, StoredTensor]
"""A state dict."""


class LeftOut(NamedTuple):
    """A tensor that is not taken as filters, and why."""

    name: str
    reason: str


def unreadable(shape: tuple[int, ...], obstacle: str, dtype: NumberType | None = None) -> StoredTensor:
    """A tensor whose values cannot be had, for a reason."""

    def read() -> Array:
        raise NoValuesError(f"the tensor has no values: {obstacle}")

    return StoredTensor(shape, dtype, read, None, obstacle)


def in_memory(values: Any) -> StoredTensor:
    """A tensor or an array of a state dict."""
    if is_tensor(values):
        return _torch_tensor(values)
    shape = tuple(int(size) for size in values.shape)
    name = str(getattr(values.dtype, "name", values.dtype))
    dtype = number_type(name)
    if dtype is None:
        return unreadable(shape, f"it is of type {name:.40}")
    if not isinstance(values, np.ndarray):
        return StoredTensor(shape, dtype, lambda: as_array(values))
    extent = 1 + sum(
        (n - 1) * abs(step) // values.itemsize for n, step in zip(shape, values.strides, strict=True)
    )
    obstacle = repeated(values.nbytes, extent * values.itemsize) if values.size else ""
    place = (values.__array_interface__["data"][0], shape, values.strides) if values.size else None
    return StoredTensor(shape, dtype, lambda: as_array(values), place, obstacle)


def _torch_tensor(tensor: Tensor) -> StoredTensor:
    shape, name = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    dtype = number_type(name)
    if tensor.is_meta:
        return unreadable(shape, "on the meta device", dtype)
    kind = str(tensor.layout).removeprefix("torch.")
    if kind != "strided" or tensor.is_quantized:
        return unreadable(shape, f"it is {'quantized' if tensor.is_quantized else kind}, not a plain tensor")
    if dtype is None:
        return unreadable(shape, f"it is of type {name}")
    value = tensor.detach()
    if type(value).__module__ != "torch":  # of a subclass, such as a distributed tensor: not its own memory
        return StoredTensor(shape, dtype, lambda: as_array(value))
    bytes_there = value.untyped_storage().nbytes()
    obstacle = repeated(value.numel() * value.element_size(), bytes_there)
    place = (value.data_ptr(), shape, value.stride()) if value.numel() else None
    return StoredTensor(shape, dtype, lambda: as_array(value), place, obstacle)


def repeated(size: int, stored: int) -> str:
    """Why a tensor of so many bytes on a storage of fewer is not used: it can be far larger than memory."""
    if size <= stored:
        return ""
    return f"its {size:,} bytes repeat {stored:,} that are stored (an expanded tensor)"
