"""How closely a run is looked at while it trains and when it ends. Its weights do not depend on that."""

from __future__ import annotations

from dataclasses import dataclass

from corrinit.lab.experiment.checks import require


@dataclass(frozen=True)
class Observation:
    """On how many images a run is scored, and how often; the defaults are all of them, after every epoch.

    It is no part of what identifies a run. `result.json` says what a record's scores by epoch are of; the
    endpoints on the test images are always of all of them.

    Args:
        test_images: that the scores by epoch are of, in the proportions of the classes and the same in every
            run; None for all.
        test_every: epochs from one score to the next. The first epoch and the last one are always scored.
        unused_images: that the endpoints on unused images are of, likewise; None for all.
        layers: keep what its layers are like after every epoch (`corrinit.lab.runs.layers`).

    Raises:
        ConfigError: for a number that is not positive.
    """

    test_images: int | None = None
    test_every: int = 1
    unused_images: int | None = None
    layers: bool = False

    def __post_init__(self) -> None:
        for name in ("test_images", "test_every", "unused_images"):
            value = getattr(self, name)
            require(value is None or value > 0, f"observation.{name}", value, "a positive number")

    def scores(self, epoch: int, epochs: int) -> bool:
        """Whether an epoch, counted from 1, is scored.

        >>> [epoch for epoch in range(1, 9) if Observation(test_every=3).scores(epoch, 8)]
        [1, 2, 5, 8]
        """
        return epoch == 1 or (epochs - epoch) % self.test_every == 0


EVERYTHING = Observation()
