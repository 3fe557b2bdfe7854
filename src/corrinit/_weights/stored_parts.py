"""Weights that are stored in parts, put together: masks, magnitudes and directions, norms, scales.

What a layer computes with is then not what any one tensor of the file holds. The names say how the parts
belong together; a weight whose parts cannot be put together is left out, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import NamedTuple, TypeAlias

import numpy as np

from corrinit._arrays import Array
from corrinit._weights.number_types import number_type
from corrinit._weights.stored_tensor import LeftOut, StoredTensor

Shape: TypeAlias = tuple[int, ...]

_SCALES = ("weight_scale", "scale_weight", "weight_scale_inv", "weight.scale", "scale")
_LOW_RANK = re.compile(r"(^|[._])(lora|loha|hada|lokr|dora|oft|ia3)(_|\.|$)", re.IGNORECASE)


class _Joining(NamedTuple):
    """How parts make a weight: whether their shapes fit together, and the weight of their values."""

    fits: Callable[..., bool]
    compute: Callable[..., Array]


def put_together(tensors: dict[str, StoredTensor]) -> tuple[dict[str, StoredTensor], list[LeftOut]]:
    """The weights that layers compute with, in the place of their first parts.

    - pruned or masked: `w_orig` · `w_mask`; `w` · `w_mask`, `w.mask` or `masks.w`; `weight` · `mask`
    - weight norm: g v / ‖v‖, of `weight_g` and `weight_v`, or of `original0` and `original1`
    - spectral norm: W / (uᵀ W v), of `weight_orig`, `weight_u`, `weight_v`, or of `original`, `0._u`, `0._v`
    - scaled 8-bit numbers: q · scale, a scale for all or one for each output channel

    Args:
        tensors: a state dict.

    Returns:
        The state dict put together, and what was left out of it.
    """
    if any(tensor.is_filter for tensor in tensors.values()):  # files that tell their filters hold them whole
        return dict(tensors), []
    parts = _Parts(tensors)
    for name in tensors:
        if _LOW_RANK.search(name):
            parts.leave_out(name, "it is a low-rank update beside the weights; merge it into them first")
    for name in tensors:
        if name.endswith("_mask"):
            stem = name.removesuffix("_mask")
            parts.join(stem, f"{stem}_orig" if f"{stem}_orig" in parts.whole else stem, name, _PRUNED)
        elif stem := _masked(tensors, name):
            parts.join(stem, stem, name, _PRUNED)
    for name in list(parts.whole):
        if name.endswith((".original0", ".original")):
            _join_parametrization(parts, name)
        elif name.endswith("weight_g"):
            stem = name[:-2]
            parts.join(stem, f"{stem}_v", name, _WEIGHT_NORMED)
        elif name.endswith("weight_orig"):
            stem = name[:-5]
            parts.join(stem, name, f"{stem}_u", _SPECTRALLY_NORMED, f"{stem}_v")
    for name in list(parts.whole):
        if name.endswith(("weight_v", "weight_orig")) and len(parts.whole[name].shape) >= 3:
            parts.leave_out(name, "the other parts of this weight are missing")
    for name in list(parts.whole):
        _scale(parts, name)
    return parts.whole, parts.left_out


def _masked(tensors: dict[str, StoredTensor], name: str) -> str:
    """The weight of which a tensor is the mask by its name and shape; empty if it is none."""
    beside = [f"{name[:-5]}.weight", name[:-5]] if name.endswith(".mask") else []
    tree, _, rest = name.partition(".")
    candidates = [*beside, rest] if tree in ("mask", "masks") else beside
    shape = tensors[name].shape
    return next((o for o in candidates if o in tensors and _broadcasts(shape, tensors[o].shape)), "")


class _Parts:
    """A state dict of which tensors are being joined."""

    def __init__(self, tensors: dict[str, StoredTensor]) -> None:
        self.whole, self.left_out = dict(tensors), list[LeftOut]()

    def leave_out(self, name: str, reason: str) -> None:
        tensor = self.whole.pop(name)
        if len(tensor.shape) >= 3:
            self.left_out.append(LeftOut(name, reason))

    def join(
        self,
        joined: str,
        main: str,
        other: str,
        joining: _Joining,
        *more: str,
    ) -> None:
        """Put `joining.compute(main, other, ...)` in the place of these parts, if their shapes fit."""
        names = (main, other, *more)
        parts = [self.whole.get(name) for name in names]
        if any(part is None for part in parts):
            return
        found = [part for part in parts if part is not None]
        if obstacle := next((part.obstacle for part in found if part.obstacle), ""):
            whole = replace(found[0], place=None, obstacle=obstacle)
        elif not joining.fits(*(part.shape for part in found)):
            shapes = ", ".join(f"{name} {part.shape}" for name, part in zip(names, found, strict=True))
            self.leave_out(main, f"its parts do not fit together: {shapes}")
            return
        else:
            dtype = number_type("float32") if joining is _SCALED else found[0].dtype
            whole = StoredTensor(
                found[0].shape, dtype, lambda: joining.compute(*(part.read() for part in found))
            )
        self.whole = {
            joined if name == main else name: whole if name == main else tensor
            for name, tensor in self.whole.items()
            if name == main or name not in names
        }


def _join_parametrization(parts: _Parts, name: str) -> None:
    """`torch.nn.utils.parametrize`: `parametrizations.weight.original…`, and the buffers of each step."""
    stem = name.rpartition(".")[0]
    before, marked, tensor_name = stem.rpartition("parametrizations.")
    if not marked or "." in tensor_name:
        return
    joined = before + tensor_name
    beside = {other.removeprefix(f"{stem}.") for other in parts.whole if other.startswith(f"{stem}.")}
    if beside == {"original0", "original1"}:
        parts.join(joined, f"{stem}.original1", name, _WEIGHT_NORMED)
    elif beside == {"original", "0._u", "0._v"}:
        parts.join(joined, name, f"{stem}.0._u", _SPECTRALLY_NORMED, f"{stem}.0._v")
    for other in [f"{stem}.{each}" for each in sorted(beside)]:
        if other in parts.whole and joined not in parts.whole:
            parts.leave_out(
                other,
                "it is parametrized in a way that a state dict does not tell; give the module, or save it "
                "after torch.nn.utils.parametrize.remove_parametrizations",
            )


def _normed_axis(direction: Shape, magnitude: Shape) -> int | None:
    """The axis that is left where norms are taken: the one that g has; −1: none; None: they do not fit."""
    if prod(magnitude) == 1:
        return 0 if magnitude and direction[0] == 1 else -1
    axes = [axis for axis, size in enumerate(magnitude) if size > 1]
    if len(magnitude) == len(direction) and len(axes) == 1 and magnitude[axes[0]] == direction[axes[0]]:
        return axes[0]
    return None


def _weight_normed(direction: Array, magnitude: Array) -> Array:
    """G v / ‖v‖, the norm over all axes but the one that g has, or over all where g is a single number."""
    kept = _normed_axis(direction.shape, magnitude.shape)
    over = tuple(axis for axis in range(direction.ndim) if axis != kept)
    norms = np.sqrt(np.square(direction, dtype=_precise(direction)).sum(axis=over, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):  # a filter of zeros becomes NaN, as in training
        return (direction * (magnitude.reshape(norms.shape) / norms)).astype(direction.dtype)


def _normed_rows(weight: Shape, left: Shape, right: Shape) -> list[int]:
    """The axes that can be the rows of W as a matrix, for u and v of these shapes."""
    if len(weight) < 2 or len(left) != 1 or len(right) != 1 or left[0] * right[0] != prod(weight):
        return []
    return [axis for axis in (0, 1) if weight[axis] == left[0]]


def _spectrally_normed(weight: Array, left: Array, right: Array) -> Array:
    """W / (uᵀ W v), W as a matrix of the axis that u has: the first, of transposed convolutions the second.

    Where both axes are as long as u, it is the one for which σ is larger, as u and v are singular vectors of
    that matrix alone.
    """
    norms = [
        left @ (np.moveaxis(weight, axis, 0).reshape(len(left), -1) @ right)
        for axis in _normed_rows(weight.shape, left.shape, right.shape)
    ]
    return weight / max(norms, key=abs)


def _scale(parts: _Parts, name: str) -> None:
    """8-bit numbers times their scales."""
    tensor = parts.whole.get(name)
    if tensor is None or len(tensor.shape) < 3 or tensor.dtype is None or tensor.dtype.itemsize != 1:
        return
    if not tensor.dtype.is_float and tensor.dtype.name != "int8":
        return
    prefix = name.removesuffix("weight")
    candidates = [f"{name}_scale", f"{name}_scale_inv", *(prefix + scale for scale in _SCALES)]
    scale = next((each for each in candidates if each in parts.whole and each != name), None)
    if any(f"{prefix}{zero}" in parts.whole for zero in ("zero_point", "weight_zero_point", "weight_zp")):
        parts.leave_out(name, "it is quantized with a zero point; give the weights dequantized")
    elif scale is not None:
        parts.join(name, name, scale, _SCALED)
    elif tensor.dtype.name == "int8":
        parts.leave_out(name, "it is of type int8 with no scales beside it")


def _scale_shape(values: Shape, scale: Shape) -> Shape | None:
    """The shape in which scales meet the values: one for all, for each output, or one that broadcasts."""
    if prod(scale) == 1:
        return (1,) * len(values)
    if prod(scale) == scale[0] == values[0]:
        return (values[0], *[1] * (len(values) - 1))
    return scale if _broadcasts(scale, values) else None


def _broadcasts(shape: Shape, whole: Shape) -> bool:
    """Whether a tensor of as many axes is as long as another one or 1 along each."""
    return len(shape) == len(whole) and all(a in (1, b) for a, b in zip(shape, whole, strict=True))


def _scaled(values: Array, scale: Array) -> Array:
    shape = _scale_shape(values.shape, scale.shape)
    assert shape is not None
    return values.astype(np.float32) * scale.astype(np.float32).reshape(shape)


def _precise(values: Array) -> type[np.floating]:
    return np.float64 if values.dtype == np.float64 else np.float32


_PRUNED = _Joining(
    lambda weight, mask: _broadcasts(mask, weight), lambda weight, mask: mask.astype(weight.dtype) * weight
)
_WEIGHT_NORMED = _Joining(lambda *shapes: _normed_axis(*shapes) is not None, _weight_normed)
_SPECTRALLY_NORMED = _Joining(lambda *shapes: bool(_normed_rows(*shapes)), _spectrally_normed)
_SCALED = _Joining(lambda *shapes: _scale_shape(*shapes) is not None, _scaled)
