"""Where the weight of a layer is kept: how it is read without a trace, and how it is written.

A weight is a parameter of its module, or computed from parameters: by a parametrization, or by a hook of the
older `torch.nn.utils`. Reading through the module would run the computation, which for spectral normalization
moves the vectors of a power iteration on; here nothing is moved by reading.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

_POWER_ITERATIONS = 15
"""As many as torch itself takes for a weight that it meets for the first time."""


class StoredWeight:
    """A weight that is a parameter of its module.

    Args:
        module: the layer.
        parameter: what training changes, and a draw fills; of the shape of the weight.
    """

    note = ""
    """What the plan adds to the reason of a layer that is drawn."""

    obstacle = ""
    """Why the weight cannot be written; empty if it can."""

    def __init__(self, module: nn.Module, parameter: Tensor) -> None:
        self.module = module
        self.parameter = parameter

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight."""
        return tuple(self.parameter.shape)

    def changed(self) -> list[Tensor]:
        """The tensors that writing changes."""
        return [self.parameter]

    def value(self) -> Tensor:
        """The weight that the layer computes with, outside of training; nothing is changed by reading it."""
        return self.parameter.detach()

    @contextmanager
    def writing(self) -> Iterator[Tensor]:
        """A tensor of the weight's shape to be filled in place, which is the weight afterwards."""
        with torch.no_grad():
            yield self.parameter


class _WeightNormed(StoredWeight):
    """w = g v / ‖v‖, from parameters g and v; a frozen g stays, as it is the fixed length of some heads."""

    def __init__(self, module: nn.Module, magnitude: Tensor, direction: Tensor, dim: int) -> None:
        super().__init__(module, direction)
        self.magnitude, self.dim = magnitude, dim
        if not magnitude.requires_grad:
            self.note = "weight norm of frozen length"

    def changed(self) -> list[Tensor]:
        return [self.parameter, *([self.magnitude] if self.magnitude.requires_grad else [])]

    def value(self) -> Tensor:
        return torch._weight_norm(  # pyright: ignore[reportPrivateImportUsage]
            self.parameter.detach(), self.magnitude.detach(), self.dim
        )

    @contextmanager
    def writing(self) -> Iterator[Tensor]:
        with torch.no_grad():
            yield self.parameter
            if self.magnitude.requires_grad:
                self.magnitude.copy_(torch.norm_except_dim(self.parameter, 2, self.dim))
            _refresh(self.module, self.value)


class _SpectrallyNormed(StoredWeight):
    """w = W / σ(W), from a parameter W: the taps keep their correlation, a factor on W has no effect."""

    note = "divided by its spectral norm, whatever the scale"

    def __init__(
        self, module: nn.Module, parameter: Tensor, left: Tensor, right: Tensor, dim: int, eps: float
    ) -> None:
        super().__init__(module, parameter)
        self.left, self.right, self.dim, self.eps = left, right, dim, eps

    def changed(self) -> list[Tensor]:
        return [self.parameter, self.left, self.right]

    def _matrix(self) -> Tensor:
        return self.parameter.detach().movedim(self.dim, 0).flatten(1)

    def value(self) -> Tensor:
        return self.parameter.detach() / torch.dot(self.left, self._matrix() @ self.right)

    @contextmanager
    def writing(self) -> Iterator[Tensor]:
        with torch.no_grad():
            yield self.parameter
            # the vectors of the former W could be nearly orthogonal to those of this one, and σ nearly 0
            matrix, left = self._matrix(), torch.ones_like(self.left)
            for _ in range(_POWER_ITERATIONS):
                right = normalize(matrix.T @ left, dim=0, eps=self.eps)
                left = normalize(matrix @ right, dim=0, eps=self.eps)
            self.left.copy_(left)
            self.right.copy_(normalize(matrix.T @ left, dim=0, eps=self.eps))
            _refresh(self.module, self.value)


class _Pruned(StoredWeight):
    """w = W · mask: W is drawn, the mask stays."""

    note = "pruned, its mask stays"

    def value(self) -> Tensor:
        mask: Tensor = self.module.weight_mask  # pyright: ignore[reportAssignmentType]
        return mask.to(self.parameter.dtype) * self.parameter.detach()

    @contextmanager
    def writing(self) -> Iterator[Tensor]:
        with torch.no_grad():
            yield self.parameter
            _refresh(self.module, self.value)


class _Computed(StoredWeight):
    """A weight that is computed in a way that cannot be turned round."""

    def __init__(self, module: nn.Module, parameter: Tensor, obstacle: str) -> None:
        super().__init__(module, parameter)
        self.obstacle = obstacle

    def value(self) -> Tensor:
        if not is_parametrized(self.module, "weight"):
            return self.module.weight.detach()  # pyright: ignore
        # on a copy, as it may keep statistics, and draw at random
        with torch.random.fork_rng(devices=()), torch.no_grad():
            return copy.deepcopy(self.module.parametrizations["weight"]).eval()()  # pyright: ignore


def stored_weight(module: nn.Module) -> StoredWeight | None:
    """Where the weight of a module is kept; None if it has none, or one that is no parameter."""
    if is_parametrized(module, "weight"):
        return _parametrized(module)
    if isinstance(parameter := module._parameters.get("weight"), Tensor):
        return StoredWeight(module, parameter)
    own = module._parameters
    hooks = [hook for hook in module._forward_pre_hooks.values() if _makes_weight(hook)]
    hook = hooks[0] if len(hooks) == 1 else None
    if isinstance(hook, WeightNorm):
        return _WeightNormed(module, own["weight_g"], own["weight_v"], hook.dim)  # pyright: ignore
    if isinstance(hook, SpectralNorm):
        left, right = module._buffers["weight_u"], module._buffers["weight_v"]
        return _SpectrallyNormed(module, own["weight_orig"], left, right, hook.dim, hook.eps)  # pyright: ignore
    if isinstance(hook, BasePruningMethod):
        return _Pruned(module, own["weight_orig"])  # pyright: ignore[reportArgumentType]
    sources = [p for name, p in own.items() if name.startswith("weight") and p is not None]
    if sources and isinstance(getattr(module, "weight", None), Tensor):
        return _Computed(module, sources[-1], "computed by a hook that cannot be written through")
    return None


def _parametrized(module: nn.Module) -> StoredWeight:
    chain: Any = module.parametrizations["weight"]  # pyright: ignore
    kinds = [type(step).__name__ for step in chain]
    if kinds == ["_WeightNorm"]:
        return _WeightNormed(module, chain.original0, chain.original1, chain[0].dim)
    if kinds == ["_SpectralNorm"] and chain.original.dim() > 1:
        step = chain[0]
        return _SpectrallyNormed(module, chain.original, step._u, step._v, step.dim, step.eps)
    original = chain.original if hasattr(chain, "original") else chain.original0
    return _Computed(module, original, f"parametrized by {', '.join(kinds)}: cannot be written through")


def _makes_weight(hook: object) -> bool:
    name = getattr(hook, "name", None) if isinstance(hook, (WeightNorm, SpectralNorm)) else None
    return (name or getattr(hook, "_tensor_name", None)) == "weight"


def _refresh(module: nn.Module, value: Callable[[], Tensor]) -> None:
    """Hooks leave the weight as an attribute until the next forward pass; let nobody read the former one."""
    if "weight" in vars(module):
        module.weight = value()


@contextmanager
def writing_weight(module: nn.Module) -> Iterator[Tensor]:
    """The weight of a module, to be filled in place; through its parametrization where it has one."""
    stored = stored_weight(module)
    assert stored is not None
    with stored.writing() as weight:
        yield weight
