"""From independent taps to correlated ones, in place: each filter z of a weight becomes C z, C C = R.

The products run in numpy: `torch.set_float32_matmul_precision("medium")` lets torch round the factors of
every product to bfloat16, 0.4 % off; a weight must not depend on such a setting. They are kept small enough
for a BLAS to run each in the thread that asks for it, so any number of threads gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from corrinit.correlation import SpatialCorrelation
from corrinit.kernels import Matrix

Mix: TypeAlias = Callable[[Tensor], None]

_LARGEST_DENSE = 256
"""Taps from which a separable correlation mixes axis by axis: Σk products a weight instead of ∏k."""

_PRODUCTS = 1 << 18
"""Multiplications in one call: OpenBLAS starts threads of its own beyond 4 × 65536."""


def mixer(correlation: SpatialCorrelation | None, precision: torch.dtype) -> Mix | None:
    """What correlates the taps of independent filters, in place; None where nothing is to be done.

    It takes filters as the rows of a contiguous CPU tensor (filters, taps) of the precision given here.
    Which products are used depends on the correlation alone, so that one machine gives one result.
    """
    if correlation is None or _is_identity(correlation):
        return None
    factor = _factor(correlation.root, precision)
    return lambda filters: _mix_dense(filters, factor)


def drawn_precision(tensor: Tensor) -> torch.dtype:
    """What a weight is drawn in before it is cast: float64 for float64, else float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _mix_dense(filters: Tensor, factor: np.ndarray) -> None:
    rows = filters.detach().numpy()
    at_a_time = max(1, _PRODUCTS // factor.size)
    for start in range(0, len(rows), at_a_time):
        part = rows[start : start + at_a_time]
        part[:] = part @ factor


def _factor(matrix: Matrix, precision: torch.dtype) -> np.ndarray:
    """The factor in the precision of the draw."""
    rounded = matrix.astype(np.float64 if precision == torch.float64 else np.float32)
    # Far below rounding; and products with such entries could be subnormal, which are a hundred times slower.
    rounded[np.abs(rounded) < 1e-25] = 0
    return rounded


def _is_identity(correlation: SpatialCorrelation) -> bool:
    return bool((correlation.matrix == np.eye(len(correlation.matrix))).all())
