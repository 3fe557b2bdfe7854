"""The examples of a page of the documentation, in order, as its reader would take them.

A fenced block of `python` is a file of the reader's if its first line is a comment with the file's name,
`# model.py`, and lines to run otherwise. A block of `sh` is commands; a block of `text` right after it is
what they print.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
_FILE = re.compile(r"# (?P<name>[\w/]+\.(py|toml))\n")


class Example(NamedTuple):
    """A fenced block."""

    language: str
    text: str
    line: int
    """Of the page, of its first line of text, from 1."""

    @property
    def file(self) -> str | None:
        """The name of the file that it is, if it is one."""
        match = _FILE.match(self.text)
        return match["name"] if match else None

    @property
    def commands(self) -> list[str]:
        """Its commands: lines, those that end in a backslash joined with the next; comments are left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [
            " ".join(line.split("  #")[0].split())
            for line in lines
            if line.strip() and not line.startswith("#")
        ]


def examples(page: Path) -> list[Example]:
    """The fenced blocks of a page, in order."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    return [
        Example(token.info.strip(), token.content, token.map[0] + 2)
        for token in tokens
        if token.type == "fence" and token.map is not None
    ]
