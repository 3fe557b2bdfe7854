"""The filters in a TFLite (LiteRT) file: the constants that its operators convolve with.

As in ONNX the graph tells what is a filter. Numbers of few bits come with their scales, and are the numbers
that they stand for here. The file is mapped; of a constant only what is read comes into memory.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from corrinit._arrays import Array
from corrinit._weights.libraries import needed
from corrinit._weights.mapped import mapped_array, mapped_values
from corrinit._weights.number_types import NumberType, number_type
from corrinit._weights.stored_tensor import StoredTensor, unreadable
from corrinit.errors import DamagedWeightsError, WeightsError

_OUT_FIRST = (0, -1)  # (out, k_1, …, k_d, in)
_OUT_LAST = (-1, -2)  # (k_1, …, k_d, in, out)
_CONVOLUTIONS = {
    "CONV_2D": _OUT_FIRST,
    "TRANSPOSE_CONV": _OUT_FIRST,
    "DEPTHWISE_CONV_2D": (-1, 0),  # (1, k_1, k_2, in · m)
    "CONV_3D": _OUT_LAST,
    "CONV_3D_TRANSPOSE": (-2, -1),
}
"""Where the output and the input axis lie in the filters of an operator, its second input."""

_PASSING = ("DEQUANTIZE", "CAST", "DENSIFY")
"""Operators that give the numbers of their input in another form."""

_HALF_BYTE = "INT4"


def read_tflite(path: Path) -> dict[str, StoredTensor]:
    """The filters in a TFLite file, by the names of their tensors.

    Raises:
        WeightsError: if the file is damaged.
        MissingLibraryError: if the library `tflite` is not installed.
    """
    schema = needed("tflite", "a TFLite file")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Reader(path, schema, content).filters()
    except WeightsError:
        raise
    except (OSError, ValueError, TypeError, struct.error, IndexError, AttributeError, OverflowError) as error:
        raise DamagedWeightsError(f"{path} is a damaged TFLite file: {error}") from error


class _Reader:
    """Goes through the graphs of a mapped file."""

    def __init__(self, path: Path, schema: Any, content: mmap.mmap) -> None:
        self.path, self.schema, self.size = path, schema, len(content)
        self.model = schema.Model.GetRootAsModel(content, 0)
        self.operators = _names(schema.BuiltinOperator)
        self.types = _names(schema.TensorType)

    def filters(self) -> dict[str, StoredTensor]:
        found: dict[str, StoredTensor] = {}
        for index in range(self._count(self.model.SubgraphsLength())):
            graph = self.model.Subgraphs(index)
            producers: dict[int, Any] = {}
            for each in range(self._count(graph.OperatorsLength())):
                operator = graph.Operators(each)
                for output in range(self._count(operator.OutputsLength())):
                    producers[operator.Outputs(output)] = operator
                if (axes := _CONVOLUTIONS.get(self._kind(operator))) and operator.InputsLength() > 1:
                    name, weight = self._weight(graph, operator.Inputs(1), producers)
                    weight = _ordered(weight, axes)
                    if name in found and found[name].place != weight.place:
                        name = f"{name} of operator {each}"
                    found[name] = weight
        return found

    def _count(self, length: int) -> int:
        """A length in the file, of a list whose entries have at least a byte."""
        if length > self.size:
            raise ValueError(f"a list has {length:,} entries, more than the file has bytes")
        return length

    def _kind(self, operator: Any) -> str:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        return self.operators.get(
            max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "an unknown operator"
        )

    def _weight(self, graph: Any, index: int, producers: Mapping[int, Any]) -> tuple[str, StoredTensor]:
        """A tensor of a graph and its name, through operators that only change its type."""
        tensor = graph.Tensors(self._within(index, graph.TensorsLength()))
        name = (tensor.Name() or b"").decode("utf-8", "replace") or f"tensor {index}"
        for _ in range(len(producers) + 1):
            if index not in producers:
                return name, self._constant(tensor)
            operator = producers[index]
            if (kind := self._kind(operator)) not in _PASSING or not operator.InputsLength():
                return name, unreadable(_shape(tensor), f"it is computed by {kind}")
            index = self._within(operator.Inputs(0), graph.TensorsLength())
            tensor = graph.Tensors(index)
        raise ValueError("its operators form a circle")

    def _within(self, index: int, length: int) -> int:
        if not 0 <= index < length:
            raise ValueError(f"it refers to number {index} of {length}")
        return index

    def _constant(self, tensor: Any) -> StoredTensor:
        shape, kind = _shape(tensor), self.types.get(tensor.Type(), "unknown")
        dtype = number_type("int8" if kind == _HALF_BYTE else kind.lower())
        if tensor.Sparsity() is not None:
            return unreadable(shape, "it is stored as a sparse tensor")
        if dtype is None:
            return unreadable(shape, f"it is of type {kind.lower()}")
        start, size = self._place(tensor.Buffer())
        if not size:
            return unreadable(shape, "it is an input of the graph, not stored")
        needs = -(-prod(shape) // 2) if kind == _HALF_BYTE else prod(shape) * dtype.itemsize
        if size != needs or start + size > self.size:
            raise ValueError(f"a tensor of shape {shape} has {size:,} bytes, not {needs:,}")
        read = partial(
            _mapped_half_bytes if kind == _HALF_BYTE else mapped_array, self.path, start, shape, dtype
        )
        stored = StoredTensor(shape, dtype, read, (self.path, start))
        return stored if dtype.is_float else _dequantized(stored, tensor.Quantization())

    def _place(self, index: int) -> tuple[int, int]:
        """Where the values of a constant begin in the file, and their bytes; activations have none."""
        buffer = self.model.Buffers(self._within(index, self.model.BuffersLength()))
        if buffer.Offset() > 1:  # of large files the values lie behind the tables
            return buffer.Offset(), buffer.Size()
        slot = buffer._tab.Offset(4)
        return (buffer._tab.Vector(slot), buffer._tab.VectorLen(slot)) if slot else (0, 0)


def _names(enumeration: Any) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}


def _shape(tensor: Any) -> tuple[int, ...]:
    shape = tuple(tensor.Shape(axis) for axis in range(min(tensor.ShapeLength(), 8)))
    if any(size < 0 for size in shape):
        raise ValueError(f"a tensor has the impossible shape {shape}")
    return shape


def _dequantized(stored: StoredTensor, parameters: Any) -> StoredTensor:
    """(q − z) s, with s and z for all values, or one for each along an axis."""
    count = parameters.ScaleLength() if parameters is not None else 0
    if parameters is None or not count:
        return unreadable(stored.shape, "it is quantized, and no scale is stored with it")
    axis = parameters.QuantizedDimension() if count > 1 else 0
    if count > 1 and (axis >= len(stored.shape) or stored.shape[axis] != count):
        raise ValueError(f"{count} scales do not fit a tensor of shape {stored.shape} along axis {axis}")
    scale = np.array([parameters.Scale(index) for index in range(count)], np.float32)
    zeros = [parameters.ZeroPoint(index) for index in range(min(count, parameters.ZeroPointLength()))]
    zero = np.array(zeros or [0], np.float32)
    along = [-1 if each == axis else 1 for each in range(len(stored.shape))]

    def read() -> Array:
        return (stored.read().astype(np.float32) - zero.reshape(along)) * scale.reshape(along)

    return StoredTensor(stored.shape, number_type("float32"), read, stored.place)


def _ordered(weight: StoredTensor, axes: tuple[int, int]) -> StoredTensor:
    """Filters as (out, in, k_1, …, k_d)."""
    if len(weight.shape) < 3 or weight.obstacle:
        return weight
    out, inputs = (axis % len(weight.shape) for axis in axes)
    order = (out, inputs, *(axis for axis in range(len(weight.shape)) if axis not in (out, inputs)))
    shape = tuple(weight.shape[axis] for axis in order)
    return replace(weight.computed(lambda array: array.transpose(order), shape), is_filter=True)


def _mapped_half_bytes(path: Path, start: int, shape: tuple[int, ...], dtype: NumberType) -> Array:
    """Two numbers of −8 to 7 a byte, the first in its lower half."""
    pairs = mapped_values(path, start, -(-prod(shape) // 2), dtype)
    halves = np.stack([pairs << 4, pairs], axis=1).astype(np.int8) >> 4
    return halves.ravel()[: prod(shape)].reshape(shape)
