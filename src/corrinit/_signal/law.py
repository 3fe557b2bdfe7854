"""What a layer gets and what its weights are drawn from: the two sides of one step of a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from corrinit._signal.contrast import EQUAL
from corrinit._signal.graph import Step
from corrinit.errors import PlanError

Array: TypeAlias = NDArray[np.float64]
Index: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LayerInput:
    """What arrives at a convolution or a linear layer.

    Args:
        name: of the layer.
        step: of the graph: its kind, kernel, groups.
        channels: n, over which each output sums.
        mean_square: E[x²] over the positions of the map, padding not included.
        moments: M, second moments of the taps over E[x²], mean over the output positions, zeros of the
            padding included, shape (taps, taps): E[y²] = n s² ⟨D R D, M⟩ E[x²]. In a transposed convolution
            taps that meet no input at an output count as zeros there. In a kernel of more than
            `windows.MOST_TAPS` taps these are of taps that stand for others, too: see `standing_for`.
        members: per axis, the number of the tap in M that stands for each tap of the kernel.
        contrasts: mean squares of images over that of all, see `corrinit._signal.contrast`.
    """

    name: str
    step: Step
    channels: int
    mean_square: float
    moments: Array
    members: tuple[Index, ...] = (np.zeros(1, np.int64),)
    contrasts: Array = field(default_factory=lambda: EQUAL)

    @property
    def taps(self) -> int:
        """Number of taps of the kernel."""
        return prod(map(len, self.members))

    def standing_for(self, covariance: Array | None) -> Array:
        """D R D of the kernel, None for independent taps, summed over the taps that each in M stands for.

        Its inner product with M is ⟨D R D, M⟩, but for what M differs between taps that stand together.
        """
        if covariance is None:
            counts = [np.bincount(member) for member in self.members]
            return np.diag(reduce(np.multiply.outer, counts).ravel().astype(np.float64))
        if len(covariance) != self.taps:
            raise PlanError(
                f"its law is for {len(covariance)} taps; its kernel has {self.taps}", layer=self.name
            )
        if len(self.moments) == self.taps:
            return covariance
        total = covariance.reshape([len(member) for member in self.members] * 2)
        for axis, member in enumerate(self.members * 2):
            total = np.add.reduceat(total, np.flatnonzero(np.diff(member, prepend=-1)), axis)
        return total.reshape(self.moments.shape)

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Taps per axis; one tap for a linear layer."""
        return self.step.arguments.get("kernel_size", (1,))


@dataclass(frozen=True, eq=False)
class LayerLaw:
    """What the weights of a layer are drawn from.

    Args:
        covariance: D R D, of the taps of a filter relative to s², as `LayerInput.standing_for` gives it.
        std: s.
        bias: mean square of the biases.
    """

    covariance: Array
    std: float
    bias: float = 0.0


Law: TypeAlias = Callable[[LayerInput], LayerLaw]
