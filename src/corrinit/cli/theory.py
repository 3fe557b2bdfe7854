"""`corrinit theory`: the paper's theory, computed, drawn, and corrected."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from corrinit.cli.json_output import AsJson, print_json, table_record
from corrinit.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from corrinit.lab.document.blocks import Table
    from corrinit.lab.theory.inputs import Setting
    from corrinit.lab.theory.page import Contents

theory = App(
    name="theory",
    help="Compute and draw the paper's theory, with its errors corrected.",
    help_format="plaintext",
)

Data = Annotated[str, Parameter(help="Images: digits, cifar10, cifar100, parquet:DIR or folder:DIR.")]
Output = Annotated[Path, Parameter(alias="-o", help="The HTML page to write.")]
Png = Annotated[Path | None, Parameter(help="Also write every figure as PNG into this folder.")]

PAGE = Path("theory.html")


@theory.default
def everything(
    *,
    all_: Annotated[bool, Parameter(name="--all", negative=(), help="Both sections and the errata.")] = False,
    data: Data = "digits",
    output: Output = PAGE,
    png: Png = None,
    markdown: Annotated[
        Path | None, Parameter(help="Also write the tables of theory.md and errata.md in this folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compute and draw the paper's theory, with its errors corrected."""
    if not all_:
        raise ConfigError("say which part: corrinit theory single-filter, variance, errata, or --all")
    from corrinit.lab.theory import documents
    from corrinit.lab.theory import inputs as setting
    from corrinit.lab.theory import page as contents

    with contents.one_thread():
        inputs = setting.real(data)
        parts = contents.single_filter(inputs) + contents.layers(inputs) + contents.errata_section()
        _publish(parts, inputs, output, png, ("reach", "spectrum", "table-1", "real-images"), as_json)
        if markdown is not None:
            for path in documents.write_documents(markdown, parts.tables, inputs):
                if not as_json:
                    sys.stdout.write(f"{path}\n")


@theory.command(name="single-filter")
def single_filter(
    *, data: Data = "digits", output: Output = PAGE, png: Png = None, as_json: AsJson = False
) -> None:
    """Section 3: gradient descent of one filter; Figures 2 and 3."""
    from corrinit.lab.theory import inputs as setting
    from corrinit.lab.theory import page as contents

    with contents.one_thread():
        inputs = setting.real(data)
        parts = contents.single_filter(inputs)
    _publish(parts, inputs, output, png, tuple(parts.tables), as_json)


@theory.command
def variance(
    *, data: Data = "digits", output: Output = PAGE, png: Png = None, as_json: AsJson = False
) -> None:
    """Section 4: the signal through layers; Table 1."""
    from corrinit.lab.theory import inputs as setting
    from corrinit.lab.theory import page as contents

    with contents.one_thread():
        inputs = setting.real(data)
        parts = contents.layers(inputs)
    _publish(parts, inputs, output, png, tuple(parts.tables), as_json)


@theory.command
def errata(key: str | None = None, /, *, data: str = "digits", as_json: AsJson = False) -> None:
    """List the errors of the paper, or show the evidence for one.

    Args:
        key: Which; by default all are listed.
        data: Images: digits, cifar10, cifar100, parquet:DIR or folder:DIR.
        as_json: Print JSON instead of tables.
    """
    from corrinit.lab.document.blocks import Table
    from corrinit.lab.theory import inputs as setting
    from corrinit.lab.theory import page as contents

    if key is None:
        rows = tuple((e.key, e.place, e.kind, e.right) for e in contents.ERRATA)
        _print([Table("Errata", ("key", "place", "kind", "right"), rows)], as_json)
        return
    found = {e.key: e for e in contents.ERRATA}.get(key)
    if found is None:
        raise UnknownNameError(
            f"there is no erratum {key!r}; there are {', '.join(e.key for e in contents.ERRATA)}"
        )
    with contents.one_thread():
        evidence = found.evidence(setting.real(data))
    if as_json:
        named = {name: getattr(found, name) for name in ("key", "place", "kind", "printed", "right", "why")}
        print_json({**named, "evidence": [table_record(table) for table in evidence]})
        return
    sys.stdout.write(
        f"{found.place}: {found.kind}\nprinted: {found.printed}\nright:   {found.right}\n{found.why}\n"
    )
    _print(evidence, as_json)


def _publish(
    parts: Contents, inputs: Setting, output: Path, png: Path | None, shown: tuple[str, ...], as_json: bool
) -> None:
    """Print the tables named, write the page and the drawings, and say where they are."""
    from corrinit.lab.document.html import write_page
    from corrinit.lab.runs.environment import describe

    _print([parts.tables[name] for name in shown], as_json)
    provenance = {
        "command": " ".join(["corrinit", *sys.argv[1:]]),
        "data": inputs.provenance,
        **describe(),
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
    }
    title = "Correlated initialization: the theory, computed and corrected"
    write_page(output, title, parts.sections, provenance=provenance)
    written: list[Path] = []
    if png is not None:
        png.mkdir(parents=True, exist_ok=True)
        for name, plot in parts.plots.items():
            plot.savefig(png / f"{name}.png", dpi=150)
            written.append(png / f"{name}.png")
    if not as_json:
        sys.stdout.write("".join(f"{path}\n" for path in (*written, output.resolve())))


def _print(tables: Sequence[Table], as_json: bool) -> None:
    from corrinit.lab.document import terminal

    if as_json:
        print_json([table_record(table) for table in tables])
    else:
        terminal.tables(tables)
