"""The environment of one framework: made, its tests and examples run in it, and removed.

A framework is a folder here that holds `requirements.txt` and `test_*.py`. Comments in its requirements name
what else it needs, separated by blanks or one a line: the extras of corrinit to install, the scripts that
have to end well, settings of the environment, for each of which tests and scripts run anew, packages of
which only the files are wanted, so that nothing they depend on is installed, and what to copy out of the
checkout for the tests to read.

    # extra: keras
    # example: examples/keras_digits.py
    # setting: KERAS_BACKEND=jax KERAS_BACKEND=torch
    # files: silero-vad==6.2.3
    # copy: docs/conf.py

Tests, the modules of `shared` and the examples are copied out of the checkout, and what they import as
corrinit is the wheel. Shared versions, torch's among them, are those of constraints.txt.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
MARKERS = "markers=statistical: checks a distribution; the docstring states the false-alarm rate"


@dataclass(frozen=True)
class Framework:
    """What a folder of tests asks for.

    Args:
        folder: with the tests.
        packages: the names that its requirements pin.
        extras: of corrinit.
        examples: scripts, relative to the checkout.
        settings: variables of the environment, `NAME=VALUE`.
        files: packages to install without what they depend on.
        copies: files and folders of the checkout that its tests read.
    """

    folder: Path
    packages: tuple[str, ...]
    extras: tuple[str, ...]
    examples: tuple[Path, ...]
    settings: tuple[str, ...]
    files: tuple[str, ...]
    copies: tuple[Path, ...]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def requirements(self) -> Path:
        return self.folder / "requirements.txt"

    @classmethod
    def read(cls, folder: Path) -> "Framework":
        text = (folder / "requirements.txt").read_text(encoding="utf-8")
        examples = tuple(map(Path, _named(text, "example")))
        if missing := [str(example) for example in examples if not (ROOT / example).is_file()]:
            raise FileNotFoundError(f"{folder.name}: there is no {', '.join(missing)} in the checkout")
        return cls(
            folder,
            tuple(re.findall(r"(?m)^([A-Za-z0-9][\w.-]*)", text)),
            _named(text, "extra"),
            examples,
            _named(text, "setting"),
            _named(text, "files"),
            tuple(map(Path, _named(text, "copy"))),
        )


@dataclass
class Outcome:
    """What came of one framework; well if `complaints` is empty."""

    framework: Framework
    install_seconds: float = 0.0
    test_seconds: float = 0.0
    passed: int = 0
    examples: int = 0
    versions: str = ""
    complaints: tuple[str, ...] = ()


class StepFailed(Exception):
    """A command did not end well; its output has been shown."""


def _named(text: str, what: str) -> tuple[str, ...]:
    return tuple(name for line in re.findall(rf"(?m)^# {what}: (.+)$", text) for name in line.split())


def frameworks() -> dict[str, Framework]:
    """All of them by name."""
    folders = sorted(path.parent for path in FOLDER.glob("*/requirements.txt"))
    return {folder.name: Framework.read(folder) for folder in folders}


def build_wheel(place: Path) -> Path:
    """The wheel of the checkout."""
    _run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={place}", str(ROOT)],
        place,
    )
    (wheel,) = place.glob("*.whl")
    return wheel


def examine(framework: Framework, wheel: Path, place: Path) -> Outcome:
    """Make the environment at a place, or bring a kept one up to date, and run what belongs to it."""
    outcome = Outcome(framework)
    start = time.monotonic()
    try:
        python = _install(framework, wheel, place / "venv")
    except StepFailed:
        outcome.complaints = ("not built",)
        return outcome
    finally:
        outcome.install_seconds = time.monotonic() - start
    outcome.versions = _versions(python, framework.packages)
    start = time.monotonic()
    work = _copy(framework, place / "work")
    for setting in framework.settings or ("",):
        passed, complaints = _test(python, work, setting)
        shown, failed = _show(python, framework.examples, work, setting)
        outcome.passed += passed
        outcome.examples += shown
        outcome.complaints += tuple(f"{what} {setting}".strip() for what in (*complaints, *failed))
    outcome.test_seconds = time.monotonic() - start
    return outcome


def judge(report: Path) -> tuple[int, tuple[str, ...]]:
    """How many tests of a JUnit report passed, and what there is to complain of: skipped tests too."""
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    if report.exists():
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            for what in counts:
                counts[what] += int(suite.get(what, 0))
    total = counts.pop("tests")
    passed = total - sum(counts.values())
    said = {"failures": "failed", "errors": "in error", "skipped": "skipped"}
    complaints = tuple(f"{count} {said[what]}" for what, count in counts.items() if count)
    return passed, complaints or (() if passed else ("no test ran",))


def _install(framework: Framework, wheel: Path, venv: Path) -> Path:
    """Install wheel and requirements with the checkout's own pip, which is quicker than one more pip."""
    python = venv / "bin" / "python"
    if not python.exists():
        _run([sys.executable, "-m", "venv", "--without-pip", str(venv)], venv.parent)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    extras = f"[{','.join(framework.extras)}]" if framework.extras else ""
    wanted = ["pytest", f"corrinit{extras} @ {wheel.as_uri()}", "--requirement", str(framework.requirements)]
    _run([*pip, "--constraint", str(ROOT / "constraints.txt"), *wanted], venv.parent)
    _run([*pip, "--no-deps", "--force-reinstall", str(wheel)], venv.parent)  # a kept one has an older build
    if (custom := framework.folder / "sitecustomize.py").exists():  # for the examples, which have no conftest
        (packages,) = venv.glob("lib/python*/site-packages")
        shutil.copy(custom, packages)
    if framework.files:
        _run([*pip, "--no-deps", *framework.files], venv.parent)
    return python


