"""Which layer of a model gets which weights, and why; then doing exactly that.

`plan` looks at a model and decides, changing nothing; `Plan.apply` draws; `initialize` does both.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypedDict, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from typing_extensions import Unpack

from corrinit.correlation import SpatialCorrelation, format_size
from corrinit.correlation_source import CorrelationSource, MissingSize, correlation_lookup
from corrinit.errors import CorrelationError, PlanError
from corrinit.init import FanMode, draw_
from corrinit.layers import own_parameters, reason_to_keep, require_materialized, writing_weight
from corrinit.scale import Inputs, amplification, scale_for, transposed_amplification
from corrinit.seeding import canonical_name, layer_generator
from corrinit.selectors import Selectors, select

Bias: TypeAlias = Literal["zeros", "keep"]


class PlanOptions(TypedDict, total=False):
    """The options of `plan`, which documents them, as `initialize` passes them on."""

    correlation: CorrelationSource
    strength: float
    inputs: Inputs
    include: Selectors
    exclude: Selectors
    independent: Selectors
    missing: MissingSize
    mode: FanMode
    nonlinearity: str
    a: float
    bias: Bias


@dataclass(frozen=True)
class LayerPlan:
    """What happens to one layer.

    Args:
        name: qualified name, without the prefixes of wrappers.
        kind: class of the module.
        shape: shape of the weight; of the first parameter where there is no weight.
        rule: `"correlated_normal"`, `"normal"`, or `"keep"`.
        reason: why that rule.
        std: standard deviation of each weight; None for `"keep"`.
        correlation: R of the taps; None unless the rule is `"correlated_normal"`.
        zero_bias: whether a bias is set to zero.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    rule: Literal["correlated_normal", "normal", "keep"]
    reason: str
    std: float | None = None
    correlation: SpatialCorrelation | None = None
    zero_bias: bool = False

    @property
    def action(self) -> str:
        """What is done to the weight, for the table."""
        if self.rule == "keep":
            return "keep"
        return f"draw, std {self.std:.4g}" + (", zero bias" if self.zero_bias else "")


