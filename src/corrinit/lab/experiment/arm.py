"""How the network of a run is initialized: one arm of a comparison, as a value and as a line of text.

On a command line an arm is NAME[:KEY=VALUE]... with the keys scale, correlation and strength, and the roles
of layers (`corrinit.lab.experiment.role_rules`), which get something else; NAME is a method or a recipe:

    kaiming_normal
    orthogonal:scale=he
    correlated:correlation=exponential:0.26:strength=0.5
    correlated:scale=he:stem=patch_whitening
    kaiming_normal:depthwise=correlated,correlation=exponential:0.3+centre:0.8
    recipe=2026.1

All arms by methods share the rules of what no method draws: Kaiming normal heads, zero biases, gain √2. A
recipe brings its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from math import inf
from typing import Any, cast, get_args

from corrinit._correlation import SpatialCorrelation
from corrinit._correlation_source import NAMED_SIZE, CorrelationFamily, Correlations, resolve, short_name
from corrinit._method_info import method_info
from corrinit.errors import ConfigError, ConflictError, CorrelationError
from corrinit.lab.experiment.checks import check_keys, check_types, require
from corrinit.lab.experiment.role_rules import SCALE_NAMES, Role, RoleRule, Scale, parse_rule

_RECIPE = "recipe="

_FORMER_SCALES = {"correlated": "paper"}
"""Scales by the names that they had in earlier versions, whose records and lines still have them."""


@dataclass(frozen=True)
class Initialization:
    """How the network of a run is initialized: one arm of a comparison.

    Args:
        method: a name that `corrinit.methods.find` knows, or `"recipe=NAME"`.
        scale: standard deviation per tap: the method's `"own"`, `"he"`, the `"paper"`'s, which is that of the
            correlated method, the one `"measured"` on training images, or that of the `"natural"` signal.
        correlation: what R is called, see `corrinit._correlation_source`: `"default"`, a preset,
            `"PRESET:layers"`, `"KERNEL:MEAN"` such as `"exponential:0.26"`, or the path of a correlation
            file.
        strength: α, factor on the off-diagonal entries of the correlation.
        rules: what layers of a role get instead, as texts that `parse_rule` reads, one for each role.
    """

    method: str = "correlated"
    scale: Scale = "own"
    correlation: str = "default"
    strength: float = 1.0
    rules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.rules, list):  # as JSON and TOML have it
            object.__setattr__(self, "rules", tuple(self.rules))
        if isinstance(self.scale, str):
            object.__setattr__(self, "scale", _FORMER_SCALES.get(self.scale, self.scale))
        check_types(self)
        require(0 <= self.strength < inf, "strength", self.strength, "a factor of at least 0")
        if len({rule.role for rule in self.role_rules}) < len(self.rules):
            raise ConfigError(f"rules is {self.rules}; it has one for each role")

    @property
    def recipe(self) -> str | None:
        """The recipe that stands in the place of a method.

        >>> Initialization("recipe=2026.1").recipe
        '2026.1'
        """
        return self.method.removeprefix(_RECIPE) if self.method.startswith(_RECIPE) else None

    @property
    def role_rules(self) -> tuple[RoleRule, ...]:
        """The rules by role, as values."""
        return tuple(map(parse_rule, self.rules))

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Every method that draws, with its scale: that of the arm, then those of its roles.

        For a recipe stands the method that has the most needs of those that it can choose, `correlated`.
        """
        method = "correlated" if self.recipe else self.method
        scale = self.own_scale if self.scale == "own" else self.scale
        return (
            (method, scale),
            *((rule.method or method, rule.scale or scale) for rule in self.role_rules),
        )

    @property
    def depends_on_correlation(self) -> bool:
        """Whether the correlation decides any weight: through the taps, or through their scale."""
        return any(method_info(method).uses_correlation or scale == "paper" for method, scale in self.parts)

    @property
    def own_scale(self) -> Scale:
        """What the scale is called that the method owns: `"own"` unless it is one that others are run at."""
        own = "own" if self.recipe else method_info(self.method).own_scale or "own"
        return cast(Scale, _FORMER_SCALES.get(own, own))

    @property
    def canonical(self) -> Initialization:
        """The one form by which arms are compared: its scale named, without the R that nothing depends on.

        For independent taps, what is measured is He's scale.

        >>> Initialization("kaiming_normal", "own", strength=0.5).canonical
        Initialization(method='kaiming_normal', scale='he', correlation='default', strength=1.0, rules=())
        """
        independent = self.method == "kaiming_normal" and self.scale == "measured"
        scale = self.own_scale if self.scale == "own" or independent else self.scale
        arm = replace(self, scale=scale)
        arm = replace(arm, rules=tuple(rule.text for rule in arm._telling_rules()))
        return arm if arm.depends_on_correlation else Initialization(arm.method, scale, rules=arm.rules)

    def _telling_rules(self) -> list[RoleRule]:
        """The rules in the order of the roles, without what the arm itself says, or nothing depends on."""
        own = {"method": self.method, "scale": self.scale}
        told = []
        for rule in sorted(self.role_rules, key=lambda rule: get_args(Role).index(rule.role)):
            method, scale = rule.method or self.method, rule.scale or self.scale
            as_here = dict(own)
            if not (method_info(method).uses_correlation or scale == "paper"):
                as_here |= {"correlation": rule.correlation, "strength": rule.strength}
            else:
                as_here |= {"correlation": self.correlation, "strength": self.strength}
            options = {name: value for name, value in rule.options.items() if value != as_here[name]}
            if options:
                told.append(RoleRule(rule.role, **options))
        return told

    @property
    def spec(self) -> str:
        """The text that `parse_initialization` makes the canonical form of this arm from.

        >>> Initialization("correlated", "he", strength=0.5).spec
        'correlated:scale=he:strength=0.5'
        """
        arm = self.canonical
        defaults = Initialization(arm.method, arm.own_scale)
        options = {field.name: getattr(arm, field.name) for field in fields(arm) if field.name != "rules"}
        named = [f"{key}={value}" for key, value in options.items() if value != getattr(defaults, key)]
        return ":".join([arm.method, *named, *arm.rules])

    @property
    def correlation_name(self) -> str:
        """What tables call the correlation: a file goes by its name without folder and ending."""
        return short_name(self.correlation)

    def load_correlation(self) -> SpatialCorrelation | None:
        """The correlation that is named, for tables and figures; None for the default one.

        It is the pooled one of a preset whose layers are named, and of a closed form that of a 3×3 kernel.

        Raises:
            ConfigError: if there is no such correlation, or its file cannot be read.
        """
        loaded = self.load_correlations()
        if isinstance(loaded, tuple):
            loaded = self._resolved(self.correlation.replace(":layers", ""))
            assert isinstance(loaded, tuple)
            return loaded[0]
        return loaded(NAMED_SIZE) if isinstance(loaded, CorrelationFamily) else loaded

    def load_correlations(
        self,
    ) -> SpatialCorrelation | CorrelationFamily | tuple[SpatialCorrelation, ...] | None:
        """What is named, as initializers take it: one R, one per kernel size or layer, None for the default.

        Raises:
            ConfigError: if there is no such correlation, or its file cannot be read.
        """
        if self.correlation == "default":
            return None
        resolved = self._resolved(self.correlation)
        return resolved[0] if isinstance(resolved, tuple) and len(resolved) == 1 else resolved

    def _resolved(self, correlation: str) -> Correlations:
        try:
            return resolve(correlation)
        except CorrelationError as error:
            raise ConfigError(f"initialization.correlation is {self.correlation!r}: {error}") from error

    @property
    def options(self) -> dict[str, Any]:
        """What `corrinit.plan` takes to initialize a network as this arm says."""
        if self.rules and self != self.canonical:  # which names the scale that roles share
            return self.canonical.options
        options: dict[str, Any] = {"recipe": self.recipe} if self.recipe else {"method": self.method}
        if self.scale != "own":
            options["scale"] = self.scale
        named = {rule.correlation for rule in self.role_rules} - {None}
        if self.depends_on_correlation and self.correlation != "default":
            options["correlation"] = self.correlation
            named.add(self.correlation)
        if not all(isinstance(resolve(each), CorrelationFamily) for each in named):
            options["missing"] = "resize"  # a file or preset has the kernel sizes of its network
        if self.depends_on_correlation and self.strength != 1:
            options["strength"] = self.strength
        if self.rules:
            options["rules"] = {rule.role: rule.options for rule in self.role_rules}
        return options


