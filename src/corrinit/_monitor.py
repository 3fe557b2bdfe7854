"""Gradient sign changes and magnitudes during training, in anyone's loop.

A monitor hooks an optimizer: before each step it looks at the gradients that the step will use. It keeps one
byte per parameter, the sign of the last gradient, and waits for no device until it is read.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from corrinit._estimation import estimate
from corrinit.errors import CorrInitWarning, LazyParameterError, OptimizerError, one_line

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

    Gradients are seen as the step uses them: clipped, averaged over workers, and unscaled by a `GradScaler`.
    Where `step` gets a closure that computes them, they are seen after its first evaluation; sparse ones
    count as dense. An update that a scaler skips is not seen, except in fused optimizers. Parameters that
    join the optimizer later are watched from then on. If looking fails, training goes on without it, and a
    `CorrInitWarning` says why.

    Args:
        parameters: a model, or pairs of names and parameters; those that the optimizer updates are watched.
            Complex and sharded (DTensor) parameters are not, which is warned of.
        optimizer: any `torch.optim.Optimizer`, or a wrapper that holds one as `optimizer`.

    Raises:
        CorrInitError: if the optimizer updates none of them, or one is lazy, or it takes no hooks.

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
        self._candidates = dict(named)
        self._names: tuple[str, ...] = ()
        self._buckets: list[_Bucket] = []
        self._present: list[list[bool]] = []
        self._sums: list[list[Tensor]] = []
        self._present_before: list[bool] = []
        hooked = _with_hooks(optimizer)
        self._watch(_updated(hooked))
        if not self._names:
            raise OptimizerError("the optimizer updates none of the parameters; build it on the same model")
        self._handle = hooked.register_step_pre_hook(self._before_step)

    def read(self) -> GradientHistory:
        """Everything seen since the last reading, which is then forgotten."""
        updates, count = len(self._sums), len(self._names)
        sums = np.zeros((updates, count, 3))
        present = np.zeros((updates + 1, count), bool)
        for row, seen in enumerate([self._present_before, *self._present]):
            present[row, : len(seen)] = seen
        column = 0
        for number, bucket in enumerate(self._buckets):
            rows = [row[number] for row in self._sums if len(row) > number]  # it may have joined later
            if rows:
                columns = slice(column, column + len(bucket.sizes))
                sums[updates - len(rows) :, columns] = torch.stack(rows).cpu().numpy()
            column += len(bucket.sizes)
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

    def _watch(self, updated: set[int]) -> None:
        """Watch the parameters that the optimizer updates, those that are watched already excepted."""
        joined = {name: p for name, p in self._candidates.items() if id(p) in updated}
        for name, parameter in joined.items():
            del self._candidates[name]
            if nn.parameter.is_lazy(parameter):
                raise LazyParameterError(f"parameter {name} is lazy: run one forward pass of the model first")
        if odd := [name for name, p in joined.items() if p.is_complex() or hasattr(p, "device_mesh")]:
            _warn(f"gradients of complex or sharded parameters are not watched: {', '.join(odd)}")
        kept = {name: p for name, p in joined.items() if name not in odd}
        self._names += tuple(kept)
        self._buckets += [_Bucket(bucket) for bucket in _split(list(kept.values()))]
        self._present_before += [False] * len(kept)

    def _before_step(
        self, optimizer: torch.optim.Optimizer, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Observe at once, or, where a closure computes the gradients of this step, once it has."""
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if not callable(closure):
            self._observe(optimizer)
            return None
        seen = False

        def observed_closure() -> object:
            nonlocal seen
            loss = closure()
            if not seen:
                seen = True
                self._observe(optimizer)
            return loss

        if "closure" in kwargs:
            return tuple(args), {**kwargs, "closure": observed_closure}
        return (args[0], observed_closure, *args[2:]), kwargs

    @torch.no_grad()
    def _observe(self, optimizer: torch.optim.Optimizer) -> None:
        try:
            updated = _updated(optimizer)
            if self._candidates:
                self._watch(updated)
            scale = getattr(optimizer, "grad_scale", None)  # set by GradScaler for fused optimizers
            parameters = [p for bucket in self._buckets for p in bucket.parameters]
            sums = [bucket.observe(scale) for bucket in self._buckets]
            self._present.append([p.grad is not None and id(p) in updated for p in parameters])
            self._sums.append(sums)
        except Exception as error:  # an observer must never stop what it observes
            self.remove()
            _warn(f"gradients are no longer watched: {type(error).__name__}: {one_line(error)}")


def _with_hooks(optimizer: object) -> torch.optim.Optimizer:
    """The optimizer that takes hooks: the one given, or the one that a wrapper such as accelerate's holds."""
    seen: set[int] = set()
    inner = optimizer
    while inner is not None and id(inner) not in seen:
        if isinstance(inner, torch.optim.Optimizer) and hasattr(inner, "_optimizer_step_pre_hooks"):
            return inner
        seen.add(id(inner))
        inner = getattr(inner, "optimizer", None)
    raise OptimizerError(
        f"{type(optimizer).__name__} takes no hooks on its steps; give the torch.optim.Optimizer inside it"
    )


def _updated(optimizer: torch.optim.Optimizer) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def _warn(message: str) -> None:
    warnings.warn(message, CorrInitWarning, stacklevel=3)


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
            if gradient.layout != torch.strided:
                gradient = gradient.to_dense()
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
