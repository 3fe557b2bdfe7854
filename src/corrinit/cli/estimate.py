"""`corrinit estimate`: a file of weights in, a correlation file out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from corrinit._correlation import format_size
from corrinit.errors import CorrInitError, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from corrinit._estimation import LayerCorrelations


def estimate(
    file: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    kernel_size: Annotated[str | None, Parameter(alias="-k")] = None,
    pooling: Literal["filters", "layers", "raw"] = "filters",
    include: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    exclude: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    weights: str | None = None,
) -> None:
    """Estimate how the taps of the filters of a network vary: their correlation and deviations.

    Args:
        file: Weights: safetensors or what torch.save writes, whatever the name; or the index of shards.
        output: Correlation file to write.
        kernel_size: Such as 3x3; by default the size with the most filters.
        pooling: How layers come together. filters: standardized, so that all filters count alike; layers:
            all layers count alike; raw: as in the paper, so that layers with large weights dominate.
        include: Only weights or layers of these names; a glob such as "layer1.*", may be repeated.
        exclude: No weights or layers of these names; likewise.
        weights: Which set of weights, where the file holds several, such as state_dict_ema.
    """
    from rich.console import Console

    from corrinit._correlation_io import is_correlation_file, save_correlation
    from corrinit._estimation import estimate_layers

    if is_correlation_file(file):
        raise CorrInitError(f"{file} is a correlation file already; look at it with corrinit show {file}")
    if output is not None and output.exists() and output.samefile(file):
        raise CorrInitError(f"{output} is the file of weights itself; write the correlation to another")
    with Console(stderr=True).status(f"reading {file}"):
        layers = estimate_layers(
            file, parse_kernel_size(kernel_size), include=include, exclude=exclude, weights=weights
        )
    console = Console(highlight=False)
    for line in summary(layers, pooling):
        console.print(line, soft_wrap=True)
    if output is not None:
        save_correlation(output, layers.pooled(pooling))
        console.print(f"written to {output}", soft_wrap=True, markup=False)


def summary(layers: LayerCorrelations, pooling: Literal["filters", "layers", "raw"]) -> list[RenderableType]:
    """What was estimated, how sure it is, and what was left out, line by line."""
    from rich.text import Text

    certainty = "no interval: a few layers dominate raw pooling"
    if pooling != "raw":
        low, high = layers.mean_interval(pooling=pooling)
        certainty = f"95 % interval {decimal(low)} to {decimal(high)}, resampling channels"
    pooled = layers.pooled(pooling)
    size, count = format_size(layers.kernel_size), len(layers.layers)
    lines = [
        f"{layers.source}: {layers.filters:,} filters of {size} taps in {count} layer{'s' * (count != 1)}",
        f"mean correlation of two taps: {decimal(pooled.mean)} ({certainty})",
        f"deviation of a tap: {decimal(pooled.deviations.min(), 2)} to {decimal(pooled.deviations.max(), 2)} "
        "of their root mean square",
    ]
    lines += [
        f"{layer.name}: taps {', '.join(map(str, layer.flagged))} hardly vary and are left out"
        for layer in layers.layers
        if layer.flagged
    ]
    lines += [f"skipped, {text}" for text in layers.skipped_in_words()]
    return [Text(printable(line)) for line in lines]


def parse_kernel_size(text: str | None) -> tuple[int, ...] | None:
    """Read a kernel size as people write it.

    >>> parse_kernel_size("3x3")
    (3, 3)
    """
    if text is None:
        return None
    axes = text.lower().replace("×", "x").split("x")
    if not all(axis.isascii() and axis.isdigit() and int(axis) > 0 for axis in axes):
        raise CorrInitError(f"kernel size is {text!r}; write one number per axis, such as 3x3 or 5")
    return tuple(int(axis) for axis in axes)


def decimal(value: float, places: int = 3) -> str:
    """A number with so many places, and no sign if they are all zero.

    >>> decimal(-0.0001)
    '0.000'
    """
    return f"{round(value, places) + 0.0:.{places}f}"
