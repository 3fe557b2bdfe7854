"""From the rules of a plan to what one layer gets: its method, the correlation of its taps, its scale.

Over the rule of the recipe goes what the caller names for the whole model, and over that the caller's own
rules: by role first, then by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, get_args

from corrinit._correlation import SpatialCorrelation
from corrinit._correlation_source import CorrelationLookup, MissingSize, correlation_lookup
from corrinit._planning.recipes import Recipe, Role, Rule, find_recipe, is_role
from corrinit._planning.roles import Place
from corrinit.errors import CorrelationError, PlanError, UnknownLayerError
from corrinit.methods import Convolution, Method, find


@dataclass(frozen=True, eq=False)
class Choice:
    """What a layer that is drawn gets; its standard deviation is yet to be computed.

    Args:
        layer: the facts that methods know of it.
        place: its role in the model.
        rule: what decides.
        name: of the method, as it is found by.
        method: how it is drawn.
        taps: R of the taps as drawn; None if they are independent, or the method states none.
        standardized: whether the layer standardizes its weights, so that a scale has no effect.
        notes: what the reason in the plan adds.
    """

    layer: Convolution
    place: Place
    rule: Rule
    name: str
    method: Method
    taps: SpatialCorrelation | None
    standardized: bool = False
    notes: tuple[str, ...] = ()

    @property
    def follows(self) -> bool:
        """Whether the gain is that of the activation that follows in the model."""
        return isinstance(self.rule.nonlinearity, str) and self.rule.nonlinearity == "follows"

    @property
    def scale_name(self) -> str:
        """What the plan calls the scale."""
        if self.rule.scale is None:
            return self.method.own_scale or "own"
        return self.rule.scale if isinstance(self.rule.scale, str) else "given"


def base_recipe(recipe: str | None, method: str | None, default: str) -> Recipe:
    """The recipe that the caller's words go over.

    Where a method is named and no recipe, all methods share the rules: every convolution by the method at its
    own scale, linear layers Kaiming normal, gain √2, zero biases.
    """
    if recipe is not None or method is None:
        return find_recipe(recipe or default)
    ((case, shared),) = find_recipe("kaiming").rules
    return Recipe("", f"the method {method}", ((case, replace(shared, scale=None)),))


def rule_for(
    name: str,
    place: Place,
    *,
    linear: bool,
    standardized: bool,
    recipe: Recipe,
    named: Rule,
    rules: Mapping[str, Rule],
) -> Rule:
    """The rule of a layer: the recipe's, under what the caller names, under the caller's own rules."""
    rule = recipe.rule(place.role, normalized=place.normalized, standardized=standardized)
    words = named
    if linear:
        words = replace(named, method=None)  # a method fills convolutions
    if named.correlation is not None and named.method is None:
        words = replace(words, method="correlated")
    if words.scale is not None or words.nonlinearity is not None:
        words = replace(words, small=False)  # the head, too, is as the caller says
    if words.scale is not None:
        words = replace(words, share=False)
    rule = words.over(rule)
    for pattern, own in rules.items():
        if is_role(pattern) and pattern == place.role:
            rule = own.over(rule)
    for pattern, own in rules.items():
        if matches(pattern, name):
            rule = _over_by_name(own, rule)
    return rule


def _over_by_name(own: Rule, rule: Rule) -> Rule:
    """A rule for this very layer: what it says of scale or gain holds for a head and a branch, too."""
    if own.scale is not None or own.nonlinearity is not None:
        rule = replace(rule, small=False)
    if own.scale is not None:
        rule = replace(rule, share=False)
    if own.correlation is not None and own.method is None:
        rule = replace(rule, method="correlated")
    return own.over(rule)


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern names a layer, its weight, or something around it.

    >>> matches("stem.*", "stem"), matches("stem", "stem.0"), matches("stem", "head")
    (True, True, False)
    """
    parts = name.split(".")
    around = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return any(fnmatchcase(each, pattern) for each in (*around, f"{name}.weight"))


