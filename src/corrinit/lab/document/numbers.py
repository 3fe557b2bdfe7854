"""Numbers as reports write them: with a sign, in points, as intervals, p-values and counts of things."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from corrinit.lab.statistics.paired import Estimate, resolution


@dataclass(frozen=True)
class Unit:
    """How differences are written: times a factor, with a name; none can be larger than a limit."""

    factor: float = 1.0
    name: str = ""
    limit: float = math.inf

    def signed(self, value: float, decimals: int) -> str:
        """A difference with its sign and the name of the unit.

        >>> POINTS.signed(-0.0125, decimals=2)
        '−1.25 points'
        """
        number = f"{self.factor * value:+.{decimals}f}"
        number = number if float(number) else number[1:]  # zero has no sign
        return f"{number} {self.name}".rstrip().replace("-", "−")

    def interval(self, estimate: Estimate, decimals: int) -> str:
        """The ends of an interval, as far as differences can go, without the name of the unit.

        >>> from corrinit.lab.statistics.paired import paired_difference
        >>> POINTS.interval(paired_difference([0.9, 0.4], [0.2, 0.3]), decimals=1)
        '−100.0 to 100.0'
        """
        possible = (max(estimate.low, -self.limit), min(estimate.high, self.limit))
        ends = (f"{self.factor * end:.{decimals}f}" for end in possible)
        return " to ".join(ends).replace("-", "−")

    def resolution(self, values: Sequence[float]) -> float:
        """The step of the grid on which values lie: a share 1/N of the limit, if there is one.

        >>> round(PERCENT.resolution([100 * 35 / 36, 100 * 34.5 / 36, 50.0]), 4)
        1.3889
        """
        scale = self.limit if math.isfinite(self.limit) else 1.0
        return scale * resolution([value / scale for value in values])

    def decimals(self, estimate: Estimate) -> int:
        """As many as show the first digit of half the width of the interval; at least 1."""
        width = self.factor * (estimate.high - estimate.low) / 2
        size = width if 0 < width < math.inf else abs(self.factor * estimate.mean)
        return 1 if size == 0 else min(max(1, -math.floor(math.log10(size))), 9)


POINTS = Unit(100.0, "points", limit=1.0)
"""Percentage points of an accuracy in [0, 1]."""

PERCENT = Unit(1.0, "points", limit=100.0)
"""Percentage points of an accuracy in [0, 100]."""


def unit_of(metric: str, values: Iterable[float]) -> Unit:
    """Percentage points for an accuracy in [0, 1] or [0, 100], else the unit of the metric itself.

    >>> unit_of("accuracy", [0.7]) == POINTS, unit_of("Accuracy", [70.0]) == PERCENT, unit_of("loss", [0.7])
    (True, True, Unit(factor=1.0, name='', limit=inf))
    """
    finite = [value for value in values if math.isfinite(value)]
    if "accuracy" not in metric.lower() or min(finite, default=0.0) < 0:
        return Unit()
    largest = max(finite, default=0.0)
    return next((unit for unit in (POINTS, PERCENT) if largest <= unit.limit), Unit())


def points(difference: float) -> str:
    """A difference of accuracies in percentage points, with its sign.

    >>> points(-0.0125)
    '−1.25'
    """
    return f"{100 * difference:+.2f}".replace("-", "−")


def interval(difference: Estimate, limit: float = 1.0, factor: float = 100.0) -> str:
    """A 95 % interval in percentage points; `n = 1` or `too few` if the pairs leave it undefined.

    Args:
        difference: of accuracies.
        limit: the largest that it can be, to which the interval is cut.
        factor: to another unit than percentage points.
    """
    if difference.n == 1:
        return "n = 1"
    if not math.isfinite(difference.high - difference.low):
        return "too few"
    low, high = (factor / 100 * min(max(end, -limit), limit) for end in (difference.low, difference.high))
    return f"{points(low)} to {points(high)}"


def p_value(p: float) -> str:
    """A p-value to three decimals; a dash if it is undefined."""
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def count(number: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "run"), count(2, "run")
    ('1 run', '2 runs')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def time_in_words(seconds: float) -> str:
    """A time to the precision that an estimate has.

    >>> time_in_words(3700), time_in_words(600), time_in_words(7)
    ('1.0 h', '10 min', '7 s')
    """
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
