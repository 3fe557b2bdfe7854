"""`corrinit show`: a correlation and its deviations in the terminal, and the correlation as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from corrinit._correlation import SpatialCorrelation, format_size
from corrinit.cli.estimate import decimal, parse_kernel_size, summary
from corrinit.errors import CorrInitError, printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from corrinit._estimation import LayerCorrelation


def show(
    file: Path,
    /,
    *,
    png: Path | None = None,
    svg: Path | None = None,
    kernel_size: Annotated[str | None, Parameter(alias="-k")] = None,
    pooling: Literal["filters", "layers", "raw"] = "filters",
    include: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    exclude: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    weights: str | None = None,
) -> None:
    """Show a correlation file, or the correlations and deviations in a file of weights.

    Args:
        file: A correlation file, or weights: safetensors or what torch.save writes.
        png: Figure to write: correlation by distance, a line per layer, beside the matrix.
        svg: The same figure as SVG.
        kernel_size: Of weights: such as 3x3; by default the size with the most filters.
        pooling: Of weights: filters, layers or raw, see corrinit estimate.
        include: Of weights: only these names, see corrinit estimate.
        exclude: Of weights: none of these names, see corrinit estimate.
        weights: Of weights: which set of several, see corrinit estimate.
    """
    from rich.console import Console

    from corrinit._correlation_io import is_correlation_file, load_correlation

    console = Console(highlight=False)
    layers: Sequence[LayerCorrelation] = ()
    if is_correlation_file(file):
        if include or exclude or weights is not None:
            raise CorrInitError(f"{file} is a correlation file: no --include, --exclude, --weights")
        correlation = load_correlation(file)
        heading: list[RenderableType] = [
            f"{format_size(correlation.kernel_size)} kernel, mean correlation {decimal(correlation.mean)}"
        ]
    else:
        from corrinit._estimation import estimate_layers

        with Console(stderr=True).status(f"reading {file}"):
            estimated = estimate_layers(
                file, parse_kernel_size(kernel_size), include=include, exclude=exclude, weights=weights
            )
        correlation, layers = estimated.pooled(pooling), estimated.layers
        heading = summary(estimated, pooling)
    for line in heading:
        console.print(line, soft_wrap=True)
    if not layers:
        console.print(provenance_table(correlation))
    console.print(matrix_grid(correlation, console.width))
    console.print(profile_table(correlation))
    if not correlation.is_flat:
        console.print(deviation_grid(correlation, console.width))
    if layers:
        console.print(layer_table(layers))
    if paths := [path for path in (png, svg) if path is not None]:
        _draw(correlation, layers, file.name, paths)


def provenance_table(correlation: SpatialCorrelation) -> Table:
    """Where a correlation comes from."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, text in correlation.provenance.items():
        table.add_row(Text(printable(name)), Text(printable(text)))
    return table


def matrix_grid(correlation: SpatialCorrelation, width: int) -> RenderableType:
    """The matrix as numbers on coloured cells; as shades where the numbers would not fit the width."""
    from rich.text import Text

    taps = len(correlation.deviations)
    if 2 * taps > width:
        return f"{taps} taps are too many for {width} columns; see --png"
    grid = Text(no_wrap=True)
    for row in correlation.matrix:
        for value in row:
            grid.append(_number(value) if 5 * taps <= width else _shade(value) * 2, _colour(value))
        grid.append("\n")
    return grid


def deviation_grid(correlation: SpatialCorrelation, width: int) -> RenderableType:
    """The relative deviation of each tap at its place in the kernel; of three axes, plane by plane."""
    from rich.text import Text

    deviations = correlation.deviations.reshape(-1, correlation.kernel_size[-1])
    heading = "deviation of each tap, root mean square 1"
    if 6 * deviations.shape[1] > width:
        return f"{heading}: {decimal(deviations.min(), 2)} to {decimal(deviations.max(), 2)}"
    rows = ["".join(decimal(value, 2).rjust(6) for value in row) for row in deviations]
    plane = correlation.kernel_size[-2] if len(correlation.kernel_size) > 1 else 1
    planes = ["\n".join(rows[start : start + plane]) for start in range(0, len(rows), plane)]
    return Text("\n".join([heading, "\n\n".join(planes)]), no_wrap=True)


def profile_table(correlation: SpatialCorrelation) -> Table:
    """Mean correlation by distance between taps, with bars."""
    from rich.bar import Bar
    from rich.table import Table

    points = correlation.profile()
    lowest = min(0.0, *(point.correlation for point in points)) if points else 0.0
    table = Table(box=None, padding=(0, 2, 0, 0))
    for header in ("distance", "pairs", "correlation"):
        table.add_column(header, justify="right")
    table.add_column("")
    for distance, value, pairs in points:
        bar = Bar(1 - lowest, min(0.0, value) - lowest, max(0.0, value) - lowest, width=40)
        table.add_row(f"{distance:.3g}", str(pairs), decimal(value), bar)
    return table


def layer_table(layers: Sequence[LayerCorrelation]) -> Table:
    """Every layer with its filters, its mean correlation and that of neighbouring taps."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("layer", overflow="fold")
    for header in ("filters", "mean", "neighbours"):
        table.add_column(header, justify="right")
    for layer in layers:
        neighbours = "" if layer.flagged else decimal(layer.correlation.profile()[0].correlation)
        table.add_row(Text(printable(layer.name)), f"{layer.filters:,}", decimal(layer.mean), neighbours)
    return table


def _draw(
    correlation: SpatialCorrelation, layers: Sequence[LayerCorrelation], title: str, paths: Sequence[Path]
) -> None:
    from corrinit.lab.document.correlation_figure import correlation_figure, save_figure

    whole = [layer.correlation for layer in layers if not layer.flagged]
    for path in paths:
        save_figure(correlation_figure(correlation, whole, title=title), path)


def _number(value: float) -> str:
    """A correlation in five characters, without the zero before the point."""
    return decimal(value, 2).replace("0.", ".", 1).rjust(5)


def _shade(value: float) -> str:
    return " ░▒▓█"[min(4, int(abs(value) * 5))]


def _colour(value: float) -> str:
    """Black on white for 0, towards red for 1 and towards blue for −1."""
    pale = round(255 * (1 - min(1.0, abs(value)) * 0.75))
    red, green, blue = (255, pale, pale) if value >= 0 else (pale, pale, 255)
    return f"black on rgb({red},{green},{blue})"
