"""A report as one HTML file that needs nothing else: style, script and figures (SVG) are inside it.

There is no request to any server, and without the script nothing is lost but sorting and copying. The same
input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import jinja2
from markupsafe import Markup

from corrinit._atomic import replacing
from corrinit.lab.document.blocks import Card, Figure, Section

TEMPLATES = Path(__file__).parent / "templates"


def write_page(
    path: str | PathLike[str],
    title: str,
    sections: Sequence[Section],
    *,
    provenance: Mapping[str, str],
    stamp: str = "",
) -> Path:
    """Write a page as one self-contained HTML file; a page already there is replaced as a whole.

    Args:
        path: the HTML file; missing folders are created.
        title: heading of the page.
        sections: its parts, listed in the table of contents.
        provenance: what made it: command, commit, version, hardware, data, date; shown at its end.
        stamp: a line under the heading, such as what kind of study it reports.

    Returns:
        The path of the page.

    Raises:
        CorrInitError: if the file cannot be written; a page already there is then left as it was.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup
    environment.tests["figure"] = lambda item: isinstance(item, Figure)
    environment.tests["card"] = lambda item: isinstance(item, Card)
    html = environment.get_template("page.html").render(
        title=title, stamp=stamp, sections=sections, provenance=dict(provenance)
    )
    target = Path(path)
    with replacing(target) as file:
        file.write(html.encode())
    return target
