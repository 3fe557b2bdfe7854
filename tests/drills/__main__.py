"""`python -m tests.drills --files 20000 --seed N`: mutated files of all kinds; exit code 1 if any fails."""

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

import torch

from .fuzz import FAMILIES, fuzz, misuse

parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
parser.add_argument("--files", type=int, default=20_000, help="mutated files over all kinds")
parser.add_argument("--seed", type=int, default=None, help="by default drawn anew, and printed")
parser.add_argument("--only", choices=FAMILIES, help="one kind alone")
options = parser.parse_args()
seed = secrets.randbelow(10**9) if options.seed is None else options.seed
torch.set_num_threads(1)
sys.stdout.write(
    f"seed {seed}\n\n| kind | files | read | refused | not clean |\n| :-- | --: | --: | --: | --: |\n"
)
chosen = [options.only] if options.only else list(FAMILIES)
faults = []
with tempfile.TemporaryDirectory() as folder:
    for number, name in enumerate(chosen):
        root = Path(folder) / str(number)
        counts, seeds = fuzz(name, options.files // len(chosen), seed, root)
        wrong = {what: count for what, count in counts.items() if what not in ("read", "refused")}
        cells = (sum(counts.values()), counts["read"], counts["refused"], sum(wrong.values()))
        sys.stdout.write(f"| {name} | " + " | ".join(map(str, cells)) + " |\n")
        sys.stdout.flush()
        faults += [f"{name}, file {seeds[what]}: {what} ({count} times)" for what, count in wrong.items()]
if not options.only:
    counts = misuse()
    wrong = {what: count for what, count in counts.items() if what not in ("read", "refused")}
    cells = (sum(counts.values()), counts["read"], counts["refused"], sum(wrong.values()))
    sys.stdout.write("| misuses | " + " | ".join(map(str, cells)) + " |\n")
    faults += list(wrong)
sys.stdout.write("".join(f"\n{fault}" for fault in faults) + "\n")
sys.exit(1 if faults else 0)
