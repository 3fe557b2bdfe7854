"""`corrinit theory`: the paper's theory, computed, drawn, and corrected."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from corrinit.errors import ConfigError

if TYPE_CHECKING:
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
        _publish(parts, inputs, output, png, ("reach", "spectrum", "table-1", "real-images"))
        if markdown is not None:
            for path in documents.write_documents(markdown, parts.tables, inputs):
                sys.stdout.write(f"{path}\n")


@theory.command(name="single-filter")
def single_filter(*, data: Data = "digits", output: Output = PAGE, png: Png = None) -> None:
    """Section 3: gradient descent of one filter; Figures 2 and 3."""
    from corrinit.lab.theory import inputs as setting
    from corrinit.lab.theory import page as contents

    with contents.one_thread():
        inputs = setting.real(data)
        parts = contents.single_filter(inputs)
    _publish(parts, inputs, output, png, tuple(parts.tables))


@theory.command
def variance(*, data: Data = "digits", output: Output = PAGE, png: Png = None) -> None:
    """Section 4: the signal through layers; Table 1."""
    from corrinit.lab.theory import inputs as setting
    from corrinit.lab.theory import page as contents

    with contents.one_thread():
        inputs = setting.real(data)
        parts = contents.layers(inputs)
    _publish(parts, inputs, output, png, tuple(parts.tables))


@theory.command
def errata(key: str | None = None, /, *, data: str = "digits") -> None:
    """List the errors of the paper, or show the evidence for one.

    Args:
        key: Which; by default all are listed.
        data: Images: digits, cifar10, cifar100, parquet:DIR or folder:DIR.
    """
    from corrinit.lab.document.blocks import Table
    from corrinit.lab.document.terminal import tables
    from corrinit.lab.theory import inputs as setting
    from corrinit.lab.theory import page as contents

    if key is None:
        rows = tuple((e.key, e.place, e.kind, e.right) for e in contents.ERRATA)
        tables([Table("Errata", ("key", "place", "kind", "right"), rows)])
        return
    found = {e.key: e for e in contents.ERRATA}.get(key)
    if found is None:
        raise ConfigError(
            f"there is no erratum {key!r}; there are {', '.join(e.key for e in contents.ERRATA)}"
        )
    sys.stdout.write(
        f"{found.place}: {found.kind}\nprinted: {found.printed}\nright:   {found.right}\n{found.why}\n"
    )
    with contents.one_thread():
        tables(found.evidence(setting.real(data)))


def _publish(
    parts: Contents, inputs: Setting, output: Path, png: Path | None, shown: tuple[str, ...]
) -> None:
    """Print the tables named, write the page and the drawings, and say where they are."""
    from corrinit.lab.document.html import write_page
    from corrinit.lab.document.terminal import tables
    from corrinit.lab.runs.environment import describe

    tables([parts.tables[name] for name in shown])
    provenance = {
        "command": " ".join(["corrinit", *sys.argv[1:]]),
        "data": inputs.provenance,
        **describe(),
        "date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}",
    }
    title = "Correlated initialization: the theory, computed and corrected"
    write_page(output, title, parts.sections, provenance=provenance)
    if png is not None:
        png.mkdir(parents=True, exist_ok=True)
        for name, plot in parts.plots.items():
            plot.savefig(png / f"{name}.png", dpi=150)
            sys.stdout.write(f"{png / name}.png\n")
    sys.stdout.write(f"{output.resolve()}\n")
