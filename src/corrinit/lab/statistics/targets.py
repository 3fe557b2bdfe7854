"""When a curve over epochs reaches a target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def epochs_to(curve: Sequence[float], target: float) -> int | None:
    """The first epoch, from 1, at which a curve is at the target or above; None if it never is.

    >>> epochs_to([0.3, 0.5, 0.4, 0.6], target=0.5)
    2
    """
    reached = np.flatnonzero(np.asarray(curve, np.float64) >= target)
    return int(reached[0]) + 1 if reached.size else None


def seconds_to(curve: Sequence[float], seconds: Sequence[float], target: float) -> float | None:
    """The time at which a curve reaches the target, None if never.

    Args:
        curve: one value per epoch.
        seconds: time since the start at the end of each epoch.
        target: value to reach.
    """
    epoch = epochs_to(curve, target)
    return None if epoch is None else float(seconds[epoch - 1])
