"""What happens to a model, as a value: printed as a table, carried out all or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from corrinit._planning.applying import apply, module_initializer
from corrinit._planning.layer_plan import LayerPlan
from corrinit._planning.recipes import RECIPES
from corrinit._signal.report import SignalReport
from corrinit._tables import Table, Tabular

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Plan(Tabular):
    """What happens to each layer of a model: a value, printed as a table, applied with `apply`.

    Args:
        layers: in the order of the modules.
        recipe: the name of the recipe; empty where a method was named instead.
        seed: the root seed it was carried out with; None if it was not, or each layer has its own.
        notes: what was not known of the model.
        parameters: how many numbers the parameters of the model hold.
        images: for methods that look at images.
        signal: what is expected to arrive at each layer, where a scale rests on it.
    """

    COLUMNS: ClassVar = ("layer", "type", "shape", "role", "rule", "action", "reason")

    layers: tuple[LayerPlan, ...]
    recipe: str = ""
    seed: int | None = None
    notes: tuple[str, ...] = ()
    parameters: int = 0
    images: Tensor | None = field(default=None, repr=False, compare=False)
    signal: SignalReport | None = field(default=None, repr=False, compare=False)

    def apply(self, model: nn.Module, *, seed: int | None = None, images: Tensor | None = None) -> Plan:
        """Draw the weights as planned. Nothing is changed unless all can be done.

        Args:
            model: the model planned for, or one of the same layers.
            seed: root seed; each layer draws from generators of its own (`layer_generator`). Default: that
                of the plan; else one number from torch's global generator, which moves on by it. Where the
                model is sharded or replicated, all ranks take that of rank 0.
            images: training images (N, C, H, W) for methods that look at them; default: those of the plan.

        Returns:
            The plan with the seed.

        Raises:
            PlanError: if a planned layer is missing from the model, has another shape, or cannot be written.
            ConfigError: if a method needs images, and there are none, or they do not fit.
        """
        given = self.images if images is None else images
        chosen = apply(self.layers, model, self.seed if seed is None else seed, given)
        return replace(self, seed=chosen)

    def param_init_fn(
        self, model: nn.Module, *, seed: int | None = None, device: torch.device | str | None = None
    ) -> Callable[[nn.Module], None]:
        """What FSDP takes as `param_init_fn`: a function that initializes one module's own tensors.

        It materializes parameters and buffers that are on the meta device, draws those planned, and resets
        all others with the `reset_parameters` of the module, whatever the plan keeps: they have no values.
        Called for every module, in any order and on any rank, it gives the weights of `apply`. For FSDP2,
        `fully_shard` a model on the meta device, then call it for each of `model.modules()`.

        Args:
            model: the model planned for, before or after it is wrapped.
            seed: root seed, see `apply`.
            device: where to materialize; default: the current accelerator, or the CPU where there is none.

        Raises:
            PlanError: if a parameter or buffer would be left without a value, before anything is changed.

        >>> with torch.device("meta"):
        ...     model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> from corrinit import plan
        >>> initialize_module = plan(model).param_init_fn(model, seed=0, device="cpu")
        >>> for module in model.modules():
        ...     initialize_module(module)
        >>> model[1].running_var.tolist()[:2]
        [1.0, 1.0]
        """
        return module_initializer(self.layers, model, self.seed if seed is None else seed, device)

    def independent(self) -> Plan:
        """The scale control: the same standard deviation in every layer, from independent taps."""

        def control(layer: LayerPlan) -> LayerPlan:
            if layer.method != "correlated":
                return layer
            reason = (
                f"{layer.reason}; taps made independent" if layer.correlation is not None else layer.reason
            )
            return replace(layer, method="kaiming_normal", correlation=None, reason=reason)

        return replace(self, layers=tuple(map(control, self.layers)))

    @property
    def correlated_share(self) -> float:
        """The share of the model's parameters whose taps are drawn with a correlation."""
        touched = sum(prod(layer.shape) for layer in self.layers if layer.correlation is not None)
        return touched / self.parameters if self.parameters else 0.0

    @property
    def may_correlate(self) -> bool:
        """Whether any rule of the recipe asks for correlated taps, or any layer has them."""
        rules = RECIPES[self.recipe].rules if self.recipe in RECIPES else ()
        asked = any(rule.method == "correlated" for _, rule in rules)
        return asked or any(layer.correlation is not None for layer in self.layers)

    @property
    def summary(self) -> tuple[str, ...]:
        """What is to be said of the whole, a line each."""
        return (
            *((f"recipe {self.recipe}",) if self.recipe else ()),
            *((_share_in_words(self),) if self.parameters and self.may_correlate else ()),
            *self.notes,
            *(() if self.seed is None else (f"seed {self.seed}",)),
        )

    def _table(self) -> Table:
        columns = ("layer", "type", "shape", "role", "rule", "method", "scale", "action", "reason")
        return Table(
            (*columns, "std", "mean_correlation", "zero_bias"),
            tuple(
                (
                    *(layer.name, layer.kind, layer.shape, layer.role, layer.rule, layer.method),
                    *(layer.scale, layer.action, layer.reason, layer.std),
                    None if layer.correlation is None else layer.correlation.mean,
                    layer.zero_bias,
                )
                for layer in self.layers
            ),
            self.summary,
        )

    def _shown(self) -> Table:
        return Table(self.COLUMNS, tuple(layer.cells for layer in self.layers), self.summary)

    def _renderables(self, width: int) -> list[RenderableType]:
        shown = self._shown()
        if width < _WIDE:
            narrow = tuple(layer.narrow_cells for layer in self.layers)
            shown = Table(("layer", "shape", "role", "std", "reason"), narrow, self.summary)
        styles = [
            "dim" if not layer.is_drawn else "green" if layer.correlation is not None else ""
            for layer in self.layers
        ]
        return list(shown.rich(width, styles))


_WIDE = 120
"""Columns of a terminal from which the whole table fits."""


_LITTLE = 0.1
"""Share of the parameters below which the plan says where the others are."""


def _share_in_words(plan: Plan) -> str:
    share = plan.correlated_share
    text = f"correlated taps in {100 * share:.3g} % of the {plan.parameters:,} parameters"
    if share >= _LITTLE:
        return text
    drawn = [layer for layer in plan.layers if layer.is_drawn]
    sizes: dict[str, int] = {"kept": plan.parameters - sum(prod(layer.shape) for layer in drawn)}
    for layer in drawn:
        if layer.correlation is None and layer.role is not None:
            sizes[layer.role] = sizes.get(layer.role, 0) + prod(layer.shape)
    largest = sorted(sizes, key=lambda kind: -sizes[kind])[:2]
    where = ", ".join(f"{kind} {100 * sizes[kind] / plan.parameters:.3g} %" for kind in largest)
    return f"{text}; most are elsewhere: {where}" if where else text
