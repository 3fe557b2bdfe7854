"""Which layer gets what, as data: named, versioned recipes, each a list of rules by role.

A rule leaves open what it does not name. For each layer the first rule of the recipe that fits its role
decides; over it goes what the caller names for the whole model, and over that the caller's own `rules`.

A recipe, once released, draws the same weights for ever: a better one gets a new name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias, get_args

from corrinit.errors import PlanError

Role: TypeAlias = Literal[
    "stem", "dense", "grouped", "depthwise", "transposed", "pointwise", "attention", "linear", "head"
]
"""What a layer is to its model; `corrinit._planning.roles` says how it is told.

`"dense"` is a convolution of more than one tap that is none of the other kinds, `"pointwise"` one of a single
tap, `"head"` a layer whose outputs are the scores of the model.
"""

Scale: TypeAlias = Literal["he", "paper", "measured", "natural", "own"]
"""What the scale s = g / √(n ⟨DRD, M⟩) takes for M, the correlation of the inputs within a patch.

`"he"`: M = I. `"paper"`: M = 1, identical inputs. `"measured"`: M of training images, at each layer.
`"natural"`: M of natural images, propagated to each layer in closed form, with the strength of the signal
that arrives there. `"own"`: the method's, as where no scale is named; in a rule over another that names one.
"""

DEFAULT = "2026.1"
"""The recipe of a model for which neither a recipe nor a method is named."""


@dataclass(frozen=True)
class Rule:
    """What a kind of layer gets; None leaves it open.

    Args:
        method: how the taps are drawn, a name in `corrinit.methods.METHODS` or of an entry point; `"keep"`
            leaves the weight as it is.
        correlation: R of the taps, as in `corrinit.plan`; only for methods that use one.
        strength: α, factor on the off-diagonal entries of R.
        scale: one of `Scale`, or M itself, a `SpatialCorrelation` or array; None where nobody names one is
            the method's own.
        nonlinearity: the activation whose gain the layer gets: a name, or a callable. `"follows"` is the
            one that follows it in the model.
        small: whether the scores start small, see `score_deviation`. For heads.
        share: whether the last layer of a residual branch is scaled by 1 / √(number of additions).
        bias: `"zeros"` or `"keep"`.
        why: the reason that the plan gives.
    """

    method: str | None = None
    correlation: Any = None
    strength: float | None = None
    scale: Any = None
    nonlinearity: Any = None
    small: bool | None = None
    share: bool | None = None
    bias: Literal["zeros", "keep"] | None = None
    why: str | None = None

    @property
    def needs_graph(self) -> bool:
        """Whether it depends on where in its model a layer is, apart from the role it is for."""
        return self.scale_is("natural") or bool(self.small or self.share)

    def scale_is(self, name: Scale) -> bool:
        """Whether the scale is the one of this name."""
        return isinstance(self.scale, str) and self.scale == name

    def checked(self, where: str = "") -> Rule:
        """This rule, if its words are known.

        Raises:
            PlanError: naming the word, and after `where` the layers that it is for.
        """
        for option, value, allowed in (
            ("scale", self.scale, get_args(Scale)),
            ("bias", self.bias, ("zeros", "keep")),
        ):
            if (isinstance(value, str) or option == "bias") and value not in (None, *allowed):
                raise PlanError(f"{where}{option} is {value!r}; it is {one_of(allowed)}")
        return self

    def over(self, other: Rule) -> Rule:
        """This rule, with what it leaves open taken from another."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(other, **{name: value for name, value in named.items() if value is not None})


@dataclass(frozen=True)
class Case:
    """The layers that a rule of a recipe is for.

    Args:
        roles: any of these; empty for every role.
        normalized: only where normalization follows (True) or does not (False); None for both.
        standardized: only where the weights are standardized (True) or not (False); None for both.
    """

    roles: tuple[Role, ...] = ()
    normalized: bool | None = None
    standardized: bool | None = None

    def fits(self, role: Role, *, normalized: bool, standardized: bool) -> bool:
        """Whether a layer is one of these."""
        return (
            (not self.roles or role in self.roles)
            and self.normalized in (None, normalized)
            and self.standardized in (None, standardized)
        )

    def __str__(self) -> str:
        words = [", ".join(self.roles) or ("all others" if self.standardized is None else "any")]
        if self.normalized is not None:
            words.append("normalization follows" if self.normalized else "no normalization follows")
        if self.standardized is not None:
            words.append("standardized weights" if self.standardized else "weights not standardized")
        return "; ".join(words)


