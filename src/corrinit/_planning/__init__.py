"""Which layer of a model gets which weights, and why; then doing exactly that.

`plan` looks at a model and decides, changing nothing; `Plan.apply` draws; `initialize` does both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, sqrt
from numbers import Real
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict, get_args

from torch import Tensor, nn
from typing_extensions import Unpack

from corrinit._correlation import format_size
from corrinit._correlation_source import CorrelationSource, MissingSize
from corrinit._init import FanMode
from corrinit._layers.selectors import Selectors, select
from corrinit._layers.unknown_layers import Modules, like_convolutions
from corrinit._planning.candidates import Candidate, read_candidates, warn_of_layers_left_alone
from corrinit._planning.choices import (
    Choice,
    NamedCorrelations,
    base_recipe,
    choose,
    relative_depths,
    require_matching,
    rule_for,
)
from corrinit._planning.deviations import standard_deviations
from corrinit._planning.gains import Powers, gain_of
from corrinit._planning.layer_plan import LayerPlan
from corrinit._planning.model_graph import model_graph
from corrinit._planning.plans import Plan
from corrinit._planning.recipes import DEFAULT, Recipe, Rule, Scale, is_role, one_of, read_rules
from corrinit._planning.roles import Filters, Place, places
from corrinit._planning.rows import drawn_row, kept_row, model_notes, signal_notes
from corrinit._planning.sequence_rules import with_sequence_rules
from corrinit._scale import renamed_inputs
from corrinit._signal import Graph
from corrinit._tracing import Activation
from corrinit.errors import CorrelationError, PlanError

Bias: TypeAlias = Literal["zeros", "keep"]
Others: TypeAlias = Literal["keep", "reset", "draw"]


class PlanOptions(TypedDict, total=False):
    """The options of `plan`, which documents them, as `initialize` passes them on."""

    recipe: str | None
    method: str | None
    scale: Scale | None
    correlation: CorrelationSource
    strength: float
    rules: Mapping[str, Rule | Mapping[str, Any]] | None
    include: Selectors
    exclude: Selectors
    independent: Selectors
    missing: MissingSize
    mode: FanMode
    nonlinearity: str | Activation | None
    a: float
    bias: Bias | None
    others: Others
    keep_constants: bool
    modules: Modules | None
    input_size: int | Sequence[int] | None
    images: Tensor | None
    inputs: Any


def initialize(model: nn.Module, *, seed: int | None = None, **options: Unpack[PlanOptions]) -> Plan:
    """Initialize the whole model, in place.

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
    >>> print(initialize(model, recipe="schneider", seed=0).layers[0].action)
    draw, std 0.1551 (paper), zero bias
    """
    return plan(model, **options).apply(model, seed=seed)


def plan(
    model: nn.Module,
    *,
    recipe: str | None = None,
    method: str | None = None,
    scale: Scale | None = None,
    correlation: CorrelationSource = None,
    strength: float = 1.0,
    rules: Mapping[str, Rule | Mapping[str, Any]] | None = None,
    include: Selectors = None,
    exclude: Selectors = None,
    independent: Selectors = None,
    missing: MissingSize = "error",
    mode: FanMode = "fan_in",
    nonlinearity: str | Activation | None = None,
    a: float = 0.0,
    bias: Bias | None = None,
    others: Others = "keep",
    keep_constants: bool = True,
    modules: Modules | None = None,
    input_size: int | Sequence[int] | None = None,
    images: Tensor | None = None,
    inputs: Any = None,
) -> Plan:
    """Decide what to do with each layer of a model, changing nothing.

    A recipe has a rule for every role that a layer can have (`corrinit._planning.recipes`). What is named
    here holds for every layer that is drawn, stem and head included; the recipe decides what is left open,
    and `rules` have the last word. Filters of more than one tap are drawn with covariance s² D R D,
    s = g / √(n ⟨DRD, M⟩); n counts the channels that each output sums over: in / groups also in transposed
    convolutions, whose stride is taken into account.

    Kept is everything else, normalization above all, and layers that are frozen (`requires_grad=False`),
    marked as loaded (`_is_hf_initialized`), tied to an earlier layer, deliberately constant (zero
    convolutions, prior biases), or parametrized in a way that cannot be written through: weight and spectral
    normalization and pruning can.

    A `CorrInitWarning` names filters that are left alone although they could be expected to be drawn, and
    says why where nothing is drawn at all, or nothing of what `include` names. On the meta device all is
    planned from the shapes. All ranks that share a model plan it together.

    Args:
        model: any module.
        recipe: a name in `corrinit._planning.recipes.RECIPES`; default: `"2026.1"`, or where a method is
            named the rules that all methods share: gain √2, linear layers Kaiming normal, zero biases.
        method: how convolutions are drawn, a name in `corrinit.methods.METHODS` or of an entry point.
        scale: M of the scale: `"he"`, `"paper"`, `"measured"` on `images`, or `"natural"`; or the method's
            `"own"`; default: the recipe's, or the method's own.
        correlation: R, several of different kernel sizes or one for each depth, or a text that names it;
            default: `default_correlation`. Naming one means the method `"correlated"`.
        strength: α, factor on the off-diagonal entries of R.
        rules: options for layers by the pattern of their name, or by role: `{"stem.*": {"scale": "he"}}`.
            The options are those of `corrinit._planning.recipes.Rule`.
        include: the layers to initialize; default: all.
        exclude: layers to keep as they are.
        independent: convolutions that get independent taps.
        missing: for a kernel size that `correlation` lacks: `"error"`, `"resize"` the first given one of as
            many axes, or draw `"independent"` taps.
        mode: `"fan_in"` or `"fan_out"`, as in `torch.nn.init`, but with groups counted in `"fan_out"`.
        nonlinearity: the activation whose gain every layer gets: a name, as in `torch.nn.functional`, or a
            callable; default: the recipe's.
        a: negative slope of a leaky ReLU.
        bias: set the biases of drawn layers to `"zeros"`, the default, or `"keep"` them. One that is constant
            but not zero is kept anyway.
        others: `"keep"` what is not drawn, or `"reset"` it, as for a fresh fold or after `to_empty`:
            parameters and statistics get the values that `reset_parameters` gives, from the seed. Excluded,
            frozen and loaded layers are kept. Values that the model holds then tell nothing: constants are
            drawn. Or `"draw"` attention projections, recurrent layers and embeddings too, each by a rule that
            the plan names, and keep the rest.
        keep_constants: keep weights, and biases other than 0, of which all entries are equal.
        modules: how the filters of classes are read that torch does not know, see `ConvolutionLike`.
        input_size: pixels a side, or the shape of one input (channels, *pixels), for the scale `"natural"`;
            default: that of `images`, or 32 pixels a side if the model takes them.
        images: training images (N, C, H, W) as the network gets them, for methods that look at data and for
            the scale `"measured"`; a few hundred are enough.
        inputs: the older name of `scale`.

    Raises:
        PlanError: naming the layer or the argument; the model is as it was.
    """
    if inputs is not None:
        try:
            scale = renamed_inputs(scale, inputs)
        except CorrelationError as error:
            raise PlanError(str(error)) from error
    for argument, value, allowed in (
        ("missing", missing, MissingSize),
        ("mode", mode, FanMode),
        ("others", others, Others),
    ):
        if not isinstance(value, str) or value not in get_args(allowed):
            raise PlanError(f"{argument} is {value!r:.80}; it is {one_of(get_args(allowed))}")
    if not isinstance(model, nn.Module):
        raise PlanError(f"the model is {type(model).__name__}; give a torch.nn.Module")
    if not (isinstance(strength, Real) and isfinite(strength) and strength >= 0):
        raise PlanError(f"strength is {strength!r}; it is a factor of at least 0")
    if not (method is None or isinstance(method, str)):
        raise PlanError(f"method is {method!r:.80}; it is the name of one, such as 'kaiming_normal'")
    named = Rule(method, correlation, scale=scale, nonlinearity=nonlinearity, bias=bias).checked()
    own_rules = read_rules({} if rules is None else rules)
    base = base_recipe(recipe, method, DEFAULT)
    candidates = read_candidates(
        model,
        include=include,
        exclude=exclude,
        likes=like_convolutions(model, modules),
        reset_others=others == "reset",
        keep_constants=keep_constants and others != "reset",
    )
    if others == "draw":
        candidates = with_sequence_rules(candidates)
    require_matching(own_rules, [candidate.row.name for candidate in candidates])
    drawn = {c.row.name: c for c in candidates if c.why is None}
    graph = None
    if (
        base.needs_graph
        or named.scale_is("natural")
        or any(is_role(key) or rule.needs_graph for key, rule in own_rules.items())
    ):
        graph = model_graph(
            model,
            _input_size(input_size, images),
            forgotten={c.row.name for c in candidates if c.row.method == "reset" or c.row.reset_others},
        )
    choices = _choices(
        drawn,
        places({name: c.module for name, c in drawn.items()}, graph, _filters(drawn)),
        _Words(base, named, own_rules, NamedCorrelations(strength, missing), mode, a),
        select(model, independent, "independent"),
        graph,
    )
    known_size = input_size is not None or images is not None
    stds, signal = standard_deviations(choices, graph, borders=known_size)
    warn_of_layers_left_alone(model, candidates, include)
    return Plan(
        tuple(
            drawn_row(c, choices[c.row.name], stds[c.row.name], mode)
            if c.row.name in choices
            else kept_row(c)
            for c in candidates
        ),
        recipe=base.name,
        notes=(*model_notes(model, keep_constants), *signal_notes(signal, graph, known_size)),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        images=images,
        signal=signal,
    )


def _filters(drawn: Mapping[str, Candidate]) -> dict[str, Filters]:
    """What the layers hold that are of a class that torch does not know."""
    return {
        name: Filters(c.row.shape, c.row.like.count_groups(c.module))
        for name, c in drawn.items()
        if c.row.like is not None
    }


class _Words(NamedTuple):
    """What decides over layers: the recipe, what the caller names, and the caller's own rules."""

    recipe: Recipe
    named: Rule
    rules: Mapping[str, Rule]
    correlations: NamedCorrelations
    mode: FanMode
    slope: float


