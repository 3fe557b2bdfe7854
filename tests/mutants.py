"""`python -m tests.mutants`: each fault that was once found is put back, and the test that notices it is run.

A copy of the sources gets one mutant after the other; the tests are those of this checkout. The exit code is
1 if a test passes in spite of its fault, or fails without one.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .drills import document

ROOT = Path(__file__).parents[1]
SECONDS = 120
HOSTILE = "tests/drills/test_fuzz.py::test_a_hostile_file_does_nothing"


@dataclass(frozen=True)
class Mutant:
    """A fault, as a change of the sources.

    Args:
        number: that it was filed under.
        fault: in words.
        file: below `src/corrinit`.
        old: text that is there once.
        new: text that brings the fault back.
        test: that is to notice it.
    """

    number: str
    fault: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = (
    Mutant(
        "D1",
        "a picture may be of any format, also of one that runs a program",
        "lab/data/decode.py",
        "formats=FORMATS",
        "formats=None",
        f"{HOSTILE}[program in a picture]",
    ),
    Mutant(
        "D2",
        "a layer that the model calls `module` loses its name, and another is drawn in its place",
        "_layers/__init__.py",
        '(own == "module" and parent in wrapping)',
        'own == "module"',
        "tests/layers/test_layers.py::test_wrappers_add_nothing_to_names",
    ),
    Mutant(
        "D3",
        "a checkpoint with a flipped bit is used",
        "_reading.py",
        "if sealed(data[:-size]) != data[-size:]:",
        "if False:",
        f"{HOSTILE}[flipped bit in a checkpoint]",
    ),
    Mutant(
        "D4",
        "a weight that cannot be written is not noticed before others are drawn",
        "_layers/__init__.py",
        "if size > 1 and stride < reach and local.numel():",
        "if False:",
        "tests/layers/test_layers.py::test_a_tensor_that_cannot_be_written_is_refused_before_any_draw",
    ),
    Mutant(
        "D5",
        "a $ in a name is read as mathematics, and loses the figure",
        "lab/document/blocks.py",
        'return name.replace("$", r"\\$")',
        "return name",
        "tests/lab/document/test_figures.py",
    ),
    Mutant(
        "D6",
        "a comparison that was stopped while its rates were chosen has no report",
        "lab/comparison/report.py",
        "    if not named:\n        return []\n    configs",
        "    configs",
        "tests/lab/comparison/test_report.py::"
        "test_runs_of_a_comparison_that_was_stopped_while_rates_were_chosen_make_a_report",
    ),
    Mutant(
        "D7",
        "a damaged copy of a data set makes it unusable",
        "lab/data/cache.py",
        "except Exception:  # there are as many",
        "except (OSError, ValueError, KeyError, TypeError):  # there are as many",
        "tests/lab/data/test_dataset.py::test_a_damaged_cache_is_rebuilt",
    ),
    Mutant(
        "D8",
        "a small file stands for more numbers than there is time for",
        "_weights/torch_files.py",
        "obstacle = repeated(prod(shape) * kind.itemsize, max(1, extent) * kind.itemsize)",
        'obstacle = ""',
        f"{HOSTILE}[one number as a large weight]",
    ),
    Mutant(
        "D9",
        "a record without what counts takes the listing of all others down",
        "lab/runs/fields.py",
        "if (main := endpoints_of(config)[0]) not in result:",
        "if (main := endpoints_of(config)[0]) is None:",
        "tests/lab/runs/test_damage.py::test_a_result_without_an_accuracy_is_damaged",
    ),
    Mutant(
        "D10",
        "two weights in one memory are both drawn, at once",
        "_layers/__init__.py",
        "if start < last and first < end and owner != name:",
        "if False:",
        "tests/layers/test_layers.py::test_weights_on_one_memory_are_drawn_once",
    ),
    Mutant(
        "D11",
        "a folder in the folder of a run stops the sweep",
        "lab/runs/record.py",
        "if file.name not in kept and (file.is_symlink() or not file.is_dir()):",
        "if file.name not in kept:",
        "tests/lab/runs/test_damage.py::test_a_folder_in_the_folder_of_a_run_is_left_alone",
    ),
    Mutant(
        "D12",
        "whole numbers and truth values are filled with random ones",
        "_init.py",
        "if not tensor.is_floating_point():",
        "if False:",
        "tests/test_init.py::test_only_real_numbers_are_drawn",
    ),
    Mutant(
        "D12",
        "a scale is NaN without a word",
        "_scale.py",
        "if not math.isfinite(scale):",
        "if False:",
        "tests/test_init.py::test_a_scale_is_finite",
    ),
    Mutant(
        "D13",
        "a pipe in the place of a file is waited for",
        "_correlation_io.py",
        "if os.fspath(path) and Path(path).exists() and not Path(path).is_file():",
        "if False:",
        f"{HOSTILE}[pipe as correlation]",
    ),
    Mutant(
        "D14",
        "a kernel in a correlation file has more axes than numpy",
        "kernels.py",
        "if len(size) > _MOST_AXES:",
        "if False:",
        f"{HOSTILE}[correlation of 65 axes]",
    ),
    Mutant(
        "D14",
        "a correlation file is of a type of number that numpy lacks",
        "_correlation_io.py",
        'if found.get_dtype() != "F64" or found.get_shape() != shape:',
        "if found.get_shape() != shape:",
        f"{HOSTILE}[correlation of exponents]",
    ),
    Mutant(
        "D15",
        "a text in a file moves the terminal",
        "errors/_base.py",
        'return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)',
        "return text",
        f"{HOSTILE}[text that clears the screen]",
    ),
    Mutant(
        "D16",
        "a terminal of another encoding ends a command with a traceback",
        "cli/__init__.py",
        'stream.reconfigure(errors="backslashreplace")',
        'stream.reconfigure(errors="strict")',
        "tests/test_cli.py::TestProcess::test_a_terminal_without_unicode_gets_what_it_lacks_escaped",
    ),
    Mutant(
        "D17",
        "a careless argument ends in an error of Python",
        "_arguments.py",
        "return float(value)",
        "return value",
        "tests/drills/test_fuzz.py::test_a_careless_argument_is_named",
    ),
    Mutant(
        "D17",
        "an array is written as a correlation",
        "_correlation.py",
        "    if not isinstance(value, SpatialCorrelation):\n        raise",
        "    if False:\n        raise",
        "tests/drills/test_fuzz.py::test_a_careless_argument_is_named",
    ),
)


def main() -> int:
    """Put back each fault, and write the table if that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", help="the faults of one number")
    parser.add_argument("--write", action="store_true", help="write the table into docs/reliability.md")
    options = parser.parse_args()
    chosen = [each for each in MUTANTS if options.only in (None, each.number)]
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder) / "src"
        shutil.copytree(ROOT / "src", sources, ignore=shutil.ignore_patterns("__pycache__"))
        wrong = [] if passes(sources, [each.test for each in chosen]) else ["without a fault, a test fails"]
        lines = ["| fault | what it was | the test that notices it |", "| :-- | :-- | :-- |"]
        for mutant in chosen:
            noticed = not passes(with_fault(mutant, sources), [mutant.test])
            shutil.copy(ROOT / "src" / "corrinit" / mutant.file, sources / "corrinit" / mutant.file)
            lines.append(f"| {mutant.number} | {mutant.fault} | `{mutant.test}` |")
            sys.stdout.write(f"{mutant.number}: {mutant.fault}: {'noticed' if noticed else 'NOT NOTICED'}\n")
            sys.stdout.flush()
            wrong += [] if noticed else [f"{mutant.number} is not noticed by {mutant.test}"]
    sys.stdout.write("".join(f"{each}\n" for each in wrong))
    if options.write and not wrong:
        document.write("mutants", "\n".join(["`python -m tests.mutants`: all are noticed.", "", *lines]))
    return 1 if wrong else 0


def with_fault(mutant: Mutant, sources: Path) -> Path:
    """The sources with a fault."""
    file = sources / "corrinit" / mutant.file
    text = file.read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.number}: {mutant.file} has {text.count(mutant.old)} times {mutant.old!r}")
    file.write_text(text.replace(mutant.old, mutant.new))
    return sources


def passes(sources: Path, tests: list[str]) -> bool:
    """Whether tests pass with these sources; what takes too long does not."""
    environment = os.environ | {"PYTHONPATH": str(sources), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *dict.fromkeys(tests)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(SECONDS * (1 + len(tests) // 4)) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False


if __name__ == "__main__":
    sys.exit(main())
