"""How many seeds more would settle an open difference."""

from __future__ import annotations

import math

import numpy as np

from corrinit.lab.statistics.contrast import Inference, is_decided

MOST = 200
"""Seeds beyond which a comparison counts as one that cannot be settled here."""


def seeds_to_settle(mean: float, sd: float, n: int, *, family: int) -> int | None:
    """The number of seeds, with those there are, at which a difference would be decided if it stayed.

    It is about as likely to be decided before as after. If the true difference is smaller, more are needed.

    Args:
        mean: difference so far.
        sd: deviation of the paired differences so far.
        n: seeds so far.
        family: arms that are tested together, of which this is taken to be the clearest.

    Returns:
        The number of seeds; None if there would have to be more than 200.

    >>> seeds_to_settle(0.01, 0.01, 3, family=1), seeds_to_settle(0.01, 0.05, 3, family=1)
    (16, None)
    """
    if not (mean and sd > 0 and math.isfinite(mean) and math.isfinite(sd)):
        return None
    for total in range(n + 1, MOST + 1):
        differences = mean + sd * math.sqrt((total - 1) / total) * np.where(np.arange(total) % 2, 1.0, -1.0)
        p = float(Inference.ANYTIME.test(differences, 0.0)[2])  # the number depends on what was seen
        if is_decided(min(1.0, family * p)):
            return total
    return None
