"""The `corrinit` command: its sub-commands, and what becomes of their errors.

A sub-command is named here by where it is, and imported only when it is called or asked for its help: so
`corrinit --help` needs neither torch nor matplotlib.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from corrinit.errors import CorrInitError, CorrInitWarning

try:
    from cyclopts import App
except ModuleNotFoundError as error:
    sys.stderr.write(f'error: the corrinit command needs {error.name}: pip install "corrinit[lab]"\n')
    raise SystemExit(2) from error

app = App(
    name="corrinit",
    help="Initialize convolutional networks with the spatial correlation that trained filters have.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)

app.command("corrinit.cli.estimate:estimate", help="Estimate the correlation of the filters of a network.")
app.command("corrinit.cli.show:show", help="Show a correlation, or those of the layers of a network.")
app.command("corrinit.cli.plan:plan", help="Say what initialization would do to each layer of a model.")
app.command("corrinit.cli.demo:demo", help="Train a small network from four initializations, and report.")
app.command("corrinit.cli.runs:runs", help="List recorded runs.")
app.command("corrinit.cli.theory:theory", help="Compute and draw the paper's theory.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 a mistake that the message names, 130 interrupted.

    Args:
        arguments: the words after `corrinit`; by default those of this process.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            app(arguments)
        except (CorrInitError, OSError) as error:
            _exit(2, f"error: {error}")
        except ImportError as error:
            if (library := _missing_library(error)) is None:
                raise
            _exit(2, f'error: this command needs {library}: pip install "corrinit[lab]"')
        except KeyboardInterrupt:
            _exit(130, "interrupted")


def _missing_library(error: BaseException | None) -> str | None:
    """The library that is not installed, if that is why an import failed; None if the fault is ours."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("corrinit"):
            return error.name
        error = error.__cause__
    return None


def _exit(code: int, message: str) -> None:
    sys.stderr.write(message + "\n")
    raise SystemExit(code)


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    label = "warning" if issubclass(category, CorrInitWarning) else category.__name__
    sys.stderr.write(f"{label}: {message}\n")