@dataclass(frozen=True)
class Recipe:
    """A named list of rules.

    Args:
        name: of the recipe.
        summary: what it is, in a line.
        rules: cases with their rules, the first that fits decides; the last fits every layer.
    """

    name: str
    summary: str
    rules: tuple[tuple[Case, Rule], ...]

    def rule(self, role: Role, *, normalized: bool, standardized: bool) -> Rule:
        """The rule of a layer."""
        return next(
            rule
            for case, rule in self.rules
            if case.fits(role, normalized=normalized, standardized=standardized)
        )

    def table(self) -> list[tuple[str, str, str, str, str]]:
        """The rules in words: a header, then a row each, the first that fits decides."""
        rows = [("layer", "taps", "scale", "gain", "why")]
        for case, rule in self.rules:
            taps = "correlated" if rule.method == "correlated" else "independent"
            scale = "small scores" if rule.small else str(rule.scale)
            gain = "of the activation that follows" if rule.nonlinearity == "follows" else "√2"
            rows.append((str(case), taps, scale, "–" if rule.small else gain, rule.why or "–"))
        return rows

    @property
    def needs_graph(self) -> bool:
        """Whether any rule depends on where in its model a layer is."""
        return len(self.rules) > 1 or any(rule.needs_graph for _, rule in self.rules)


_NATURAL = Rule("kaiming_normal", scale="natural", nonlinearity="follows", share=True, bias="zeros")
"""Independent taps at the scale of the signal that arrives."""

_PLAIN = Rule(scale=None, nonlinearity="relu", small=False, share=False, bias="zeros")

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "2026.1",
            "cautious: correlated taps where nothing speaks against them, every layer at the scale of the "
            "signal that arrives, a small head",
            (
                (Case(("head",)), replace(_NATURAL, small=True, why="small scores")),
                (Case(standardized=True), replace(_NATURAL, why="standardized weights have no scale")),
                (Case(("stem",)), replace(_NATURAL, why="raw images are nearly one-dimensional")),
                (
                    Case(("dense",), normalized=True),
                    replace(_NATURAL, method="correlated", why="normalization follows"),
                ),
                (Case(("dense",)), replace(_NATURAL, why="no normalization follows")),
                (Case(), _NATURAL),
            ),
        ),
        Recipe(
            "schneider",
            "the paper's method at the paper's scale: R in every convolution, gain √2",
            ((Case(), replace(_PLAIN, method="correlated", scale="paper")),),
        ),
        Recipe(
            "kaiming",
            "Kaiming normal: independent taps at He's scale, gain √2",
            ((Case(), replace(_PLAIN, method="kaiming_normal", scale="he")),),
        ),
    )
}
"""The recipes, by name."""


def find_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        PlanError: if there is none.
    """
    if name not in RECIPES:
        near = get_close_matches(str(name), RECIPES, n=1, cutoff=0.4) or list(RECIPES)
        raise PlanError(f"no recipe is called {name!r}; there is {', '.join(near)}")
    return RECIPES[name]


def read_rules(given: Mapping[str, Rule | Mapping[str, Any]]) -> dict[str, Rule]:
    """Rules of the caller's own, as `corrinit.plan` takes them: by name pattern or role.

    Raises:
        PlanError: for an option that a rule does not have, with the nearest ones.

    >>> read_rules({"stem.*": {"method": "orthogonal"}})["stem.*"].method
    'orthogonal'
    """
    if not isinstance(given, Mapping):
        raise PlanError(
            f"rules is of type {type(given).__name__}; it gives each pattern its options, as in "
            "{'stem.*': {'scale': 'he'}}"
        )
    known = [field.name for field in fields(Rule) if field.name != "why"]
    rules = {}
    for pattern, options in given.items():
        if isinstance(options, Rule):
            rules[pattern] = options.checked(f"rules: {pattern!r}: ")
            continue
        if not isinstance(options, Mapping):
            raise PlanError(f"rules: {pattern!r} has {options!r}; it needs options such as {{'scale': 'he'}}")
        for option in options:
            if option not in known:
                near = get_close_matches(str(option), known, n=2, cutoff=0.5) or known
                raise PlanError(f"rules: {pattern!r} sets {option!r}; a rule has {', '.join(near)}")
        rules[pattern] = Rule(**options).checked(f"rules: {pattern!r}: ")
    return rules


def is_role(name: str) -> bool:
    """Whether a key of `rules` is a role rather than the name of a layer."""
    return name in get_args(Role)


def one_of(words: Sequence[str]) -> str:
    """Words to choose from, in a sentence.

    >>> one_of(("he", "paper", "natural"))
    "'he', 'paper' or 'natural'"
    """
    *most, last = map(repr, words)
    return f"{', '.join(most)} or {last}" if most else last


FIRST_LOSS_TOLERANCE = 0.02
"""How far the first loss is expected above ln C, as a share of it.

Less than half of the 5 % that it shall stay within: from draw to draw the variance of C scores varies by
√(2 / (C − 1)) of it, and the loss by which labels a batch has.
"""


def score_deviation(classes: int) -> float:
    """The standard deviation of C scores from which the first loss is near ln C.

    Cross-entropy of independent scores N(0, σ²) is, to second order, ln C + σ² (1 − 1/C) / 2.

    >>> [round(score_deviation(classes), 2) for classes in (2, 10, 100)]
    [0.24, 0.32, 0.43]
    """
    if classes == 1:  # one logit, the difference of the scores of two classes
        return math.sqrt(2) * score_deviation(2)
    return math.sqrt(2 * FIRST_LOSS_TOLERANCE * math.log(classes) / (1 - 1 / classes))
