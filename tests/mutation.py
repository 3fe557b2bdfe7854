"""`python -m tests.mutation`: the statistics are changed in small ways, and their tests are to notice it.

A sample of all changes that mutmut can make (pip install "corrinit[mutation]") is drawn from a seed, and each
is tested by the tests that pass through the changed function. Prints the changes that nobody noticed.
"""

import argparse
import json
import random
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from scipy.stats import binomtest

from .drills import document

ROOT = Path(__file__).parents[1]
SOURCES = "src/corrinit/lab/statistics/*.py"
TESTS = ("anytime", "contrast", "moderated", "noise", "paired", "planning", "random_effects")
SETTINGS = f"""
[tool.mutmut]
source_paths = ["src"]
only_mutate = ["{SOURCES}"]
pytest_add_cli_args_test_selection = {[f"tests/lab/statistics/test_{name}.py" for name in TESTS]}
also_copy = ["conftest.py"]
use_git_change_detection = false
track_dependencies = false
"""


def main() -> int:
    """Draw and test a sample; the exit code is 1 if less than 95 % are noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--sample", type=int, default=120)
    parser.add_argument("--seed", type=int, default=None, help="by default drawn anew, and printed")
    parser.add_argument("--write", action="store_true", help="write the score into docs/reliability.md")
    options = parser.parse_args()
    seed = secrets.randbelow(10**9) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        command = ["git", "archive", "HEAD"]
        archive = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        with (place / "pyproject.toml").open("a") as file:
            file.write(SETTINGS)
        run(place, ["a name that there is not"])  # makes all mutants
        everyone = sorted(outcomes(place))
        chosen = random.Random(seed).sample(everyone, min(options.sample, len(everyone)))
        run(place, chosen)
        found = {name: code for name, code in outcomes(place).items() if name in chosen}
    survived = sorted(name for name, code in found.items() if code in (None, 0, 5, 33))
    noticed = len(found) - len(survived)
    interval = binomtest(noticed, len(found)).proportion_ci(method="wilson")
    text = (
        f"`python -m tests.mutation --sample {len(found)} --seed {seed}`: of {len(everyone):,} possible "
        f"changes of the statistics {len(found)} were drawn and {noticed} noticed, "
        f"{noticed / len(found):.1%} (95 % interval {interval.low:.1%} to {interval.high:.1%}). "
        f"Not noticed: {', '.join(survived) or 'none'}."
    )
    sys.stdout.write(f"{text}\n")
    if options.write:
        document.write("mutation score", text)
    return int(noticed < 0.95 * len(found))


def run(place: Path, names: list[str]) -> None:
    """Let mutmut test the mutants of some names, making all of them if there are none."""
    subprocess.run(
        [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names],
        cwd=place,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def outcomes(place: Path) -> dict[str, int | None]:
    """How the tests ended for each mutant; None where it was not tested."""
    return {
        name: code
        for file in (place / "mutants" / "src").rglob("*.meta")
        for name, code in json.loads(file.read_text())["exit_code_by_key"].items()
    }


if __name__ == "__main__":
    sys.exit(main())