def _choices(
    drawn: Mapping[str, Candidate],
    roles: Mapping[str, Place],
    words: _Words,
    independent: frozenset[str],
    graph: Graph | None,
) -> dict[str, Choice]:
    """What each layer gets that is drawn; its standard deviation is still open."""
    depths = relative_depths(list(drawn), {name: c.taps for name, c in drawn.items()})
    powers = None if graph is None else Powers(graph)
    choices = {}
    for name, candidate in drawn.items():
        rule = rule_for(
            name,
            roles[name],
            linear=len(candidate.row.shape) == 2,
            standardized=candidate.standardized,
            recipe=words.recipe,
            named=words.named,
            rules=words.rules,
        )
        if rule.method == "keep":
            continue
        layer = candidate.layer(
            depth=depths[name],
            gain=_gain(rule, roles[name], powers, words.slope),
            backward=words.mode == "fan_out",
        )
        try:
            choices[name] = choose(
                layer,
                roles[name],
                rule,
                correlations=words.correlations,
                independent=name in independent,
                as_control=words.named.method is not None,
                standardized=candidate.standardized,
            )
        except CorrelationError as error:
            raise _of_layer(candidate.row, error) from error
    return choices


def _gain(rule: Rule, place: Place, powers: Powers | None, slope: float) -> float:
    """The gain g of a layer: that of a named activation, or of the one that follows.

    The scale `"natural"` looks at the strength that arrives, and needs none: `standard_deviations`.
    """
    step = place.activation
    follows = rule.nonlinearity == "follows" and not rule.scale_is("natural")
    if follows and step is not None and powers is not None and (power := powers.of(step)) is not None:
        return sqrt(power.before(1.0))
    return gain_of(rule.nonlinearity, slope)


def _of_layer(row: LayerPlan, error: CorrelationError) -> PlanError:
    return PlanError(
        f"layer {row.name} ({row.kind}, {format_size(row.shape)}): {error}", layer=row.name, shape=row.shape
    )


def _input_size(input_size: int | Sequence[int] | None, images: Tensor | None) -> int | Sequence[int] | None:
    return tuple(images.shape[1:]) if input_size is None and images is not None else input_size