@dataclass(frozen=True)
class Plan:
    """What happens to each layer of a model: a value, printed as a table, applied with `apply`."""

    layers: tuple[LayerPlan, ...]

    def apply(self, model: nn.Module, *, seed: int = 0) -> None:
        """Draw the weights as planned. Nothing is changed unless every planned layer is there and fits.

        Args:
            model: the model planned for, or one of the same layers.
            seed: root seed; each layer draws from a generator of its own (`layer_generator`).

        Raises:
            PlanError: if a planned layer is missing from the model or has another shape.
        """
        modules = {canonical_name(name): module for name, module in model.named_modules()}
        drawn = [layer for layer in self.layers if layer.rule != "keep"]
        for layer in drawn:
            weight = getattr(modules.get(layer.name), "weight", None)
            if weight is None or tuple(weight.shape) != layer.shape:
                found = "no such layer" if weight is None else f"a weight of shape {tuple(weight.shape)}"
                raise PlanError(f"layer {layer.name}: planned for shape {layer.shape}, the model has {found}")
        seeded = [(modules[layer.name], layer, layer_generator(seed, layer.name)) for layer in drawn]
        with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
            list(pool.map(lambda task: _draw(*task), seeded))

    def independent(self) -> Plan:
        """The scale control: the same standard deviation in every layer, from independent taps."""
        return Plan(
            tuple(
                replace(
                    layer, rule="normal", correlation=None, reason=f"{layer.reason}; taps made independent"
                )
                if layer.rule == "correlated_normal"
                else layer
                for layer in self.layers
            )
        )

    def __str__(self) -> str:
        header = ("layer", "type", "shape", "rule", "action", "reason")
        rows: list[tuple[str, ...]] = [header]
        for layer in self.layers:
            rows.append(
                (layer.name, layer.kind, format_size(layer.shape), layer.rule, layer.action, layer.reason)
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def initialize(model: nn.Module, *, seed: int = 0, **options: Unpack[PlanOptions]) -> Plan:
    """Initialize the whole model with correlated taps, in place.

    Equal to `plan(model, **options).apply(model, seed=seed)`. The global random state is untouched; the same
    seed gives the same weights on every device, in every memory format and under every wrapper.

    Args:
        model: any module with its parameters materialized.
        seed: root seed.
        options: those of `plan`.

    Returns:
        The plan that was carried out.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1))
    >>> print(initialize(model))
    layer  type         shape    rule               action                       reason
    0      Conv2d       8×3×3×3  correlated_normal  draw, std 0.1551, zero bias  n_in = 3, R mean 0.260
    1      BatchNorm2d  8        keep               keep                         no filters
    3      Conv2d       8×8×1×1  normal             draw, std 0.5, zero bias     n_in = 8, a single tap
    """
    made = plan(model, **options)
    made.apply(model, seed=seed)
    return made


def plan(
    model: nn.Module,
    *,
    correlation: CorrelationSource = None,
    strength: float = 1.0,
    inputs: Inputs = "identical",
    include: Selectors = None,
    exclude: Selectors = None,
    independent: Selectors = None,
    missing: MissingSize = "error",
    mode: FanMode = "fan_in",
    nonlinearity: str = "relu",
    a: float = 0.0,
    bias: Bias = "zeros",
) -> Plan:
    """Decide what to do with each layer of a model, changing nothing.

    Convolutions of more than one tap draw from N(0, s² R) per filter, s = g / √(n ⟨R, M⟩). Linear layers and
    1×1 convolutions draw independently from N(0, g² / n): the same rule for a single tap. n counts the
    channels that each output sums over: in / groups also in transposed convolutions, whose stride is taken
    into account. Everything else, normalization above all, is kept. So are layers that are frozen
    (`requires_grad=False`), marked as loaded (`_is_hf_initialized`), tied to an earlier layer, or
    parametrized by anything but weight normalization.

    Args:
        model: any module.
        correlation: R, several of different kernel sizes, or the name of a preset; default:
            `default_correlation`.
        strength: α, factor on the off-diagonal entries of R.
        inputs: M, the correlation of the inputs within a patch, see `corrinit.signal_scale`.
        include: the layers to initialize; default: all.
        exclude: layers to keep as they are.
        independent: convolutions that get independent taps.
        missing: for a kernel size that `correlation` lacks: `"error"`, `"resize"` the first given one of as
            many axes, or draw `"independent"` taps.
        mode: `"fan_in"` or `"fan_out"`, as in `torch.nn.init`, but with groups counted in `"fan_out"`.
        nonlinearity: as in `torch.nn.init.calculate_gain`.
        a: negative slope of a leaky ReLU.
        bias: set the biases of drawn layers to `"zeros"`, or `"keep"` them.

    Raises:
        PlanError: naming the layer or the argument; the model is as it was.
    """
    for argument, value, allowed in (
        ("missing", missing, MissingSize),
        ("mode", mode, FanMode),
        ("bias", bias, Bias),
    ):
        if value not in get_args(allowed):
            raise PlanError(
                f"{argument} is {value!r}; it is one of {', '.join(map(repr, get_args(allowed)))}"
            )
    included = select(model, include, "include") if include is not None else None
    excluded = select(model, exclude, "exclude")
    uncorrelated = select(model, independent, "independent")
    try:
        correlation_for = correlation_lookup(correlation, strength, missing)
    except CorrelationError as error:
        raise PlanError(f"correlation: {error}") from error
    gain = _gain(nonlinearity, a)
    layers: list[LayerPlan] = []
    owner_of: dict[Tensor, str] = {}
    for full_name, module in model.named_modules():
        name = canonical_name(full_name)
        require_materialized(name, module)
        if not (parameters := own_parameters(module)):
            continue
        weight = parameters.get("weight", next(iter(parameters.values())))
        kept = LayerPlan(name, type(module).__name__, tuple(weight.shape), "keep", "")
        reason = reason_to_keep(module, weight)
        if name in excluded or (included is not None and name not in included):
            reason = "excluded" if name in excluded else "not included"
        if (owner := owner_of.setdefault(weight, name)) != name:
            reason = f"tied to {owner}"
        if reason:
            layers.append(replace(kept, reason=reason))
            continue
        try:
            layer = _drawn(kept, module, name in uncorrelated, correlation_for, inputs, mode, gain)
        except CorrelationError as error:
            raise PlanError(f"layer {name} ({kept.kind}, {format_size(kept.shape)}): {error}") from error
        has_bias = isinstance(parameters.get("bias"), Tensor) and parameters["bias"].requires_grad
        layers.append(replace(layer, zero_bias=has_bias and bias == "zeros"))
    return Plan(tuple(layers))


def _drawn(
    layer: LayerPlan,
    module: nn.Module,
    uncorrelated: bool,
    correlation_for: Callable[[tuple[int, ...]], SpatialCorrelation | None],
    inputs: Inputs,
    mode: FanMode,
    gain: float,
) -> LayerPlan:
    """The rule, scale and correlation of a layer that is drawn."""
    transposed = isinstance(module, _ConvTransposeNd)
    axis = 1 if (mode == "fan_in") != transposed else 0
    channels = layer.shape[axis]
    groups = getattr(module, "groups", 1)
    if axis == 0:
        channels //= groups
    reason = f"n_{mode.removeprefix('fan_')} = {channels}"
    if groups > 1:
        reason += ", depthwise" if groups == module.in_channels else f", {groups} groups"
    kernel_size = layer.shape[2:]
    single_tap = all(k == 1 for k in kernel_size)
    correlation = None if single_tap or uncorrelated else correlation_for(kernel_size)
    if single_tap:
        reason += ", a single tap" if kernel_size else ", linear"
    elif correlation is None:
        reason += ", independent taps as asked"
    else:
        reason += f", R mean {correlation.mean:.3f}"
        reason += f" ({note})" if (note := correlation.provenance.get("psd_repair")) else ""
    taps = correlation or SpatialCorrelation.identity(kernel_size or (1,))
    matched = inputs if not (isinstance(inputs, SpatialCorrelation) and single_tap) else "independent"
    if transposed and mode == "fan_in":
        factor = transposed_amplification(taps, matched, stride=module.stride, dilation=module.dilation)
    else:
        factor = amplification(taps, matched)
    rule = "normal" if correlation is None else "correlated_normal"
    return replace(
        layer, rule=rule, reason=reason, std=scale_for(factor, channels, gain), correlation=correlation
    )


def _gain(nonlinearity: str, a: float) -> float:
    try:
        return nn.init.calculate_gain(nonlinearity, a)  # pyright: ignore[reportArgumentType]
    except ValueError as error:
        raise PlanError(f"nonlinearity is {nonlinearity!r}: {error}") from error


def _draw(module: nn.Module, layer: LayerPlan, generator: torch.Generator) -> None:
    assert layer.std is not None
    with writing_weight(module) as weight:
        draw_(weight, layer.correlation, layer.std, generator)
        if layer.zero_bias:
            module.bias.zero_()  # pyright: ignore
