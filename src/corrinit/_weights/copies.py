"""The same filters under several names: counted twice, they would make an estimate look surer than it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from corrinit._arrays import Array
from corrinit._spd import Vector
from corrinit._weights.filters import Filter
from corrinit._weights.stored_tensor import LeftOut

_SAMPLE = 4096
"""Values of a layer that are compared first."""

_FEW = 512
"""With fewer values a correlation above `_ALIKE` could be chance; then only equal ones are copies."""

_ALIKE = 0.9
"""Filters of which independent training made more than this of a correlation have not been seen: averages and
fine-tuned copies lie above 0.99, separately trained layers about 0."""

LIKE = "its filters are those of"
"""How the reason begins for copies that do not share memory."""


def without_copies(filters: Sequence[Filter]) -> tuple[list[Filter], list[LeftOut]]:
    """Each layer once: the first of those that share memory, hold equal values or nearly the same ones.

    Compared are the first values of layers of equal shape, less the mean of each tap, so that layers are not
    alike for a kernel that all their filters resemble.

    Returns:
        The layers that are left, and the copies.
    """
    kept: list[Filter] = []
    copies: list[LeftOut] = []
    places: dict[object, str] = {}
    samples: defaultdict[tuple[int, ...], list[tuple[str, Vector]]] = defaultdict(list)
    groups = defaultdict(int)
    for each in filters:
        groups[each.tensor.shape] += 1
    for each in filters:
        name, tensor = each
        place = tensor.place
        if place is not None and place in places:
            copies.append(LeftOut(name, f"it is stored as {places[place]} too"))
            continue
        if groups[tensor.shape] > 1 and tensor.shape[0] * tensor.shape[1] > 1:
            sample = _sample(tensor.read())
            alike = next((o for o, other in samples[tensor.shape] if _are_copies(sample, other)), None)
            if alike is not None:
                copies.append(LeftOut(name, f"{LIKE} {alike}, or nearly so"))
                continue
            samples[tensor.shape].append((name, sample))
        if place is not None:
            places[place] = name
        kept.append(each)
    return kept, copies


def _sample(weight: Array) -> Vector:
    """The first filters of a layer, less the mean of each tap, of length 1; not finite where they are not."""
    taps = weight[0, 0].size
    outputs = max(1, -(-_SAMPLE // (weight.shape[1] * taps)))
    inputs = max(1, _SAMPLE // taps)
    rows = weight[:outputs, :inputs].astype(np.float64).reshape(-1, taps)
    with np.errstate(invalid="ignore", over="ignore"):
        centred = (rows - rows.mean(axis=0)).ravel()
        return centred / np.linalg.norm(centred)  # NaN for filters that are all alike: no evidence of a copy


def _are_copies(one: Vector, other: Vector) -> bool:
    correlation = float(one @ other)
    return correlation > (_ALIKE if len(one) >= _FEW else 1 - 1e-9)
