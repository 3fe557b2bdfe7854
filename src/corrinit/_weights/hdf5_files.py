"""The arrays in an HDF5 file. Where they lie in one piece, as they mostly do, they are mapped when read."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from corrinit._arrays import Array
from corrinit._weights.libraries import needed
from corrinit._weights.mapped import mapped_array
from corrinit._weights.number_types import number_type
from corrinit._weights.stored_tensor import StoredTensor, unreadable
from corrinit.errors import DamagedWeightsError, WeightsError

_MOST_COMPRESSED = 1100
"""Deflate makes values at most this many times smaller; what claims more is no compressed array."""


@dataclass(frozen=True)
class HDF5File:
    """A file, or a part of one, that holds HDF5.

    Args:
        path: of the file.
        start: its first byte in it.
        size: its bytes.
    """

    path: Path
    start: int
    size: int

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The `h5py.File`, to read from.

        Raises:
            WeightsError: if it is damaged; also for errors inside.
            MissingPackageError: if the library `h5py` is not installed.
        """
        h5py = needed("h5py", "an HDF5 file, as Keras writes")
        try:
            with self.path.open("rb") as file, h5py.File(_Part(file, self.start, self.size), "r") as root:
                yield root
        except WeightsError:
            raise
        except Exception as error:  # of a damaged file the library raises errors of nearly every kind
            raise DamagedWeightsError(f"{self.path} is a damaged HDF5 file: {error}") from error

    def arrays(self, group: Any) -> dict[str, StoredTensor]:
        """Every array in a group of the open file, by its path there, each once."""
        found: dict[str, StoredTensor] = {}

        def visit(name: str | bytes, item: Any) -> None:
            if hasattr(item, "shape"):  # names that are no text come as bytes
                found[name if isinstance(name, str) else name.decode("utf-8", "replace")] = self._array(item)

        group.visititems(visit)  # follows no links, neither inside the file nor to other files
        return found

    def _array(self, dataset: Any) -> StoredTensor:
        kind, shape = dataset.dtype, dataset.shape
        name = kind.name
        if kind.kind == "V" and kind.itemsize == 2 and attribute(dataset, "dtype") == "bfloat16":
            name = "bfloat16"  # of which HDF5 knows the bytes alone, and Keras writes the name beside them
        dtype = number_type(name)
        if dtype is None or shape is None:
            return unreadable(shape or (), f"it is of type {name:.40}")
        h5py = needed("h5py", "an HDF5 file, as Keras writes")
        creation = dataset.id.get_create_plist()
        if creation.get_external_count() or creation.get_layout() == h5py.h5d.VIRTUAL:
            return unreadable(shape, "its values are in another file, which is not opened", dtype)
        stored, size = dataset.id.get_storage_size(), prod(shape) * kind.itemsize
        offset = dataset.id.get_offset()
        order = "big" if kind.byteorder == ">" else "little"
        if offset is not None:
            if stored < size or offset + size > self.size:
                return unreadable(shape, f"it has {size:,} bytes, of which not all are in the file", dtype)
            read = partial(mapped_array, self.path, self.start + offset, shape, dtype, order)
            return StoredTensor(shape, dtype, read, (self.path, offset))
        if stored < size and size > stored * _MOST_COMPRESSED:
            return unreadable(shape, f"it has {size:,} bytes, of which {stored:,} are in the file", dtype)
        return StoredTensor(shape, dtype, partial(self._unpacked, dataset.name), (self.path, dataset.name))

    def _unpacked(self, name: str | bytes) -> Array:
        """The values of an array that lies in pieces, which may be compressed."""
        with self.opened() as root:
            return root[name][()]


class _Part(io.RawIOBase):
    """A part of a file, which h5py reads like one."""

    def __init__(self, file: io.BufferedReader, start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._position)
        view = memoryview(buffer)[: max(0, self._size - self._position)]
        count = self._file.readinto(view)
        self._position += count
        return count


def inner_group(group: Any, name: str) -> Any:
    """A group in another one; None if there is none, or its name stands for something elsewhere."""
    h5py = needed("h5py", "an HDF5 file, as Keras writes")
    inside = isinstance(group.get(name, getlink=True), h5py.HardLink)
    return group[name] if inside and isinstance(group[name], h5py.Group) else None


def attribute(item: Any, name: str) -> Any:
    """An attribute of a group, texts as such; None if there is none."""
    value = item.attrs.get(name)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def texts(item: Any, name: str) -> list[str]:
    """An attribute that is a list of texts, which Keras splits into several where it is long."""
    parts = [item.attrs[key] for key in _numbered(item.attrs, name)]
    return [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for part in parts
        for value in part
    ]


def _numbered(attributes: Mapping[str, Any], name: str) -> Iterator[str]:
    if name in attributes:
        yield name
    count = 0
    while (key := f"{name}{count}") in attributes:
        yield key
        count += 1
