"""Which runs a comparison needs, round by round.

Every arm first gets the same seeds. After that, seeds go where the answer is still open: an arm that is
decided against the baseline in every panel gets no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from corrinit.errors import ConfigError
from corrinit.lab.comparison.contrasts import gains
from corrinit.lab.experiment.arm import BASELINE, controls
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.experiment.setting import Setting
from corrinit.lab.runs.endpoints import TEST_ACCURACY, Endpoint
from corrinit.lab.runs.record import RunRecord, Status
from corrinit.lab.statistics.contrast import Inference, Sample

Panel = Mapping[Initialization, float]
"""Arms that are compared with the baseline among them, each with its learning rate."""


@dataclass(frozen=True)
class Contest:
    """Initializations run against the baseline.

    Args:
        base: what all runs share but arm, learning rate and seed.
        panels: the comparisons; each has the baseline.
        seeds: seeds that every arm gets, from 0.
        max_seeds: seeds that an arm gets at most; more than `seeds` to stop when the answer is clear.
        numbers: the seeds in the order in which they are used.
        baseline: arm that the others are compared with, in every panel.
        endpoint: what is compared.
        placebo: seeds with which the baseline runs once more in every panel; none for no placebo.

    Raises:
        ConfigError: for impossible numbers of seeds.
    """

    base: Setting = field(default_factory=Setting)
    panels: tuple[Panel, ...] = ()
    seeds: int = 5
    max_seeds: int = 5
    numbers: Sequence[int] = range(2**31)
    baseline: Initialization = BASELINE
    endpoint: Endpoint = TEST_ACCURACY
    placebo: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"seeds is {self.seeds}; a comparison needs at least 1, and an interval 2")
        if self.max_seeds < self.seeds:
            raise ConfigError(
                f"max_seeds is {self.max_seeds}; it is at least the number of seeds, {self.seeds}"
            )

    def opening(self) -> tuple[RunConfig, ...]:
        """The runs that are made whatever comes out, those of the first seeds first."""
        arms = (
            self._run(arm, lr, seed)
            for seed in self.numbers[: self.seeds]
            for panel in self.panels
            for arm, lr in panel.items()
        )
        placebo = (
            self._run(self.baseline, panel[self.baseline], seed)
            for seed in self.placebo
            for panel in self.panels
        )
        return tuple(dict.fromkeys([*arms, *placebo]))

    def following(self, records: Iterable[RunRecord]) -> tuple[RunConfig, ...]:
        """One more seed for each arm that is still open, and for the baseline; none when all is decided."""
        by_id = {record.run_id: record for record in records}
        wanted: dict[RunConfig, None] = {}
        for panel in self.panels:
            samples = {arm: self._sample(arm, lr, by_id) for arm, lr in panel.items()}
            found = gains(samples, self.baseline, self.endpoint, Inference.ANYTIME)
            for arm, contrast in found.items():
                spent = samples[arm].runs
                if contrast.wants_seeds and spent < self.max_seeds:
                    seed = self.numbers[spent]
                    pair = (self.baseline, arm)
                    wanted |= dict.fromkeys(self._run(each, panel[each], seed) for each in pair)
        return tuple(config for config in wanted if config.run_id not in by_id)

    def _sample(self, arm: Initialization, lr: float, records: Mapping[str, RunRecord]) -> Sample:
        """Final values in order of seeds, up to the first that is not there."""
        found: dict[int, float] = {}
        for seed in self.numbers[: self.max_seeds]:
            record = records.get(self._run(arm, lr, seed).run_id)
            if record is None:
                break
            value = self.endpoint.read(record) if record.status is Status.FINISHED else None
            found[seed] = math.nan if value is None else value
        return Sample.of(found, self.endpoint.name)

    def _run(self, arm: Initialization, lr: float, seed: int) -> RunConfig:
        return RunConfig.of(replace(self.base, lr=lr), arm, seed)


def with_controls(arms: Sequence[Initialization]) -> tuple[Initialization, ...]:
    """The arms in canonical form, the baseline first, each correlated one completed to its 2×2.

    >>> [arm.scale for arm in with_controls([Initialization("correlated")])]
    ['he', 'paper', 'paper', 'he']
    """
    own = [arm.canonical for arm in arms]
    return tuple(dict.fromkeys([BASELINE, *(each for arm in own for each in (arm, *controls(arm)))]))


def panels_at(learning_rates: Iterable[float], arms: Sequence[Initialization]) -> tuple[Panel, ...]:
    """A panel for each learning rate, with all arms at it."""
    return tuple(dict.fromkeys(arms, lr) for lr in dict.fromkeys(learning_rates))


def panels_at_best(best: Mapping[Initialization, float], arms: Sequence[Initialization]) -> tuple[Panel, ...]:
    """All arms at the baseline's best learning rate, then each at its own.

    Raises:
        ConfigError: if the baseline has none, as it diverged at every rate.
    """
    if BASELINE not in best:
        raise ConfigError(
            "the baseline, kaiming_normal, diverged at every learning rate that was tried; name one with --lr"
        )
    common = dict.fromkeys(arms, best[BASELINE])
    own = {arm: best[arm] for arm in arms if arm in best}
    return (common,) if own == common else (common, own)
