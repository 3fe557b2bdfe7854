"""The learning rate over training, as a factor on that of the configuration.

It is a function of the number of updates done and of nothing else, so a run that goes on from a checkpoint
needs to keep nothing of it.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

Schedule: TypeAlias = Literal["constant", "decay", "cosine"]

DECAYS = (0.5, 0.75)
"""Shares of the updates after which `"decay"` divides the rate by ten, each."""


def rate_factor(schedule: Schedule, update: int, updates: int, *, warmup: float = 0.0) -> float:
    """The factor on the learning rate at an update, in (0, 1].

    With t = update / updates the share of training that is done, and w that of the warm-up:

    - while t < w, the rate rises linearly, whatever the schedule: (update + 1) / (w · updates), at most 1;
    - `"constant"`: 1;
    - `"decay"`: 1, 0.1 from t = 1/2 and 0.01 from t = 3/4;
    - `"cosine"`: (1 + cos πs) / 2, with s = (t − w) / (1 − w) (Loshchilov & Hutter 2017, without restarts).

    Args:
        schedule: which of them.
        update: number of updates done before this one.
        updates: of the whole run.
        warmup: w, the share of the updates over which the rate rises, in [0, 1).

    >>> [rate_factor("decay", update, 8) for update in range(8)]
    [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    >>> [round(rate_factor("cosine", update, 8, warmup=0.5), 3) for update in range(8)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    done, rising = update / updates, warmup * updates
    if update < rising:
        return min(1.0, (update + 1) / rising)
    if schedule == "decay":
        return (1.0, 0.1, 0.01)[sum(done >= share for share in DECAYS)]
    if schedule == "cosine":
        return (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))) / 2
    return 1.0
