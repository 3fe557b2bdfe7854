"""Numbers that lie in a file as they do in memory: only the pages that are asked for are mapped."""

from __future__ import annotations

import mmap
import sys
from math import prod
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from corrinit._arrays import Array
from corrinit._weights.number_types import NumberType
from corrinit.errors import DamagedWeightsError

ByteOrder: TypeAlias = Literal["little", "big"]


def mapped_values(
    path: Path, start: int, count: int, dtype: NumberType, order: ByteOrder = "little"
) -> Array:
    """So many numbers of a file, from a byte on, of type `dtype.stored`; read-only, and not kept.

    Args:
        path: of the file.
        start: byte at which the first number begins.
        count: of numbers.
        dtype: their type.
        order: of the bytes of a number.

    Raises:
        WeightsError: if the file cannot be read, or ends before.
    """
    stored = dtype.stored if order == sys.byteorder else dtype.stored.newbyteorder()
    if not count:
        return np.empty(0, stored)
    aligned = start - start % mmap.ALLOCATIONGRANULARITY
    size = start - aligned + count * dtype.itemsize
    try:
        with path.open("rb") as file:
            pages = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ, offset=aligned)
        return np.frombuffer(pages, stored, count, start - aligned)
    except (OSError, ValueError, OverflowError) as error:
        raise DamagedWeightsError(f"{path} cannot be read, or was cut off: {error}") from error


def mapped_array(
    path: Path, start: int, shape: tuple[int, ...], dtype: NumberType, order: ByteOrder = "little"
) -> Array:
    """An array that lies in a file in one piece, the last axis running fastest, of a type that numpy has.

    Args:
        path: of the file.
        start: byte at which its first number begins.
        shape: of the array.
        dtype: the type of its numbers there.
        order: of the bytes of a number.

    Raises:
        WeightsError: see `mapped_values`.
    """
    return dtype.values(mapped_values(path, start, prod(shape), dtype, order)).reshape(shape)
