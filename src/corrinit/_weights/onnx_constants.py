"""The constants of an ONNX graph: stored tensors, and what the graph makes of them before any input comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from corrinit._arrays import Array, as_array
from corrinit._weights.libraries import needed
from corrinit._weights.mapped import mapped_array
from corrinit._weights.number_types import NumberType, number_type
from corrinit._weights.stored_tensor import StoredTensor, unreadable
from corrinit.errors import DamagedWeightsError

Constants = Mapping[str, StoredTensor]

_TYPES = {
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "BOOL": "bool",
    "FLOAT8E4M3FN": "float8_e4m3fn",
    "FLOAT8E4M3FNUZ": "float8_e4m3fnuz",
    "FLOAT8E5M2": "float8_e5m2",
    "FLOAT8E5M2FNUZ": "float8_e5m2fnuz",
}
"""The names of `corrinit._weights.number_types` by those of ONNX, where more differs than their case."""

_HALF_BYTES = {"INT4": "int8", "UINT4": "uint8"}
"""Types of which two numbers share a byte, and those that hold them."""

_LONGEST_SHAPE = 16
"""Numbers of a constant that is the shape or the axes of another one."""


def stored_constant(tensor: Any, folder: Path) -> StoredTensor:
    """A `TensorProto`, its values in the file itself or, mapped when they are read, in one beside it.

    Args:
        tensor: the message.
        folder: of the file.

    Raises:
        WeightsError: if there are fewer or more values than its shape has.
    """
    onnx = needed("onnx", "an ONNX file")
    shape, kind = tuple(tensor.dims), _kind(onnx, tensor.data_type)
    half_bytes = kind in _HALF_BYTES
    dtype = number_type(_HALF_BYTES.get(kind) or _TYPES.get(kind, kind.lower()))
    if any(size < 0 for size in shape):
        raise DamagedWeightsError(f"the tensor {tensor.name} has the impossible shape {shape}")
    if dtype is None:
        return unreadable(shape, f"it is of type {kind.lower()}")
    size = -(-prod(shape) // 2) if half_bytes else prod(shape) * dtype.itemsize
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        if half_bytes:
            return unreadable(shape, f"it is of type {kind.lower()}, in another file")
        return _external(tensor, folder, shape, dtype, size)
    there = len(tensor.raw_data) if tensor.HasField("raw_data") else None
    if there is not None and there != size:
        raise DamagedWeightsError(
            f"the tensor {tensor.name} of shape {shape} has {there:,} bytes, not {size:,}"
        )
    if there is None and not _typed_values_fit(tensor, prod(shape), half_bytes=half_bytes):
        raise DamagedWeightsError(f"the tensor {tensor.name} of shape {shape} has not as many values")
    return StoredTensor(shape, dtype, partial(_in_file, tensor), None)


def _kind(onnx: Any, number: int) -> str:
    try:
        return onnx.TensorProto.DataType.Name(number)
    except ValueError:
        return f"number {number}"


def _typed_values_fit(tensor: Any, count: int, *, half_bytes: bool) -> bool:
    """Whether the list that holds the values, when they are no bytes, is as long as the shape says."""
    lists = (tensor.float_data, tensor.double_data, tensor.int32_data, tensor.int64_data, tensor.uint64_data)
    return sum(map(len, lists)) in ({count, -(-count // 2)} if half_bytes else {count})


def _in_file(tensor: Any) -> Array:
    try:
        values = needed("onnx.numpy_helper", "an ONNX file").to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedWeightsError(f"the tensor {tensor.name} is damaged: {error}") from error
    return values.astype(np.int8) if values.dtype.name in ("int4", "uint4") else as_array(values)


def _external(
    tensor: Any, folder: Path, shape: tuple[int, ...], dtype: NumberType, size: int
) -> StoredTensor:
    """Values in another file, which has to lie in the same folder or below: a graph may name any."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    try:
        location = PurePosixPath(entries["location"].replace("\\", "/"))
        start = int(entries.get("offset") or 0)
        length = int(entries.get("length") or size)
        path = (folder / location).resolve()
        if location.is_absolute() or not path.is_relative_to(folder.resolve()) or start < 0 or length != size:
            raise ValueError(f"{size:,} bytes at {start:,} of {location}")
        there = path.stat().st_size
    except (KeyError, ValueError, OSError) as error:
        if isinstance(error, OSError):
            return unreadable(shape, f"its values are in the file {entries['location']}, which is not there")
        raise DamagedWeightsError(f"the tensor {tensor.name} is no part of another file: {error}") from error
    if start + size > there:
        raise DamagedWeightsError(
            f"the tensor {tensor.name} ends at byte {start + size:,} of {path.name}, which has {there:,}"
        )
    return StoredTensor(shape, dtype, partial(mapped_array, path, start, shape, dtype), (path, start, shape))


