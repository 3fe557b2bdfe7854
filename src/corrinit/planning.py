"""Which layer of a model gets which weights, and why; then doing exactly that.

`plan` looks at a model and decides, changing nothing; `Plan.apply` draws; `initialize` does both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import prod
from typing import Literal, TypeAlias, TypedDict, get_args

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd
from typing_extensions import Unpack

from corrinit.correlation import SpatialCorrelation, format_size
from corrinit.correlation_source import CorrelationSource, MissingSize, correlation_lookup
from corrinit.errors import CorrelationError, PlanError, warn_caller
from corrinit.init import FanMode
from corrinit.layer_plan import LayerPlan, Plan, listed
from corrinit.layers import (
    Kept,
    MemoryMap,
    constant_value,
    deliberate,
    has_values,
    is_deliberate_bias,
    is_loaded,
    is_of_parametrization,
    is_protected,
    named_layers,
    own_parameters,
    require_shape,
    tells_loaded,
    why_kept,
    why_parameter_kept,
    why_unwritable,
)
from corrinit.scale import Inputs, amplification, scale_for, transposed_amplification
from corrinit.selectors import Selectors, as_sequence, select
from corrinit.unknown_layers import Modules, like_convolutions
from corrinit.weight_storage import stored_weight

Bias: TypeAlias = Literal["zeros", "keep"]
Others: TypeAlias = Literal["keep", "reset"]


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
    others: Others
    keep_constants: bool
    modules: Modules | None


def initialize(model: nn.Module, *, seed: int | None = None, **options: Unpack[PlanOptions]) -> Plan:
    """Initialize the whole model with correlated taps, in place.

    Equal to `plan(model, **options).apply(model, seed=seed)`. With a seed, the global random state is
    untouched; the same seed gives the same weights on every device, in every memory format and under every
    wrapper. Weights that were loaded are drawn anew like any others, unless they are marked as loaded (by
    transformers), frozen, or excluded.

    Args:
        model: any module with its parameters materialized.
        seed: root seed; default: one number from torch's global generator, as with `torch.nn.init`.
        options: those of `plan`.

    Returns:
        The plan that was carried out, with its seed.

    Raises:
        PlanError: if a layer cannot be initialized as asked; the model is as it was.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1))
    >>> print(initialize(model, seed=0))
    layer  type         shape    rule               action                       reason
    0      Conv2d       8×3×3×3  correlated_normal  draw, std 0.1551, zero bias  n_in = 3, R mean 0.260
    1      BatchNorm2d  8        keep               keep                         no filters
    3      Conv2d       8×8×1×1  normal             draw, std 0.5, zero bias     n_in = 8, a single tap
    seed 0
    """
    return plan(model, **options).apply(model, seed=seed)


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
    others: Others = "keep",
    keep_constants: bool = True,
    modules: Modules | None = None,
) -> Plan:
    """Decide what to do with each layer of a model, changing nothing.

    Convolutions of more than one tap draw from N(0, s² R) per filter, s = g / √(n ⟨R, M⟩). Linear layers and
    1×1 convolutions draw independently from N(0, g² / n): the same rule for a single tap. n counts the
    channels that each output sums over: in / groups also in transposed convolutions, whose stride is taken
    into account. Everything else, normalization above all, is kept. So are layers that are frozen
    (`requires_grad=False`), marked as loaded (`_is_hf_initialized`), tied to an earlier layer, deliberately
    constant (zero convolutions, prior biases), or parametrized in a way that cannot be written through:
    weight and spectral normalization and pruning can.

    A `CorrInitWarning` names filters that are left alone although one could expect them to be drawn, and
    says why where nothing is drawn at all, or nothing of what `include` names. On the meta device all is
    planned from the shapes. All ranks that share a model plan it together.

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
        bias: set the biases of drawn layers to `"zeros"`, or `"keep"` them. One that is constant but not zero
            is kept anyway.
        others: `"keep"` what is not drawn, or `"reset"` it, as for a fresh fold or after `to_empty`:
            parameters and statistics get the values that `reset_parameters` gives, from the seed. Excluded,
            frozen and loaded layers are kept. What the model holds then tells nothing: constants are drawn.
        keep_constants: keep weights, and biases other than 0, of which all entries are equal.
        modules: how the filters of classes are read that torch does not know, see `ConvolutionLike`.

    Raises:
        PlanError: naming the layer or the argument; the model is as it was.
    """
    for argument, value, allowed in (
        ("missing", missing, MissingSize),
        ("mode", mode, FanMode),
        ("bias", bias, Bias),
        ("others", others, Others),
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
    likes = like_convolutions(model, modules)
    keep_constants &= others == "keep"
    memory = MemoryMap()
    rows: list[tuple[LayerPlan, Kept | None]] = []
    for name, module in named_layers(model).items():
        require_shape(name, module)
        parameters = own_parameters(module)
        tensors = [*parameters.values(), *(module.buffers(recurse=False) if others == "reset" else ())]
        if is_of_parametrization(name) or not tensors:
            continue
        like = likes.get(name)
        stored = like.stored(name, module) if like else stored_weight(module)
        shape = stored.shape if stored is not None else tuple(tensors[0].shape)
        layer = LayerPlan(name, type(module).__name__, shape, "keep", "", like=like)
        shared = {key: memory.claim(parameter, name) for key, parameter in parameters.items()}
        if stored is not None and (reason := shared[like.weight if like else "weight"]):
            why = Kept(reason)
        elif name in excluded or (included is not None and name not in included):
            why = Kept("excluded" if name in excluded else "not included", protected=True)
        elif (why := why_parameter_kept(stored.parameter) if like and stored else why_kept(module)) is None:
            assert stored is not None
            if keep_constants and (value := constant_value(stored.parameter)) is not None:
                why = Kept(deliberate(value), is_constant=True)
        if why is not None or stored is None:
            assert why is not None
            protected = why.protected or (parameters and all(map(is_protected, parameters.values())))
            reset = others == "reset" and not protected
            rows.append((replace(layer, rule="reset" if reset else "keep", reason=why.reason), why))
            continue
        if has_values(stored.parameter) and (obstacle := why_unwritable(stored.parameter)):
            raise PlanError(f"layer {name}: the weight is {obstacle}; or exclude the layer")
        try:
            layer = _drawn(layer, module, name in uncorrelated, correlation_for, inputs, mode, gain)
        except CorrelationError as error:
            raise PlanError(f"layer {name} ({layer.kind}, {format_size(layer.shape)}): {error}") from error
        reason = f"{layer.reason}, {stored.note}" if stored.note else layer.reason
        zero_bias = False
        if bias == "zeros" and (offset := parameters.get("bias")) is not None and offset.requires_grad:
            deliberate_bias = keep_constants and is_deliberate_bias(offset, inputs=prod(shape[1:]))
            zero_bias = not (shared["bias"] or deliberate_bias or is_loaded(offset))
            reason += f", bias {offset.flatten()[0]:.4g} kept" if deliberate_bias else ""
        rows.append(
            (replace(layer, reason=reason, zero_bias=zero_bias, reset_others=others == "reset"), None)
        )
    _warn_of_layers_left_alone(model, rows, include)
    on_meta = keep_constants and any(parameter.is_meta for parameter in model.parameters())
    notes = (
        ("on the meta device: deliberate zeros and constants cannot be told, and are drawn",)
        if on_meta
        else ()
    )
    return Plan(tuple(layer for layer, _ in rows), notes=notes)


def _warn_of_layers_left_alone(
    model: nn.Module, rows: Sequence[tuple[LayerPlan, Kept | None]], include: Selectors
) -> None:
    """Say what an initialization would leave alone that one could expect it to draw."""
    unreached = [f"{row.name} ({row.reason})" for row, why in rows if why is not None and why.unreached]
    if unreached:
        warn_caller(f"filters left alone: {listed(unreached)}")
    if not tells_loaded(model):
        warn_caller(
            "transformers before version 5 does not mark which parameters it has loaded, so all are drawn; "
            "exclude those that come from a checkpoint"
        )
    candidates = [why for _, why in rows if why is None or why.is_constant]
    constant = sum(why is not None for why in candidates)
    if constant > max(1, len(candidates) / 2):
        warn_caller(
            f"{constant} of {len(candidates)} weights are constant and taken to be meant so; memory fresh "
            'from to_empty() is too: others="reset" draws them and resets all else, keep_constants=False '
            "draws them"
        )
    kept = {row.name: row.reason for row, why in rows if why is not None and why.has_filters}
    drawn = {row.name for row, why in rows if why is None}
    if not drawn:
        nothing = "there is no convolution or linear layer of torch's in the model, so nothing is drawn"
        counted = f"0 of {len(kept)} layers with filters drawn{_in_words(kept.values())}"
        warn_caller(counted if kept else nothing)
        return
    for selector in as_sequence(include):
        chosen = select(model, selector, "include")
        if not chosen & drawn:
            reasons = [reason for name, reason in kept.items() if name in chosen]
            warn_caller(f"include: no layer of {selector!r} is drawn{_in_words(reasons)}")


def _in_words(reasons: Iterable[str]) -> str:
    counts = [f"{count} {reason}" for reason, count in Counter(reasons).most_common()]
    return f": {listed(counts)}" if counts else ""


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
    channels = layer.shape[axis] // (layer.like.sets(module) if layer.like and axis == 0 else 1)
    groups = layer.like.count_groups(module) if layer.like else getattr(module, "groups", 1)
    if axis == 0:
        channels //= groups
    reason = f"n_{mode.removeprefix('fan_')} = {channels}"
    if groups > 1:
        in_channels = groups * layer.shape[1] if layer.like else module.in_channels
        reason += ", depthwise" if groups == in_channels else f", {groups} groups"
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
    std = scale_for(factor, channels, gain)
    if layer.like and layer.like.std is not None:
        std, reason = layer.like.std, f"{reason}, std as given"
    return replace(layer, rule=rule, reason=reason, std=std, correlation=correlation)


def _gain(nonlinearity: str, a: float) -> float:
    try:
        return nn.init.calculate_gain(nonlinearity, a)  # pyright: ignore[reportArgumentType]
    except ValueError as error:
        raise PlanError(f"nonlinearity is {nonlinearity!r}: {error}") from error
