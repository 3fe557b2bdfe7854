"""Weights that are stored in parts, put together: masks, magnitudes and directions, norms, scales.

What a layer computes with is then not what any one tensor of the file holds. The names say how the parts
belong together; a weight whose parts cannot be put together is left out, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from corrinit._weights.stored_tensor import LeftOut, StoredTensor

_SCALES = ("weight_scale", "scale_weight", "weight_scale_inv", "weight.scale", "scale")
_LOW_RANK = re.compile(r"(^|[._])(lora|loha|hada|lokr|dora|oft|ia3)(_|\.|$)", re.IGNORECASE)
_EIGHT_BITS = tuple(
    getattr(torch, name)
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
    if hasattr(torch, name)
)


def put_together(tensors: dict[str, StoredTensor]) -> tuple[dict[str, StoredTensor], list[LeftOut]]:
    """The weights that layers compute with, in the place of their first parts.

    - pruned or masked: `w_orig` · `w_mask`, `w` · `w_mask`, `weight` · `mask`
    - weight norm: g v / ‖v‖, of `weight_g` and `weight_v`, or of `original0` and `original1`
    - spectral norm: W / (uᵀ W v), of `weight_orig`, `weight_u`, `weight_v`, or of `original`, `0._u`, `0._v`
    - scaled 8-bit numbers: q · scale, a scale for all or one for each output channel

    Args:
        tensors: a state dict.

    Returns:
        The state dict put together, and what was left out of it.
    """
    parts = _Parts(tensors)
    for name in tensors:
        if _LOW_RANK.search(name):
            parts.leave_out(name, "it is a low-rank update beside the weights; merge it into them first")
    for name in tensors:
        if name.endswith("_mask"):
            stem = name.removesuffix("_mask")
            parts.join(stem, f"{stem}_orig" if f"{stem}_orig" in parts.whole else stem, name, _pruned)
        elif name.endswith(".mask") and _same_shape(tensors, name, stem := f"{name[:-5]}.weight"):
            parts.join(stem, stem, name, _pruned)
    for name in list(parts.whole):
        if name.endswith((".original0", ".original")):
            _join_parametrization(parts, name)
        elif name.endswith("weight_g"):
            stem = name[:-2]
            parts.join(stem, f"{stem}_v", name, _weight_normed)
        elif name.endswith("weight_orig"):
            stem = name[:-5]
            parts.join(stem, name, f"{stem}_u", _spectrally_normed, f"{stem}_v")
    for name in list(parts.whole):
        if name.endswith(("weight_v", "weight_orig")) and len(parts.whole[name].shape) >= 3:
            parts.leave_out(name, "the other parts of this weight are missing")
    for name in list(parts.whole):
        _scale(parts, name)
    return parts.whole, parts.left_out


def _same_shape(tensors: dict[str, StoredTensor], one: str, other: str) -> bool:
    return other in tensors and tensors[one].shape == tensors[other].shape


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
        compute: Callable[..., Tensor | None],
        *more: str,
    ) -> None:
        """Put `compute(main, other, ...)` in the place of these parts; a compute that cannot returns None."""
        names = (main, other, *more)
        parts = [self.whole.get(name) for name in names]
        if any(part is None for part in parts):
            return
        found = [part for part in parts if part is not None]
        if obstacle := next((part.obstacle for part in found if part.obstacle), ""):
            whole = StoredTensor(found[0].shape, found[0].dtype, found[0].read, None, obstacle)
        elif compute(*(torch.empty(part.shape, device="meta") for part in found)) is None:
            shapes = ", ".join(f"{name} {part.shape}" for name, part in zip(names, found, strict=True))
            self.leave_out(main, f"its parts do not fit together: {shapes}")
            return
        else:

            def read() -> Tensor:
                value = compute(*(part.read() for part in found))
                assert value is not None
                return value

            dtype = torch.float32 if compute is _scaled else found[0].dtype
            whole = StoredTensor(found[0].shape, dtype, read)
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
        parts.join(joined, f"{stem}.original1", name, _weight_normed)
    elif beside == {"original", "0._u", "0._v"}:
        parts.join(joined, name, f"{stem}.0._u", _spectrally_normed, f"{stem}.0._v")
    for other in [f"{stem}.{each}" for each in sorted(beside)]:
        if other in parts.whole and joined not in parts.whole:
            parts.leave_out(
                other,
                "it is parametrized in a way that a state dict does not tell; give the module, or save it "
                "after torch.nn.utils.parametrize.remove_parametrizations",
            )


def _pruned(weight: Tensor, mask: Tensor) -> Tensor | None:
    return mask.to(weight.dtype) * weight if weight.shape == mask.shape else None


def _weight_normed(direction: Tensor, magnitude: Tensor) -> Tensor | None:
    """G v / ‖v‖, the norm over all axes but the one that g has, or over all where g is a single number."""
    axes = [axis for axis, size in enumerate(magnitude.shape) if size > 1]
    if magnitude.numel() == 1:
        dim = 0 if magnitude.dim() and len(direction) == 1 else -1
    elif magnitude.dim() == direction.dim() and len(axes) == 1 and _fits(magnitude, direction, axes[0]):
        dim = axes[0]
    else:
        return None
    if direction.is_meta:
        return direction
    if dim == -1:
        return direction * (magnitude / torch.linalg.vector_norm(direction))
    return torch._weight_norm(direction, magnitude, dim)  # pyright: ignore[reportPrivateImportUsage]


def _fits(magnitude: Tensor, direction: Tensor, axis: int) -> bool:
    return magnitude.shape[axis] == direction.shape[axis]


def _spectrally_normed(weight: Tensor, left: Tensor, right: Tensor) -> Tensor | None:
    """W / (uᵀ W v), W as a matrix of the axis that u has: the first, of transposed convolutions the second.

    Where both axes are as long as u, it is the one for which σ is larger, as u and v are singular vectors of
    that matrix alone.
    """
    size = prod(weight.shape)
    axes = [axis for axis in (0, 1) if weight.dim() > 1 and weight.shape[axis] == len(left)]
    if not axes or left.dim() != 1 or right.dim() != 1 or len(left) * len(right) != size:
        return None
    if weight.is_meta:
        return weight
    norms = [torch.dot(left, weight.movedim(axis, 0).flatten(1) @ right) for axis in axes]
    return weight / max(norms, key=abs)


def _scale(parts: _Parts, name: str) -> None:
    """8-bit numbers times their scales."""
    tensor = parts.whole.get(name)
    if tensor is None or len(tensor.shape) < 3 or tensor.dtype not in (*_EIGHT_BITS, torch.int8):
        return
    prefix = name.removesuffix("weight")
    candidates = [f"{name}_scale", f"{name}_scale_inv", *(prefix + scale for scale in _SCALES)]
    scale = next((each for each in candidates if each in parts.whole and each != name), None)
    if any(f"{prefix}{zero}" in parts.whole for zero in ("zero_point", "weight_zero_point", "weight_zp")):
        parts.leave_out(name, "it is quantized with a zero point; give the weights dequantized")
    elif scale is not None:
        parts.join(name, name, scale, _scaled)
    elif tensor.dtype == torch.int8:
        parts.leave_out(name, "it is of type int8 with no scales beside it")


def _scaled(values: Tensor, scale: Tensor) -> Tensor | None:
    outputs = (len(values), *[1] * (values.dim() - 1))
    if scale.numel() == 1:
        shape: tuple[int, ...] = (1,) * values.dim()
    elif scale.numel() == len(values) and scale.shape[0] == len(values):
        shape = outputs
    elif scale.dim() == values.dim() and all(
        a in (1, b) for a, b in zip(scale.shape, values.shape, strict=True)
    ):
        shape = tuple(scale.shape)
    else:
        return None
    return values if values.is_meta else values.to(torch.float32) * scale.to(torch.float32).view(shape)