def computed_constant(node: Any, constants: Constants) -> StoredTensor | None:
    """What a node computes, if that is a constant in another form; None if it is not.

    Nodes that change types and shapes, and the pairs that quantize: q = clip(⌊x/s⌉ + z), x = (q − z) s.

    Raises:
        WeightsError: if its inputs do not fit together.
    """
    inputs = [constants.get(name) for name in node.input]
    if not inputs or (first := inputs[0]) is None:
        return None
    if first.obstacle:
        return first if node.op_type in _COMPUTED or node.op_type in _QUANTIZED else None
    if (quantized := _QUANTIZED.get(node.op_type)) is not None:
        return _quantization(node, inputs, quantized)
    if (compute := _COMPUTED.get(node.op_type)) is None:
        return None
    parameter = _short(node, "axes" if node.op_type.endswith("squeeze") else "shape", inputs)
    try:
        return compute(node, first, parameter)
    except (ValueError, IndexError, TypeError, RuntimeError, ArithmeticError) as error:
        raise DamagedWeightsError(
            f"the node {node.name or node.op_type} does not fit its input: {error}"
        ) from error


def dequantized(
    values: StoredTensor, scale: StoredTensor, zero: StoredTensor | None, axis: int, block: int = 0
) -> StoredTensor:
    """(q − z) s, s and z for all values, one along an axis, or one for each block along it."""
    if obstacle := values.obstacle or scale.obstacle or (zero.obstacle if zero else ""):
        return unreadable(values.shape, obstacle)
    shape = values.shape
    _spread_shape(scale.shape, shape, axis, block)

    def read() -> Array:
        q, s = values.read().astype(np.float32), scale.read().astype(np.float32)
        z = 0 if zero is None else _spread(zero.read().astype(np.float32), shape, axis, block)
        return (q - z) * _spread(s, shape, axis, block)

    return StoredTensor(shape, number_type("float32"), read, values.place and (values.place, scale.place))


def _quantization(node: Any, inputs: Sequence[StoredTensor | None], to_integers: bool) -> StoredTensor | None:
    values, scale, zero = (*inputs, None, None)[:3]
    if values is None or scale is None or (zero is None and len(node.input) > 2 and node.input[2]):
        return None
    axis, block = _number(node, "axis", 1), _number(node, "block_size", 0)
    if not to_integers:
        return dequantized(values, scale, zero, axis, block)
    dtype = zero.dtype if zero is not None else number_type("uint8")
    if dtype is None or dtype.is_float:
        return unreadable(values.shape, "it is rounded to 8-bit floats")
    _spread_shape(scale.shape, values.shape, axis, block)

    def read() -> Array:
        bounds = np.iinfo(dtype.stored)
        s = _spread(scale.read().astype(np.float32), values.shape, axis, block)
        z = 0 if zero is None else _spread(zero.read().astype(np.float32), values.shape, axis, block)
        return np.clip(np.rint(values.read() / s) + z, bounds.min, bounds.max).astype(dtype.stored)

    return StoredTensor(values.shape, dtype, read)


