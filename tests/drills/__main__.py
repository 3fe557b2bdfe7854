"""`python -m tests.drills`: damaged files, careless calls, kills, failing disks; prints its seed.

The exit code is 1 if anything comes out but what may: a file that is read, or refused in a line.
"""

import argparse
import platform
import secrets
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from unittest.mock import patch

import torch

from corrinit.errors import CorrInitWarning
from corrinit.lab.data import cache

from . import document
from .families import FAMILIES
from .fuzz import fuzz, hostile
from .kills import kill
from .misuse import misuse
from .tasks import LOOKS, a_comparison, a_correlation_file, a_run, failing_calls, power_cuts

RIGHT = ("read", "refused", "nothing lost")


def main() -> int:
    """Do all drills, or one; print a table, and write it into the document if that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("--files", type=int, default=20_000, help="mutated files over all kinds")
    parser.add_argument("--kills", type=int, default=50, help="processes that are killed")
    parser.add_argument("--seed", type=int, default=None, help="by default drawn anew, and printed")
    parser.add_argument("--only", choices=[*FAMILIES, *OTHERS], help="one kind alone")
    parser.add_argument("--write", action="store_true", help="write the table into docs/reliability.md")
    options = parser.parse_args()
    seed = secrets.randbelow(10**9) if options.seed is None else options.seed
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", CorrInitWarning)
    command = f"python -m tests.drills --files {options.files} --kills {options.kills} --seed {seed}"
    begun = time.monotonic()
    lines = ["| drill | number | read | refused | not clean |", "| :-- | --: | --: | --: | --: |"]
    sys.stdout.write("\n".join([command, "", *lines, ""]))
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, counts in _drills(options, seed, Path(folder)):
            wrong = {what: count for what, count in counts.items() if what not in RIGHT}
            passed = [str(counts[each]) if each in counts else "" for each in RIGHT[:2]]
            line = f"| {name} | {sum(counts.values())} | {' | '.join(passed)} | {sum(wrong.values())} |"
            lines.append(line)
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            faults += [f"{name}: {what} ({count} times)" for what, count in wrong.items()]
    sys.stdout.write("".join(f"\n{fault}" for fault in faults) + "\n")
    minutes = (time.monotonic() - begun) / 60
    if options.write:
        what = f"{len(faults)} kinds of fault; {minutes:.0f} minutes, Python {platform.python_version()}"
        document.write("drills", "\n".join([f"`{command}`: {what}.", "", *lines]))
    return 1 if faults else 0


def _drills(options, seed, root):
    """Name and outcomes of each drill."""
    possible = [name for name, family in FAMILIES.items() if family.possible]
    for name in FAMILIES.keys() - possible:
        sys.stdout.write(f"{name}: left out, as {FAMILIES[name].needs} is not installed\n")
    wanted = [options.only] if options.only else [*possible, *OTHERS]
    for name in wanted:
        place = root / name.replace(" ", "-").replace(",", "")
        if name in FAMILIES:
            number = -(-options.files // (1 if options.only else len(possible)))
            counts, seeds = fuzz(name, number, seed, place)
            yield (
                name,
                {what if what in RIGHT else f"file {seeds[what]}: {what}": n for what, n in counts.items()},
            )
        else:
            yield OTHERS[name](place, options, seed)
        shutil.rmtree(place, ignore_errors=True)


def _disk(drill, tasks, root):
    counts = {}
    with patch.object(cache.pooch, "os_cache", lambda name: root / "now" / "cache"):
        for task in tasks:
            for _, wrong in drill(task, root / "now"):
                what = "nothing lost" if wrong is None else f"{task.__name__}: {wrong}"
                counts[what] = counts.get(what, 0) + 1
            shutil.rmtree(root / "now")
    return counts


OTHERS = {
    "hostile files": lambda root, options, seed: ("hostile files", hostile(root)),
    "misuses": lambda root, options, seed: ("misuses", misuse(root)),
    "kills": lambda root, options, seed: ("processes killed", kill(options.kills, seed, root)),
    "calls": lambda root, options, seed: (
        "calls of the operating system that fail",
        _disk(failing_calls, LOOKS, root),
    ),
    "power cuts": lambda root, options, seed: (
        "states of a disk after a power cut",
        _disk(power_cuts, (a_run, a_correlation_file, a_comparison), root),
    ),
}

if __name__ == "__main__":
    sys.exit(main())
