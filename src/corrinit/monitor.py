"""Gradient sign changes and magnitudes during training, in anyone's loop.

A monitor hooks an optimizer: before each step it looks at the gradients that the step will use. It keeps one
byte per parameter, the sign of the last gradient, and waits for no device until it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from corrinit.errors import CorrInitError
from corrinit.estimation import estimate

Table = NDArray[np.float64]

_BUCKET = 1 << 24
"""Parameters looked at together: a bound on the memory that looking takes, some 10 bytes for each."""

_BLOCK = 1 << 10


@dataclass(frozen=True, eq=False)
class GradientHistory:
    """What a monitor saw of P parameter tensors over T updates.

    Args:
        names: of the parameter tensors, P.
        sizes: numbers of elements, shape (P,).
        sign_changes: GradientSignChanges per tensor, shape (T, P), in [0, 1]: the mean of
            |sign g_t − sign g_(t−1)| / 2 (Section 6 of the paper); NaN without a gradient at t and at t−1.
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
        """GradientSignChanges over all parameters, shape (T,); NaN for the first update."""
        return _mean_by_size(self.sign_changes, self.sizes)

    @property
    def total_mean_abs(self) -> Table:
        """Mean |g| over all parameters, shape (T,)."""
        return _mean_by_size(self.mean_abs, self.sizes)

    @property
    def total_l2(self) -> Table:
        """Euclidean norm of the whole gradient, shape (T,)."""
        return np.sqrt(np.nansum(np.square(self.l2), axis=1))


