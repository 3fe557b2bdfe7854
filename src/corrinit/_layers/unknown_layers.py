"""Filters in modules of one's own: how a class that `torch.nn` does not know is read as a convolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import torch
from torch import Tensor, nn

from corrinit._layers.selectors import matching
from corrinit._layers.weight_storage import StoredWeight
from corrinit.errors import PlanError, UnknownLayerError


@dataclass(frozen=True)
class ConvolutionLike:
    """What the axes of a parameter mean, in a module that convolves with it.

    Args:
        weight: name of the parameter.
        axes: a letter per axis: `o` outputs, `i` inputs per group, `k` taps; any other letter for a set of
            filters with scales alike (experts, or the leading 1 of a modulated convolution).
        groups: number of groups; or the name of the attribute that holds it.
        std: standard deviation of the weights, where the module scales them itself, as with an equalized
            learning rate (1); default: that of a convolution of this shape.

    >>> weight = nn.Parameter(torch.zeros(1, 64, 32, 3, 3))
    >>> ConvolutionLike(axes="1oikk").view(weight).shape
    torch.Size([1, 64, 32, 3, 3])
    >>> ConvolutionLike(axes="1oikk").shape(weight)
    (64, 32, 3, 3)
    """

    weight: str = "weight"
    axes: str = "oikk"
    groups: int | str = 1
    std: float | None = None

    def __post_init__(self) -> None:
        if self.axes.count("o") != 1 or self.axes.count("i") != 1:
            raise PlanError(
                f"axes is {self.axes!r}; it has one 'o' for outputs, one 'i' for inputs, a 'k' per tap axis"
            )

    def view(self, parameter: Tensor) -> Tensor:
        """The parameter with its axes in the order sets, outputs, inputs, taps; sharing its memory."""
        sets = [axis for axis, letter in enumerate(self.axes) if letter not in "oik"]
        taps = [axis for axis, letter in enumerate(self.axes) if letter == "k"]
        return parameter.permute(*sets, self.axes.index("o"), self.axes.index("i"), *taps)

    def shape(self, parameter: Tensor) -> tuple[int, ...]:
        """The shape as a convolution's weight, (sets · out, in / groups, k_1, ..., k_d)."""
        viewed = tuple(self.view(parameter).shape)
        taps = self.axes.count("k")
        channels = len(viewed) - taps
        return (prod(viewed[: channels - 1]), *viewed[channels - 1 :])

    def stored(self, name: str, module: nn.Module) -> StoredWeight:
        """Where a module of this description keeps its filters.

        Raises:
            PlanError: if it has no parameter of this name and number of axes.
        """
        parameter = module._parameters.get(self.weight)
        if parameter is None:
            raise UnknownLayerError(f"{type(module).__name__} has no parameter {self.weight!r}", layer=name)
        if parameter.dim() != len(self.axes):
            raise PlanError(
                f"axes={self.axes!r} names {len(self.axes)} axes; {self.weight} has the shape "
                f"{tuple(parameter.shape)}",
                shape=tuple(parameter.shape),
                layer=name,
            )
        return _Viewed(module, parameter, self)

    def sets(self, module: nn.Module) -> int:
        """How many sets of filters a module of this description has."""
        parameter = module._parameters[self.weight]
        assert parameter is not None
        return prod(
            size for size, letter in zip(parameter.shape, self.axes, strict=True) if letter not in "oik"
        )

    def count_groups(self, module: nn.Module) -> int:
        """The number of groups of a module of this description."""
        return getattr(module, self.groups) if isinstance(self.groups, str) else self.groups


class _Viewed(StoredWeight):
    def __init__(self, module: nn.Module, parameter: Tensor, like: ConvolutionLike) -> None:
        super().__init__(module, parameter)
        self.like = like

    @property
    def shape(self) -> tuple[int, ...]:
        return self.like.shape(self.parameter)

    def value(self) -> Tensor:
        return self.like.view(self.parameter.detach()).reshape(self.shape)

    @contextmanager
    def writing(self) -> Iterator[Tensor]:
        with torch.no_grad():
            weight = torch.empty(self.shape, dtype=self.parameter.dtype, device=self.parameter.device)
            yield weight
            viewed = self.like.view(self.parameter)
            viewed.copy_(weight.view(viewed.shape))


Modules: TypeAlias = Mapping[type[nn.Module] | str, ConvolutionLike]
"""Modules with filters of their own, by class or by a glob of their names, and how these are read."""


def like_convolutions(model: nn.Module, modules: Modules | None) -> dict[str, ConvolutionLike]:
    """How the filters of each module that `modules` names are read, by the name of the layer.

    Raises:
        PlanError: if a class or glob matches no module.
    """
    found: dict[str, ConvolutionLike] = {}
    for selector, like in (modules or {}).items():
        found |= dict.fromkeys(matching(model, selector, "modules"), like)
    return found
