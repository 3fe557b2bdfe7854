"""The `corrinit` command: its sub-commands, and what becomes of their errors.

Each sub-command is imported only when it is called, and what `corrinit --help` says of it stands here: so
that needs neither torch nor matplotlib, and answers at once.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper

from corrinit import __version__
from corrinit.errors import CorrInitError, CorrInitWarning, missing_library, one_line

try:
    from cyclopts import App
except ModuleNotFoundError as error:
    sys.stderr.write(f"error: {missing_library('the corrinit command', error)}\n")
    raise SystemExit(2) from error

app = App(
    name="corrinit",
    version=__version__,
    help="Initialize convolutional networks with the spatial correlation that trained filters have.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)

app.command(
    "corrinit.cli.estimate:estimate",
    help="Estimate the correlation of the filters of a network.\n\n"
    "Prints the mean correlation of two taps with a 95 % bootstrap interval, and writes the correlation to a "
    "file from which other networks can be initialized.",
    help_epilogue="Example: corrinit estimate resnet.safetensors -o R.safetensors",
)
app.command(
    "corrinit.cli.show:show",
    help="Show a correlation, or those of the layers of a network.\n\n"
    "Prints the matrix, the mean correlation by distance between taps and, for weights, a line per layer; "
    "draws them as a figure.",
    help_epilogue="Example: corrinit show resnet.safetensors --png figure.png",
)
app.command(
    "corrinit.cli.plan:plan",
    help="Say what initialization would do to each layer of a model, and why.\n\n"
    "The model is built, by calling the factory without arguments, but not changed. Its code is run.",
    help_epilogue="Example: corrinit plan model.py:build --correlation R.safetensors --missing resize",
)
app.command(
    "corrinit.cli.demo:demo",
    help="Train a network from four initializations, and write a report.\n\n"
    "The four cross independent and correlated taps with the larger and the smaller of the two methods' "
    "scales, so that what correlation does is told from what the scale does. Finished runs are kept; a "
    "stopped demo resumes.",
    help_epilogue="Example: corrinit demo --data cifar10 --model vgg8 --train-subset 10000",
)
app.command(
    "corrinit.cli.compare:compare",
    help="Compare initializations of your network on your data.\n\n"
    "Every method starts from the same seeds, with controls that tell its structure from its scale. Ends "
    "with a table, learning curves, what they say in plain words, and the line of code to paste. A stopped "
    "comparison resumes.",
    help_epilogue="Example: corrinit compare model.py:build --data folder:images --methods "
    "orthogonal,correlated --seeds 5 --lr auto",
)
study = App(
    name="study",
    help="Plan a study before its first run, and check one.\n\n"
    "corrinit compare --study FILE carries it out, and refuses whatever would change it.",
    help_format="plaintext",
)
study.command(
    "corrinit.cli.study:plan_study",
    name="plan",
    help="Fix question, arms, settings, seeds and stopping rule in a file, before any run is made.",
    help_epilogue="Example: corrinit study plan model.py:build --data folder:images --seeds 10 -o study.toml",
)
study.command(
    "corrinit.cli.study:check_study",
    name="check",
    help="Say whether a study is intact, which of its runs are there, and whether any is from outside.",
    help_epilogue="Example: corrinit study check study.toml runs",
)
app.command(study)
app.command(
    "corrinit.cli.reproduce:reproduce",
    help="Repeat a figure or table of the paper, and lay the results beside it.\n\n"
    "Trains what is not recorded yet, then writes a report with the paper's numbers, ours, controls that "
    "the paper lacks, and a verdict on each of its claims. A stopped reproduction resumes.",
)
app.command(
    "corrinit.cli.report:report",
    help="Write a report from recorded runs alone; nothing is trained.",
    help_epilogue="Example: corrinit report results --paper figure5 --scale cpu --markdown reproduction.md",
)
app.command(
    "corrinit.cli.runs:runs",
    help="List recorded runs, or export them.",
    help_epilogue="Example: corrinit runs model=vgg8 lr=0.1 --output runs.csv",
)
app.command(
    "corrinit.cli.judge:judge_table",
    name="judge",
    help="Judge runs that you already have, from a CSV or Parquet file; nothing is trained.\n\n"
    "The tests, the table, the figure and the words are those of corrinit compare.",
    help_epilogue="Example: corrinit judge runs.csv --group method --seed seed --metric accuracy",
)
app.command("corrinit.cli.theory:theory", help="Compute and draw the paper's theory, errors corrected.")
app.command("corrinit.cli.listings:methods", help="List the initialization methods by name.")
app.command(
    "corrinit.cli.listings:presets",
    help="List the correlations of trained networks that come with corrinit.",
)
app.command(
    "corrinit.cli.explain:explain",
    help="Explain an error by the code at the end of its line.",
    help_epilogue="Example: corrinit explain C102",
)
app.register_install_completion_command(help="Install completion of commands and options for this shell.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 a mistake that the message names, 130 interrupted.

    Args:
        arguments: the words after `corrinit`; by default those of this process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal of another encoding gets what it lacks escaped
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            app(arguments)
        except (CorrInitError, OSError) as error:
            _exit(2, f"error: {one_line(error)}")
        except ImportError as error:
            if (missing := _missing_module(error)) is None:
                raise
            _exit(2, f"error: {missing_library('this command', missing)}")
        except KeyboardInterrupt:
            _exit(130, "interrupted")


def _missing_module(error: BaseException | None) -> ModuleNotFoundError | None:
    """The import of a library that is not installed, if that is what failed; None if the fault is ours."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("corrinit"):
            return error
        error = error.__cause__
    return None


def _exit(code: int, message: str) -> None:
    sys.stderr.write(message + "\n")
    raise SystemExit(code)


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    label = "warning" if issubclass(category, CorrInitWarning) else category.__name__
    sys.stderr.write(f"{label}: {one_line(message)}\n")
