"""The pages of the errors, as text for a terminal and as one document."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping

from corrinit.errors._base import CorrInitError, Page

_FAMILIES = {
    "C0": "The machine",
    "C1": "Correlations",
    "C2": "Weights to estimate from",
    "C3": "Models",
    "C4": "Settings and functions",
    "C5": "Data",
    "C6": "Recorded runs",
}

_HEAD = """\
# Errors, and how to mend them

Each error of corrinit is one line: what is wrong and, after the last semicolon, what to do. It ends with a
code, which stands for a kind of error and never changes; `corrinit explain CODE` shows its entry here. In
Python the classes are those of `corrinit.errors`, and an error has the fields `code`, `message` (without the
code), `remedy`, `layer` and `shape`; the last two are `None` where it is about none. This page is written by
`corrinit explain --markdown docs/errors.md`.
"""


def coded() -> dict[str, type[CorrInitError]]:
    """The errors that corrinit raises, by code."""
    found = {kind.page.code: kind for kind in _below(CorrInitError) if kind.page and "page" in vars(kind)}
    return dict(sorted(found.items()))


def _below(kind: type[CorrInitError]) -> Iterator[type[CorrInitError]]:
    for each in kind.__subclasses__():
        if each.__module__ == "corrinit.errors":
            yield each
        yield from _below(each)


def as_text(kind: type[CorrInitError], page: Page) -> str:
    """What there is to know about errors of one kind, for a terminal.

    >>> from corrinit.errors import NotPositiveSemidefiniteError as kind
    >>> print(as_text(kind, kind.page))
    C102, NotPositiveSemidefiniteError
    A matrix has a negative eigenvalue, so that no random numbers have it as their correlation.
    <BLANKLINE>
    Why: The variance of any sum of taps would be negative in some direction...
    What to do: Project it to the nearest correlation matrix, which says how far it had to move it.
    <BLANKLINE>
        SpatialCorrelation(matrix)  # wrong
        SpatialCorrelation.nearest(matrix)
    """
    example = "".join(f"\n    {line}".rstrip(" ") for line in inspect.cleandoc(page.example).splitlines())
    return (
        f"{page.code}, {kind.__name__}\n{_happened(kind)}\n\n"
        f"Why: {page.why}\nWhat to do: {page.fix}\n{example}"
    )


def as_markdown(kinds: Mapping[str, type[CorrInitError]]) -> str:
    """The document of all errors."""
    parts, family = [_HEAD], ""
    for code, kind in kinds.items():
        if code[:2] != family:
            family = code[:2]
            parts.append(f"## {_FAMILIES[family]}\n")
        if kind.page is not None:
            parts.append(_section(kind, kind.page))
    return "\n".join(parts)


def _section(kind: type[CorrInitError], page: Page) -> str:
    example = inspect.cleandoc(page.example)
    language = {"$": "console", "[": "toml"}.get(example[0], "python")
    return (
        f"({page.code.lower()})=\n### {page.code}: {_happened(kind).rstrip('.')}\n\n"
        f"`{kind.__name__}`, caught as {_parents(kind)}. {page.why}\n\n"
        f"**What to do.** {page.fix}\n\n```{language}\n{example}\n```\n"
    )


def _happened(kind: type[CorrInitError]) -> str:
    return (kind.__doc__ or kind.__name__).partition("\n")[0]


def _parents(kind: type[CorrInitError]) -> str:
    parents = [each for each in kind.__mro__[1:] if issubclass(each, Exception)]
    return ", ".join(f"`{each.__name__}`" for each in parents if each is not Exception)
