"""The tables of the documents: written by a command, between markers, so that no number is typed by hand.

A document says `<!-- table: NAME -->` where a table begins and `<!-- end -->` where it ends; the errata are
written as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from corrinit._atomic import replacing
from corrinit.errors import ConfigError, UnknownNameError
from corrinit.lab.document.blocks import Table
from corrinit.lab.theory.errata import Erratum
from corrinit.lab.theory.inputs import Setting
from corrinit.lab.theory.page import ERRATA

_MARKED = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

_ERRATA_HEAD = """# Errata of the paper

J. Schneider, *Correlated Initialization for Correlated Data*, Sections 3 to 5. Every entry was checked by
computation before it was listed; the command shows the numbers. Code follows what is right; the printed
Eq. (4) and Table 1 can be evaluated beside it (`corrinit.theory.dynamics.printed_update`,
`corrinit.theory.variance.printed_moments`). Derivations are in [Theory](theory.md).

*Wrong*: does not hold. *Needs a condition*: holds only under conditions that the paper does not give.
*Misprint*: meant right. This page is written by `corrinit theory --all --markdown docs`; real images are
those of {name}."""


def markdown_table(table: Table) -> str:
    r"""A table in Markdown, with its title above and its caption below.

    >>> print(markdown_table(Table("Sums", ("n", "|S|"), (("1", "2"),))))
    **Sums**
    <BLANKLINE>
    | n | \|S\| |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [table.header, ("---",) * len(table.header), *table.rows]
    cells = ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]
    return "\n".join([f"**{table.title}**", "", *cells, *(["", table.caption] if table.caption else [])])


def filled(text: str, tables: Mapping[str, Table]) -> str:
    """A document with its marked tables replaced.

    Raises:
        ConfigError: if it asks for a table that does not exist.
    """

    def replacement(match: re.Match[str]) -> str:
        if match["name"] not in tables:
            raise UnknownNameError(
                f"the document asks for table {match['name']!r}; there are {', '.join(tables)}"
            )
        return f"{match[1]}\n{markdown_table(tables[match['name']])}\n\n{match[3]}"

    return _MARKED.sub(replacement, text)


def errata_document(setting: Setting) -> str:
    """The errata page, with all evidence."""
    return "\n".join([_ERRATA_HEAD.format(name=setting.name), *(_entry(e, setting) for e in ERRATA)])


def write_documents(folder: Path, tables: Mapping[str, Table], setting: Setting) -> tuple[Path, ...]:
    """Fill the tables of `theory.md` in a folder, and write `errata.md` into it.

    Raises:
        ConfigError: if the folder has no `theory.md`.
    """
    theory, errata = folder / "theory.md", folder / "errata.md"
    if not theory.is_file():
        raise ConfigError(f"{folder} has no theory.md to fill; name the folder of the documents")
    texts = {theory: filled(theory.read_text(encoding="utf-8"), tables), errata: errata_document(setting)}
    for path, text in texts.items():
        with replacing(path) as file:
            file.write(text.encode())
    return tuple(texts)


def _entry(erratum: Erratum, setting: Setting) -> str:
    evidence = "\n\n".join(markdown_table(table) for table in erratum.evidence(setting))
    return f"""
## {erratum.key}

{erratum.place} · *{erratum.kind}*

- **Printed:** {erratum.printed}
- **Right:** {erratum.right}
- **Why:** {erratum.why}
- **What it changes:** {erratum.consequence}
- **Shown by:** `{erratum.command}`

{evidence}
"""
