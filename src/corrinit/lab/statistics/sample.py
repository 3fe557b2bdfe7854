"""What a condition gave, by seed."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from corrinit.lab.statistics.paired import Summary, Vector, summary


@dataclass(frozen=True)
class Sample:
    """What one condition gave: its finite values and the seeds for which it diverged.

    Args:
        values: by seed.
        diverged: seeds.
        endpoint: name of what the values are.
    """

    values: Mapping[int, float] = field(default_factory=dict)
    diverged: tuple[int, ...] = ()
    endpoint: str = ""

    @classmethod
    def of(cls, by_seed: Mapping[int, float], endpoint: str = "") -> Sample:
        """A sample of values of which those that are NaN or infinite diverged."""
        lost = tuple(seed for seed, value in by_seed.items() if not math.isfinite(value))
        return cls({seed: value for seed, value in by_seed.items() if seed not in lost}, lost, endpoint)

    def over(self, seeds: Collection[int] | None) -> Sample:
        """The same over some of the seeds alone; None for all."""
        if seeds is None:
            return self
        return replace(self, values={seed: self.values[seed] for seed in self.values if seed in seeds})

    @property
    def runs(self) -> int:
        """Number of seeds that came to an end, diverged ones among them."""
        return len(self.values) + len(self.diverged)

    @property
    def in_order(self) -> Vector:
        """The values in the order of their seeds, shape (seeds,)."""
        return np.array([self.values[seed] for seed in sorted(self.values)])

    @property
    def summary(self) -> Summary | None:
        """Mean and standard deviation; None without values."""
        return summary(list(self.values.values())) if self.values else None


Terms: TypeAlias = Sequence[tuple[float, Sample]]
"""The conditions of a contrast with their weights."""
