"""The files that weights are kept in, told apart by what they hold, not by what they are called."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from corrinit._weights.flax_files import read_flax
from corrinit._weights.keras_files import is_keras_archive, read_hdf5, read_keras_archive
from corrinit._weights.mapped import mapped_array
from corrinit._weights.number_types import number_type
from corrinit._weights.onnx_files import read_onnx
from corrinit._weights.stored_tensor import StoredTensor, unreadable
from corrinit._weights.tflite_files import read_tflite
from corrinit._weights.torch_files import read_torch_pickles, read_torch_zip
from corrinit.errors import (
    DamagedWeightsError,
    MissingWeightsError,
    NotWeightsError,
    WeightsError,
    one_line,
    warn_caller,
)

KINDS = (
    "safetensors and what torch.save writes (.pt, .pth, .bin, .ckpt, ...), whole or in shards with an index "
    "(*.safetensors.index.json, *.bin.index.json), ONNX, Keras (.keras, .h5), TFLite, "
    "and MessagePack of Flax"
)
"""What is read, in words."""

_HEAD = 4096
_LARGEST_INDEX = 1 << 28
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "BOOL": "bool",
    **{
        f"{kind}{bits}": f"{name}{bits}"
        for kind, name in (("I", "int"), ("U", "uint"))
        for bits in (8, 16, 32, 64)
    },
}
"""The names of `corrinit._weights.number_types` by those in safetensors files."""

_OTHERS = (
    (rb"\x08\x01\x12", "a SavedModel of TensorFlow; save the model as .keras"),
    (rb"GGUF", "a GGUF file"),
    (rb"\x93NUMPY", "a numpy array"),
    (rb"version https://git-lfs", "a pointer of Git LFS, not the weights: fetch them with git lfs pull"),
    (rb"\s*<(!doctype|html|\?xml)", "a web page, not the weights: the download failed"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "compressed; unpack it first"),
    (rb".{257}ustar", "a tar archive; unpack it first"),
)


_READERS: tuple[tuple[bytes, Callable[[Path], Any]], ...] = (
    (rb"\x89HDF\r\n", read_hdf5),
    (rb"....TFL3", read_tflite),
    (rb"\x08[\x03-\x20][\x12\x1a\x22\x32\x3a\x42]", read_onnx),  # its version, then one of its next fields
    (rb"[\x81-\x8f\xde\xdf]", read_flax),  # a map of MessagePack
)

_FOLDERS = {
    "a checkpoint of Orbax": (
        ("_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt"),
        "restore it and give its arrays as a mapping, or save them with flax.serialization.to_bytes",
    ),
    "a SavedModel of TensorFlow": (("saved_model.pb",), "save the model as .keras"),
}
"""Folders that hold weights, by the files in them."""


def read_file(path: Path, *, shard: bool = False) -> Any:
    """What a file holds: mappings from names to `StoredTensor`, and whatever else lies beside them.

    No code in the file is run, and no tensor is read.

    Args:
        path: of the file.
        shard: whether it is part of a sharded checkpoint, and so no index of another one.

    Raises:
        WeightsError: if there is no such file, it is of another kind, or damaged.
    """
    head, size = _head(path)
    part = re.search(r"-(\d+)-of-(\d+)\.[^.]*$", path.name)
    if part and not shard and int(part[2]) > 1:
        warn_caller(f"{path} is part {int(part[1])} of {int(part[2])} of a network; give the index beside it")
    if _is_safetensors(head, size):
        return _safetensors(path)
    if head.startswith(b"PK"):
        return _naming(path, read_keras_archive if is_keras_archive(path) else read_torch_zip)
    if head.startswith(b"\x80"):
        return _naming(path, read_torch_pickles)
    if head.lstrip().startswith(b"{") and not shard:
        return _shards(path, size)
    for pattern, read in _READERS:
        if re.match(pattern, head, re.DOTALL):
            return _naming(path, read)
    for pattern, kind in _OTHERS:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            raise NotWeightsError(f"{path} is {kind}; weights are read from {KINDS}")
    raise NotWeightsError(f"{path} is no file of weights, or damaged; weights are read from {KINDS}")


def _head(path: Path) -> tuple[bytes, int]:
    """The first bytes of a regular file, and its size; nothing else is opened, as a pipe would wait."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise MissingWeightsError(f"{path} is {_folder(path)}")
        if not stat.S_ISREG(status.st_mode):
            raise MissingWeightsError(f"{path} is no regular file")
        with path.open("rb") as file:
            return file.read(_HEAD), status.st_size
    except FileNotFoundError as error:
        on_hub = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(path)) and not path.parent.exists()
        hint = f"; to fetch it from the Hugging Face hub, give hf:{path}" if on_hub else ""
        raise MissingWeightsError(f"there is no file {path}{hint}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MissingWeightsError(f"the file {str(path)[:200]} cannot be opened: {reason}") from error


def _folder(path: Path) -> str:
    """What a folder is, and what to give instead of it."""
    for kind, (marks, remedy) in _FOLDERS.items():
        if any((path / mark).exists() for mark in marks):
            return f"{kind}, which is not read; {remedy}"
    return "a folder; give the file of weights in it"


def _naming(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except WeightsError as error:
        if str(error).startswith(one_line(path)):
            raise
        raise DamagedWeightsError(f"{path} cannot be read: {error}") from error


def _is_safetensors(head: bytes, size: int) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file, which keeps no order of layers, in the order of their names."""
    if not str(path).isprintable() and "\\udc" in ascii(str(path)):
        raise MissingWeightsError(
            f"{path} has a name that is no UTF-8, which safetensors does not open; rename it"
        )
    try:
        with safe_open(path, framework="numpy"):  # checks the header against the length of the file
            header, first = _safetensors_header(path)
        found: dict[str, StoredTensor] = {}
        for name in sorted(header, key=_natural):
            kind, shape = header[name]["dtype"], tuple(header[name]["shape"])
            dtype = number_type(_DTYPES.get(kind, ""))
            if dtype is None:
                found[name] = unreadable(shape, f"it is of type {kind}")
                continue
            start = first + header[name]["data_offsets"][0]
            found[name] = StoredTensor(shape, dtype, partial(mapped_array, path, start, shape, dtype))
        return found
    except (SafetensorError, OSError, UnicodeError, ValueError) as error:
        raise DamagedWeightsError(f"{path} is no safetensors file, or damaged: {error}") from error


def _safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """What the header says of each tensor, and the byte behind it, from which positions count."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length


def _natural(name: str) -> str:
    """Sort key that takes numbers in names as numbers: layer2 before layer10."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(20), name)


def _shards(index: Path, size: int) -> dict[str, Any]:
    """The tensors of all files that the index of a sharded checkpoint names, in its order."""
    try:
        if size > _LARGEST_INDEX:
            raise ValueError(f"it has {size:,} bytes")
        named = json.loads(index.read_bytes())["weight_map"].values()
        names = (name for each in named for name in ([each] if isinstance(each, str) else each))
        shards = [index.parent / name for name in dict.fromkeys(names)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedWeightsError(f"{index} is no index of a sharded checkpoint: {error!r}") from error
    found: dict[str, Any] = {}
    for shard in shards:
        if shard.parent != index.parent or not _is_file(shard):
            raise MissingWeightsError(
                f"{index} names the file {shard}, which does not lie beside it; fetch all shards"
            )
        tensors = read_file(shard, shard=True)
        if not isinstance(tensors, dict):
            raise NotWeightsError(f"{shard} holds {type(tensors).__name__}, not a part of a state dict")
        found |= tensors
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that cannot be one
        return False
