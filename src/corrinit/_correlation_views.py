"""A correlation to look at: coloured cells, deviations in their places, and the mean by distance.

For terminals as renderables of rich, for notebooks as HTML.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from corrinit.errors import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from corrinit._correlation import SpatialCorrelation

_MOST_HTML_TAPS = 81
"""Beyond a 9×9 kernel the cells of a matrix are too small to be looked at."""


def correlation_renderables(correlation: SpatialCorrelation, width: int) -> Iterator[RenderableType]:
    """The matrix, the profile and, where they differ, the deviations, for so many columns of a terminal."""
    yield matrix_grid(correlation, width)
    yield profile_table(correlation)
    if not correlation.is_flat:
        yield deviation_grid(correlation, width)


def matrix_grid(correlation: SpatialCorrelation, width: int) -> RenderableType:
    """The matrix as numbers on coloured cells; as shades where the numbers would not fit the width."""
    from rich.text import Text

    taps = len(correlation.deviations)
    if 2 * taps > width:
        return f"{taps} taps are too many for {width} columns; see the figure of corrinit show --png"
    grid = Text(no_wrap=True)
    for row in correlation.matrix:
        for value in row:
            cell = _number(value) if 5 * taps <= width else _shade(value) * 2
            grid.append(cell, "black on rgb({},{},{})".format(*_colour(value)))
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


def provenance_table(correlation: SpatialCorrelation) -> Table:
    """Where a correlation comes from."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, text in correlation.provenance.items():
        table.add_row(Text(printable(name)), Text(printable(text)))
    return table


def correlation_html(correlation: SpatialCorrelation) -> str:
    """The matrix as coloured cells, the deviations in their places, and where it comes from."""
    parts = [f"<div>{escape(repr(correlation))}</div>"]
    if len(correlation.deviations) <= _MOST_HTML_TAPS:
        parts.append(_cells([[(value, _colour(value)) for value in row] for row in correlation.matrix]))
    if not correlation.is_flat and len(correlation.kernel_size) <= 2:
        grid = correlation.deviations.reshape((-1, *correlation.kernel_size)[-2:])
        most = float(grid.max())
        parts.append("<div>deviation of each tap, root mean square 1</div>")
        parts.append(_cells([[(value, _colour(value / most)) for value in row] for row in grid]))
    parts += [
        f"<div><small>{escape(printable(name))}: {escape(printable(text))}</small></div>"
        for name, text in correlation.provenance.items()
    ]
    return "".join(parts)


def decimal(value: float, places: int = 3) -> str:
    """A number with so many places, and no sign if they are all zero.

    >>> decimal(-0.0001)
    '0.000'
    """
    return f"{round(value, places) + 0.0:.{places}f}"


def _cells(rows: list[list[tuple[float, tuple[int, int, int]]]]) -> str:
    style = "padding:1px 4px;text-align:right;color:black;font-family:monospace"
    lines = [
        "".join(
            f'<td style="{style};background:rgb{colour}">{decimal(value, 2)}</td>' for value, colour in row
        )
        for row in rows
    ]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<table style="border-collapse:collapse">{body}</table>'


def _number(value: float) -> str:
    """A correlation in five characters, without the zero before the point."""
    return decimal(value, 2).replace("0.", ".", 1).rjust(5)


def _shade(value: float) -> str:
    return " ░▒▓█"[min(4, int(abs(value) * 5))]


def _colour(value: float) -> tuple[int, int, int]:
    """White for 0, towards red for 1 and towards blue for −1: red, green and blue to 255."""
    pale = round(255 * (1 - min(1.0, abs(value)) * 0.75))
    return (255, pale, pale) if value >= 0 else (pale, pale, 255)
