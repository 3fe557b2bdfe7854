"""What happens to one layer of a model, as a value: a row of a plan."""

from __future__ import annotations

from dataclasses import dataclass

from corrinit._correlation import SpatialCorrelation, format_size
from corrinit._layers.unknown_layers import ConvolutionLike
from corrinit._planning.recipes import Role

_GAUSSIAN = ("correlated", "kaiming_normal")


@dataclass(frozen=True)
class LayerPlan:
    """What happens to one layer.

    Args:
        name: qualified name, without the prefixes of wrappers.
        kind: class of the module.
        shape: shape of the weight, as a convolution's; of the first parameter where there is no weight.
        method: how the weight is drawn, a name that `corrinit.methods.find` knows; `"keep"`, or `"reset"` to
            what it was built with.
        reason: why.
        role: what the layer is to its model; None where nothing is drawn.
        scale: one of `corrinit._planning.recipes.Scale`, `"own"` for the method's own, or `"given"`; empty
            where nothing is drawn.
        std: root mean square of each weight; None unless it is drawn. At the scale `"measured"`, and for
            methods that look at images, what it is before.
        correlation: R and d of the taps; None where they are independent.
        zero_bias: whether a bias is set to zero.
        gain: g of the scale.
        depth: relative depth among the convolutions of more than one tap.
        like: how the filters of a class that torch does not know are read.
        reset_others: whether what is not drawn of the layer is reset.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    method: str
    reason: str
    role: Role | None = None
    scale: str = ""
    std: float | None = None
    correlation: SpatialCorrelation | None = None
    zero_bias: bool = False
    gain: float = 1.0
    depth: float = 0.0
    like: ConvolutionLike | None = None
    reset_others: bool = False

    @property
    def is_drawn(self) -> bool:
        """Whether new weights are drawn."""
        return self.method not in ("keep", "reset")

    @property
    def rule(self) -> str:
        """`"keep"`, `"reset"`, `"correlated_normal"` or `"normal"` for Gaussian taps, else the method."""
        if self.method not in _GAUSSIAN:
            return self.method
        return "normal" if self.correlation is None else "correlated_normal"

    @property
    def action(self) -> str:
        """What is done to the weight, for the table."""
        if not self.is_drawn:
            return self.method
        return f"draw, std {self.std:.4g} ({self.scale})" + (", zero bias" if self.zero_bias else "")

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        shape = format_size(self.shape)
        return (self.name, self.kind, shape, self.role or "", self.rule, self.action, self.reason)

    @property
    def narrow_cells(self) -> tuple[str, ...]:
        """The row where 80 columns have to do: name, shape, role, deviation and reason."""
        shape = format_size(self.shape)
        if self.std is None:
            return (self.name, shape, self.method, "", self.reason)
        return (self.name, shape, self.role or "", f"{self.std:.3g}", f"{self.rule}: {self.reason}")


def listed(names: list[str], most: int = 5) -> str:
    """Names in a sentence, the first few of many.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
