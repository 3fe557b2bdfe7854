"""From independent taps to correlated ones, in place: each filter z of a weight becomes D C z, C C = R.

In float64 and then rounded to the precision of the draw, so that processors, which sum in different orders,
agree to the last digit; and in numpy, as `torch.set_float32_matmul_precision("medium")` lets torch round the
factors of its products to bfloat16, 0.4 % off. Products are so small that BLAS runs each in the thread that
asks for it: any number of threads gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from corrinit._correlation import SpatialCorrelation
from corrinit._spd import Matrix, Vector

Mix: TypeAlias = Callable[[Tensor], None]

_LARGEST_DENSE = 256
"""Taps up to which one product of all taps is as fast as one along each axis, ∏k against Σk."""

_MULTIPLICATIONS = 1 << 17
"""In one product; OpenBLAS uses threads of its own from twice as many."""


def drawn_precision(tensor: Tensor) -> torch.dtype:
    """What a weight is drawn in before it is cast: float64 for float64, else float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def mixer(correlation: SpatialCorrelation | None) -> Mix | None:
    """What makes independent filters correlated, in place; None where nothing is to be done.

    It takes filters as the rows of a contiguous CPU tensor (filters, taps), float32 or float64.

    >>> mix = mixer(SpatialCorrelation([[1, 0.6], [0.6, 1]], (2,)))
    >>> filters = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # the rows become those of C
    >>> mix(filters)
    >>> (filters @ filters).numpy().round(6).tolist()
    [[1.0, 0.6000000238418579], [0.6000000238418579, 1.0]]
    """
    if correlation is None or correlation.is_identity:
        return None
    if correlation.axis_roots is None or len(correlation.deviations) <= _LARGEST_DENSE:
        transposed = np.ascontiguousarray(correlation.factor.T)
        return lambda filters: _mix(filters, transposed)
    roots, deviations = correlation.axis_roots, None if correlation.is_flat else correlation.deviations
    return lambda filters: _mix_by_axes(filters, roots, deviations)


def _mix(filters: Tensor, transposed: Matrix) -> None:
    """Every filter z becomes D C z: rows times (D C)ᵀ."""
    for rows in _parts(filters, transposed.size):
        rows[:] = rows.astype(np.float64, copy=False) @ transposed


def _mix_by_axes(filters: Tensor, roots: Sequence[Matrix], deviations: Vector | None) -> None:
    """Every filter z becomes D (C_1 ⊗ ⋯ ⊗ C_d) z: a product along each axis in turn."""
    size = tuple(map(len, roots))
    for rows in _parts(filters, math.prod(size) * max(size)):
        mixed = rows.astype(np.float64, copy=False)
        for axis, root in enumerate(roots):
            after = math.prod(size[axis + 1 :])
            lines = mixed.reshape(-1, len(root), after)
            mixed = lines[:, :, 0] @ root if after == 1 else root @ lines  # a root is symmetric
        mixed = mixed.reshape(rows.shape)
        rows[:] = mixed if deviations is None else mixed * deviations


def _parts(filters: Tensor, multiplications: int) -> Iterator[np.ndarray]:
    """The filters as arrays that share their memory, so many at a time that a product stays small."""
    rows = filters.detach().numpy()
    at_a_time = max(1, _MULTIPLICATIONS // multiplications)
    for start in range(0, len(rows), at_a_time):
        yield rows[start : start + at_a_time]
