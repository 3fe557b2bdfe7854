"""`python -m tests.mutation`: the sources are changed in small ways, and their tests are to notice it.

Changes are an operator, a number, a truth value, a condition turned round, a value that is not returned, a
call or a raise that is left out. A sample of all is drawn from a seed that is printed, and each is put into a
copy of the sources and given to the tests of its room. Changes that alter nothing are listed with the reason
in `tests/equivalent_mutants.toml`, and do not count. The exit code is 1 if fewer than 95 % of those of a room
are noticed.
"""

import argparse
import ast
import compileall
import importlib
import os
import random
import resource
import secrets
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from scipy.stats import binomtest

from .drills import document

ROOT = Path(__file__).parents[1]
GOAL = 0.95
SECONDS = 180
"""Of the processor, for the tests of one change; what takes longer, or ten times as long, is noticed."""
MEMORY = 16 * 2**30
IMPORTED = (
    "hypothesis.extra.numpy",
    "matplotlib.pyplot",
    "pyarrow.parquet",
    "scipy.stats",
    "torch",
    "torch._dynamo",
)
"""What tests need and no change touches: imported once, before the fork."""


@dataclass(frozen=True)
class Room:
    """Sources that are changed, below `src/corrinit`, and the tests that are to notice it."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]


ROOMS = {
    "statistics": Room(("lab/statistics/*.py",), ("tests/lab/statistics",)),
    "records": Room(
        ("lab/runs/*.py",),
        (
            *("tests/lab/runs", "tests/lab/experiment/test_identity.py", "tests/lab/training/test_layers.py"),
            *("tests/test_cli_judge.py", "tests/drills/test_disk.py"),
        ),
    ),
    "formats": Room(
        (
            *("_atomic.py", "_reading.py", "_correlation_io.py"),
            *(
                f"_weights/{name}.py"
                for name in ("__init__", "containers", "copies", "filters", "inert_pickle")
            ),
            *(f"_weights/{name}.py" for name in ("mapped", "number_types", "stored_parts", "stored_tensor")),
            *(f"_weights/{name}.py" for name in ("torch_files", "weight_sets")),
        ),
        (
            *("tests/weights", "tests/test_correlation_io.py", "tests/test_foreign_filters.py"),
            *("tests/test_estimation.py", "tests/drills/test_fuzz.py", "tests/drills/test_disk.py"),
        ),
    ),
}
"""Readers of HDF5, Keras, ONNX, TFLite and Flax, whose tests have environments of their own, are left out."""

_PAIRS = (
    "Lt LtE, Gt GtE, Eq NotEq, Is IsNot, In NotIn, And Or, Add Sub, Mult Div, LShift RShift, BitAnd BitOr"
)
SWAPPED = {
    getattr(ast, old): getattr(ast, new)
    for pair in _PAIRS.split(", ")
    for old, new in (pair.split(), pair.split()[::-1])
} | {ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult}


@dataclass(frozen=True)
class Change:
    """One change of a file: the text between two places becomes another."""

    file: str
    line: str
    number: int
    begin: int
    end: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}: `{self.old}` becomes `{self.new}`, in `{self.line}`"

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is known by when lines move."""
        return self.file, self.line, f"{self.old} -> {self.new}"


def changes(file: str) -> Iterator[Change]:
    """All changes of a file below `src/corrinit`."""
    source = (ROOT / "src" / "corrinit" / file).read_bytes()
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for node, new in _variants(ast.parse(source)):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        old = " ".join(source[begin:end].decode().split())
        line = lines[node.lineno - 1].decode().strip()
        yield Change(file, line, node.lineno, begin, end, old, new)


