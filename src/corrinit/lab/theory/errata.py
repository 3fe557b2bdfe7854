"""Where the paper is wrong, unsupported or misprinted: every case with the numbers that show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from corrinit.lab.document.blocks import Table
from corrinit.lab.theory.inputs import Setting

Evidence = Callable[[Setting], tuple[Table, ...]]


@dataclass(frozen=True)
class Erratum:
    """One mistake.

    Args:
        key: its name on the command line.
        place: where in the paper.
        kind: a wrong statement, one that needs a condition the paper does not give, or a misprint.
        printed: what the paper has.
        right: what holds.
        why: the reason.
        consequence: what it changes in the paper's conclusions.
        evidence: computes the numbers that show it.
    """

    key: str
    place: str
    kind: Literal["wrong", "needs a condition", "misprint"]
    printed: str
    right: str
    why: str
    consequence: str
    evidence: Evidence

    @property
    def command(self) -> str:
        """What anyone can run to see the evidence."""
        return f"corrinit theory errata {self.key}"