class GradientMonitor:
    """Watch the gradients that an optimizer uses, until `remove` or the end of a `with` block.

    Gradients are seen as they are when `optimizer.step` is called: clipped, averaged over workers, and
    unscaled by a `GradScaler`. An update that a scaler skips is not seen, except in fused optimizers.

    Args:
        parameters: a model, or pairs of names and parameters; those that the optimizer updates are watched.
        optimizer: any `torch.optim.Optimizer`.

    Raises:
        CorrInitError: if the optimizer updates none of them, or one is lazy.

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

    def __init__(
        self, parameters: nn.Module | Iterable[tuple[str, Tensor]], optimizer: torch.optim.Optimizer
    ) -> None:
        named = parameters.named_parameters() if isinstance(parameters, nn.Module) else parameters
        updated = {id(p) for group in optimizer.param_groups for p in group["params"]}
        watched = {name: p for name, p in named if id(p) in updated}
        if not watched:
            raise CorrInitError("the optimizer updates none of the parameters; build it on the same model")
        for name, parameter in watched.items():
            if nn.parameter.is_lazy(parameter):
                raise CorrInitError(f"parameter {name} is lazy: run one forward pass of the model first")
        self._names = tuple(watched)
        self._buckets = [_Bucket(bucket) for bucket in _split(list(watched.values()))]
        self._present: list[list[bool]] = []
        self._sums: list[list[Tensor]] = []
        self._present_before = [False] * len(watched)
        self._handle = optimizer.register_step_pre_hook(self._observe)

    def read(self) -> GradientHistory:
        """Everything seen since the last reading, which is then forgotten."""
        updates, count = len(self._sums), len(self._names)
        by_bucket = [torch.stack(sums).cpu().numpy() for sums in zip(*self._sums, strict=True)]
        sums = np.concatenate(by_bucket, axis=1, dtype=np.float64) if updates else np.empty((0, count, 3))
        present = np.array([self._present_before, *self._present])
        self._present_before, self._present, self._sums = present[-1].tolist(), [], []
        now, before = present[1:], present[:-1]
        sizes = np.array([size for bucket in self._buckets for size in bucket.sizes])
        return GradientHistory(
            self._names,
            sizes,
            sign_changes=np.where(now & before, sums[..., 0] / (2 * sizes), np.nan),
            mean_abs=np.where(now, sums[..., 1] / sizes, np.nan),
            l2=np.where(now, np.sqrt(sums[..., 2]), np.nan),
        )

    def state_dict(self) -> dict[str, list[Tensor] | list[bool]]:
        """The signs of the last gradients, to go on after a restart; what was not read is not part of it."""
        present = self._present[-1] if self._present else self._present_before
        return {"signs": [bucket.signs for bucket in self._buckets], "present": present}

    def load_state_dict(self, state: dict[str, list]) -> None:
        """Go on from the signs that an earlier monitor of the same parameters saw last."""
        for bucket, signs in zip(self._buckets, state["signs"], strict=True):
            bucket.signs.copy_(signs)
        self._present_before = list(state["present"])

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
    def _observe(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        scale = getattr(optimizer, "grad_scale", None)  # set by GradScaler for fused optimizers
        self._present.append([p.grad is not None for bucket in self._buckets for p in bucket.parameters])
        self._sums.append([bucket.observe(scale) for bucket in self._buckets])


class _Bucket:
    """Parameters that are looked at together, in few operations on one flat copy of their gradients.

    Each gradient lies there in the memory order of its parameter, padded with zeros to whole blocks; sums
    are first taken over blocks, then over the blocks of each tensor.
    """

    def __init__(self, parameters: list[Tensor]) -> None:
        device = parameters[0].device
        self.parameters = parameters
        self.sizes = [p.numel() for p in parameters]
        self._orders = [sorted(range(p.dim()), key=p.stride, reverse=True) for p in parameters]
        blocks = [-(-size // _BLOCK) for size in self.sizes]
        self._blocks = torch.tensor(blocks, device=device)
        self._gaps = [
            torch.zeros(count * _BLOCK - size, device=device)
            for count, size in zip(blocks, self.sizes, strict=True)
        ]
        self.signs = torch.zeros(sum(blocks) * _BLOCK, dtype=torch.int8, device=device)

    def observe(self, scale: Tensor | None) -> Tensor:
        """Σ |sign g_t − sign g_(t−1)|, Σ |g| and Σ g² of each tensor, shape (P, 3); remembers sign g_t.

        Where there is no gradient it counts as 0.
        """
        flat = self._flat()
        if scale is not None:
            flat /= scale.to(flat.device)
        signs = flat.sign().to(torch.int8)
        changes = (signs - self.signs).abs_()
        self.signs.copy_(signs)
        by_block = [
            self._block_sums(changes),
            self._block_sums(flat.abs_()),
            self._block_sums(flat.square_()),
        ]
        return torch.segment_reduce(torch.stack(by_block, 1), "sum", lengths=self._blocks, unsafe=True)

    @staticmethod
    def _block_sums(values: Tensor) -> Tensor:
        return values.view(-1, _BLOCK).sum(1, dtype=torch.float32)

    def _flat(self) -> Tensor:
        pieces = []
        for parameter, order, gap in zip(self.parameters, self._orders, self._gaps, strict=True):
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            pieces += [gradient.permute(order).reshape(-1), gap]
        return torch.cat(pieces)


def weight_correlation(model: nn.Module) -> float:
    """Mean off-diagonal correlation of the filters of a model, of its most frequent kernel size.

    Raises:
        WeightsError: if the model has no convolution of more than one tap, or holds NaN.
    """
    return estimate(model).mean


def _split(parameters: list[Tensor]) -> list[list[Tensor]]:
    """Runs of tensors on one device, of at most `_BUCKET` elements or a single tensor."""
    buckets: list[list[Tensor]] = []
    room = 0
    for parameter in parameters:
        if not buckets or parameter.numel() > room or parameter.device != buckets[-1][0].device:
            buckets.append([])
            room = _BUCKET
        buckets[-1].append(parameter)
        room -= parameter.numel()
    return buckets


def _mean_by_size(values: Table, sizes: NDArray[np.int64]) -> Table:
    """Mean over the tensors that have a value, weighted by their sizes; NaN where none has one."""
    weights = np.where(np.isnan(values), 0, sizes)
    with np.errstate(invalid="ignore"):
        return np.nansum(values * sizes, axis=1) / weights.sum(axis=1)