def _variants(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Each node that can be changed, with the text that takes its place."""
    match node:
        case ast.Raise():
            yield node, "pass"
            return  # what an error says is no behaviour of a number
        case ast.JoinedStr():
            return  # the places of its parts are not told
        case ast.AnnAssign() if node.value is None or ast.unparse(node.annotation) == "TypeAlias":
            return
        case ast.If() if ast.unparse(node.test) == "TYPE_CHECKING":
            return
        case ast.keyword(arg="strict"):
            return  # of zip: a check of what cannot be
        case ast.Expr(value=ast.Call()):
            yield node, "pass"
        case ast.Return(value=ast.expr()) if not isinstance(node.value, ast.Constant):
            yield node, "return None"
        case ast.If() | ast.While() | ast.IfExp():
            yield node.test, f"(not ({ast.unparse(node.test)}))"
        case ast.Constant(value=bool()):
            yield node, str(not node.value)
        case ast.Constant(value=int() | float()):
            yield node, repr(node.value + 1)
        case ast.UnaryOp(operand=operand):
            yield node, f"({ast.unparse(operand)})"
        case ast.Compare():
            for index, op in enumerate(node.ops):
                ops = [*node.ops[:index], SWAPPED[type(op)](), *node.ops[index + 1 :]]
                yield node, f"({ast.unparse(ast.Compare(node.left, ops, node.comparators))})"
        case ast.BinOp() if type(node.op) in SWAPPED:
            yield node, f"({ast.unparse(ast.BinOp(node.left, SWAPPED[type(node.op)](), node.right))})"
        case ast.BoolOp():
            yield node, f"({ast.unparse(ast.BoolOp(SWAPPED[type(node.op)](), node.values))})"
        case ast.AugAssign() if type(node.op) in SWAPPED:
            yield node, ast.unparse(ast.AugAssign(node.target, SWAPPED[type(node.op)](), node.value))
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _variants(child)


def main() -> int:
    """Draw and test a sample of each room."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--room", choices=ROOMS, help="one alone")
    parser.add_argument("--sample", type=int, default=100, help="changes of each room")
    parser.add_argument("--seed", type=int, default=None, help="by default drawn anew, and printed")
    parser.add_argument("--write", action="store_true", help="write the score into docs/reliability.md")
    options = parser.parse_args()
    seed = secrets.randbelow(10**9) if options.seed is None else options.seed
    equivalent = altering_nothing()
    reached = True
    for name in [options.room] if options.room else ROOMS:
        command = f"python -m tests.mutation --room {name} --sample {options.sample} --seed {seed}"
        sys.stdout.write(f"{command}\n")
        possible, drawn = sample(ROOMS[name], options.sample, seed)
        counted = [each for each in drawn if each.key not in equivalent]
        missed = list(survivors(ROOMS[name], counted))
        share = 1 - len(missed) / len(counted)
        interval = binomtest(len(counted) - len(missed), len(counted)).proportion_ci(method="wilson")
        text = (
            f"`{command}`: of {possible:,} possible changes {len(drawn)} were drawn; "
            f"{len(drawn) - len(counted)} of them alter nothing, and of the other {len(counted)} "
            f"{len(counted) - len(missed)} were noticed, **{share:.1%}** (95 % interval "
            f"{interval.low:.1%} to {interval.high:.1%}). Not noticed: {len(missed) or 'none'}."
        )
        sys.stdout.write(f"{text}\n")
        if options.write:
            document.write(f"mutation of {name}", "\n".join([text, "", *(f"- {each}" for each in missed)]))
        reached &= share >= GOAL
    return 0 if reached else 1


def altering_nothing() -> set[tuple[str, str, str]]:
    """The listed changes that alter nothing, by key.

    Raises:
        ValueError: if one does not tell a change from all others.
    """
    listed = tomllib.loads((ROOT / "tests" / "equivalent_mutants.toml").read_text())["equivalent"]
    keys = [(each["file"], each["line"], each["change"]) for each in listed]
    possible = Counter(change.key for file in {file for file, _, _ in keys} for change in changes(file))
    if wrong := [key for key in keys if possible[key] != 1]:
        raise ValueError(f"not one change: {wrong}")
    return set(keys)


def sample(room: Room, size: int, seed: int) -> tuple[int, list[Change]]:
    """How many changes of a room there are, and some of them."""
    base = ROOT / "src" / "corrinit"
    files = sorted({str(path.relative_to(base)) for each in room.sources for path in base.glob(each)})
    everyone = [change for file in files for change in changes(file)]
    return len(everyone), random.Random(seed).sample(everyone, min(size, len(everyone)))


def survivors(room: Room, drawn: list[Change]) -> Iterator[Change]:
    """The changes that the tests of a room do not notice.

    Raises:
        RuntimeError: if the tests fail without any change.
    """
    for name in IMPORTED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder) / "src"
        shutil.copytree(ROOT / "src", sources, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(sources, quiet=1)
        tests = [file for each in room.tests for file in _files(ROOT / each)]
        if noticed(sources, tests, None):
            raise RuntimeError("tests fail without any change")
        for number, change in enumerate(drawn, 1):
            file = sources / "corrinit" / change.file
            before, begun = file.read_bytes(), time.monotonic()
            file.write_bytes(before[: change.begin] + change.new.encode() + before[change.end :])
            seen = noticed(sources, tests, file)
            file.write_bytes(before)
            took = time.monotonic() - begun
            sys.stdout.write(f"{number} {'noticed' if seen else 'NOT NOTICED'} ({took:.0f} s) {change}\n")
            sys.stdout.flush()
            if not seen:
                yield change


def noticed(sources: Path, tests: list[Path], changed: Path | None) -> bool:
    """Whether a test fails or takes too long with these sources: the file's own first, simulations last."""
    names = {changed.stem.strip("_"), changed.parent.name.strip("_")} if changed else set()
    own = [test for test in tests if any(name in test.stem for name in names)]
    others = [test for test in tests if test not in own]
    stages = [("not statistical", [*own, *filter(None, [changed])]), ("not statistical", others)]
    child = os.fork()
    if not child:
        os.setsid()
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        os.environ |= {"PYTHONPATH": str(sources), "PYTHONDONTWRITEBYTECODE": "1"}
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(sources))
        os.chdir(ROOT)
        options = ["-q", "-x", "-p", "no:cacheprovider", f"--rootdir={ROOT}", "-c", "pyproject.toml"]
        codes = (
            pytest.main([*options, "-m", speed, *map(str, files)])
            for speed, files in [*stages, ("statistical", tests)]
            if files
        )
        os._exit(any(code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) for code in codes))
    until = time.monotonic() + 10 * SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status != 0
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.glob("test_*.py"))


if __name__ == "__main__":
    sys.exit(main())
