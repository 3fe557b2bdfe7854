"""The types of the numbers in files of weights; those that numpy lacks are widened to float32 bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from corrinit._arrays import Array


@dataclass(frozen=True)
class NumberType:
    """A type of numbers.

    Args:
        name: as numpy and torch call it.
        stored: numpy's type of as many bytes; the type itself where numpy has it.
        is_float: whether the numbers are real floating-point ones.
        widened: from the bytes to float32, where numpy lacks the type.
    """

    name: str
    stored: np.dtype
    is_float: bool
    widened: Callable[[Array], NDArray[np.float32]] | None = None

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return self.stored.itemsize

    def values(self, stored: Array) -> Array:
        """The numbers that an array of type `stored` stands for.

        >>> number_type("bfloat16").values(np.array([0x3F80, 0xC000], np.uint16))
        array([ 1., -2.], dtype=float32)
        """
        return stored if self.widened is None else self.widened(stored)


def number_type(name: str) -> NumberType | None:
    """The type of a name, such as `"float32"` or `"float8_e4m3fn"`; None if it is not read."""
    return _TYPES.get(name)


def _bfloat16(stored: Array) -> NDArray[np.float32]:
    """Its 16 bits are the upper ones of a float32."""
    return (stored.astype(np.uint32) << 16).view(np.float32)


def _eight_bits(exponent: int, bias: int, *, infinite: bool, negative_zero: bool) -> NDArray[np.float32]:
    """The 256 numbers of sign, exponent and mantissa: ± 2^(e − bias) (1 + m), or ± 2^(1 − bias) m if e = 0.

    Args:
        exponent: bits of e.
        bias: of the exponent.
        infinite: whether the largest e stands for ∞ and NaN, as in IEEE 754; otherwise only the last number
            of either sign is NaN.
        negative_zero: whether there is one; otherwise its bits are the only NaN (the "fnuz" types).
    """
    bits = np.arange(256)
    mantissa_bits = 7 - exponent
    e, m = (
        (bits >> mantissa_bits) & ((1 << exponent) - 1),
        (bits & ((1 << mantissa_bits) - 1)) / 2**mantissa_bits,
    )
    size = np.where(e == 0, 2.0 ** (1 - bias) * m, 2.0 ** (e - bias) * (1 + m))
    if infinite:
        largest = e == (1 << exponent) - 1
        size = np.where(largest, np.where(m == 0, np.inf, np.nan), size)
    elif negative_zero:
        size[(bits & 0x7F) == 0x7F] = np.nan
    values = np.where(bits < 128, size, -size)
    if not negative_zero:
        values[0x80] = np.nan
    return values.astype(np.float32)


_EIGHT_BIT_FLOATS = {
    "float8_e4m3fn": _eight_bits(4, 7, infinite=False, negative_zero=True),
    "float8_e5m2": _eight_bits(5, 15, infinite=True, negative_zero=True),
    "float8_e4m3fnuz": _eight_bits(4, 8, infinite=False, negative_zero=False),
    "float8_e5m2fnuz": _eight_bits(5, 16, infinite=False, negative_zero=False),
}

_TYPES = {
    **{name: NumberType(name, np.dtype(name), True) for name in ("float64", "float32", "float16")},
    "bfloat16": NumberType("bfloat16", np.dtype("uint16"), True, _bfloat16),
    **{
        name: NumberType(name, np.dtype("uint8"), True, table.__getitem__)
        for name, table in _EIGHT_BIT_FLOATS.items()
    },
    **{
        name: NumberType(name, np.dtype(name), False)
        for name in (
            *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"),
            *("complex64", "complex128"),
        )
    },
    # quantized: as stored, which says nothing without the scales
    **{f"q{name}": NumberType(f"q{name}", np.dtype(name), False) for name in ("int8", "uint8", "int32")},
}
