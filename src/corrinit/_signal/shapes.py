"""Output shapes of the operations that convolutional models are made of.

Torch has these rules too, for tensors on the meta device, but they are written in Python and import its
compiler on first use, which takes longer than to read a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from corrinit._signal.graph import Kind
from corrinit._signal.windows import per_axis

Shape = tuple[int, ...]

_KEEPING: frozenset[Kind] = frozenset(
    {"activation", "batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "dropout"}
)


def output_shape(kind: Kind, arguments: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape | None:
    """The shape of the output for inputs of these shapes; None where torch has to say.

    Raises:
        ValueError: if such inputs do not fit.
    """
    shape = inputs[0]
    if kind in _KEEPING:
        return shape
    if kind in ("add", "mul", "shift", "scale"):
        return np.broadcast_shapes(*inputs)
    if kind == "linear":
        return _linear(arguments, shape)
    if kind in ("conv", "transposed_conv"):
        return _convolved(kind, arguments, shape)
    if kind in ("max_pool", "avg_pool"):
        return _pooled(arguments, shape)
    if kind in ("adaptive_max_pool", "adaptive_avg_pool"):
        size = arguments["output_size"]
        axes = len(size) if isinstance(size, (tuple, list)) else len(shape) - 2
        wanted = per_axis(size, axes)
        return (*shape[:-axes], *(n if w is None else w for n, w in zip(shape[-axes:], wanted, strict=True)))
    if kind == "concat" and all(len(other) == len(shape) for other in inputs):
        axis = arguments.get("dim", 0) % len(shape)
        return (*shape[:axis], sum(other[axis] for other in inputs), *shape[axis + 1 :])
    if kind == "mean":
        return _averaged(arguments, shape)
    return None


def _linear(arguments: Mapping[str, Any], shape: Shape) -> Shape:
    if not shape or shape[-1] != arguments["in_features"]:
        raise ValueError(f"an input of shape {shape} for {arguments['in_features']} features")
    return (*shape[:-1], arguments["out_features"])


def _convolved(kind: Kind, arguments: Mapping[str, Any], shape: Shape) -> Shape:
    axes = len(arguments["kernel_size"])
    if len(shape) not in (axes + 1, axes + 2) or shape[-axes - 1] != arguments["in_channels"]:
        raise ValueError(f"an input of shape {shape} for {arguments['in_channels']} channels, {axes} axes")
    lengths = []
    for axis, length in enumerate(shape[-axes:]):
        reach = arguments["dilation"][axis] * (arguments["kernel_size"][axis] - 1) + 1
        margin, stride = sum(arguments["padding"][axis]), arguments["stride"][axis]
        if kind == "conv":
            lengths.append((length + margin - reach) // stride + 1)
        else:
            lengths.append((length - 1) * stride + reach - margin + arguments["output_padding"][axis])
        if lengths[-1] <= 0:
            raise ValueError(f"an input {length} long for a kernel that spans {reach}")
    return (*shape[: -axes - 1], arguments["out_channels"], *lengths)


def _pooled(arguments: Mapping[str, Any], shape: Shape) -> Shape:
    axes = pooled_axes(arguments, shape)
    size = per_axis(arguments["kernel_size"], axes)
    stride = per_axis(arguments.get("stride") or size, axes)
    margin, dilation = (per_axis(arguments.get(key, value), axes) for key, value in _POOLING)
    lengths = []
    for axis, length in enumerate(shape[-axes:]):
        room = length + 2 * margin[axis] - dilation[axis] * (size[axis] - 1) - 1
        windows = room // stride[axis] + 1
        if (
            arguments.get("ceil_mode")
            and room % stride[axis]
            and windows * stride[axis] < length + margin[axis]
        ):
            windows += 1
        if windows <= 0:
            raise ValueError(f"an input {length} long for windows of {size[axis]}")
        lengths.append(windows)
    return (*shape[:-axes], *lengths)


_POOLING = (("padding", 0), ("dilation", 1))


def pooled_axes(arguments: Mapping[str, Any], shape: Shape) -> int:
    """How many axes a pooling runs over: all but batch and channels, unless its size names them."""
    size = arguments["kernel_size"]
    return len(size) if isinstance(size, (tuple, list)) and len(size) > 1 else len(shape) - 2


def averaged_axes(arguments: Mapping[str, Any], shape: Shape) -> tuple[int, ...]:
    """The axes, from 0, that a mean runs over."""
    axes = arguments.get("dim")
    axes = range(len(shape)) if axes is None else axes if isinstance(axes, (tuple, list)) else (axes,)
    return tuple(sorted(axis % len(shape) for axis in axes))


def _averaged(arguments: Mapping[str, Any], shape: Shape) -> Shape:
    gone = averaged_axes(arguments, shape)
    if arguments.get("keepdim"):
        return tuple(1 if axis in gone else length for axis, length in enumerate(shape))
    return tuple(length for axis, length in enumerate(shape) if axis not in gone)
