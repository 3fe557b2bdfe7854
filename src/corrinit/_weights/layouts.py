"""How the axes of filters can lie: as in torch, (out, in, k_1, …, k_d), or as in other frameworks.

Where shapes allow several orders, biases decide, then the other tensors of the same file, then what is
usual. What remains open is taken as usual and said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple, TypeAlias

from corrinit._arrays import Array

LONGEST_AXIS = 64
"""A kernel has at most so many taps along an axis; longer tensors are embeddings, not kernels."""

_TYPICAL_AXIS = 11
"""Nearly all kernels have at most so many taps along an axis."""

_DEPTHWISE = re.compile(r"depthwise_kernel$", re.IGNORECASE)
_CUBES = {27: (3, 3, 3), 125: (5, 5, 5), 343: (7, 7, 7)}
_SQUARES = (8, 9, 16, 25, 36, 49)
"""Lengths of an axis that may be the taps of a square or a cube one after the other."""

Order: TypeAlias = Literal["torch", "taps first", "inputs last"]
"""(out, in, k_1, …, k_d), (k_1, …, k_d, in, out) or (out, k_1, …, k_d, in)."""


class Evidence(NamedTuple):
    """What is known of a tensor before its values are read."""

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


@dataclass(frozen=True)
class Layout:
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


class Judged(NamedTuple):
    """A layout, and why it is a guess; or None, and why the tensor holds no filters."""

    layout: Layout | None
    reason: str = ""


def as_in_torch(axes: int) -> Layout:
    """(out, in, k_1, …, k_d)."""
    return Layout(tuple(range(axes)))


def known_layout(evidence: Evidence) -> Judged | None:
    """Layouts that a name or a shape gives away, and why it is a guess."""
    shape, axes = evidence.shape, len(evidence.shape)
    if _DEPTHWISE.search(evidence.leaf):  # (k_1, …, k_d, in, multiplier): every channel has its filters
        return Judged(Layout((axes - 2, axes - 1, *range(axes - 2))))
    cube = cube_of(evidence)
    if axes == 3 and cube and (evidence.called_kernel or shape[2] > _TYPICAL_AXIS):
        taps_first = Layout((4, 3, 0, 1, 2), lambda stored: (*cube, *stored[1:]))
        taken = f"its {shape[0]} taps are taken for those of a {'×'.join(map(str, cube))} kernel"
        return Judged(taps_first, taken)
    square = axes == 5 and shape[3] == shape[4]
    if square and shape[0] == 1 and shape[2] > _TYPICAL_AXIS and evidence.bias != (1,):
        modulated = Layout((0, 1, 2, 3), lambda stored: stored[1:])
        return Judged(
            modulated, f"its shape {shape} is taken for (1, out, in, k, k), that of modulated filters"
        )
    return None


def cube_of(evidence: Evidence) -> tuple[int, ...] | None:
    """The kernel of which the first axis may be the taps; 8 only where others have those of a larger one."""
    return _CUBES.get(evidence.shape[0], (2, 2, 2) if evidence.cubes and evidence.shape[0] == 8 else None)


def is_cube(shape: tuple[int, ...]) -> bool:
    """Whether the first of three axes has as many taps as a cube that kernels have."""
    return len(shape) == 3 and shape[0] in _CUBES


def common_order(tensors: Iterable[Evidence]) -> Order:
    """The order in which most of those tensors lie whose shape and bias allow one only."""
    votes: Counter[Order] = Counter()
    for evidence in tensors:
        if len(evidence.shape) > 3 and not evidence.called_kernel:
            orders = _orders(evidence)
            possible: list[Order] = [order for order in orders if _regular(evidence, order)]
            if len(possible) == 1:
                votes[possible[0]] += 1
    (order, count), *_ = [*votes.most_common(1), ("torch", 0)]
    return order if count > votes["torch"] else "torch"


def best_layout(evidence: Evidence, common: Order = "torch") -> Judged:
    """The order of axes that leaves the best kernel, and why it is a guess; None if none fits.

    A transposed convolution, (in, out, k_1, …, k_d), is known by its bias; without one it stays as it is,
    which changes no correlation.

    Args:
        evidence: of the tensor.
        common: the order of the other tensors.
    """
    shape, bias = evidence.shape, evidence.bias
    orders = _orders(evidence)
    usual: Order = common if common in orders else "torch"
    if evidence.by_hand:
        usual = "torch"
    elif evidence.called_kernel and "taps first" in orders:
        usual = "taps first"
    possible: list[Order] = [
        order
        for order, layout in orders.items()
        if _fits(ordered := layout.shape(shape), bias)
        and (order in ("torch", usual) or all(k % 2 and is_typical((k,)) for k in ordered[2:]))
    ]
    if not possible:
        beside = f" with {bias[0]} biases" if bias else ""
        return Judged(None, f"in no order of its axes shape {shape}{beside} is that of filters")
    head_start = 3 if evidence.by_hand else 1

    def score(order: Order) -> int:
        return _score(orders[order].shape(shape), bias) + head_start * (order == usual)

    best = max(possible, key=score)
    if best == "torch" or (evidence.called_kernel and best == usual):
        open_ = "" if evidence.by_hand else _doubt(evidence, best, possible)
        return Judged(orders[best], open_)
    out, inputs = orders[best].shape(shape)[:2]
    taken = f"its shape {shape} is taken for another order of axes, with out {out} and in {inputs}"
    return Judged(orders[best], taken)


def _doubt(evidence: Evidence, best: Order, possible: Iterable[Order]) -> str:
    """Why the usual order is a guess where the kernel that it leaves is an odd one."""
    shape, orders = evidence.shape, _orders(evidence)
    ordered = orders[best].shape(shape)
    kernel = ordered[2:]
    if len(kernel) == 1:
        if evidence.called_kernel and kernel[0] in _SQUARES:
            return f"its {kernel[0]} taps may be those of a square or a cube"
        return ""
    if len(set(kernel)) == 1 or evidence.bias == ordered[:1]:
        return ""
    regular = [orders[order].shape(shape)[2:] for order in possible if order != best]
    if other := next((k for k in regular if len(set(k)) == 1 and k[0] > 1), None):
        return f"in another order of its axes, shape {shape} has a kernel of {'×'.join(map(str, other))}"
    if any(k % 2 == 0 for k in kernel) and is_typical(kernel):
        return f"its shape {shape} leaves the uncommon kernel {'×'.join(map(str, kernel))}"
    return ""


def _orders(evidence: Evidence) -> dict[Order, Layout]:
    """The orders that a tensor of so many axes and that name can have."""
    shape, axes, bias = evidence.shape, len(evidence.shape), evidence.bias
    first = as_in_torch(axes)
    if bias and bias[0] != shape[0] and bias[0] % shape[1] == 0:
        first = Layout((1, 0, *range(2, axes)))
    orders: dict[Order, Layout] = {"torch": first}
    if axes > 3 or evidence.called_kernel:
        orders["taps first"] = Layout((axes - 1, axes - 2, *range(axes - 2)))
    if axes > 3:
        orders["inputs last"] = Layout((0, axes - 1, *range(1, axes - 1)))
    return orders


def _regular(evidence: Evidence, order: Order) -> bool:
    """Whether an order leaves a kernel as nearly all are: short, equal along its axes, odd if not torch's."""
    ordered = _orders(evidence)[order].shape(evidence.shape)
    kernel = ordered[2:]
    odd = order == "torch" or (kernel[0] % 2 == 1 and kernel[0] > 1)
    return _fits(ordered, evidence.bias) and is_typical(kernel) and len(set(kernel)) == 1 and odd


def _fits(ordered: tuple[int, ...], bias: tuple[int, ...] | None) -> bool:
    """Whether (out, in, k_1, …, k_d) is possible; out may be that of one group of transposed filters."""
    return max(ordered[2:]) <= LONGEST_AXIS and (bias is None or bias[0] % ordered[0] == 0)


def _score(ordered: tuple[int, ...], bias: tuple[int, ...] | None) -> int:
    """How plausible (out, in, k_1, …, k_d) is: short and equal kernel axes, more filters than taps."""
    kernel = ordered[2:]
    return (
        2 * is_typical(kernel)
        + (len(set(kernel)) == 1)
        + (ordered[0] * ordered[1] > prod(kernel))
        + 2 * (bias == ordered[:1])
    )


def is_typical(kernel: Sequence[int]) -> bool:
    """Whether a kernel is no longer along any axis than nearly all are."""
    return max(kernel) <= _TYPICAL_AXIS
