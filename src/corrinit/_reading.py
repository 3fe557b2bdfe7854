"""Small files, read as bytes, text, JSON and arrays: each comes back as what it should be, or as one error.

A file may be damaged, hostile or of another kind. It is opened only if it is a regular file, read only if
its size is sensible, and no size that it declares is believed before it is compared with its bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corrinit.errors import CheckpointError, RecordError, UnreadableError, one_line

LARGEST = 2**28
"""Bytes that a file has at most, as it lies on the disk and once it is decompressed."""


def read_bytes(file: Path, *, largest: int = LARGEST) -> bytes:
    """The content of a regular file.

    Raises:
        UnreadableError: if it is there, and the operating system does not give it.
        RecordError: if it is missing, no regular file, or too large.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise RecordError(f"{file} is no regular file; remove it")
        if status.st_size > largest:
            raise RecordError(f"{file} is damaged: it has {status.st_size:,} bytes, more than {largest:,}")
        return file.read_bytes()
    except FileNotFoundError as error:
        raise RecordError(f"{file} cannot be read: there is no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise UnreadableError(
            f"{file} cannot be read: {reason}; see to the disk and its permissions"
        ) from error


def read_text(file: Path, *, largest: int = LARGEST) -> str:
    """The text of a file in UTF-8.

    Raises:
        RecordError: as `read_bytes` does, or if it is no text.
    """
    try:
        return read_bytes(file, largest=largest).decode()
    except UnicodeDecodeError as error:
        raise RecordError(f"{file} is damaged: {error}") from error


def parse_object(text: str, file: Path) -> dict[str, Any]:
    """The JSON object in a text; its strings are text that can be written again.

    Raises:
        RecordError: if it is no JSON, no object, or deeper than any of ours; `file` is named.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
        if "\\u" in text:  # half of a pair of code points, which no file can take
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise RecordError(f"{file} is damaged: its values are nested too deeply") from error
    except ValueError as error:
        raise RecordError(f"{file} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise RecordError(f"{file} is damaged: it holds {type(value).__name__}, no JSON object")
    return value


def sealed(content: bytes | memoryview) -> bytes:
    """The seal that follows the content of a file: its SHA-256."""
    return hashlib.sha256(content).digest()


def read_sealed(file: Path) -> memoryview:
    """The content of a file of any size that ends with its seal.

    Raises:
        RecordError: as `read_bytes` does, or if a bit is not as it was written.
    """
    data = memoryview(read_bytes(file, largest=2**40))
    size = len(sealed(b""))
    if sealed(data[:-size]) != data[-size:]:
        raise CheckpointError(
            f"{file} is damaged, or of an earlier version: its digest is not that of its bytes"
        )
    return data[:-size]


def read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file by name. Nothing is unpickled.

    Raises:
        RecordError: as `read_bytes` does, or if it is damaged.
    """
    data = read_bytes(file)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if (size := sum(member.file_size for member in members)) > LARGEST:
                raise ValueError(f"its arrays have {size:,} bytes, more than {LARGEST:,}")
            return {member.filename.removesuffix(".npy"): _array(archive.read(member)) for member in members}
    except Exception as error:  # there are as many as there are ways to damage a file, and one meaning
        raise RecordError(f"{file} is damaged: {one_line(error) or type(error).__name__}") from error


def _array(data: bytes) -> NDArray[Any]:
    """An array in the format of `.npy`, whose header and bytes agree."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"an array has a header of version {version}")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    values = data[stream.tell() :]
    if dtype.hasobject or fortran_order or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"{len(values)} bytes are no {dtype} array of shape {shape}")
    return np.frombuffer(values, dtype).reshape(shape)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