def _copy(framework: Framework, work: Path) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(framework.folder, work / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for module in (FOLDER / "shared").glob("*.py"):
        shutil.copy(module, work / "tests")
    (work / "examples").mkdir()
    for example in framework.examples:
        shutil.copy(ROOT / example, work / "examples")
    for path in framework.copies:
        source, target = ROOT / path, work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return work


def _test(python: Path, work: Path, setting: str) -> tuple[int, tuple[str, ...]]:
    report = work / "report.xml"
    report.unlink(missing_ok=True)
    options = ["-ra", "--quiet", "--strict-markers", "-o", MARKERS, "-p", "no:cacheprovider"]
    command = [str(python), "-m", "pytest", *options, f"--rootdir={work}", f"--junitxml={report}", "tests"]
    try:
        _run(command, work, setting)
    except StepFailed:
        passed, complaints = judge(report)
        return passed, complaints or ("pytest failed",)
    return judge(report)


def _show(python: Path, examples: Sequence[Path], work: Path, setting: str) -> tuple[int, tuple[str, ...]]:
    """Run the examples, and show what each ends with."""
    failed = []
    for example in examples:
        try:
            lines = _run([str(python), example.name], work / "examples", setting).splitlines()
        except StepFailed:
            failed.append(f"{example} failed")
            continue
        sys.stdout.write(f"    {' '.join((str(example), setting)).strip()}: {lines[-1] if lines else ''}\n")
    return len(examples) - len(failed), tuple(failed)


def _versions(python: Path, packages: Sequence[str]) -> str:
    """The versions that are installed, whatever the requirements say."""
    ask = "import json, sys, importlib.metadata as m; print(json.dumps([*map(m.version, sys.argv[1:])]))"
    found = json.loads(_run([str(python), "-c", ask, *packages], python.parent))
    return ", ".join(f"{package} {version}" for package, version in zip(packages, found, strict=True))


def _run(command: list[str], directory: Path, setting: str = "") -> str:
    """The output of a command, which sees neither the checkout nor what the user has configured.

    Raises:
        StepFailed: if it fails, after its output has been shown.
    """
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    if command[0] != sys.executable:  # pip alone keeps its settings and its cache
        environment |= {"HOME": str(directory), "PYTHONNOUSERSITE": "1", "OMP_NUM_THREADS": "1"}
    if setting:
        environment |= [setting.split("=", 1)]
    ended = subprocess.run(
        command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if ended.returncode:
        said = f"{setting} {' '.join(command)}".strip()
        sys.stdout.write(f"{said}\nin {directory} ended with {ended.returncode}:\n{ended.stdout}\n")
        raise StepFailed
    return ended.stdout
