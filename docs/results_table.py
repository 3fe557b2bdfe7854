"""Write the table of the README and of `docs/results.md` from the recorded runs, between their marks.

    python docs/results_table.py

A page says `<!-- table: gains -->` where the table begins, and `<!-- end -->` where it ends.
"""

from __future__ import annotations

import re
from pathlib import Path

from corrinit.lab.comparison.conclusions import conclusions
from corrinit.lab.comparison.names import compared
from corrinit.lab.document.blocks import Table
from corrinit.lab.runs.design import designs
from corrinit.lab.runs.record import read_runs
from corrinit.lab.runs.table import Runs

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "results" / "cifar10-jpeg"
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")

SETTINGS = {
    "0.005": "cifar10-jpeg, vgg8, lr 0.005, protocol 1",
    "0.1": "cifar10-jpeg, vgg8, lr 0.1, protocol 1",
}
"""By learning rate, what the reports call the setting."""

ARMS = {
    "kaiming_normal": "Kaiming normal",
    "kaiming_normal, small scale": "Kaiming normal at the paper's smaller scale",
    "correlated, He scale": "correlated taps at He's scale",
    "correlated": 'the paper: both, `recipe="schneider"`',
}
"""By the name in the reports, what the table calls the arm."""


def table() -> str:
    """Accuracy and gain over Kaiming normal of each arm, at a small and a large rate, in Markdown."""
    records, faults = read_runs(RUNS)
    if faults:
        raise SystemExit("\n".join(map(str, faults)))
    found = compared(Runs(records, designs([RUNS])))
    sections = {section.title: section for section in conclusions(found)}
    columns = {rate: _by_arm(sections[name].items) for rate, name in SETTINGS.items()}
    header = ["initialization"]
    for rate in columns:
        header += [f"accuracy (%), lr {rate}", "gain (95 % interval)"]
    lines = [header, [":--", *["--:"] * (len(header) - 1)]]
    for arm, words in ARMS.items():
        cells = [cell for by_arm in columns.values() for cell in by_arm[arm]]
        lines.append([words, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _by_arm(items: tuple[object, ...]) -> dict[str, tuple[str, str]]:
    """Of the table of arms: accuracy, and difference with its interval."""
    arms = next(item for item in items if isinstance(item, Table) and "difference" in item.header)
    rows = [dict(zip(arms.header, row, strict=True)) for row in arms.rows]
    return {row["initialization"]: (row["accuracy (%)"], _gain(row)) for row in rows}


def _gain(row: dict[str, str]) -> str:
    difference, interval = row["difference"], row["95 % interval"]
    return difference if difference == "–" else f"{difference} ({interval})"


def filled(text: str, made: str) -> str:
    """A page with the table in its place."""
    return re.sub(
        r"(<!-- table: gains -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}{made}\n{match[2]}",
        text,
        flags=re.S,
    )


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8"), table()), encoding="utf-8")
