"""Which tensors of a state dict are convolution filters, and how their axes are laid out.

A shape alone does not tell: positional embeddings, attention masks, learned inputs and constants have three
to five axes too, and other frameworks put the taps first. So it is decided by the name of a tensor, the bias
beside it and what is plausible as channels and taps. What remains a guess is said to be one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from corrinit._arrays import Array
from corrinit._weights.stored_tensor import LeftOut, StoredTensor, Tensors

LONGEST_AXIS = 64
"""A kernel has at most so many taps along an axis; longer tensors are embeddings, not kernels."""

_TYPICAL_AXIS = 11
"""Nearly all kernels have at most so many taps along an axis."""

_SURE = re.compile(r"(weights?|kernel|filters?|(?<![a-z])w)$", re.IGNORECASE)
"""What filters are called."""

_OUTRIGHT = re.compile(r"(weights?|kernel|filters?)$", re.IGNORECASE)
"""Names that say so outright, whatever else they say."""

_NEVER = re.compile(
    r"running_|num_batches|relative_|rel_pos|pos(ition)?(al)?_?(emb|enc|bias)|^pos$|embed|token|anchor|grid|mask"
    r"|coords|table|queue|prototype|codebook|(^|_)(mean|std|var|input|const(ant)?|noise|gamma|beta|scale|shift"
    r"|bias|alpha|temperature|window|freqs?|fft|basis|buffer|filt|latent|query|queries|memory|state)$",
    re.IGNORECASE,
)
"""Buffers, constants and parameters of other layers."""

_FIXED = re.compile(r"(basis|buffer|window|fft|filt)$", re.IGNORECASE)
"""What a convolution computes with that was not trained, such as a Fourier transform."""

_DEPTHWISE = re.compile(r"depthwise_kernel$", re.IGNORECASE)
_CUBES = {27: (3, 3, 3), 125: (5, 5, 5), 343: (7, 7, 7)}


class Filter(NamedTuple):
    """The filters of a layer, to be read as (out, in, k_1, …, k_d)."""

    name: str
    tensor: StoredTensor


class Found(NamedTuple):
    """The filters of a state dict, what was left out, and the names of those that are a guess, with why."""

    filters: list[Filter]
    left_out: list[LeftOut]
    guesses: list[LeftOut]


def find_filters(tensors: Tensors, given: Collection[str] = (), *, by_hand: bool = False) -> Found:
    """The filters among the tensors of a state dict.

    Args:
        tensors: put together, see `corrinit._weights.stored_parts`.
        given: names of tensors that somebody says are filters: these are taken unless their shape forbids it.
        by_hand: whether somebody named the tensors for this purpose, so that their names need tell nothing.
    """
    found = Found([], [], [])
    cubes = any(shape[0] in _CUBES for shape in (t.shape for t in tensors.values()) if len(shape) == 3)
    for name, tensor in tensors.items():
        if not 3 <= len(tensor.shape) <= 5:
            continue
        if reason := _obstacle(tensor):
            found.left_out.append(LeftOut(name, reason))
            continue
        evidence = _Evidence(name, tensor.shape, _bias(name, tensors), name in given, by_hand, cubes)
        judged = _told(evidence) if tensor.is_filter else _judge(evidence)
        if judged.layout is None:
            found.left_out.append(LeftOut(name, judged.reason))
            continue
        shape = judged.layout.shape(tensor.shape)
        found.filters.append(Filter(name, tensor.computed(judged.layout.filters, shape)))
        if judged.reason:
            found.guesses.append(LeftOut(name, judged.reason))
        elif tensor.dtype is not None and tensor.dtype.itemsize == 1:
            found.guesses.append(LeftOut(name, "8-bit floats without scales are taken as they are"))
    return found


def _obstacle(tensor: StoredTensor) -> str:
    """Why a tensor of whatever name holds no filters."""
    if tensor.obstacle:
        return tensor.obstacle
    if tensor.dtype is None or not tensor.dtype.is_float:
        return f"it is of type {tensor.dtype.name if tensor.dtype else 'unknown'}"
    return "" if all(tensor.shape) else "it is empty"


@dataclass(frozen=True)
class _Layout:
    """An order of axes, given by the place of the output, the input and the kernel axes.

    Args:
        axes: of the tensor, in the order (out, in, k_1, …, k_d).
        split: the shape before the axes are ordered, where it is not that of the tensor.
    """

    axes: tuple[int, ...]
    split: Callable[[tuple[int, ...]], tuple[int, ...]] | None = None

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        split = self.split(stored) if self.split else stored
        return tuple(split[axis] for axis in self.axes)

    def filters(self, tensor: Array) -> Array:
        split = tensor.reshape(self.split(tensor.shape)) if self.split else tensor
        return split.transpose(self.axes)


class _Judged(NamedTuple):
    layout: _Layout | None
    reason: str = ""


class _Evidence(NamedTuple):
    name: str
    shape: tuple[int, ...]
    bias: tuple[int, ...] | None
    given: bool
    """Whether somebody says that these are filters."""

    by_hand: bool
    """Whether somebody named the tensors for this purpose."""

    cubes: bool
    """Whether other tensors have the taps of a cube as their first axis."""

    @property
    def leaf(self) -> str:
        return re.split(r"[./]", self.name)[-1].partition(":")[0]

    @property
    def called_kernel(self) -> bool:
        return self.leaf.lower().endswith("kernel")


def _judge(evidence: _Evidence) -> _Judged:
    bias, leaf = evidence.bias, evidence.leaf
    if _NEVER.search(leaf) and not _OUTRIGHT.search(leaf) and not evidence.given:
        return _Judged(None, "its name is that of no filters")
    if bias == evidence.shape or (bias is not None and len(bias) > 1):
        return _Judged(None, f"the bias beside it has shape {bias}: it is a scale, not filters")
    layout, reason = _known_layout(evidence) or _best_layout(evidence)
    if layout is None or evidence.given or evidence.by_hand:
        return _Judged(layout, reason)
    out, inputs = layout.shape(evidence.shape)[:2]
    kernel = layout.shape(evidence.shape)[2:]
    long = not _typical(kernel) and (len(kernel) == 1 or len(set(kernel)) > 1)
    if long and bias is None:
        return _Judged(None, f"an axis of {max(kernel)} is long for a kernel, and there is no bias beside it")
    if len(kernel) == 1 and inputs == kernel[0] > 1 and bias is None:
        reason = reason or f"its shape {evidence.shape} is that of filters, but also of a scale over an image"
    if not _SURE.search(leaf):
        if out == 1 or inputs == 1 or len(kernel) == 1 or not _typical(kernel) or kernel[0] % 2 == 0:
            return _Judged(None, "neither its name nor its shape is that of filters")
        reason = reason or f"its shape {evidence.shape} is that of filters, its name is not"
    return _Judged(layout, reason)


def _told(evidence: _Evidence) -> _Judged:
    """Filters by what the file says, unless they were never trained."""
    longest = max(evidence.shape[2:])
    if _FIXED.search(evidence.leaf) and not evidence.given:
        return _Judged(None, "its name is that of fixed filters")
    if longest > LONGEST_AXIS and not evidence.given:
        return _Judged(None, f"an axis of {longest} is long for a kernel: it may be a fixed transform")
    return _Judged(_Layout(tuple(range(len(evidence.shape)))))


def _known_layout(evidence: _Evidence) -> tuple[_Layout, str] | None:
    """Layouts that a name or a shape gives away, and why it is a guess."""
    shape, axes = evidence.shape, len(evidence.shape)
    if _DEPTHWISE.search(evidence.leaf):  # (k_1, …, k_d, in, multiplier): every channel has its filters
        return _Layout((axes - 2, axes - 1, *range(axes - 2))), ""
    cube = _CUBES.get(shape[0], (2, 2, 2) if evidence.cubes and shape[0] == 8 else None)
    if axes == 3 and cube and (evidence.called_kernel or shape[2] > _TYPICAL_AXIS):
        taps_first = _Layout((4, 3, 0, 1, 2), lambda stored: (*cube, *stored[1:]))
        return taps_first, f"its {shape[0]} taps are taken for those of a {'×'.join(map(str, cube))} kernel"
    square = axes == 5 and shape[3] == shape[4]
    if square and shape[0] == 1 and shape[2] > _TYPICAL_AXIS and evidence.bias != (1,):
        modulated = _Layout((0, 1, 2, 3), lambda stored: stored[1:])
        return modulated, f"its shape {shape} is taken for (1, out, in, k, k), that of modulated filters"
    return None


def _best_layout(evidence: _Evidence) -> tuple[_Layout | None, str]:
    """The order of axes that leaves the best kernel, and why it is a guess; None if none fits.

    A transposed convolution, (in, out, k_1, …, k_d), is known by its bias; without one it stays as it is,
    which changes no correlation.
    """
    shape, axes, bias = evidence.shape, len(evidence.shape), evidence.bias
    first = _Layout(tuple(range(axes)))
    if bias and bias[0] != shape[0] and bias[0] % shape[1] == 0:
        first = _Layout((1, 0, *range(2, axes)))
    orders = [first]
    if axes > 3 or evidence.called_kernel:
        orders.append(_Layout((axes - 1, axes - 2, *range(axes - 2))))
    if axes > 3:
        orders.append(_Layout((0, axes - 1, *range(1, axes - 1))))
    usual = orders[1] if evidence.called_kernel and not evidence.by_hand else first
    possible = [
        layout
        for layout in orders
        if _fits(layout.shape(shape), bias)
        and (layout in (first, usual) or all(k % 2 and _typical((k,)) for k in layout.shape(shape)[2:]))
    ]
    if not possible:
        beside = f" with {bias[0]} biases" if bias else ""
        return None, f"in no order of its axes shape {shape}{beside} is that of filters"
    head_start = 3 if evidence.by_hand else 1
    best = max(possible, key=lambda each: _score(each.shape(shape), bias) + head_start * (each is usual))
    ordered = best.shape(shape)
    guess = f"its shape {shape} is taken for another order of axes, with out {ordered[0]} and in {ordered[1]}"
    return best, "" if best in (first, usual) else guess


def _fits(ordered: tuple[int, ...], bias: tuple[int, ...] | None) -> bool:
    """Whether (out, in, k_1, …, k_d) is possible; out may be that of one group of transposed filters."""
    return max(ordered[2:]) <= LONGEST_AXIS and (bias is None or bias[0] % ordered[0] == 0)


def _score(ordered: tuple[int, ...], bias: tuple[int, ...] | None) -> int:
    """How plausible (out, in, k_1, …, k_d) is: short and equal kernel axes, more filters than taps."""
    kernel = ordered[2:]
    return (
        2 * _typical(kernel)
        + (len(set(kernel)) == 1)
        + (ordered[0] * ordered[1] > prod(kernel))
        + 2 * (bias == ordered[:1])
    )


def _typical(kernel: tuple[int, ...]) -> bool:
    return max(kernel) <= _TYPICAL_AXIS


def _bias(name: str, tensors: Tensors) -> tuple[int, ...] | None:
    """The shape of the bias of the same layer."""
    leaf = re.split(r"[./]", name)[-1]
    prefix, suffix = name[: len(name) - len(leaf)], leaf[leaf.find(":") :] if ":" in leaf else ""
    own = _SURE.sub("bias", leaf.removesuffix(suffix)) + suffix
    beside = tensors.get(prefix + own) if own != leaf else None
    if beside is None and prefix:
        beside = tensors.get(f"{prefix}bias{suffix}")
    if beside is None or not beside.shape or beside.shape == tensors[name].shape:
        return None if beside is None else beside.shape or None
    return tuple(size for size in beside.shape if size > 1) or (1,)  # some libraries keep biases as (1, out)
