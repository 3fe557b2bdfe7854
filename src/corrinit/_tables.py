"""Tables as values: as text, in a terminal through rich, in a notebook as HTML, and for pandas.

What a user gets back and would look at is `Tabular`: it says once what its rows are. rich and pandas are
asked only where somebody uses them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from corrinit.errors import missing_library, printable

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports]
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

_SHORT = 24
"""Cells of up to so many characters are kept in one line of a terminal."""

_NARROW = 12
"""Longer cells are folded in a column of at least so many characters, or stand below their row."""

_BETWEEN = 2
"""Spaces between the columns of a terminal."""


@dataclass(frozen=True)
class Table:
    """Rows of values under names, and what is to be said of the whole.

    Args:
        columns: the names.
        rows: a value for each column; None where there is none.
        notes: lines of text below.

    >>> print(Table(("method", "std"), (("orthogonal", 0.0481125), ("dirac", None))))
    method      std
    orthogonal  0.04811
    dirac
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def cells(self) -> list[tuple[str, ...]]:
        """The rows as text, of printable characters."""
        return [tuple(map(_in_words, row)) for row in self.rows]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers alone."""
        return tuple(
            all(value is None or _is_number(value) for value in column)
            and any(value is not None for value in column)
            for column in (zip(*self.rows, strict=True) if self.rows else ((None,) for _ in self.columns))
        )

    def records(self) -> list[dict[str, Any]]:
        """The rows by the names of the columns."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def __str__(self) -> str:
        lines = [self.columns, *self.cells]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([*text, *map(printable, self.notes)])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.rich(options.max_width)

    def rich(self, width: int, styles: Sequence[str] = ()) -> Iterator[RenderableType]:
        """The table for a terminal.

        Long cells are folded between words; what would leave them a few letters a line, or does not fit,
        stands below its row, with the name of its column.

        Args:
            width: characters in a line.
            styles: of the rows.
        """
        from rich.padding import Padding
        from rich.table import Table as RichTable
        from rich.text import Text

        cells = self.cells
        widths = [max(map(len, column)) for column in zip(self.columns, *cells, strict=True)]
        long = {index for index in range(len(widths)) if any(len(row[index]) > _SHORT for row in cells)}
        least = [min(each, _NARROW) if index in long else each for index, each in enumerate(widths)]
        beside = list(range(len(least)))
        while len(beside) > 1 and sum(least[index] + _BETWEEN for index in beside) - _BETWEEN > width:
            beside.remove(max((index for index in beside[1:] if index in long), default=beside[-1]))
        below = [index for index in range(len(least)) if index not in beside]

        def table(rows: Iterable[tuple[tuple[str, ...], str]], *, header: bool) -> RenderableType:
            listing = RichTable(box=None, padding=(0, _BETWEEN, 0, 0), pad_edge=False, show_header=header)
            for index in beside:
                listing.add_column(
                    Text(self.columns[index]),
                    justify="right" if self.numeric[index] else "left",
                    overflow="fold",
                    no_wrap=index not in long,
                    min_width=None if index in long else widths[index],
                )
            for row, style in rows:
                listing.add_row(*(Text(row[index]) for index in beside), style=style)
            return listing

        rows = list(zip(cells, styles or [""] * len(cells), strict=True))
        if below:
            yield table([], header=True)
            for row, style in rows:
                yield table([(row, style)], header=False)
                for index in below:
                    if row[index]:
                        text = Text(f"{self.columns[index]}: {row[index]}", style="dim")
                        yield Padding(text, (0, 0, 0, 2 * _BETWEEN))
        else:
            yield table(rows, header=True)
        yield from (Text(printable(note)) for note in self.notes)

    def html(self) -> str:
        """The table for a notebook."""
        align = ["right" if numeric else "left" for numeric in self.numeric]
        head = "".join(
            f'<th style="text-align:{side}">{escape(name)}</th>'
            for name, side in zip(self.columns, align, strict=True)
        )
        body = "".join(
            "<tr>"
            + "".join(
                f'<td style="text-align:{side}">{escape(cell)}</td>'
                for cell, side in zip(row, align, strict=True)
            )
            + "</tr>"
            for row in self.cells
        )
        notes = "".join(f"<div>{escape(printable(note))}</div>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"


class Tabular(ABC):
    """A value that is shown as a table, wherever it is shown."""

    @abstractmethod
    def _table(self) -> Table:
        """Its rows as values."""

    def _shown(self) -> Table:
        """Its rows as they are read; by default the same."""
        return self._table()

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a data frame.

        Raises:
            CorrInitError: if pandas is not installed.
        """
        try:
            import pandas  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise missing_library("to_pandas", error) from error
        table = self._table()
        return pandas.DataFrame(table.records(), columns=list(table.columns))

    def __str__(self) -> str:
        return str(self._shown())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._renderables(options.max_width)

    def _renderables(self, width: int) -> Iterable[RenderableType]:
        """What a terminal of so many columns shows."""
        return [self._shown()]

    def _repr_html_(self) -> str:
        return self._shown().html()


Row = TypeVar("Row", bound=NamedTuple)


class Listing(tuple[Row, ...], Tabular):
    """Rows of one kind, each a named tuple: a tuple that is shown as a table.

    >>> class Point(NamedTuple):
    ...     x: int
    ...     side_by_side: bool
    >>> Listing([Point(1, True), Point(2, False)])
    x  side by side
    1  yes
    2  no
    """

    __slots__ = ()

    def __new__(cls, rows: Iterable[Row]) -> Listing[Row]:
        return super().__new__(cls, tuple(rows))

    def _table(self) -> Table:
        return Table(self[0]._fields if self else (), tuple(map(tuple, self)))

    def _shown(self) -> Table:
        return Table(tuple(name.replace("_", " ") for name in self._table().columns), self._table().rows)

    def __repr__(self) -> str:
        return str(self)


def _is_number(value: object) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, (bool, str))


def _in_words(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, tuple):
        return "×".join(map(str, value)) if all(map(_is_number, value)) else ", ".join(map(str, value))
    return printable(str(value))
