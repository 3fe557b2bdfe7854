"""`corrinit show`: a correlation and its deviations in the terminal, and the correlation as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from corrinit._correlation import SpatialCorrelation, format_size
from corrinit._correlation_views import correlation_renderables, decimal, provenance_table
from corrinit.cli.estimate import layer_records, parse_kernel_size, summary
from corrinit.cli.json_output import AsJson, correlation_record, print_json
from corrinit.errors import ConflictError, printable

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
    as_json: AsJson = False,
) -> None:
    """Show a correlation file, or the correlations and deviations in a file of weights.

    Args:
        file: A correlation file, or weights, see corrinit estimate.
        png: Figure to write: correlation by distance, a line per layer, beside the matrix.
        svg: The same figure as SVG.
        kernel_size: Of weights: such as 3x3; by default the size with the most filters.
        pooling: Of weights: filters, layers or raw, see corrinit estimate.
        include: Of weights: only these names, see corrinit estimate.
        exclude: Of weights: none of these names, see corrinit estimate.
        weights: Of weights: which set of several, see corrinit estimate.
        as_json: Print JSON instead of tables.
    """
    from rich.console import Console

    from corrinit._correlation_io import is_correlation_file, load_correlation

    console = Console(highlight=False)
    layers: Sequence[LayerCorrelation] = ()
    if is_correlation_file(file):
        if include or exclude or weights is not None:
            raise ConflictError(f"{file} is a correlation file: no --include, --exclude, --weights")
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
    if as_json:
        print_json({**correlation_record(correlation), "layers": layer_records(layers)})
    else:
        for line in heading:
            console.print(line, soft_wrap=True)
        if not layers:
            console.print(provenance_table(correlation))
        for renderable in correlation_renderables(correlation, console.width):
            console.print(renderable)
        if layers:
            console.print(layer_table(layers))
    if paths := [path for path in (png, svg) if path is not None]:
        _draw(correlation, layers, file.name, paths)


def layer_table(layers: Sequence[LayerCorrelation]) -> Table:
    """Every layer with its filters, its mean correlation and that of neighbouring taps."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("layer", overflow="fold")
    for header in ("filters", "mean", "neighbours"):
        table.add_column(header, justify="right")
    for layer in layers:
        neighbours = "" if layer.neighbours is None else decimal(layer.neighbours)
        table.add_row(Text(printable(layer.name)), f"{layer.filters:,}", decimal(layer.mean), neighbours)
    return table


def _draw(
    correlation: SpatialCorrelation, layers: Sequence[LayerCorrelation], title: str, paths: Sequence[Path]
) -> None:
    from corrinit.lab.document.correlation_figure import correlation_figure, save_figure

    whole = [layer.correlation for layer in layers if not layer.flagged]
    for path in paths:
        save_figure(correlation_figure(correlation, whole, title=title), path)
