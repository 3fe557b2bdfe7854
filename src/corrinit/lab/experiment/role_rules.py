"""What an arm says of the layers of one role, as a value and as text: `stem=kaiming_normal,scale=he`.

The text is ROLE=METHOD[,KEY=VALUE]... with the keys of an arm; without a method ROLE=KEY=VALUE[,...]. What
it does not name is as in the rest of the arm, the scale too.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, Literal, TypeAlias, get_args

from corrinit._correlation_source import short_name
from corrinit._method_info import method_info
from corrinit.errors import ConfigError
from corrinit.lab.experiment.checks import check_keys, require

Role: TypeAlias = Literal[
    "stem", "dense", "grouped", "depthwise", "transposed", "pointwise", "attention", "linear", "head"
]
"""Those of `corrinit._planning.recipes`, in the order in which an arm names them."""

Scale: TypeAlias = Literal["own", "he", "paper", "measured", "natural"]

SCALE_NAMES = {
    "own": "own scale",
    "he": "He scale",
    "paper": "small scale",
    "measured": "measured scale",
    "natural": "natural scale",
}
"""What tables call the scales."""


@dataclass(frozen=True)
class RoleRule:
    """What the layers of a role get; None is what the rest of the arm has.

    Args:
        role: which layers, one of `Role`.
        method: as in an arm.
        scale: likewise; `"own"` becomes what the method's own scale is called.
        correlation: likewise.
        strength: likewise.

    Raises:
        ConfigError: naming the value and what it may be.

    >>> RoleRule("stem", "kaiming_normal", "own")
    RoleRule(role='stem', method='kaiming_normal', scale='he', correlation=None, strength=None)
    """

    role: str
    method: str | None = None
    scale: str | None = None
    correlation: str | None = None
    strength: float | None = None

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("role", self.role, get_args(Role)),
            (f"{self.role}: scale", self.scale or "own", get_args(Scale)),
        ):
            require(value in allowed, name, repr(value), f"one of {', '.join(allowed)}")
        strength = self.strength or 0.0
        require(0 <= strength < inf, f"{self.role}: strength", strength, "a factor of at least 0")
        if self.scale == "own":
            own = method_info(self.method).own_scale if self.method else None
            if own is None:
                method = self.method or "a rule without a method"
                raise ConfigError(f"{self.role}: the scale of {method} has no name; leave it out, or take he")
            object.__setattr__(self, "scale", own)

    @property
    def options(self) -> dict[str, Any]:
        """What it names, as the options of a rule of `corrinit.plan`."""
        named = {name: getattr(self, name) for name in ("method", "scale", "correlation", "strength")}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def text(self) -> str:
        """What `parse_rule` makes it from.

        >>> RoleRule("depthwise", "correlated", correlation="centre:0.8").text
        'depthwise=correlated,correlation=centre:0.8'
        """
        words = [value if name == "method" else f"{name}={value}" for name, value in self.options.items()]
        return f"{self.role}={','.join(words)}"

    @property
    def words(self) -> str:
        """What tables call it.

        >>> RoleRule("stem", "kaiming_normal", "he").words
        'stem: kaiming_normal, He scale'
        """
        words = [] if self.method is None else [self.method]
        words += [] if self.scale is None else [SCALE_NAMES[self.scale]]
        words += [] if self.strength is None else [f"α = {self.strength:g}"]
        words += [] if self.correlation is None else [f"R of {short_name(self.correlation)}"]
        return f"{self.role}: {', '.join(words)}"


def parse_rule(text: str) -> RoleRule:
    """The rule of a text, see the head of this module.

    Raises:
        ConfigError: for an unknown role or key, with the nearest ones, and impossible values.

    >>> parse_rule("dense=scale=paper,strength=0.5")
    RoleRule(role='dense', method=None, scale='paper', correlation=None, strength=0.5)
    """
    role, _, said = text.partition("=")
    check_keys([role], get_args(Role), "an arm by role")
    first, *others = said.split(",")
    words = [first, *others] if "=" in first else others
    values: dict[str, Any] = {key: value for key, _, value in (word.partition("=") for word in words)}
    check_keys(values, ("scale", "correlation", "strength"), f"the rule {text!r}")
    if not said or len(values) < len(words):
        raise ConfigError(f"the rule {text!r} is ROLE=METHOD[,KEY=VALUE]..., each key once")
    if "strength" in values:
        try:
            values["strength"] = float(values["strength"])
        except ValueError as error:
            raise ConfigError(f"the rule {text!r}: strength is no number") from error
    return RoleRule(role, None if "=" in first else first, **values)
