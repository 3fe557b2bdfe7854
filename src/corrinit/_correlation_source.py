"""From what a user gives as correlation to the R and d of each layer.

A correlation is given as a `SpatialCorrelation`, as text, or as several of these; alike in the library, on
the command line, in an arm of a comparison and in the line of code that reports print. The text is one of

    default              separable exponential of mean 0.26 on a 3×3 kernel, see `default_correlation`
    exponential:MEAN     a closed form of `corrinit.kernels`, of this mean off-diagonal correlation on a 3×3
    gaussian:MEAN        kernel; all other sizes have the same length scale (`constant`: the same mean), so
    matern:MEAN          that neighbouring taps are correlated alike in all of them
    constant:MEAN
    centre:WIDTH         independent taps of deviations that fall off from the centre, see `centre_weighted`
    PRESET               all layers of a trained network pooled, one of `corrinit.presets.preset_names`
    PRESET:layers        its layers one by one, from first to last
    FILE                 the path of a correlation file

or any of these with centre-weighted deviations instead of its own, such as exponential:0.3+centre:0.8. A
file that is named like one of the others is given as ./NAME.

Of several correlations a layer takes one of its own kernel size. Several of one size belong to layers from
first to last, and each layer takes the one at its own relative depth.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from corrinit import kernels
from corrinit._correlation import SpatialCorrelation, default_correlation, format_size, product_form
from corrinit._correlation_io import load_correlation
from corrinit.errors import CorrelationError, KernelMismatchError, UnknownCorrelationError
from corrinit.presets import load_preset, preset_layers, preset_names

MissingSize: TypeAlias = Literal["error", "resize", "independent"]

KERNELS: Mapping[str, Callable[..., kernels.Matrix]] = {
    "exponential": kernels.exponential,
    "gaussian": kernels.gaussian,
    "matern": kernels.matern,
    "constant": kernels.constant,
}
"""The closed forms that KERNEL:MEAN can name."""

NAMED_SIZE = (3, 3)
"""The kernel on which a closed form has the mean that it is named by."""

_SEPARABLE = ("exponential", "gaussian")


@dataclass(frozen=True)
class CorrelationFamily:
    """A correlation for every kernel size: called with one, it gives that of this size.

    Args:
        name: the text that names it, such as `"exponential:0.3"`.
        form: from a kernel size to the correlation.

    >>> resolve("exponential:0.3")((5, 5))
    SpatialCorrelation(kernel_size=(5, 5), mean=0.168)
    """

    name: str
    form: Callable[..., SpatialCorrelation] = field(compare=False, repr=False)

    def __call__(self, kernel_size: Iterable[int]) -> SpatialCorrelation:
        """The correlation of a kernel of this size."""
        return self.form(tuple(kernel_size))


Correlations: TypeAlias = CorrelationFamily | tuple[SpatialCorrelation, ...]
CorrelationSource: TypeAlias = (
    str
    | os.PathLike[str]
    | SpatialCorrelation
    | CorrelationFamily
    | Iterable[str | os.PathLike[str] | SpatialCorrelation]
    | None
)


class CorrelationLookup(Protocol):
    """From a layer to its correlation, or to None for independent taps."""

    def __call__(self, kernel_size: tuple[int, ...], depth: float = 0.0) -> SpatialCorrelation | None:
        """R and d of a layer of this kernel size and relative depth, 0 for the first and 1 for the last."""
        ...


def resolve(source: CorrelationSource) -> Correlations:
    """What is given as correlation, as a family for all kernel sizes or as one or more correlations.

    Args:
        source: see the head of this module; None is `"default"`.

    Raises:
        CorrelationError: if there is no such correlation, with the nearest names; or its file cannot be read.

    >>> resolve("vgg8-cifar10")
    (SpatialCorrelation(kernel_size=(3, 3), mean=0.021),)
    """
    if source is None:
        return resolve("default")
    if isinstance(source, CorrelationFamily):
        return source
    if isinstance(source, SpatialCorrelation):
        return (source,)
    if isinstance(source, str):
        return _named(source)
    if isinstance(source, os.PathLike):
        return (load_correlation(source),)
    if not isinstance(source, Iterable) or hasattr(source, "shape"):
        raise UnknownCorrelationError(
            f"it is of type {type(source).__name__}; give a SpatialCorrelation(matrix, kernel_size), a "
            "preset, a closed form such as 'exponential:0.3', a correlation file, or several of these"
        )
    given = [resolve(one) for one in source]
    if len(given) == 1:
        return given[0]
    if not given:
        raise UnknownCorrelationError(
            "it is empty; give at least one SpatialCorrelation, or None for the default"
        )
    several: list[SpatialCorrelation] = []
    for one in given:
        if isinstance(one, CorrelationFamily):
            raise CorrelationError(f"{one.name} serves every kernel size: give it alone")
        several += one
    return tuple(several)


def short_name(text: str) -> str:
    """What tables call a correlation that is given as text: a file goes without its folder and ending.

    >>> short_name("runs/mine.safetensors+centre:0.8"), short_name("exponential:0.3")
    ('mine+centre:0.8', 'exponential:0.3')
    """
    base, plus, width = text.rpartition("+centre:")
    source = base if plus else text
    named = source.partition(":")[0] in ("default", "centre", *KERNELS, *preset_names())
    return (source if named else Path(source).stem) + (plus + width if plus else "")


def correlation_lookup(source: CorrelationSource, strength: float, missing: MissingSize) -> CorrelationLookup:
    """A function from the kernel size and depth of a layer to R at a strength, or to None.

    Args:
        source: see the head of this module.
        strength: α, factor on the off-diagonal entries.
        missing: what to do for a size that the source lacks, see `corrinit.plan`.

    Raises:
        CorrelationError: as `resolve`; the function, for a missing size.
    """
    given = resolve(source)
    if isinstance(given, CorrelationFamily):

        @cache
        def of_family(kernel_size: tuple[int, ...], depth: float = 0.0) -> SpatialCorrelation | None:
            return given(kernel_size).with_strength(strength)

        return of_family

    by_size: dict[tuple[int, ...], list[SpatialCorrelation]] = {}
    for correlation in given:
        by_size.setdefault(correlation.kernel_size, []).append(correlation)

    @cache
    def lookup(kernel_size: tuple[int, ...], depth: float = 0.0) -> SpatialCorrelation | None:
        if kernel_size in by_size:
            return _at_depth(by_size[kernel_size], depth).with_strength(strength)
        if missing == "independent":
            return None
        alike = [correlations for size, correlations in by_size.items() if len(size) == len(kernel_size)]
        if missing == "resize" and alike:
            return _at_depth(alike[0], depth).resize(kernel_size).with_strength(strength)
        raise KernelMismatchError(
            f"no correlation of a {format_size(kernel_size)} kernel is given, only of "
            f"{', '.join(map(format_size, by_size))}; give one, "
            + ('or set missing="resize", ' if alike else "or ")
            + 'set missing="independent" or exclude the layer'
        )

    return lookup


def _at_depth(correlations: list[SpatialCorrelation], depth: float) -> SpatialCorrelation:
    return correlations[int(depth * (len(correlations) - 1) + 0.5)]


def _named(text: str) -> Correlations:
    base, plus, width = text.rpartition("+centre:")
    if plus:
        return _weighted(text, _named(base), _number(width, "centre:0.8", "a width in taps"))
    name, _, detail = text.partition(":")
    if text == "default":
        return CorrelationFamily(text, default_correlation)
    if name in KERNELS:
        return _closed_form(text, name, _number(detail, f"{name}:0.3", "its mean on a 3×3 kernel"))
    if name == "centre":
        width = _number(detail, "centre:0.8", "a width in taps")
        return _weighted(text, CorrelationFamily(text, SpatialCorrelation.identity), width)
    if text in preset_names():
        return (load_preset(text),)
    if name in preset_names():
        if detail != "layers":
            raise UnknownCorrelationError(f"after a preset comes nothing or :layers, as in {name}:layers")
        return tuple(load_preset(name, layer) for layer in preset_layers(name))
    if Path(text).exists():
        return (load_correlation(text),)
    near = get_close_matches(name, ["default", *KERNELS, "centre", *preset_names()], n=2, cutoff=0.6)
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else "there are default, "
        + ", ".join([*(f"{kernel}:MEAN" for kernel in KERNELS), "centre:WIDTH", *preset_names()])
    )
    raise UnknownCorrelationError(f"there is no file {text}, and no correlation is called so; {hint}")


def _closed_form(text: str, name: str, mean: float) -> CorrelationFamily:
    provenance = {"source": f"{name} kernel of mean {mean:g} on a {format_size(NAMED_SIZE)} kernel"}
    if name == "constant":
        kernels.constant(NAMED_SIZE, mean)  # refuses an impossible mean here, not at the first layer
        return CorrelationFamily(text, partial(_constant, mean, provenance))
    length_scale = kernels.length_scale(KERNELS[name], NAMED_SIZE, mean)
    make = product_form if name in _SEPARABLE else _dense_form
    return CorrelationFamily(text, partial(make, KERNELS[name], length_scale, provenance))


def _dense_form(
    kernel: Callable[..., kernels.Matrix],
    length_scale: float,
    provenance: Mapping[str, str],
    kernel_size: tuple[int, ...],
) -> SpatialCorrelation:
    return SpatialCorrelation(kernel(kernel_size, length_scale), kernel_size, provenance)


def _constant(mean: float, provenance: Mapping[str, str], kernel_size: tuple[int, ...]) -> SpatialCorrelation:
    return SpatialCorrelation(kernels.constant(kernel_size, mean), kernel_size, provenance)


def _weighted(text: str, correlations: Correlations, width: float) -> Correlations:
    """The same correlations with centre-weighted deviations."""

    def weighted(correlation: SpatialCorrelation) -> SpatialCorrelation:
        deviations = kernels.centre_weighted(correlation.kernel_size, width)
        return correlation.with_deviations(
            deviations, {"deviations": f"centre-weighted, width {width:g} taps"}
        )

    kernels.centre_weighted(NAMED_SIZE, width)  # refuses an impossible width here, not at the first layer
    if isinstance(correlations, CorrelationFamily):
        return CorrelationFamily(text, lambda kernel_size: weighted(correlations(kernel_size)))
    return tuple(map(weighted, correlations))


def _number(text: str, example: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UnknownCorrelationError(
            f"after {example.partition(':')[0]} comes {what}, as in {example}; {text!r} is no number"
        ) from None
