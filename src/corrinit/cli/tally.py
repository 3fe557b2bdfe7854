"""How far the runs of a sweep are: by arm, what is done, what it scored so far, and how long the rest takes.

`corrinit.cli.live` shows it. The ranking is an interim one: no test is made before all runs are finished.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from corrinit.lab.experiment.arm import label
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.runs.record import Metrics, RunRecord
from corrinit.lab.runs.table import settings


@dataclass
class Line:
    """The runs of one arm in one setting.

    Args:
        name: what the arm is called.
        epochs: that its runs have together.
        runs: how many there are.
        done: epochs so far, by seed.
        scores: last score of each run that is finished, by seed.
        diverged: seeds of the runs that diverged.
        failed: seeds of the runs that failed.
    """

    name: str
    epochs: int
    runs: int
    done: dict[int, int] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    diverged: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)

    @property
    def ended(self) -> int:
        """Number of runs that need nothing more."""
        return len(self.scores.keys() | self.diverged | self.failed)


class Tally:
    """All runs of a sweep, and where each stands.

    Args:
        configs: the runs.
        finished: those that were finished before.
        later: epochs of the runs of later sweeps, which the time left is to cover too.
        clock: seconds that only ever grow.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig],
        finished: Iterable[RunRecord] = (),
        *,
        later: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.names = run_names(configs)
        self.failures: dict[str, str] = {}
        self.lines: dict[str, Line] = {}
        self._arms = arm_names(configs)
        self._one_setting = len({config.setting for config in configs}) == 1
        for config in self.names:
            line = self.lines.setdefault(self._arms[config], Line(self._arms[config], 0, 0))
            line.epochs += config.epochs
            line.runs += 1
        for record in finished:
            if record.config in self.names:
                self.add(record.config, record.metrics[-1] if record.metrics else {})
        self._later, self._clock = later, clock
        self._start, self._before = clock(), self.done

    def add(self, config: RunConfig, metrics: Metrics) -> bool:
        """Take note of an epoch; True if it is the last one of its run."""
        line, epoch = self.lines[self._arms[config]], int(metrics.get("epoch", config.epochs))
        diverged = not math.isfinite(metrics.get("train_loss", 0.0))
        ends = diverged or epoch == config.epochs
        line.done[config.seed] = config.epochs if ends else epoch
        score = score_of(metrics)
        if diverged:
            line.diverged.add(config.seed)
        elif ends:
            line.scores[config.seed] = math.nan if score is None else score
        return ends

    def fail(self, config: RunConfig, reason: str) -> None:
        """Take note of a run that failed."""
        line = self.lines[self._arms[config]]
        line.failed.add(config.seed)
        line.done[config.seed] = config.epochs  # nothing of it is left to wait for
        self.failures[self.names[config]] = reason

    @property
    def done(self) -> int:
        """Epochs that are over."""
        return sum(sum(line.done.values()) for line in self.lines.values())

    @property
    def epochs(self) -> int:
        """Epochs of all runs, those of later sweeps not among them."""
        return sum(line.epochs for line in self.lines.values())

    @property
    def ended(self) -> int:
        """Number of runs that need nothing more."""
        return sum(line.ended for line in self.lines.values())

    @property
    def seconds_left(self) -> float | None:
        """Until all is over, at the pace so far; None before the first epoch is."""
        made = self.done - self._before
        if made <= 0:
            return None
        return (self.epochs - self.done + self._later) * (self._clock() - self._start) / made

    @property
    def ranking(self) -> Mapping[str, tuple[float, int]]:
        """Arms, the best first, with the mean score over the seeds that all of them have, and their number.

        Empty until there is such a seed, and for runs of several settings. Arms without a single score, since
        they diverged or failed, are left out.
        """
        ranked = [line for line in self.lines.values() if line.scores or not line.failed | line.diverged]
        if not self._one_setting or not ranked:
            return {}
        shared = set.intersection(*(set(line.scores) for line in ranked))
        if not shared:
            return {}
        means = {line.name: fmean(line.scores[seed] for seed in shared) for line in ranked}
        return {name: (means[name], len(shared)) for name in sorted(means, key=lambda name: -means[name])}


def score_of(metrics: Metrics) -> float | None:
    """How an epoch was scored: accuracy in [0, 1] or PSNR in decibels; None if it was not."""
    return metrics.get("test_accuracy", metrics.get("test_psnr"))


def score_in_words(score: float, metrics: Metrics) -> str:
    """A score with its unit."""
    return f"{100 * score:.2f} %" if "test_accuracy" in metrics else f"{score:.2f} dB"


def run_names(configs: Sequence[RunConfig]) -> dict[RunConfig, str]:
    """What to call each run: the settings in which they differ, the initialization and the seed."""
    return {config: f"{name}, seed {config.seed}" for config, name in arm_names(configs).items()}


def arm_names(configs: Sequence[RunConfig]) -> dict[RunConfig, str]:
    """The same without the seed."""
    flat = {config: settings(config) for config in configs}
    varying = [
        name
        for name in settings(RunConfig())
        if not name.startswith(("initialization.", "seed")) and len({s[name] for s in flat.values()}) > 1
    ]
    return {
        config: ", ".join([*(f"{name} {values[name]}" for name in varying), label(config.initialization)])
        for config, values in flat.items()
    }
