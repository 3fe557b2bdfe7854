"""Gradient sign changes and magnitudes during training, in anyone's loop.

A monitor hooks an optimizer: before each step it looks at the gradients the step will use. It keeps one byte
per parameter, the sign of the last gradient, and waits for no device until it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from corrinit.errors import CorrInitError
from corrinit.estimation import estimate

Table = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GradientHistory:
    """What a monitor saw of P parameter tensors over T updates.

    Args:
        names: of the parameter tensors, P.
        sizes: numbers of elements, shape (P,).
        sign_changes: GradientSignChanges per tensor, shape (T, P), in [0, 1]: the mean of
            |sign g_t − sign g_(t−1)| / 2 (Section 6 of the paper); NaN where there is no earlier gradient.
        mean_abs: mean |g|, shape (T, P); NaN where a tensor had no gradient.
        l2: Euclidean norm of g, shape (T, P); NaN where a tensor had no gradient.
    """

    names: tuple[str, ...]
    sizes: NDArray[np.int64]
    sign_changes: Table
    mean_abs: Table
    l2: Table

    @property
    def total_sign_changes(self) -> Table:
        """GradientSignChanges over all parameters, shape (T,)."""
        return _weighted_mean(self.sign_changes, self.sizes)

    @property
    def total_mean_abs(self) -> Table:
        """Mean |g| over all parameters, shape (T,)."""
        return _weighted_mean(self.mean_abs, self.sizes)

    @property
    def total_l2(self) -> Table:
        """Euclidean norm of the whole gradient, shape (T,)."""
        return np.sqrt(np.nansum(np.square(self.l2), axis=1))


class GradientMonitor:
    """Watch the gradients that an optimizer uses.

    Args:
        model: its parameters give the names; only those that the optimizer updates are watched.
        optimizer: any `torch.optim.Optimizer`.

    Raises:
        CorrInitError: if the optimizer updates no parameter of the model.

    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with GradientMonitor(model, optimizer) as monitor:
    ...     for sign in (1.0, -1.0):
    ...         for parameter in model.parameters():
    ...             parameter.grad = torch.full_like(parameter, sign)
    ...         optimizer.step()
    >>> monitor.read().total_sign_changes.tolist()
    [nan, 1.0]
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        updated = {id(p) for group in optimizer.param_groups for p in group["params"]}
        watched = {name: p for name, p in model.named_parameters() if id(p) in updated}
        if not watched:
            raise CorrInitError("the optimizer updates no parameter of the model; build it on the same one")
        self._names = tuple(watched)
        self._parameters = list(watched.values())
        self._signs: list[Tensor | None] = [None] * len(watched)
        self._updates: list[Tensor] = []
        self._handle = optimizer.register_step_pre_hook(self._observe)

    def read(self) -> GradientHistory:
        """Everything seen since the last reading, which is then forgotten."""
        shape = (0, len(self._names), 3)
        seen = torch.stack(self._updates).double().cpu().numpy() if self._updates else np.empty(shape)
        self._updates = []
        sizes = np.array([p.numel() for p in self._parameters])
        return GradientHistory(self._names, sizes, seen[..., 0], seen[..., 1], seen[..., 2])

    def state(self) -> list[Tensor | None]:
        """The signs of the last gradients, to continue after a restart with `restore`."""
        return list(self._signs)

    def restore(self, signs: list[Tensor | None]) -> None:
        """Continue from the signs of an earlier monitor of the same parameters."""
        self._signs = list(signs)

    def remove(self) -> None:
        """Stop watching."""
        self._handle.remove()

    def __enter__(self) -> GradientMonitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @torch.no_grad()
    def _observe(self, *_: object) -> None:
        present = [i for i, p in enumerate(self._parameters) if p.grad is not None]
        update = torch.full((len(self._parameters), 3), torch.nan, device=self._parameters[0].device)
        if present:
            gradients = [self._parameters[i].grad for i in present]
            l1 = torch.stack([torch.linalg.vector_norm(g, 1) for g in gradients])
            l2 = torch.stack([torch.linalg.vector_norm(g, 2) for g in gradients])
            sizes = torch.tensor([self._parameters[i].numel() for i in present], device=l1.device)
            changes = [self._sign_changes(i) for i in present]
            update[present] = torch.stack([torch.stack(changes) / (2 * sizes), l1 / sizes, l2], dim=1)
        self._updates.append(update)

    def _sign_changes(self, index: int) -> Tensor:
        """Σ |sign g_t − sign g_(t−1)| of one tensor; remembers sign g_t."""
        gradient = self._parameters[index].grad
        assert gradient is not None
        sign = gradient.sign().to(torch.int8)
        before, self._signs[index] = self._signs[index], sign
        if before is None:
            return torch.tensor(torch.nan, device=gradient.device)
        return (sign - before).abs_().sum().float()


def weight_correlation(model: nn.Module) -> float:
    """Mean off-diagonal correlation of the filters of a model, of its most frequent kernel size."""
    return estimate(model).mean


def _weighted_mean(values: Table, sizes: NDArray[np.int64]) -> Table:
    weights = np.where(np.isnan(values), 0.0, sizes)
    with np.errstate(invalid="ignore"):
        return np.nansum(values * sizes, axis=1) / weights.sum(axis=1)
