"""A stranger's walk: the tutorial, word for word, from the built wheel, in an empty folder.

    python -m tests.walk [--wheel FILE] [--install] [--write]

makes a virtual environment, installs the wheel where the tutorial installs corrinit, writes the files that
the tutorial shows, runs its commands, pastes the line of code that the comparison found, and trains; nothing
of the checkout can be imported. Dependencies are those of the running environment; `--install` fetches them
as a stranger's pip would. `--write` puts what the commands print into the tutorial.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
import venv
from pathlib import Path

from tests.pages import ROOT, Example, examples

TUTORIAL = ROOT / "docs" / "tutorial.md"


class Walk:
    """An empty folder with an environment of its own, into which the tutorial is carried out."""

    def __init__(self, place: Path, wheel: Path, *, install: bool) -> None:
        self.folder, self.wheel, self.install = place / "empty", wheel, install
        self.folder.mkdir()
        environment = place / "environment"
        venv.create(environment, with_pip=True)
        self.bin = environment / ("Scripts" if os.name == "nt" else "bin")
        if not install:
            (packages,) = environment.glob("lib/python*/site-packages")
            here = [path for path in sys.path if path.endswith("site-packages")]
            Path(packages, "dependencies.pth").write_text("\n".join(here))
        self.line_of_code = ""

    def take(self, example: Example) -> str | None:
        """Write the file of an example, or run its commands; what the last one prints."""
        if example.file is not None:
            text = pasted(example.text, self.line_of_code) if self.line_of_code else example.text
            Path(self.folder, example.file).write_text(text)
        printed = None
        for command in example.commands if example.language == "sh" else []:
            printed = self._run(command)
            if found := re.search(r"corrinit\.initialize\(.*\)", printed):
                self.line_of_code = found[0]
        return printed

    def installed(self) -> Path:
        """Where the package comes from."""
        return Path(self._run("python -c 'import corrinit; print(corrinit.__file__)'").strip())

    def _run(self, command: str) -> str:
        if command.startswith("pip install"):
            command = f"python -m pip install --quiet --no-deps '{self.wheel}'"
            if self.install:
                constraints = ROOT / "constraints.txt"
                command = f"python -m pip install --quiet --constraint '{constraints}' '{self.wheel}[lab]'"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        variables = {
            **clean,
            "PATH": f"{self.bin}{os.pathsep}{os.defpath}",
            "COLUMNS": "100",
        }  # of a terminal that is not there
        start = time.perf_counter()
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=variables, capture_output=True, text=True
        )
        print(f"{time.perf_counter() - start:6.1f} s  {command}", flush=True)
        if done.returncode:
            raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout


def build_wheel(place: Path) -> Path:
    """Build the wheel of this checkout into a folder."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(place),
        str(ROOT),
    ]
    subprocess.run(command, check=True)
    (wheel,) = place.glob("corrinit-*.whl")
    return wheel


def pasted(program: str, line: str) -> str:
    """The reader's program with the line of code that the comparison found instead of its own."""
    return re.sub(r"^corrinit\.initialize\(.*$", lambda _: line, program, flags=re.MULTILINE)


def shown(printed: str) -> str:
    """What a command prints, as the page shows it: without the lines of single runs, and wrapped."""
    lines = [line for line in printed.rstrip().splitlines() if ", seed " not in line]
    return "\n".join(
        wrapped.rstrip()
        for line in lines
        for wrapped in (textwrap.wrap(line, 118, drop_whitespace=False) or [""])
    ).strip("\n")


def filled(page: str, outputs: list[str]) -> str:
    """The page with its blocks of output replaced, in order."""
    remaining = iter(outputs)
    return re.sub(r"```text\n.*?```", lambda _: f"```text\n{next(remaining)}\n```", page, flags=re.DOTALL)


def main() -> None:
    """Walk, and say how long each step took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="the wheel; default: build it")
    parser.add_argument(
        "--install", action="store_true", help="install the dependencies from the package index"
    )
    parser.add_argument("--write", action="store_true", help="put what is printed into the tutorial")
    given = parser.parse_args()
    start, outputs, printed = time.perf_counter(), [], None
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        wheel = given.wheel.resolve() if given.wheel else build_wheel(place)
        walk = Walk(place, wheel, install=given.install)
        for example in examples(TUTORIAL):
            if example.language == "text":
                outputs.append(shown(printed or ""))
            else:
                printed = walk.take(example)
        home = walk.installed()
        assert place in home.parents, f"corrinit was imported from {home}, not from the wheel"
        assert Path(walk.folder, "report.html").is_file()
        assert walk.line_of_code, "the comparison named no line of code"
    if given.write:
        TUTORIAL.write_text(filled(TUTORIAL.read_text(encoding="utf-8"), outputs), encoding="utf-8")
    print(*outputs, f"walked in {time.perf_counter() - start:.0f} s with {walk.line_of_code}", sep="\n\n")


if __name__ == "__main__":
    main()
