"""How the network of a run is initialized: one arm of a comparison, as a value and as a line of text.

On a command line an arm is NAME[:KEY=VALUE]... with the keys scale, correlation and strength:

    kaiming_normal
    orthogonal:scale=he
    correlated:correlation=exponential:0.26:strength=0.5
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Literal, TypeAlias, cast

from corrinit import kernels
from corrinit.correlation import SpatialCorrelation
from corrinit.correlation_io import load_correlation
from corrinit.errors import ConfigError, CorrelationError
from corrinit.lab.checks import check_keys, check_types, require
from corrinit.method_info import method_info
from corrinit.presets import load_preset, preset_layers, preset_names

Scale: TypeAlias = Literal["own", "he", "correlated", "measured"]

KERNELS = {
    "exponential": kernels.exponential,
    "gaussian": kernels.gaussian,
    "matern": kernels.matern,
    "constant": kernels.constant,
}

_KERNEL_SIZE = (3, 3)
"""Where a closed-form correlation has the mean it is named by, as the default one has."""


@dataclass(frozen=True)
class Initialization:
    """How the network of a run is initialized: one arm of a comparison.

    Args:
        method: a name that `corrinit.methods.find` knows.
        scale: standard deviation per tap: the method's `"own"`, `"he"`, that of the `"correlated"` method, or
            the one `"measured"` on training images.
        correlation: `"default"`; the name of a preset; `"PRESET:layers"`, by which each layer takes the R of
            the preset's layer at the same relative depth; `"KERNEL:MEAN"` for a closed form of
            `corrinit.kernels` with that mean off-diagonal correlation on a 3×3 kernel, such as
            `"exponential:0.26"`; or the path of a correlation file.
        strength: α, factor on the off-diagonal entries of the correlation.
    """

    method: str = "correlated"
    scale: Scale = "own"
    correlation: str = "default"
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_types(self)
        require(0 <= self.strength < inf, "strength", self.strength, "a factor of at least 0")

    @property
    def depends_on_correlation(self) -> bool:
        """Whether the correlation decides any weight: through the taps, or through their scale."""
        scale = self.own_scale if self.scale == "own" else self.scale
        return method_info(self.method).uses_correlation or scale == "correlated"

    @property
    def own_scale(self) -> Scale:
        """What the scale is called that the method owns: `"own"` unless it is one that others are run at."""
        return cast(Scale, method_info(self.method).own_scale or "own")

    @property
    def canonical(self) -> Initialization:
        """The one form by which arms are told apart: its scale named, without the R that nothing depends on.

        For independent taps, what is measured is He's scale.

        >>> Initialization("kaiming_normal", "own", strength=0.5).canonical
        Initialization(method='kaiming_normal', scale='he', correlation='default', strength=1.0)
        """
        independent = self.method == "kaiming_normal" and self.scale == "measured"
        scale = self.own_scale if self.scale == "own" or independent else self.scale
        if self.depends_on_correlation:
            return replace(self, scale=scale)
        return Initialization(self.method, scale)

    @property
    def spec(self) -> str:
        """The text that `parse_initialization` makes the canonical form of this arm from.

        >>> Initialization("correlated", "he", strength=0.5).spec
        'correlated:scale=he:strength=0.5'
        """
        arm = self.canonical
        defaults = Initialization(arm.method, arm.own_scale)
        options = {field.name: getattr(arm, field.name) for field in fields(arm)}
        return ":".join(
            [arm.method]
            + [f"{key}={value}" for key, value in options.items() if value != getattr(defaults, key)]
        )

    @property
    def correlation_name(self) -> str:
        """What tables call the correlation: a file goes by its name without folder and ending."""
        named = self.correlation == "default" or self.correlation.partition(":")[0] in (
            *preset_names(),
            *KERNELS,
        )
        return self.correlation if named else Path(self.correlation).stem

    def load_correlation(self) -> SpatialCorrelation | None:
        """The correlation that is named, pooled where it is one per layer; None for the default one.

        Raises:
            ConfigError: if there is no such correlation, or its file cannot be read.
        """
        loaded = self.load_correlations()
        return load_preset(self.correlation.partition(":")[0]) if isinstance(loaded, tuple) else loaded

    def load_correlations(self) -> SpatialCorrelation | tuple[SpatialCorrelation, ...] | None:
        """What is named, as `corrinit.methods.initialize` takes it: one R, one per layer, or None.

        Raises:
            ConfigError: if there is no such correlation, or its file cannot be read.
        """
        if self.correlation == "default":
            return None
        try:
            return _read(self.correlation)
        except CorrelationError as error:
            raise ConfigError(
                f"initialization.correlation is {self.correlation!r}; it is 'default', a preset, "
                "PRESET:layers, KERNEL:MEAN such as exponential:0.26, or the path of a correlation file: "
                f"{error}"
            ) from error


TWO_BY_TWO = tuple(
    Initialization(method, scale)
    for method in ("kaiming_normal", "correlated")
    for scale in ("he", "correlated")
)
"""{independent, correlated} taps × {He's, the correlated method's} scale: tells correlation from scale."""


def parse_initialization(text: str) -> Initialization:
    """An arm, in canonical form, from NAME[:KEY=VALUE]...; the inverse of `Initialization.spec`.

    A value may hold colons, as those of `correlation` do.

    Raises:
        ConfigError: for unknown or repeated keys, with the nearest known ones, and impossible values.

    >>> parse_initialization("correlated:correlation=exponential:0.3:scale=he")
    Initialization(method='correlated', scale='he', correlation='exponential:0.3', strength=1.0)
    """
    method, *options = re.split(r":(?=\w+=)", text.strip())
    if not method or ":" in method or "=" in method:
        raise ConfigError(f"the arm is {text!r}; it is NAME[:KEY=VALUE]..., such as correlated:scale=he")
    values = {key: value for key, _, value in (option.partition("=") for option in options)}
    known = [field.name for field in fields(Initialization) if field.name != "method"]
    check_keys(values, known, f"the arm {text!r}")
    if len(values) < len(options):
        raise ConfigError(f"the arm {text!r} sets a key twice; set each once")
    try:
        strength = float(values.pop("strength", 1.0))
    except ValueError as error:
        raise ConfigError(f"the arm {text!r}: strength is no number") from error
    return Initialization(method, strength=strength, **values).canonical  # pyright: ignore[reportArgumentType]


def _read(source: str) -> SpatialCorrelation | tuple[SpatialCorrelation, ...]:
    name, _, detail = source.partition(":")
    if source in preset_names():
        return load_preset(source)
    if name in preset_names():
        if detail != "layers":
            raise CorrelationError(f"after a preset comes nothing or :layers, as in {name}:layers")
        return tuple(load_preset(name, layer) for layer in preset_layers(name))
    if name in KERNELS and detail:
        try:
            mean = float(detail)
        except ValueError:
            raise CorrelationError(f"the mean is {detail!r}; it needs a number") from None
        matrix = KERNELS[name](_KERNEL_SIZE, mean=mean)
        return SpatialCorrelation(matrix, _KERNEL_SIZE, {"source": f"{name} kernel of mean {mean:g}"})
    try:
        return load_correlation(source)
    except CorrelationError as error:
        near = get_close_matches(name, ["default", *preset_names(), *KERNELS], n=2, cutoff=0.6)
        raise CorrelationError(
            f"{error}; did you mean {' or '.join(near)}?" if near else str(error)
        ) from error
