"""Docstrings of ours are plain text: `(N, C, *sizes)` begins no emphasis, and `|w|` is no substitution."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

LONE_STAR = re.compile(r"(?<![\w*`\\])\*(?=\w)(?![^*]*\w\*)")


def setup(app: Sphinx) -> dict[str, bool]:
    """Escape before Napoleon reads the sections."""
    app.connect("autodoc-process-docstring", _escape, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _escape(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            text_and_code = line.split("`")
            text_and_code[::2] = [
                LONE_STAR.sub(r"\\*", text).replace("|", r"\|") for text in text_and_code[::2]
            ]
            lines[number] = "`".join(text_and_code)
