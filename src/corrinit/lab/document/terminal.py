"""Parts of a report in a terminal: cards, tables and text; a figure needs a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table as Listing
from rich.text import Text

from corrinit.lab.document.blocks import Card, Figure, Section, Table


def show(sections: Sequence[Section], console: Console | None = None) -> None:
    """Print of each section the title, its cards, its tables, then its text.

    Args:
        sections: of a report.
        console: where to; by default the standard output, at its width.
    """
    console = console or Console(highlight=False)
    for section in sections:
        console.print(Text(section.title, style="bold"))
        for item in section.items:
            if not isinstance(item, Figure):
                console.print(drawn(item))
        for paragraph in section.paragraphs:
            console.print(Text(paragraph))
        console.print()


def drawn(item: Card | Table) -> RenderableType:
    """A card or a table as rich prints it."""
    return _card(item) if isinstance(item, Card) else _listing(item)


def tables(items: Iterable[Table], console: Console | None = None) -> None:
    """Print tables, one under the other."""
    console = console or Console(highlight=False)
    for item in items:
        console.print(drawn(item))


def _listing(table: Table) -> Listing:
    # Names are folded between words; a number that is broken cannot be read.
    title = Text(table.title) if table.title else None
    listing = Listing(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    for name, numeric in zip(table.header, table.numeric, strict=True):
        listing.add_column(Text(name), justify="right" if numeric else "left", no_wrap=numeric)
    for row in table.rows:
        listing.add_row(*map(Text, row))
    return listing


def _card(card: Card) -> Panel:
    facts = Listing.grid(padding=(0, 2))
    for name, value in card.facts:
        facts.add_row(Text(name, style="dim"), Text(value))
    parts: list[RenderableType] = [Text(card.answer, style="bold")]
    if card.facts:
        parts += [Text(), facts]
    if card.code:  # whole lines, so that a terminal's selection can be pasted
        parts += [Text(), Padding(Text(card.code, style="cyan", no_wrap=False), (0, 0, 0, 2))]
    if card.next_step:
        parts += [Text(), Text(card.next_step)]
    if card.command:
        parts += [Padding(Text(card.command, style="cyan"), (0, 0, 0, 2))]
    return Panel(Group(*parts), title=Text(card.question), title_align="left", expand=False)
