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


class CorrInitWarning(UserWarning):
    """Something was approximated; the message says what, and by how much."""


_EXTRA_OF = {
    **{library: library for library in ("torch", "jax", "keras", "onnx")},
    **dict.fromkeys(("cyclopts", "rich"), "cli"),
}
"""The extra that installs a library; all others are of the lab."""

_TORCH = (
    "; for the CPU alone before it: pip install torch --index-url https://download.pytorch.org/whl/cpu; for "
    "CUDA: pip install torch on Linux, elsewhere the line of https://pytorch.org/get-started"
)


def missing_library(what: str, error: ModuleNotFoundError) -> ModuleNotFoundError | MissingLibraryError:
    """The error to raise where a library is missing: the given one if a module of corrinit itself is.

    Args:
        what: what needs it.
        error: of the import.

    >>> raise missing_library("the lab", ModuleNotFoundError(name="scipy.stats"))
    Traceback (most recent call last):
    corrinit.errors.MissingLibraryError: the lab needs scipy: pip install "corrinit[lab]"
    """
    library = (error.name or "").partition(".")[0]
    if library in ("", "corrinit"):
        return error
    extra = _EXTRA_OF.get(library, "lab")
    return MissingLibraryError(
        f'{what} needs {library}: pip install "corrinit[{extra}]"{_TORCH if library == "torch" else ""}'
    )


def warn_caller(message: str, category: type[Warning] = CorrInitWarning) -> None:
    """Warn at the line that called the package, however deep inside it the warning arises."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "corrinit":
        frame, level = frame.f_back, level + 1
    warnings.warn(one_line(message), category, stacklevel=level)
