"""What `torch.save` wrote, read without running any of it: a zip archive, or the older row of pickles.

In both the tensors lie as they are in memory, beside a pickle that says which is where. The pickle is only
looked at (`inert_pickle`), and the values of a tensor are mapped when it is read, and it alone.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import zipfile
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from numpy.lib.stride_tricks import as_strided

from corrinit._arrays import Array
from corrinit._weights.inert_pickle import Foreign, Name, read_inert
from corrinit._weights.mapped import ByteOrder, mapped_values
from corrinit._weights.number_types import NumberType, number_type
from corrinit._weights.stored_tensor import StoredTensor, repeated, unreadable
from corrinit.errors import DamagedWeightsError, NotWeightsError

_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of the older form."""

_SAVE_ANEW = "save it anew as a state dict: torch.save(model.state_dict(), path)"

_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "UntypedStorage": "uint8",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
}
"""The types of the numbers of a storage."""

_MOST_AXES = 64
_WRAPPED = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")


class _Storage:
    """A row of values in a file; where it lies is known at the latest when the whole file has been read."""

    def __init__(self, key: str, dtype: NumberType | None, start: int = 0, values: int = 0) -> None:
        self.key, self.dtype, self.first = key, dtype, start
        self.position, self.size = 0, values * (dtype.itemsize if dtype else 1)


class _Reader:
    """Makes `StoredTensor`s of the calls that rebuild tensors."""

    def __init__(self, path: Path, order: ByteOrder = sys.byteorder) -> None:
        self.path = path
        self.order: ByteOrder = order
        self.storages: dict[str, _Storage] = {}

    def call(self, function: Name, arguments: tuple[Any, ...]) -> Any:
        """What stands for a call in the pickle: a tensor, or an object that is left as it is."""
        name = str(function)
        if name in _WRAPPED and arguments and isinstance(arguments[0], StoredTensor):
            return arguments[0]
        if name == "torch._tensor._rebuild_from_type_v2" and len(arguments) == 4:
            inner, _, inner_arguments, _ = arguments
            if isinstance(inner, Name) and isinstance(inner_arguments, tuple):
                return self.call(inner, inner_arguments)
        if name == "torch._utils._rebuild_qtensor" and len(arguments) >= 4:
            found = self._tensor(*arguments[:4], dtype=None)
            return replace(found, obstacle="it is quantized, not a plain tensor")
        if name.startswith("torch._utils._rebuild_tensor") and len(arguments) >= 4:
            dtype = arguments[6] if name.endswith("_v3") and len(arguments) > 6 else None
            return self._tensor(*arguments[:4], dtype=dtype)
        return Foreign(function, arguments)

    def _tensor(self, storage: Any, offset: Any, shape: Any, stride: Any, dtype: Any) -> StoredTensor:
        if not isinstance(storage, _Storage):
            raise DamagedWeightsError("it holds a tensor without a storage")
        kind = number_type(dtype.name) if isinstance(dtype, Name) else storage.dtype
        whole = (offset, *shape, *stride)
        if (
            len(shape) > _MOST_AXES
            or len(shape) != len(stride)
            or not all(type(n) is int and 0 <= n < 1 << 62 for n in whole)
        ):
            raise DamagedWeightsError("it holds a tensor of impossible shape, strides or offset")
        place = (self.path, storage.key, storage.first, offset, shape, stride)
        if kind is None:
            return unreadable(shape, "it is of a type that is not read")
        extent = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) if prod(shape) else 0
        obstacle = repeated(prod(shape) * kind.itemsize, max(1, extent) * kind.itemsize)

        def read() -> Array:
            row = self._mapped(storage, offset, extent, kind)
            return kind.values(as_strided(row, shape, [step * row.itemsize for step in stride]))

        return StoredTensor(shape, kind, read, place, obstacle)

    def _mapped(self, storage: _Storage, offset: int, values: int, dtype: NumberType) -> Array:
        """So many values of a storage, from an offset on; of the file only those pages are mapped."""
        start, size = (storage.first + offset) * dtype.itemsize, values * dtype.itemsize
        if start + size > storage.size:
            raise DamagedWeightsError(
                f"{self.path} is damaged: a tensor ends at byte {start + size:,} of {storage.size:,} stored"
            )
        return mapped_values(self.path, storage.position + start, values, dtype, self.order)


