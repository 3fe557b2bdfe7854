"""A study that was planned before any of its runs was made: one file, whose seeds follow from all the rest.

Seeds are derived from the hash of what the file says. So a file that was edited does not fit its seeds, and a
study that is planned otherwise has other seeds, which nobody has seen a run of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from corrinit._atomic import replacing
from corrinit._reading import read_text
from corrinit.errors import CorrInitError, StudyError
from corrinit.lab.comparison.contrasts import Beside
from corrinit.lab.comparison.rounds import Contest, panels_at
from corrinit.lab.document.blocks import Section
from corrinit.lab.experiment.arm import parse_initialization
from corrinit.lab.experiment.config import Initialization, RunConfig, from_dict
from corrinit.lab.experiment.identity import frozen_arm
from corrinit.lab.runs.endpoints import Endpoint, endpoint
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.statistics.contrast import Decision, Inference

HEAD = """\
# A study: planned before any of its runs was made. `corrinit compare --study FILE` carries it out as it is.
# Its seeds are derived from the hash of all else, so nothing here can be edited: plan another one instead.

"""

LEAST_SEED, MOST_SEED = 10_000_000, 1_999_999_999
"""Between the seeds of exploration, which are small, and those of its placebos."""

ANSWERS = {
    Decision.DIFFERENT: "{direction}",
    Decision.EQUIVALENT: "no difference that matters",
    Decision.OPEN: "inconclusive",
    Decision.UNTESTED: "inconclusive",
    Decision.DIVERGED: "not comparable, as a run diverged",
}


@dataclass(frozen=True)
class Study:
    """What is fixed before the first run.

    Args:
        question: in words.
        arms: what is compared, as texts that `parse_initialization` reads, the baseline and controls among
            them.
        lr: learning rates at which all of them run.
        setting: what all runs share otherwise, without what is None.
        seeds: that every arm gets.
        max_seeds: that an arm gets at most while its answer is open; as many as `seeds`: a fixed number.
        placebo: whether the baseline runs once more.
        endpoint: name of what decides.
        margin: size up to which differences count as none.
        correlations: hash of the arms with the values of their correlations.
        images: what the data were when the study was planned.
        expected: what the plan rests on: pilot runs, their deviation, power; words and numbers.
    """

    question: str
    arms: tuple[str, ...]
    lr: tuple[float, ...]
    setting: Mapping[str, Any]
    seeds: int
    max_seeds: int
    placebo: bool
    endpoint: str
    margin: float
    correlations: str
    images: str
    expected: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The hash of all that the study says, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def numbers(self) -> tuple[int, ...]:
        """The seeds of the arms, in the order in which they are used."""
        return self._derived("arms", self.max_seeds)

    @property
    def placebo_numbers(self) -> tuple[int, ...]:
        """The seeds of the placebo."""
        return self._derived("placebo", self.seeds) if self.placebo else ()

    @property
    def initializations(self) -> tuple[Initialization, ...]:
        """The arms as values."""
        return tuple(parse_initialization(text).canonical for text in self.arms)

    @property
    def base(self) -> RunConfig:
        """What all runs share, at the first learning rate."""
        return from_dict({**self.setting, "lr": self.lr[0]})

    @property
    def declared(self) -> Endpoint:
        """The endpoint with the margin of the study."""
        return replace(endpoint(self.endpoint), margin=self.margin)

    @property
    def contest(self) -> Contest:
        """Its runs."""
        return Contest(
            base=self.base.setting,
            panels=panels_at(self.lr, self.initializations),
            seeds=self.seeds,
            max_seeds=self.max_seeds,
            numbers=self.numbers,
            endpoint=self.declared,
            placebo=self.placebo_numbers,
        )

    @property
    def inference(self) -> Inference:
        """That of a fixed number of seeds, or of one that depends on what is seen."""
        return Inference.ANYTIME if self.max_seeds > self.seeds else Inference.FIXED

    @property
    def budget(self) -> int:
        """The number of runs at most."""
        return len(self.lr) * (len(self.arms) * self.max_seeds + len(self.placebo_numbers))

    @property
    def stopping(self) -> str:
        """When it stops, in words."""
        if self.inference is Inference.FIXED:
            return f"after {self.seeds} seeds of every arm"
        return (
            f"for each arm when its answer is clear by the anytime test, after {self.max_seeds} seeds at most"
        )

    def _derived(self, of: str, count: int) -> tuple[int, ...]:
        found: dict[int, None] = {}
        i = 0
        while len(found) < count:
            number = int(hashlib.sha256(f"{self.digest}:{of}:{i}".encode()).hexdigest()[:16], 16)
            found[LEAST_SEED + number % (MOST_SEED - LEAST_SEED)] = None
            i += 1
        return tuple(found)

    def write(self, file: Path) -> None:
        """Write the study, replacing a file that is there."""
        values = asdict(self)
        told = {
            **{name: value for name, value in values.items() if name not in ("setting", "expected")},
            "stopping": self.stopping,
            "budget_runs": self.budget,
            "seed_numbers": list(self.numbers),
            "placebo_numbers": list(self.placebo_numbers),
            "hash": self.digest,
            "setting": dict(self.setting),
            "expected": dict(self.expected),
        }
        with replacing(file) as opened:
            opened.write((HEAD + tomlkit.dumps(told)).encode())

    @classmethod
    def read(cls, file: Path) -> Study:
        """The study in a file.

        Raises:
            StudyError: if there is none, or it was edited.
        """
        if not file.is_file():
            raise StudyError(f"there is no study {file}; plan one with corrinit study plan -o {file}")
        try:
            told = tomlkit.parse(read_text(file)).unwrap()
            names = cls.__dataclass_fields__
            values: dict[str, Any] = {name: told[name] for name in names}
            values["arms"], values["lr"] = tuple(told["arms"]), tuple(told["lr"])
            found = cls(**values)
            intact = (
                told["hash"] == found.digest
                and tuple(told["seed_numbers"]) == found.numbers
                and tuple(told["placebo_numbers"]) == found.placebo_numbers
                and (told["stopping"], told["budget_runs"]) == (found.stopping, found.budget)
                and not told.keys() - {*names, *DERIVED}
            )
        except (CorrInitError, TOMLKitError, KeyError, TypeError, ValueError) as error:
            raise StudyError(
                f"{file} is no study ({type(error).__name__}: {error}); plan one with corrinit study plan"
            ) from error
        if not intact:
            raise StudyError(
                f"{file} was edited after it was planned: its hash is not that of what it says; restore it, "
                "or plan another study, which gets seeds of its own"
            )
        return found

    def require_unchanged(self, base: RunConfig, images: str) -> None:
        """Check that network, data and correlations are what they were when the study was planned.

        Args:
            base: what the runs share, as they would be made now.
            images: what the data are now.

        Raises:
            StudyError: naming what changed.
        """
        now = {
            "the network": (base.architecture, self.base.architecture),
            "the data": (images, self.images),
            "a correlation": (correlations_of(self.initializations), self.correlations),
        }
        for what, (found, planned) in now.items():
            if found != planned:
                raise StudyError(
                    f"{what} is not what it was when the study was planned ({found!r}, not {planned!r}); "
                    "restore it, or plan another study"
                )

    def require_fresh(self, records: Iterable[RunRecord]) -> None:
        """Check that no run with its seeds was made outside of it.

        Raises:
            StudyError: naming one that was.
        """
        for record in self.outside(records):
            raise StudyError(
                f"run {record.run_id} has a seed of this study, {record.seed}, and was not made by it; plan "
                "another study, which gets seeds that no one has seen"
            )

    def outside(self, records: Iterable[RunRecord]) -> list[RunRecord]:
        """Finished runs with seeds of the study that it did not make."""
        own = {*self.numbers, *self.placebo_numbers}
        return [
            each
            for each in records
            if each.finished and each.seed in own and each.result.study != self.digest
        ]


DERIVED = ("stopping", "budget_runs", "seed_numbers", "placebo_numbers", "hash")


def correlations_of(arms: Iterable[Initialization]) -> str:
    """The hash of arms with the values of their correlations."""
    return hashlib.sha256(json.dumps([frozen_arm(arm) for arm in arms], sort_keys=True).encode()).hexdigest()[
        :16
    ]


def study_section(study: Study, found: Mapping[str, Iterable[Beside]]) -> Section:
    """The answers of a study, one for each arm of each comparison.

    Args:
        study: the study.
        found: where arms stand, by the name of their comparison.
    """
    lines = [f"Question: {study.question}" if study.question else "No question was written down."]
    decides = study.declared
    lines.append(
        f"Decided by {decides.definition}; differences up to {decides.unit.factor * study.margin:g} "
        f"{decides.unit.name} count as none. It ends {study.stopping}."
    )
    for name, rows in found.items():
        for row in rows:
            if row.gain is not None:
                direction = (
                    "better" if (row.gain.direction > 0) == study.declared.higher_is_better else "worse"
                )
                lines.append(f"{name}: {row.name}: {ANSWERS[row.gain.decision].format(direction=direction)}.")
    return Section("Answers of the study", tuple(lines))


def study_stamp(study: Study) -> str:
    """The first line of its report."""
    return f"Confirmatory: study {study.digest}, planned before its runs were made."
