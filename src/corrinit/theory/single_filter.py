"""Gradient descent of single filters, simulated: Eqs. (1) and (2) of the paper.

ŷ = max(w·X, 0), L = (y − ŷ)², so each update is w ← w + (2λ/n) Σ (y − w·X) X over the active samples, those
with w·X > 0. Many sample sets and many starts run at once, in float64. The closed forms it is tested against
are in `corrinit.theory.dynamics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from corrinit.errors import ConfigError, ValuesError
from corrinit.theory.samples import Array, Samples

Order = Literal["batch", "cyclic"]

_CHUNK_ELEMENTS = 1 << 16


@dataclass(frozen=True, eq=False)
class Descent:
    """What gradient descent did: one record after every `every` updates, the first at the start.

    Args:
        samples: the samples descended on.
        learning_rate: λ.
        steps: updates made before each record, shape (records,).
        weights: w, shape (records, sets, starts, p).
        active: number of samples with w·X > 0, shape (records, sets, starts).
        sign_changes: GradientSignChanges, the mean of |sign g(t) − sign g(t+1)|/2 over the p entries of the
            gradient, mean over the updates since the last record, shape (records − 1, sets, starts).
    """

    samples: Samples
    learning_rate: float
    steps: NDArray[np.int64]
    weights: Array
    active: NDArray[np.int64]
    sign_changes: Array

    @property
    def distances(self) -> Array:
        """‖w − w*‖, shape (records, sets, starts)."""
        return np.linalg.norm(self.weights - self.samples.optima[:, None], axis=-1)

    @property
    def angles(self) -> Array:
        """Angle between w and w* in radians, shape (records, sets, starts); NaN where one of them is 0."""
        optima = self.samples.optima[:, None]
        lengths = np.linalg.norm(self.weights, axis=-1) * np.linalg.norm(optima, axis=-1)
        with np.errstate(invalid="ignore"):
            return np.arccos(np.clip((self.weights * optima).sum(axis=-1) / lengths, -1, 1))

    @property
    def losses(self) -> Array:
        """Mean of (y − ŷ)² over the samples, shape (records, sets, starts)."""
        outputs = np.einsum("rsmp,snp->rsmn", self.weights, self.samples.inputs).clip(min=0)
        return np.square(self.samples.targets[:, None] - outputs).mean(axis=-1)

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Filters without an active sample at the end: they never move again. Shape (sets, starts)."""
        return self.active[-1] == 0

    @property
    def always_active(self) -> NDArray[np.bool_]:
        """Filters for which all samples were active at every record, shape (sets, starts)."""
        return (self.active == self.samples.shape[1]).all(axis=0)


def descend(
    samples: Samples,
    starts: ArrayLike,
    learning_rate: float,
    steps: int,
    *,
    every: int = 1,
    order: Order = "batch",
) -> Descent:
    """Gradient descent of every start on every sample set.

    Args:
        samples: the sample sets.
        starts: w(0), shape (starts, p) for all sets, or (sets, starts, p).
        learning_rate: λ, below `stability_limit`.
        steps: number of updates, a multiple of `every`.
        every: updates between records.
        order: `"batch"`, all samples in every update (Eq. 1), or `"cyclic"`, one sample after the other.

    Raises:
        ConfigError: for shapes that do not fit, or a learning rate at which descent diverges.

    >>> descent = descend(Samples.symmetric([0, 0.5]), [[0.5, 0.2]], learning_rate=0.25, steps=2)
    >>> descent.weights[:, 0, 0].round(6)  # w_0 halves its gap, w_1 shrinks by 1 − 2λ d_1² = 0.875
    array([[0.5     , 0.2     ],
           [0.75    , 0.175   ],
           [0.875   , 0.153125]])
    """
    weights = _starts(samples, starts)
    if steps < 1 or every < 1 or steps % every:
        raise ConfigError(
            f"{steps} steps recorded every {every}: both are positive, steps a multiple of every"
        )
    if order not in ("batch", "cyclic"):
        raise ConfigError(f"order is {order!r}; it is 'batch' or 'cyclic'")
    limit = stability_limit(samples, order)
    if not 0 < learning_rate < limit:
        raise ConfigError(
            f"learning rate is {learning_rate:.6g}; "
            f"descent on these samples converges between 0 and {limit:.6g}"
        )
    sets, n, p = samples.shape
    records = [
        _descend(
            torch.tensor(samples.inputs[chunk]),
            torch.tensor(samples.targets[chunk]),
            torch.tensor(weights[chunk]),
            learning_rate,
            steps,
            every,
            order,
        )
        for chunk in _chunks(sets, weights.shape[1] * max(n, p))
    ]
    path, active, changes = (torch.cat(parts, dim=1).numpy() for parts in zip(*records, strict=True))
    return Descent(samples, learning_rate, np.arange(0, steps + 1, every), path, active, changes)


def stability_limit(samples: Samples, order: Order = "batch") -> float:
    """The learning rate below which descent cannot diverge, on the strictest of the sample sets.

    λ < 1/h_max, with h_max the largest eigenvalue of H, for batches: then |1 − 2λh| < 1 for all h > 0.
    λ < 1/max‖X‖² for samples taken one by one.
    """
    if order == "cyclic":
        return float(1 / np.square(samples.inputs).sum(axis=-1).max())
    return float(1 / np.linalg.eigvalsh(samples.second_moment).max())


def _descend(
    inputs: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    learning_rate: float,
    steps: int,
    every: int,
    order: Order,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The loop itself, on one chunk of sample sets: weights, active counts and sign changes by record."""
    sets, n, p = inputs.shape
    starts = weights.shape[1]
    records = steps // every + 1
    path = torch.empty(records, sets, starts, p, dtype=torch.float64)
    active = torch.empty(records, sets, starts, dtype=torch.int64)
    changes = torch.zeros(records - 1, sets, starts, dtype=torch.float64)
    transposed, targets, signs = inputs.mT.contiguous(), targets[:, None], torch.zeros_like(weights)
    for step in range(steps + 1):
        used = slice(None) if order == "batch" else slice(step % n, step % n + 1)
        outputs = torch.bmm(weights, transposed)
        mask = outputs > 0
        if step % every == 0:
            path[step // every], active[step // every] = weights, mask.sum(dim=-1)
        residuals = torch.sub(targets, outputs, out=outputs).mul_(mask)[..., used]
        descent = torch.bmm(residuals, inputs[:, used])
        before, signs = signs, descent.sign()
        if step > 0:
            changes[(step - 1) // every] += before.sub_(signs).abs_().sum(dim=-1)
        weights = weights.add(descent, alpha=2 * learning_rate / residuals.shape[-1])
    return path, active, changes.div_(2 * p * every)


def _starts(samples: Samples, starts: ArrayLike) -> Array:
    weights = np.asarray(starts, np.float64)
    sets, _, p = samples.shape
    if weights.ndim == 2:
        weights = np.broadcast_to(weights, (sets, *weights.shape))
    if weights.ndim != 3 or weights.shape[0] != sets or weights.shape[2] != p:
        raise ValuesError(
            f"starts have shape {weights.shape}; "
            f"{sets} sets of {p} inputs need (starts, {p}) or ({sets}, starts, {p})"
        )
    if not np.isfinite(weights).all():
        raise ValuesError("a start is NaN or infinite; starts are finite")
    return weights


def _chunks(sets: int, elements_per_set: int) -> list[slice]:
    """Slices of the sets that each fit the processor's cache."""
    size = max(1, _CHUNK_ELEMENTS // elements_per_set)
    return [slice(first, first + size) for first in range(0, sets, size)]
