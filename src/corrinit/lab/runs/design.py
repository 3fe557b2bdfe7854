"""How many seeds a comparison was planned with: kept beside its runs, and obeyed by every later report.

A t test is right for a number of seeds that was fixed before any result was seen. So a folder of runs keeps,
in `design.json`, what comparisons were planned in each setting. Once seeds were added until the answer was
clear, once a setting was planned with different numbers of seeds, or while not all seeds are there, its
inference has to hold whenever one looks. A setting without an entry counts as planned with the seeds it has.
An entry names the seeds of the placebo too: nothing else tells these runs from those of the baseline.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from filelock import FileLock

from corrinit._atomic import replacing
from corrinit._reading import parse_object, read_text, with_digest, without_digest
from corrinit.errors import CorrInitError, RecordError, UnreadableError, WriteError
from corrinit.lab.experiment import identity
from corrinit.lab.experiment.config import RunConfig, from_dict
from corrinit.lab.experiment.setting import Setting

FILE = "design.json"
LOCK = ".design.lock"
STUDY = "study"

Entry: TypeAlias = tuple[Mapping[str, Any], "Design"]
"""What the runs of a comparison share, and its design."""


@dataclass(frozen=True)
class Design:
    """What was planned in a setting.

    Args:
        seeds: numbers of seeds that comparisons were planned with.
        sequential: whether seeds were to be added until the answer was clear.
        placebo: seeds of the runs of the baseline that are its placebo, and no more runs of it.
        studies: the same for runs that were made for a study, by its hash.
    """

    seeds: frozenset[int] = frozenset()
    sequential: bool = False
    placebo: frozenset[int] = frozenset()
    studies: Mapping[str, Design] = field(default_factory=dict)

    def anytime(self, present: int) -> bool:
        """Whether inference from that many seeds has to hold whenever one looks.

        >>> fixed = Design(frozenset({5}))
        >>> fixed.anytime(5), fixed.anytime(4), (fixed | Design(frozenset({8}))).anytime(8)
        (False, True, True)
        """
        return self.sequential or bool(self.seeds - {present})

    def __or__(self, other: Design) -> Design:
        return Design(
            self.seeds | other.seeds,
            self.sequential or other.sequential,
            self.placebo | other.placebo,
            {**self.studies, **other.studies},
        )

    def of(self, study: str | None) -> Design:
        """The design of the runs of a study; None: of all others."""
        return self if study is None else self.studies.get(study, Design())

    def __str__(self) -> str:
        planned = ", then ".join(map(str, sorted(self.seeds)))
        added = "more until the answer was clear" if self.sequential else ""
        return ", and ".join(each for each in (f"{planned} seeds" if planned else "", added) if each)


def plan(
    folder: Path,
    configs: Iterable[RunConfig],
    *,
    seeds: int,
    max_seeds: int | None = None,
    placebo: Collection[int] = (),
    study: str | None = None,
) -> None:
    """Note, before any run is made, how many seeds a comparison is to have.

    Args:
        folder: of the runs.
        configs: one run of each setting, or more.
        seeds: that every arm gets.
        max_seeds: that an arm may get; more than `seeds` to stop when the answer is clear.
        placebo: seeds of the placebo.
        study: hash of the study that it is.

    Raises:
        CorrInitError: if the file is damaged, or cannot be written.
    """
    made_for = {} if study is None else {STUDY: study}
    settings = [{**asdict(each), **made_for} for each in dict.fromkeys(config.setting for config in configs)]
    note(folder, settings, seeds=seeds, max_seeds=max_seeds, placebo=placebo)


def designs(folders: Iterable[Path]) -> dict[Setting, Design]:
    """The designs that folders hold at any depth, by setting.

    Raises:
        CorrInitError: if a file is damaged, or a folder cannot be read.
    """
    found: dict[Setting, Design] = {}
    for folder in folders:
        for file in _files(folder):
            for shared, design in entries(file.parent):
                shared = dict(shared)
                if (study := shared.pop(STUDY, None)) is not None:
                    design = Design(studies={str(study): design})
                try:
                    setting = from_dict(identity.today(shared)).setting
                except CorrInitError as error:
                    raise _damaged(file, error) from error
                found[setting] = found.get(setting, Design()) | design
    return found


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob(f"**/{FILE}"))
    except OSError as error:
        raise UnreadableError(f"{folder} cannot be read: {error.strerror or error}") from error


def note(
    folder: Path,
    settings: Sequence[Mapping[str, Any]],
    *,
    seeds: int,
    max_seeds: int | None = None,
    placebo: Collection[int] = (),
) -> None:
    """The same as `plan`, for settings that are any JSON objects."""
    new = Design(frozenset({seeds}), max_seeds is not None and max_seeds > seeds, frozenset(placebo))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):
            kept = entries(folder)
            merged = [(shared, old | new if shared in settings else old) for shared, old in kept]
            merged += [(shared, new) for shared in settings if shared not in [each for each, _ in kept]]
            if merged != kept:
                _write(folder / FILE, merged)
    except OSError as error:
        raise WriteError(f"{folder} cannot be written: {error.strerror or error}") from error


def noted(folder: Path, shared: Mapping[str, Any]) -> Design:
    """The design of one setting in a folder; nothing planned if it has none.

    Raises:
        CorrInitError: if the file is damaged.
    """
    return next((design for setting, design in entries(folder) if setting == shared), Design())


def entries(folder: Path) -> list[Entry]:
    """The designs in one folder; none if it has no such file.

    Raises:
        CorrInitError: if the file is damaged.
    """
    file = folder / FILE
    if not os.path.lexists(file):
        return []
    try:
        return [
            _entry(each) for each in without_digest(parse_object(read_text(file), file), file)["comparisons"]
        ]
    except UnreadableError:
        raise
    except (RecordError, ValueError, TypeError, KeyError) as error:
        raise _damaged(file, error) from error


def _entry(value: Mapping[str, Any]) -> Entry:
    seeds, sequential, placebo = value["seeds"], value["sequential"], value.get("placebo", [])
    if not all(type(each) is int for each in (*seeds, *placebo)) or type(sequential) is not bool:
        raise TypeError(f"seeds are {seeds!r}, sequential is {sequential!r} and placebo is {placebo!r}")
    return dict(value["setting"]), Design(frozenset(seeds), sequential, frozenset(placebo))


def _write(file: Path, found: Sequence[Entry]) -> None:
    comparisons = [
        {
            "setting": shared,
            "seeds": sorted(design.seeds),
            "sequential": design.sequential,
            **({"placebo": sorted(design.placebo)} if design.placebo else {}),
        }
        for shared, design in found
    ]
    with replacing(file) as opened:
        opened.write((json.dumps(with_digest({"comparisons": comparisons}), indent=2) + "\n").encode())


def _damaged(file: Path, error: Exception) -> RecordError:
    return RecordError(
        f"{file} is damaged ({type(error).__name__}: {error}), so how many seeds were planned is not known; "
        "restore it, or delete it and repeat the comparisons of that folder, which write it anew"
    )