def choose(
    layer: Convolution,
    place: Place,
    rule: Rule,
    *,
    correlations: NamedCorrelations,
    independent: bool,
    as_control: bool,
    standardized: bool,
) -> Choice:
    """Method and correlation of a layer.

    Args:
        layer: its facts; the correlation is filled in here.
        place: its role.
        rule: of the layer.
        correlations: what R is called, and what to do about it.
        independent: whether the caller asks for independent taps in this layer.
        as_control: whether the caller names the method: then the paper's scale is that of the correlated
            method, whatever this one draws; else it is that of the taps that are drawn.
        standardized: whether the layer standardizes its weights.

    Raises:
        ConfigError: if there is no such method.
        PlanError: if it cannot fill such a layer.
    """
    method = find(name := rule.method or "kaiming_normal")
    notes: list[str] = []
    if not layer.kernel_size and callable(method.draw) and name != "orthogonal":
        raise PlanError(f"{name} fills convolutions, and this layer is linear", layer=layer.name)
    asked = method.own_scale if rule.scale is None else rule.scale
    at_paper = as_control and isinstance(asked, str) and asked == "paper"
    needs_reference = method.uses_correlation or at_paper
    if layer.taps > 1 and needs_reference and not independent:
        layer = replace(layer, correlation=correlations.of(rule, layer))
    if layer.taps == 1:
        notes.append("a single tap" if layer.kernel_size else "linear")
    elif method.uses_correlation and layer.correlation is None:
        notes.append("independent taps as asked")
    taps = layer.correlation if method.uses_correlation else None
    if layer.taps > 1 and method.correlation is not None:
        stated = method.correlation(layer)
        taps = None if stated.is_identity else stated
    if taps is not None and method.uses_correlation:
        repaired = taps.provenance.get("psd_repair")
        notes.append(f"R mean {taps.mean:.3f}" + (f" ({repaired})" if repaired else ""))
    if rule.why:
        notes.append(rule.why)
    return Choice(layer, place, rule, name, method, taps, standardized, tuple(notes))


class NamedCorrelations:
    """R of each layer, from what its rule names; every name is read once.

    Args:
        strength: α of rules that leave it open.
        missing: what to do for kernel sizes of which no R is given, see `corrinit.plan`.
    """

    def __init__(self, strength: float, missing: MissingSize) -> None:
        self.strength = strength
        self.missing: MissingSize = missing
        self._known: list[tuple[Any, float, CorrelationLookup]] = []

    def of(self, rule: Rule, layer: Convolution) -> SpatialCorrelation | None:
        """R of the taps of a layer; None where they shall be independent.

        Raises:
            CorrelationError: if there is none of its kernel size.
            PlanError: if nothing is called so.
        """
        strength = self.strength if rule.strength is None else rule.strength
        for source, alpha, lookup in self._known:
            if source is rule.correlation and alpha == strength:
                return lookup(layer.kernel_size, layer.depth)
        try:
            lookup = correlation_lookup(rule.correlation, strength, self.missing)
        except CorrelationError as error:
            raise PlanError(f"correlation: {error}") from error
        self._known.append((rule.correlation, strength, lookup))
        return lookup(layer.kernel_size, layer.depth)


def require_matching(rules: Mapping[str, Rule], names: Sequence[str]) -> None:
    """Check that each key of `rules` is a role or matches a layer.

    Raises:
        PlanError: for the first that does not, with the nearest names.
    """
    for pattern in rules:
        if not is_role(pattern) and not any(matches(pattern, name) for name in names):
            near = get_close_matches(pattern, [*names, *get_args(Role)], n=3, cutoff=0.3) or names[:3]
            raise UnknownLayerError(
                f"rules: {pattern!r} is no role and matches no layer of the model; there are "
                f"{', '.join(near)}, ..."
            )


def relative_depths(names: Sequence[str], taps: Mapping[str, int]) -> dict[str, float]:
    """Depth of each layer among those of more than one tap, from 0 to 1; others that of the one before.

    Args:
        names: of the layers, in module order.
        taps: of each.

    >>> relative_depths(["a", "b", "c"], {"a": 9, "b": 1, "c": 9})
    {'a': 0.0, 'b': 0.0, 'c': 1.0}
    """
    last = max(sum(taps[name] > 1 for name in names) - 1, 1)
    depths, count = {}, 0
    for name in names:
        count += taps[name] > 1
        depths[name] = max(count - 1, 0) / last
    return depths
