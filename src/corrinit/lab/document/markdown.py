"""Sections of a report as Markdown, for documentation that quotes recorded runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from corrinit._atomic import replacing
from corrinit.lab.document.blocks import Card, Figure, Section, Table


def write_markdown(
    path: Path, title: str, sections: Sequence[Section], *, provenance: Mapping[str, str]
) -> Path:
    """Write text and tables of a report as Markdown; figures, which Markdown cannot hold, are named.

    Args:
        path: the file, replaced as a whole; missing folders are created.
        title: heading of the page.
        sections: its parts.
        provenance: what made it, listed at its end.

    Raises:
        CorrInitError: if the file cannot be written.
    """
    facts = Section("Provenance", items=(Table("", ("", ""), tuple(provenance.items())),))
    blocks = [f"# {_escaped(title)}", *(block for part in (*sections, facts) for block in _section(part))]
    with replacing(path) as file:
        file.write(("\n\n".join(blocks) + "\n").encode())
    return path


def _section(section: Section) -> list[str]:
    cards = [block for item in section.items if isinstance(item, Card) for block in _card(item)]
    blocks = [f"## {_escaped(section.title)}", *cards, *map(_escaped, section.paragraphs)]
    for item in section.items:
        if isinstance(item, Table):
            blocks += _table(item)
    if figures := [item.title for item in section.items if isinstance(item, Figure)]:
        blocks.append(_escaped(f"Figures in the HTML report: {'; '.join(figures)}."))
    return blocks


def _card(card: Card) -> list[str]:
    facts = "\n".join(f"- {_escaped(name)}: {_escaped(value)}" for name, value in card.facts)
    lines = [_fenced(card.code), _escaped(card.next_step), _fenced(card.command)]
    return [block for block in (f"**{_escaped(card.answer)}**", facts, *lines) if block]


def _fenced(code: str) -> str:
    return f"```\n{code}\n```" if code else ""


def _table(table: Table) -> list[str]:
    rule = ["--:" if numeric else ":--" for numeric in table.numeric]
    rows = [[_escaped(cell) for cell in row] for row in (table.header, *table.rows)]
    lines = [f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])]
    heading = [f"### {_escaped(table.title)}"] if table.title else []
    return [*heading, "\n".join(lines), *([_escaped(table.caption)] if table.caption else [])]


def _escaped(text: str) -> str:
    """Text in which no character is markup."""
    for character in "\\`*_[]<>|#":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())
