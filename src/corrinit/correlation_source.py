"""From what a user gives as correlation to the R of each kernel size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Literal, TypeAlias

from corrinit.correlation import SpatialCorrelation, default_correlation, format_size
from corrinit.errors import CorrelationError
from corrinit.presets import load_preset

CorrelationSource: TypeAlias = SpatialCorrelation | Iterable[SpatialCorrelation] | str | None
MissingSize: TypeAlias = Literal["error", "resize", "independent"]


def correlation_lookup(
    source: CorrelationSource, strength: float, missing: MissingSize
) -> Callable[[tuple[int, ...]], SpatialCorrelation | None]:
    """A function from kernel size to R at a strength, or to None for independent taps.

    Args:
        source: R of one kernel size, of several, the name of a preset, or None for `default_correlation`.
        strength: α, factor on the off-diagonal entries.
        missing: what to do for a size that the source lacks, see `corrinit.plan`.

    Raises:
        CorrelationError: for an unknown preset or an empty source; the function, for a missing size.
    """
    if isinstance(source, str):
        source = load_preset(source)
    if isinstance(source, SpatialCorrelation):
        source = (source,)
    given = None if source is None else {correlation.kernel_size: correlation for correlation in source}
    if given is not None and not given:
        raise CorrelationError("it is empty; give at least one SpatialCorrelation, or None for the default")

    @cache
    def lookup(kernel_size: tuple[int, ...]) -> SpatialCorrelation | None:
        if given is None:
            return default_correlation(kernel_size).with_strength(strength)
        if kernel_size in given:
            return given[kernel_size].with_strength(strength)
        if missing == "independent":
            return None
        alike = [r for size, r in given.items() if len(size) == len(kernel_size)]
        if missing == "resize" and alike:
            return alike[0].resize(kernel_size).with_strength(strength)
        raise CorrelationError(
            f"no correlation of a {format_size(kernel_size)} kernel is given, only of "
            f"{', '.join(map(format_size, given))}; give one, "
            + ('or set missing="resize", ' if alike else "or ")
            + 'set missing="independent" or exclude the layer'
        )

    return lookup
