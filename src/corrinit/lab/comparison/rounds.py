"""Which runs a comparison needs, round by round.

Every arm first gets the same seeds. After that, seeds go where the answer is still open: an arm that is
decided against the baseline in every panel gets no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from corrinit.errors import ConfigError
from corrinit.lab.comparison.groups import problem
from corrinit.lab.experiment.arm import BASELINE, controls
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.statistics.decision import open_arms

Panel = Mapping[Initialization, float]
"""Arms that are compared with the baseline among them, each with its learning rate."""


@dataclass(frozen=True)
class Contest:
    """Initializations run against the baseline.

    Args:
        base: what all runs share; its initialization, learning rate and seed stand for nothing.
        panels: the comparisons; each has the baseline.
        seeds: seeds that every arm gets, from 0.
        max_seeds: seeds that an arm gets at most; more than `seeds` to stop when the answer is clear.

    Raises:
        ConfigError: for impossible numbers of seeds.
    """

    base: RunConfig = field(default_factory=RunConfig)
    panels: tuple[Panel, ...] = ()
    seeds: int = 5
    max_seeds: int = 5

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"seeds is {self.seeds}; a comparison needs at least 1, and an interval 2")
        if self.max_seeds < self.seeds:
            raise ConfigError(
                f"max_seeds is {self.max_seeds}; it is at least the number of seeds, {self.seeds}"
            )

    def opening(self) -> tuple[RunConfig, ...]:
        """The runs that are made whatever comes out, those of the first seeds first."""
        return tuple(
            dict.fromkeys(
                self._run(arm, lr, seed)
                for seed in range(self.seeds)
                for panel in self.panels
                for arm, lr in panel.items()
            )
        )

    def following(self, records: Iterable[RunRecord]) -> tuple[RunConfig, ...]:
        """One more seed for each arm that is still open, and for the baseline; none when all is decided."""
        by_id = {record.run_id: record for record in records}
        wanted: dict[RunConfig, None] = {}
        for panel in self.panels:
            values = {arm: self._accuracies(arm, lr, by_id) for arm, lr in panel.items()}
            whole = {arm: found for arm, found in values.items() if found is not None}
            if BASELINE not in whole:
                continue
            for arm in open_arms(whole, BASELINE):
                seed = len(whole[arm])
                if seed < self.max_seeds:
                    wanted |= dict.fromkeys(self._run(each, panel[each], seed) for each in (BASELINE, arm))
        return tuple(config for config in wanted if config.run_id not in by_id)

    def _accuracies(
        self, arm: Initialization, lr: float, records: Mapping[str, RunRecord]
    ) -> Sequence[float] | None:
        """Final accuracies in order of seeds; None if a run failed or diverged, which no seed mends."""
        found = []
        for seed in range(self.max_seeds):
            record = records.get(self._run(arm, lr, seed).run_id)
            if record is None:
                break
            if problem(record):
                return None
            found.append(record.result["test_accuracy"])
        return found

    def _run(self, arm: Initialization, lr: float, seed: int) -> RunConfig:
        return replace(self.base, initialization=arm, lr=lr, seed=seed)


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