def _spread_shape(scale: tuple[int, ...], shape: tuple[int, ...], axis: int, block: int) -> None:
    axis = axis % len(shape) if shape else 0
    per_axis = len(scale) == 1 and bool(shape) and scale[0] == shape[axis]
    blocks = (*shape[:axis], -(-shape[axis] // block), *shape[axis + 1 :]) if block > 0 and shape else None
    if prod(scale) != 1 and not per_axis and scale != blocks:
        raise DamagedWeightsError(f"a scale of shape {scale} does not fit a tensor of shape {shape}")


def _spread(scale: Array, shape: tuple[int, ...], axis: int, block: int) -> Array:
    if scale.size == 1:
        return scale.reshape(())
    axis %= len(shape)
    if scale.ndim == 1:
        return scale.reshape([-1 if each == axis else 1 for each in range(len(shape))])
    return np.repeat(scale, block, axis=axis)[tuple(slice(size) for size in shape)]


def _same(node: Any, values: StoredTensor, _: Sequence[int]) -> StoredTensor:
    return values


def _transposed(node: Any, values: StoredTensor, _: Sequence[int]) -> StoredTensor:
    order = [*_numbers(node, "perm")] or [*reversed(range(len(values.shape)))]
    if sorted(order) != [*range(len(values.shape))]:
        raise ValueError(f"axes {order} of a tensor of shape {values.shape}")
    return values.computed(lambda array: array.transpose(order), tuple(values.shape[axis] for axis in order))


def _reshaped(node: Any, values: StoredTensor, wanted: Sequence[int]) -> StoredTensor:
    shape = [values.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    if shape.count(-1) == 1 and (others := prod(size for size in shape if size != -1)):
        shape[shape.index(-1)] = prod(values.shape) // others
    return _with_shape(values, tuple(shape))


def _squeezed(node: Any, values: StoredTensor, axes: Sequence[int]) -> StoredTensor:
    gone = {axis % len(values.shape) for axis in axes} or {
        axis for axis, size in enumerate(values.shape) if size == 1
    }
    return _with_shape(values, tuple(size for axis, size in enumerate(values.shape) if axis not in gone))


def _unsqueezed(node: Any, values: StoredTensor, axes: Sequence[int]) -> StoredTensor:
    length = len(values.shape) + len(axes)
    new, old = {axis % length for axis in axes}, iter(values.shape)
    return _with_shape(values, tuple(1 if axis in new else next(old) for axis in range(length)))


def _with_shape(values: StoredTensor, shape: tuple[int, ...]) -> StoredTensor:
    if prod(shape) != prod(values.shape) or any(size < 0 for size in shape):
        raise ValueError(f"shape {values.shape} cannot become {shape}")
    return values.computed(lambda array: array.reshape(shape), shape)


_QUANTIZED = {"DequantizeLinear": False, "QuantizeLinear": True}
"""Whether it makes integers of numbers."""

_COMPUTED = {
    **dict.fromkeys(("Identity", "Cast", "CastLike", "Dropout"), _same),
    "Transpose": _transposed,
    "Reshape": _reshaped,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
}


def _short(node: Any, name: str, inputs: Sequence[StoredTensor | None]) -> Sequence[int]:
    """The shape or the axes that a node is given: its second input, or an attribute in older versions."""
    given = inputs[1] if len(inputs) > 1 else None
    if given is None:
        return _numbers(node, name)
    if prod(given.shape) > _LONGEST_SHAPE or given.dtype is None or given.dtype.is_float:
        return ()
    return [int(number) for number in given.read().ravel()]


def _numbers(node: Any, name: str) -> Sequence[int]:
    return next((attribute.ints for attribute in node.attribute if attribute.name == name), ())


def _number(node: Any, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)
