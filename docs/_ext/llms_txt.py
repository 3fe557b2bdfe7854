"""Write `llms.txt` (https://llmstxt.org): each page of the site with its first sentence; and `llms-full.txt`.

The pages are Markdown already, so what a language model gets is what we wrote.
"""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

SUMMARY = "Initialize convolutional networks with the spatial correlation that trained filters have."


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to the end of a build."""
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    env, root = app.env, app.config.root_doc
    pages = [name for name in _in_reading_order(env, root) if name != root]
    lines = [
        f"- [{env.titles[name].astext()}]({app.builder.get_target_uri(name)}): {_first_sentence(env, name)}"
        for name in pages
    ]
    text = "\n".join([f"# {app.config.project}", "", f"> {SUMMARY}", "", "## Documentation", "", *lines, ""])
    Path(app.outdir, "llms.txt").write_text(text, encoding="utf-8")
    sources = [Path(env.doc2path(name)).read_text(encoding="utf-8") for name in pages]
    Path(app.outdir, "llms-full.txt").write_text("\n\n".join(sources), encoding="utf-8")


def _in_reading_order(env: BuildEnvironment, name: str) -> list[str]:
    """A page and all below it, as the table of contents has them."""
    return [
        name,
        *(each for child in env.toctree_includes.get(name, []) for each in _in_reading_order(env, child)),
    ]


def _first_sentence(env: BuildEnvironment, name: str) -> str:
    paragraph = next(iter(env.get_doctree(name).findall(nodes.paragraph)), None)
    text = "" if paragraph is None else " ".join(paragraph.astext().split())
    return re.split(r"(?<=\w\w[.?!]) (?=[A-Z])", text)[0]
