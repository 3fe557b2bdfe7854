"""What every report is made of: sections of text, cards, figures and tables; and how a figure becomes SVG.

They are plain values. `document.html` writes them as a page, `document.markdown` as Markdown and
`document.terminal` to a terminal.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import matplotlib
from matplotlib.figure import Figure as Plot

WIDE = 400.0
"""Width in points from which a figure takes a whole row of the page instead of half of it."""

STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "grid.color": "#8888884d",
    "grid.linewidth": 0.6,
    "figure.constrained_layout.use": True,
    "figure.figsize": (4.8, 3.2),
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}
"""The look of every figure, for `matplotlib.rc_context(STYLE)` around the code that draws it."""


@dataclass(frozen=True)
class Figure:
    """A drawing.

    Args:
        title: what it shows; also read out in its place by screen readers.
        svg: inline SVG from `figure_svg`.
        caption: how to read it.
    """

    title: str
    svg: str
    caption: str = ""

    @property
    def wide(self) -> bool:
        """Whether the drawing needs the whole width of the page."""
        width = re.search(r'width="([\d.]+)pt"', self.svg)
        return width is not None and float(width[1]) > WIDE


@dataclass(frozen=True)
class Table:
    """A table of text; every row has as many cells as the header, and columns of numbers are set flush right.

    Args:
        title: what it lists.
        header: the names of the columns.
        rows: the cells, row by row.
        caption: how to read it.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(
                    f"table {self.title!r} has {len(self.header)} columns; a row has {len(row)}: {row}"
                )

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column, whether all its cells read as numbers."""
        return tuple(
            bool(self.rows) and all(_NUMBER.match(row[column]) for row in self.rows)
            for column in range(len(self.header))
        )


@dataclass(frozen=True)
class Card:
    """An answer to be read at a glance.

    Args:
        question: what it answers.
        answer: in one sentence.
        facts: what it rests on, each with a name of one or two words.
        code: a line to paste, empty for none.
        next_step: what would make the answer surer, empty if nothing would.
        command: the line that does it, empty for none.
    """

    question: str
    answer: str
    facts: tuple[tuple[str, str], ...] = ()
    code: str = ""
    next_step: str = ""
    command: str = ""


Item: TypeAlias = "Card | Figure | Table"


@dataclass(frozen=True)
class Section:
    """A titled part of a document: paragraphs of plain text, then cards, figures and tables in order.

    Args:
        title: its heading.
        paragraphs: of plain text.
        items: what follows them.
        folded: whether a page shows the heading alone until the reader opens it.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()
    folded: bool = False


_NUMBER = re.compile(r"(n = )?[-+−±<≥≤\[(\s]*\d[-+−±\d.,e%to\s\])]*$|[–—−-]?$")


def literal(name: str) -> str:
    """A name as matplotlib draws it letter by letter, although it may hold a $ and look like mathematics."""
    return name.replace("$", r"\$")


def figure_svg(figure: Plot) -> str:
    """Render a matplotlib figure as SVG to be placed inside a page.

    The background is transparent, text stays text, and black becomes the text colour of the page, so that
    the drawing reads in light and dark alike.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "corrinit", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Nothing refers to the ids of groups, and several figures on a page would repeat them.
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    return svg.replace("#000000", "currentColor").strip()


_METADATA = ("Date", "Creator", "Format", "Type")
