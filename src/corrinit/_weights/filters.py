"""Which tensors of a state dict are convolution filters.

A shape alone does not tell: positional embeddings, attention masks, learned inputs and constants have three
to five axes too, and other frameworks put the taps first. So it is decided by the name of a tensor, the bias
beside it and what is plausible as channels and taps. What remains a guess is said to be one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from corrinit._weights.layouts import (
    LONGEST_AXIS,
    Evidence,
    Judged,
    Order,
    as_in_torch,
    best_layout,
    common_order,
    is_cube,
    is_typical,
    known_layout,
)
from corrinit._weights.stored_tensor import LeftOut, StoredTensor, Tensors

_SURE = re.compile(r"(weights?|kernel|filters?|(?<![a-z])w)$", re.IGNORECASE)
"""What filters are called."""

_OUTRIGHT = re.compile(r"(weights?|kernel|filters?)$", re.IGNORECASE)
"""Names that say so outright, whatever else they say."""

_NEVER = re.compile(
    r"running_|num_batches|relative_|rel_pos|pos(ition)?(al)?_?(emb|enc|bias)|^pos$|embed|token|anchor|grid|mask"
    r"|coords|table|queue|prototype|codebook|(^|_)(mean|std|var|input|const(ant)?|noise|gamma|beta|scale|shift"
    r"|bias|alpha|temperature|window|freqs?|fft|basis|buffer|filt|latent|query|queries|memory|state"
    r"|exp_avg(_sq)?|velocity|grad|fisher|importance|scores?|rho|eps)$",
    re.IGNORECASE,
)
"""Buffers, constants, parameters of other layers, and what belongs to a weight without being one."""

_BESIDE = re.compile(
    r"(^|[./])(optim(izer)?s?(_states?)?|opt_state|(max_)?exp_avg(_sq)?|momentum_buffer|grads?|gradients?"
    r"|masks|fisher|importance)([./]|$)",
    re.IGNORECASE,
)
"""Places in a name where something lies that has the names and shapes of the weights."""

_FIXED = re.compile(r"(basis|buffer|window|fft|filt)$", re.IGNORECASE)
"""What a convolution computes with that was not trained, such as a Fourier transform."""

_CONVOLUTION = re.compile(r"conv|cnn|(^|[./])\d+[./][^./]*$", re.IGNORECASE)
"""Names of layers that speak for a convolution: its own, or a number in a sequence of layers of one input."""


_SPLIT = re.compile(r"attention|attn|einsum|dense", re.IGNORECASE)
"""Layers whose matrices have a third axis where outputs or inputs are split, over heads for example."""


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
    cubes = any(is_cube(tensor.shape) for tensor in tensors.values())
    candidates: dict[str, Evidence] = {}
    for name, tensor in tensors.items():
        if 3 <= len(tensor.shape) <= 5:
            evidence = Evidence(name, tensor.shape, _bias(name, tensors), name in given, by_hand, cubes)
            if reason := _obstacle(tensor) or ("" if tensor.is_filter else _other_than_filters(evidence)):
                found.left_out.append(LeftOut(name, reason))
            else:
                candidates[name] = evidence
    common = common_order(each for name, each in candidates.items() if not tensors[name].is_filter)
    places = Counter(_place(each) for each in candidates.values())
    judged = {
        name: _told(each) if tensors[name].is_filter else _judge(each, common, alike=places[_place(each)])
        for name, each in candidates.items()
    }
    unfit = {_kind(candidates[name]): name for name, each in judged.items() if each.layout is None}
    for name, (layout, reason) in judged.items():
        tensor = tensors[name]
        if layout is None:
            found.left_out.append(LeftOut(name, reason))
            continue
        found.filters.append(Filter(name, tensor.computed(layout.filters, layout.shape(tensor.shape))))
        other = unfit.get(_kind(candidates[name])) if len(tensor.shape) > 3 else None
        if reason:
            found.guesses.append(LeftOut(name, reason))
        elif other and not (tensor.is_filter or by_hand or name in given):
            shape = tensors[other].shape
            found.guesses.append(
                LeftOut(name, f"{other} of shape {shape} has as many axes and is no filters")
            )
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


def _other_than_filters(evidence: Evidence) -> str:
    """What a name or the bias beside it says that a tensor is, if not filters."""
    leaf, bias = evidence.leaf, evidence.bias
    if not evidence.given and _NEVER.search(leaf) and not _OUTRIGHT.search(leaf):
        return "its name is that of no filters"
    if not evidence.given and (beside := _BESIDE.search(evidence.name)):
        return f"its name says {beside[2]}: it belongs to a weight, and is none"
    split = _SPLIT.search(evidence.name) if len(evidence.shape) == 3 else None
    if split and not (evidence.given or evidence.by_hand or _CONVOLUTION.search(evidence.name)):
        return f"its layer is called {split[0].lower()}: it is a matrix of which an axis is split"
    if bias == evidence.shape or (bias is not None and len(bias) > 1):
        return f"the bias beside it has shape {bias}: it is a scale, not filters"
    return ""


def _judge(evidence: Evidence, common: Order, *, alike: int) -> Judged:
    """What is plausible as the channels and taps of a tensor of that name.

    Args:
        evidence: of a tensor.
        common: the order of axes of the others.
        alike: how many tensors of the same layer have its shape.
    """
    bias, leaf = evidence.bias, evidence.leaf
    layout, reason = known_layout(evidence) or best_layout(evidence, common)
    if layout is None or evidence.given or evidence.by_hand:
        return Judged(layout, reason)
    out, inputs, *kernel = layout.shape(evidence.shape)
    long = not is_typical(kernel) and (len(kernel) == 1 or len(set(kernel)) > 1)
    if long and bias is None:
        return Judged(None, f"an axis of {max(kernel)} is long for a kernel, and there is no bias beside it")
    if len(kernel) == 1 and inputs == kernel[0] > 1 and bias is None:
        reason = reason or f"its shape {evidence.shape} is that of filters, but also of a scale over an image"
    if not _SURE.search(leaf):
        if out == 1 or inputs == 1 or len(kernel) == 1 or not is_typical(kernel) or kernel[0] % 2 == 0:
            return Judged(None, "neither its name nor its shape is that of filters")
        reason = reason or f"its shape {evidence.shape} is that of filters, its name is not"
    if max(kernel) > 1 and not _CONVOLUTION.search(evidence.name):
        if len(kernel) == 1:
            reason = (
                reason
                or f"its shape {evidence.shape} is not that of filters alone, and nothing names a convolution"
            )
        elif out == 1 and bias is None and not evidence.called_kernel:
            reason = reason or f"its shape {evidence.shape} is also that of a constant image"
    if alike > 1:
        reason = reason or f"{alike} tensors of its layer have the shape {evidence.shape}"
    return Judged(layout, reason)


def _kind(evidence: Evidence) -> tuple[str, int, int]:
    """What tensors that hold several layers of a number of networks in one have in common."""
    return evidence.leaf, len(evidence.shape), evidence.shape[0]


def _place(evidence: Evidence) -> tuple[str, tuple[int, ...]]:
    """The layer of a tensor and its shape."""
    return evidence.name[: len(evidence.name) - len(evidence.leaf)], evidence.shape


def _told(evidence: Evidence) -> Judged:
    """Filters by what the file says, unless they were never trained."""
    longest = max(evidence.shape[2:])
    if _FIXED.search(evidence.leaf) and not evidence.given:
        return Judged(None, "its name is that of fixed filters")
    if longest > LONGEST_AXIS and not evidence.given:
        return Judged(None, f"an axis of {longest} is long for a kernel: it may be a fixed transform")
    return Judged(as_in_torch(len(evidence.shape)))


def _bias(name: str, tensors: Tensors) -> tuple[int, ...] | None:
    """The shape of the bias of the same layer."""
    leaf = re.split(r"[./]", name)[-1]
    prefix, suffix = name[: len(name) - len(leaf)], leaf[leaf.find(":") :] if ":" in leaf else ""
    own = ("b" if leaf == "w" else _SURE.sub("bias", leaf.removesuffix(suffix))) + suffix
    beside = tensors.get(prefix + own) if own != leaf else None
    if beside is None and prefix:
        beside = tensors.get(f"{prefix}bias{suffix}")
    if beside is None or not beside.shape or beside.shape == tensors[name].shape:
        return None if beside is None else beside.shape or None
    return tuple(size for size in beside.shape if size > 1) or (1,)  # some libraries keep biases as (1, out)