BASELINE = Initialization("kaiming_normal", "he")
"""The arm that others are compared with: independent taps at He's scale (Kaiming normal)."""

METHOD_ORDER = ("kaiming_normal", "correlated")
SCALE_ORDER = get_args(Scale)

TWO_BY_TWO = tuple(
    Initialization(method, scale) for method in ("kaiming_normal", "correlated") for scale in ("he", "paper")
)
"""{independent, correlated} taps × {He's, the paper's} scale: separates correlation from scale."""

DEMO = (*TWO_BY_TWO, Initialization("recipe=2026.1"))
"""The arms of the demo: the 2×2, and the default of `corrinit.initialize`."""


def controls(initialization: Initialization) -> tuple[Initialization, ...]:
    """The arms that complete a correlated one to its 2×2: independent taps at its scale, its taps at He's.

    >>> [label(arm) for arm in controls(Initialization("correlated", strength=0.5))]
    ['kaiming_normal, small scale, α = 0.5', 'correlated, He scale, α = 0.5']
    >>> controls(Initialization("orthogonal"))
    ()
    """
    arm = initialization.canonical
    if (arm.method, arm.scale) != ("correlated", "paper"):
        return ()
    return replace(arm, method="kaiming_normal"), replace(arm, scale="he")


def label(initialization: Initialization) -> str:
    """What tables and figures call an arm: its method, and what of it is not the method's own.

    >>> label(Initialization("correlated", "he", strength=0.5))
    'correlated, He scale, α = 0.5'
    >>> label(Initialization("correlated", "paper"))
    'correlated'
    >>> label(Initialization("correlated", "measured", "exponential:0.3"))
    'correlated, measured scale, R of exponential:0.3'
    >>> label(Initialization("correlated", "he", rules=("stem=orthogonal",)))
    'correlated, He scale; stem: orthogonal'
    """
    own = initialization.scale in ("own", initialization.own_scale)
    scale = "" if own else f", {SCALE_NAMES[initialization.scale]}"
    method = f"recipe {initialization.recipe}" if initialization.recipe else initialization.method
    return method + scale + correlation_suffix(initialization)


