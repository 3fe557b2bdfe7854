"""The errors and the warning of corrinit.

Every error says what is wrong, where (file, layer, shape) and what to do about it, in one line.
"""

import inspect
import warnings


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


class CorrInitError(Exception):
    """Base class of every error that corrinit raises on purpose."""

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class CorrelationError(CorrInitError, ValueError):
    """A correlation matrix is malformed, or does not fit the kernel it is used for."""


class WeightsError(CorrInitError):
    """Weights cannot be read, or hold nothing that can be estimated from."""


class PlanError(CorrInitError, ValueError):
    """A model cannot be initialized as asked; no parameter has been changed."""


class ConfigError(CorrInitError, ValueError):
    """A run is configured with a value that does not exist or cannot work."""


class DataError(CorrInitError):
    """A data set cannot be found or read."""


class MissingLibraryError(CorrInitError, ImportError):
    """A library that is asked for is not installed; the message has the line that installs it."""


class MissingPackageError(CorrInitError, ImportError):
    """A package that what was asked for needs is not installed; the message says how to install it."""


class CorrInitWarning(UserWarning):
    """Something was approximated; the message says what, and by how much."""


def warn_caller(message: str, category: type[Warning] = CorrInitWarning) -> None:
    """Warn at the line that called the package, however deep inside it the warning arises."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "corrinit":
        frame, level = frame.f_back, level + 1
    warnings.warn(one_line(message), category, stacklevel=level)
