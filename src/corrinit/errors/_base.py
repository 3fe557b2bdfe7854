"""What every error of corrinit is made of: a line, a code, and the page that the code leads to."""

from __future__ import annotations

import inspect
import re
import warnings
from dataclasses import dataclass
from typing import ClassVar


def printable(text: str) -> str:
    r"""Text of a file with its control characters spelt out, so that none of them reaches the terminal.

    >>> printable("conv\x1b[2J")
    'conv\\x1b[2J'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: object) -> str:
    r"""A text in one line that does nothing to a terminal: what is not printable stands escaped.

    File names, layer names and the messages of other libraries may hold line breaks and control sequences.

    >>> one_line("two\nlines, \x1b[2J")
    'two lines, \\x1b[2J'
    """
    return printable(" ".join(str(text).split()))


@dataclass(frozen=True)
class Page:
    """What there is to know about the errors of one code, beside the docstring of their class.

    Args:
        code: by which `corrinit explain` finds it; never given to another error.
        why: what makes it an error.
        fix: what to do, in general; the message says what in particular.
        example: what is wrong and what is right: Python, TOML, or commands after `$`.
    """

    code: str
    why: str
    fix: str
    example: str


class CorrInitError(Exception):
    """Base class of every error that corrinit raises on purpose.

    It is told in one line, `layer NAME: what is wrong; what to do [CODE]`.

    Args:
        message: what is wrong and, after the last semicolon, what to do about it.
        layer: the layer that it is about.
        shape: that which does not fit.

    Attributes:
        message: the line without its code.
        code: what `corrinit explain` explains.
        layer: the layer that it is about, if it is about one.
        shape: that which does not fit, if it is about one.

    >>> error = CorrInitError("the weight is a view; clone it", layer="stem", shape=(8, 3, 3, 3))
    >>> error.message, error.layer, error.remedy
    ('layer stem: the weight is a view; clone it', 'stem', 'clone it')
    """

    page: ClassVar[Page | None] = None

    def __init__(
        self,
        message: str = "",
        *,
        layer: str | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        where = "" if layer is None or str(message).startswith(f"layer {layer}") else f"layer {layer}: "
        codes = _CODE.split(f"{where}{message}")
        # an error that ends with what another one says passes it on: the page of the cause helps more
        passed_on = len(codes) > 1 and not codes[-1]
        self.message = one_line("".join(codes[::2]))
        super().__init__(self.message)
        self.code = codes[-2] if passed_on else self.page.code if self.page else None
        self.layer = layer
        self.shape = None if shape is None else tuple(shape)

    def __init_subclass__(cls) -> None:
        if cls.__module__.startswith(f"{__package__}."):
            cls.__module__ = __package__ or cls.__module__  # where it is to be imported from

    @property
    def remedy(self) -> str:
        """What to do: what the message says after its last semicolon, or the fix that its page shows."""
        _, there, remedy = self.message.rpartition("; ")
        return remedy if there or self.page is None else self.page.fix

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]" if self.code else self.message


_CODE = re.compile(r" \[(C\d{3})\]")


class CorrInitWarning(UserWarning):
    """Something was approximated; the message says what, and by how much."""


def warn_caller(message: str, category: type[Warning] = CorrInitWarning) -> None:
    """Warn at the line that called the package, however deep inside it the warning arises."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "corrinit":
        frame, level = frame.f_back, level + 1
    warnings.warn(one_line(message), category, stacklevel=level)