def correlation_suffix(initialization: Initialization) -> str:
    """Which R and strength an arm depends on, where they are not the default ones, and its rules by role."""
    name, strength = initialization.correlation_name, initialization.strength
    words = ("" if strength == 1 else f", α = {strength:g}") + ("" if name == "default" else f", R of {name}")
    return words + "".join(f"; {rule.words}" for rule in initialization.role_rules)


def order(initialization: Initialization) -> tuple[int, str, str, float, tuple[str, ...], int]:
    """A key that sorts arms for tables: independent taps first, then correlated ones, then by name."""
    method = initialization.method
    rank = METHOD_ORDER.index(method) if method in METHOD_ORDER else len(METHOD_ORDER)
    scale = SCALE_ORDER.index(initialization.scale)
    return rank, method, initialization.correlation, initialization.strength, initialization.rules, scale


def parse_initialization(text: str) -> Initialization:
    """An arm, in canonical form, from NAME[:KEY=VALUE]...; the inverse of `Initialization.spec`.

    NAME is a method or `recipe=NAME`. A value may hold colons, as those of `correlation` do.

    Raises:
        ConfigError: for unknown or repeated keys, with the nearest known ones, and impossible values.

    >>> parse_initialization("correlated:correlation=exponential:0.3:scale=he")
    Initialization(method='correlated', scale='he', correlation='exponential:0.3', strength=1.0, rules=())
    """
    method, *options = re.split(r":(?=\w+=)", text.strip())
    name = method.removeprefix(_RECIPE)
    if not name or ":" in name or "=" in name:
        raise ConfigError(f"the arm is {text!r}; it is NAME[:KEY=VALUE]..., such as correlated:scale=he")
    values = {key: value for key, _, value in (option.partition("=") for option in options)}
    check_keys(values, ("scale", "correlation", "strength", *get_args(Role)), f"the arm {text!r}")
    if len(values) < len(options):
        raise ConflictError(f"the arm {text!r} sets a key twice; set each once")
    rules = tuple(f"{role}={values.pop(role)}" for role in get_args(Role) if role in values)
    try:
        strength = float(values.pop("strength", 1.0))
    except ValueError as error:
        raise ConfigError(f"the arm {text!r}: strength is no number") from error
    arm = Initialization(method, strength=strength, rules=rules, **values)  # pyright: ignore
    return arm.canonical


def parse_initializations(text: str) -> list[Initialization]:
    """Arms set off by commas; those within a rule, before one of its keys, set off none.

    Raises:
        ConfigError: as `parse_initialization`.

    >>> arms = parse_initializations("lsuv, kaiming_normal:stem=correlated,strength=0.5")
    >>> [arm.spec for arm in arms]
    ['lsuv', 'kaiming_normal:stem=correlated,strength=0.5']
    """
    keys = "|".join(field.name for field in fields(RoleRule) if field.name not in ("role", "method"))
    return [parse_initialization(each) for each in re.split(rf",(?!(?:{keys})=)", text) if each.strip()]