def read_torch_zip(path: Path) -> Any:
    """What `torch.save` has written since torch 1.6, tensors as `StoredTensor`.

    Raises:
        WeightsError: if it is damaged, compressed, or another kind of archive.
    """
    try:
        with zipfile.ZipFile(path) as archive, _mapped_file(path) as file:
            members = {member.filename: member for member in archive.infolist()}
            pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
            if len(pickles) != 1:
                raise NotWeightsError(_other_archive(path, members))
            root = pickles[0].removesuffix("data.pkl")
            if f"{root}constants.pkl" in members:
                raise NotWeightsError(f"{path} is a TorchScript program, which is not run; {_SAVE_ANEW}")
            order = "little"
            if f"{root}byteorder" in members:
                order: ByteOrder = (
                    "big" if _content(file, members[f"{root}byteorder"]) == b"big" else "little"
                )
            reader = _Reader(path, order)

            def persistent(identity: Any) -> _Storage:
                kind, key = _storage_id(identity)[:2]
                member = members.get(f"{root}data/{key}")
                if member is None:
                    raise ValueError(f"the storage {key!r:.40} is missing")
                storage = _Storage(str(key), kind)
                storage.position, storage.size = _position(file, member), member.file_size
                return storage

            file.seek(_position(file, members[pickles[0]]))
            return read_inert(file, reader.call, persistent)
    except (
        zipfile.BadZipFile,
        OSError,
        struct.error,
        ValueError,
        ArithmeticError,
        NotImplementedError,
    ) as error:
        raise DamagedWeightsError(f"{path} is a damaged zip archive: {error}") from error


def read_torch_pickles(path: Path) -> Any:
    """What `torch.save` wrote before torch 1.6, tensors as `StoredTensor`; or any other single pickle.

    Raises:
        WeightsError: if it is damaged.
    """
    reader = _Reader(path)

    def persistent(identity: Any) -> Any:
        if isinstance(identity, tuple) and identity and _text(identity[0]) == "module":
            return identity[1] if len(identity) > 1 else None
        dtype, key, _, values, *rest = _storage_id(identity)
        view = rest[0] if rest else None
        storage = reader.storages.setdefault(str(key), _Storage(str(key), dtype, values=values))
        if not view:
            return storage
        if not isinstance(view, tuple) or len(view) != 3 or type(view[1]) is not int or view[1] < 0:
            raise ValueError(f"the view of a storage is {view!r:.40}")
        part = _Storage(storage.key, dtype, start=view[1])
        reader.storages[f"view {view[0]!r:.40} of {key!r:.40}"] = part
        return part

    try:
        with _mapped_file(path) as file:
            first = read_inert(file, reader.call)
            if first != _MAGIC:
                return first
            read_inert(file)  # the version of the form
            sizes = read_inert(file)
            reader.order = "little" if not isinstance(sizes, dict) or sizes.get("little_endian", 1) else "big"
            checkpoint = read_inert(file, reader.call, persistent)
            _locate(file, read_inert(file), reader.storages)
            return checkpoint
    except (OSError, struct.error, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise DamagedWeightsError(f"{path} is damaged: {error}") from error


def _mapped_file(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _locate(file: mmap.mmap, keys: Any, storages: dict[str, _Storage]) -> None:
    """Behind the pickles lie the storages, each a count of values and the values."""
    places: dict[str, tuple[int, int]] = {}
    for key in map(str, keys):
        (count,) = struct.unpack("<q", file.read(8))
        dtype = storages[key].dtype if key in storages else None
        if count < 0 or dtype is None:
            raise ValueError(f"the storage {key!r:.40} is of unknown type or size")
        places[key] = (file.tell(), count * dtype.itemsize)
        file.seek(count * dtype.itemsize, os.SEEK_CUR)
    for storage in storages.values():
        if storage.key not in places:
            raise ValueError(f"the storage {storage.key!r:.40} is missing")
        storage.position, storage.size = places[storage.key]


def _storage_id(identity: Any) -> tuple[Any, ...]:
    """(dtype, key, location, number of values, …) of the id of a storage."""
    if not isinstance(identity, tuple) or len(identity) < 5 or _text(identity[0]) != "storage":
        raise ValueError("it refers to an object outside that is no storage")
    _, kind, key, location, values, *rest = identity
    if type(values) is not int or values < 0:
        raise ValueError(f"the size of a storage is {values!r:.40}")
    dtype = number_type(_STORAGES.get(kind.name, "")) if isinstance(kind, Name) else None
    return (dtype, _text(key), location, values, *rest)


def _position(file: mmap.mmap, member: zipfile.ZipInfo) -> int:
    """Where the content of a member begins: behind its own header, whose length stands in it."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename!r:.60} is compressed, which torch.save never does")
    here = file.tell()
    file.seek(member.header_offset)
    name, extra = struct.unpack("<26x2H", file.read(30))
    file.seek(here)
    return member.header_offset + 30 + name + extra


def _content(file: mmap.mmap, member: zipfile.ZipInfo, most: int = 64) -> bytes:
    file.seek(_position(file, member))
    return file.read(min(member.file_size, most))


def _other_archive(path: Path, members: dict[str, zipfile.ZipInfo]) -> str:
    if "model.weights.h5" in members:
        return f"{path} is a Keras file, which is not read; save its arrays as safetensors"
    if members and all(name.endswith(".npy") for name in members):
        return f"{path} is a numpy archive (.npz); give its arrays as a mapping from names to tensors"
    return f"{path} is a zip archive without the data.pkl of torch.save, or damaged; {_SAVE_ANEW}"


def _text(value: Any) -> Any:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
