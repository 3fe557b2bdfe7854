"""When a curve over epochs reaches a target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from corrinit.lab.statistics.paired import Vector


def epochs_to(curve: Sequence[float] | Vector, target: float) -> int | None:
    """The first epoch, from 1, at which a curve is at the target or above; None if it never is.

    >>> epochs_to([0.3, 0.5, 0.4, 0.6], target=0.5)
    2
    """
    reached = np.flatnonzero(np.asarray(curve, np.float64) >= target)
    return int(reached[0]) + 1 if reached.size else None


def crossing(curve: Vector, target: float) -> float | None:
    """The epochs after which a curve is at the target, on the straight lines between epochs; None if never.

    At least 1: what lies before the end of the first epoch is not known.

    >>> crossing(np.array([0.25, 0.5, 0.75]), target=0.625)
    2.5
    """
    first = epochs_to(curve, target)
    if first is None or first == 1:
        return first
    before, after = curve[first - 2 : first]
    return float(first - 1 + (target - before) / (after - before))


def seconds_to(curve: Sequence[float], seconds: Sequence[float], target: float) -> float | None:
    """The time at which a curve reaches the target, None if never.

    Args:
        curve: one value per epoch.
        seconds: time since the start at the end of each epoch.
        target: value to reach.
    """
    epoch = epochs_to(curve, target)
    return None if epoch is None else float(seconds[epoch - 1])
