"""What `flax.serialization` writes: MessagePack of nested maps, with arrays as extensions of it.

Looked through here without its library, which would hold every array in memory to tell where one lies.
"""

from __future__ import annotations

import mmap
import struct
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from corrinit._arrays import Array
from corrinit._weights.mapped import mapped_array
from corrinit._weights.number_types import number_type
from corrinit._weights.stored_tensor import StoredTensor, unreadable
from corrinit.errors import DamagedWeightsError

_ARRAY = 1
"""The code of the extension that is an array: (shape, name of the type, bytes)."""

_DEEPEST = 64
_NUMBERS = dict(zip(range(0xCA, 0xD4), "fdBHIQbhiq", strict=True))
"""The forms of numbers, as `struct` calls them, by the byte before them."""

_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_BYTES, _EXTENSIONS, _TEXTS = (0xC4, 0xC5, 0xC6), (0xC7, 0xC8, 0xC9), (0xD9, 0xDA, 0xDB)
_LISTS, _MAPS = (0xDC, 0xDD), (0xDE, 0xDF)
_LENGTHS = {
    **{
        kind: code for kinds in (_BYTES, _EXTENSIONS, _TEXTS) for kind, code in zip(kinds, "BHI", strict=True)
    },
    **{kind: code for kinds in (_LISTS, _MAPS) for kind, code in zip(kinds, "HI", strict=True)},
}
"""The form of the length that follows the byte which says what comes."""

_COLLECTIONS = frozenset(
    ("params", "ema_params", "opt_state", "batch_stats", "model_state", "step", "target", "state")
)
"""Outermost keys under which whole sets of arrays lie, rather than a layer."""


def read_flax(path: Path) -> dict[str, Any]:
    """The arrays in a file, by their keys joined by slashes; those of each collection, as `params`, a set.

    Raises:
        WeightsError: if it is damaged.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            reader = _Reader(path, content)
            tree = reader.value(0)
            if reader.position != len(content) or not isinstance(tree, dict):
                raise ValueError(f"{len(content) - reader.position:,} bytes are left over")
    except (OSError, ValueError, struct.error) as error:
        raise DamagedWeightsError(f"{path} is no MessagePack as Flax writes, or damaged: {error}") from error
    collections = {name: _flat(value, "") for name, value in tree.items() if isinstance(value, dict)}
    alone = {name: value for name, value in tree.items() if isinstance(value, StoredTensor)}
    if tree and not _COLLECTIONS & tree.keys():  # the parameters themselves
        return alone | {
            f"{outer}/{name}": each for outer, inner in collections.items() for name, each in inner.items()
        }
    return alone | collections


def _flat(tree: Any, path: str) -> dict[str, StoredTensor]:
    """The arrays in nested maps, by their keys joined by slashes."""
    if isinstance(tree, StoredTensor):
        return {path: tree}
    found: dict[str, StoredTensor] = {}
    for key, value in tree.items() if isinstance(tree, dict) else ():
        found |= _flat(value, f"{path}/{key}" if path else key)
    return found


class _Reader:
    """Reads the values of MessagePack one after the other; of arrays only where they lie."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self.path, self.content, self.position = path, content, 0

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")
        kind = self.number("B")
        if kind < 0x80 or kind >= 0xE0:
            return kind if kind < 0x80 else kind - 0x100
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == 0xC1:
            raise ValueError("it has a value of no kind")
        if 0xD4 <= kind <= 0xD8:
            return self.extension(1 << (kind - 0xD4))
        length = self.number(_LENGTHS[kind]) if kind in _LENGTHS else kind & (0x1F if kind >= 0xA0 else 0x0F)
        if kind in _EXTENSIONS:
            return self.extension(length)
        if kind in _BYTES:
            return self.span(length)
        if kind in _TEXTS or 0xA0 <= kind < 0xC0:
            start, end = self.span(length)
            return self.content[start:end].decode("utf-8")
        if length > len(self.content) - self.position:
            raise ValueError(f"it has a list of {length:,} values, which is longer than the file")
        if kind in _LISTS or 0x90 <= kind < 0xA0:
            return [self.value(depth + 1) for _ in range(length)]
        return self.map(length, depth)

    def map(self, length: int, depth: int) -> StoredTensor | dict[Any, Any]:
        found: dict[Any, Any] = {}
        for _ in range(length):
            key = self.value(depth + 1)
            if not isinstance(key, (str, int)):
                raise ValueError("a key is no text")
            found[str(key)] = self.value(depth + 1)
        return _joined(found) if found.get("__msgpack_chunked_array__") is True else found

    def number(self, code: str) -> Any:
        (value,) = struct.unpack_from(f">{code}", self.content, self.position)
        self.position += struct.calcsize(code)
        return value

    def span(self, length: int) -> tuple[int, int]:
        """Where so many bytes lie that begin here; they are passed over."""
        start = self.position
        if start + length > len(self.content):
            raise ValueError(f"it ends at byte {len(self.content):,}, in the middle of a value")
        self.position += length
        return start, self.position

    def extension(self, length: int) -> StoredTensor | None:
        code = self.number("b")
        start, end = self.span(length)
        if code != _ARRAY:
            return None
        self.position = start
        parts = self.value(_DEEPEST - 2)
        if self.position != end or not isinstance(parts, list) or len(parts) != 3:
            raise ValueError("an array in it has no shape, type and values")
        return self.array(*parts)

    def array(self, shape: Any, kind: Any, place: Any) -> StoredTensor:
        if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"the shape of an array is {shape!r:.60}")
        if not isinstance(place, tuple):
            raise ValueError("the values of an array are no bytes")
        dtype, (start, end) = number_type(kind) if isinstance(kind, str) else None, place
        if dtype is None:
            return unreadable(tuple(shape), f"it is of type {kind!r:.40}")
        if end - start != prod(shape) * dtype.itemsize:
            raise ValueError(f"an array of shape {tuple(shape)} and type {kind} has {end - start:,} bytes")
        return StoredTensor(
            tuple(shape),
            dtype,
            partial(mapped_array, self.path, start, tuple(shape), dtype),
            (self.path, start),
        )


def _joined(parts: dict[str, Any]) -> StoredTensor:
    """An array that was too large for MessagePack, and so was cut: its shape, and its values in pieces."""
    shape, chunks = parts.get("shape"), parts.get("chunks")
    if not isinstance(shape, dict) or not isinstance(chunks, dict):
        raise ValueError("the pieces of a large array are missing")
    sizes, pieces = tuple(shape.values()), [chunks.get(str(index)) for index in range(len(chunks))]
    whole = [piece for piece in pieces if isinstance(piece, StoredTensor) and not piece.obstacle]
    if len(whole) < len(pieces) or not whole or not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError("the pieces of a large array are missing")
    if sum(prod(piece.shape) for piece in whole) != prod(sizes):
        raise ValueError(f"the pieces of an array of shape {sizes} have not as many values")

    def read() -> Array:
        return np.concatenate([piece.read().ravel() for piece in whole]).reshape(sizes)

    return StoredTensor(sizes, whole[0].dtype, read, whole[0].place)
