"""Runs as a table, a row per run: what all that compares, lists or exports runs reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from json import dumps
from pathlib import Path
from typing import Any

from corrinit.errors import ConfigError, RecordError, UnknownNameError
from corrinit.lab.experiment.arm import BASELINE
from corrinit.lab.experiment.config import RunConfig, to_dict
from corrinit.lab.experiment.setting import Setting
from corrinit.lab.runs.design import Design, designs
from corrinit.lab.runs.record import RunRecord, by_protocol, read_runs

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs, and how many seeds were planned.

    Args:
        records: the runs; each has a setting, an arm, a seed, a protocol, a status and what came out.
        designs: planned numbers of seeds, by setting; a setting without one has as many as were planned.
    """

    records: Sequence[RunRecord] = ()
    designs: Mapping[Setting, Design] = field(default_factory=dict)

    @classmethod
    def read(cls, folders: Collection[Path]) -> tuple[Runs, list[RecordError]]:
        """All runs below folders with their designs, and what is wrong with those that cannot be read."""
        found = [read_runs(folder) for folder in folders]
        records = [record for together, _ in found for record in together]
        # The design lies beside the folders of the runs, which may be named one by one.
        planned = designs({*folders, *(record.path.parent for record in records)})
        return cls(records, planned), [fault for _, faults in found for fault in faults]

    def __iter__(self) -> Iterator[RunRecord]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def placebos(self) -> frozenset[str]:
        """The ids of the runs that are a placebo."""
        return frozenset(
            record.run_id
            for record in self.records
            if record.arm == BASELINE
            and record.seed in self.designs.get(record.setting, Design()).of(record.result.study).placebo
        )

    def where(self, keep: Callable[[RunRecord], bool]) -> Runs:
        """Those of which something holds, in their order."""
        return Runs([record for record in self.records if keep(record)], self.designs)

    def meeting(self, conditions: Sequence[str]) -> Runs:
        """Those that meet all conditions, in their order.

        Args:
            conditions: each `name=value`, with a name as in `settings` or its last part, or the protocol:
                `model=vgg8`, `lr=0.1`, `scale=he`, `train_subset=none`, `protocol=1`.

        Raises:
            ConfigError: for a condition that is no `name=value`, or an unknown name.
        """
        wanted = dict(_parse(condition) for condition in conditions)
        return self.where(
            lambda record: all(_means(text, settings_of(record)[name]) for name, text in wanted.items())
        )

    def by_setting(self) -> dict[tuple[Setting, int | None], Runs]:
        """Those that may be compared: of one setting, and of protocols that held together.

        Settings are in the order of their values, and the newest protocol comes first, as None if it is
        today's.
        """
        settings: dict[Setting, list[RunRecord]] = {}
        for record in self.records:
            settings.setdefault(record.setting, []).append(record)
        return {
            (setting, protocol): Runs(together, self.designs)
            for setting in sorted(settings, key=lambda setting: dumps(asdict(setting)))
            for protocol, together in by_protocol(settings[setting])
        }


def settings(config: RunConfig) -> Row:
    """The settings of a run in one level, the initialization by names such as `initialization.method`.

    >>> settings(RunConfig(lr=0.005))["lr"], settings(RunConfig())["initialization.strength"]
    (0.005, 1.0)
    """
    values = to_dict(config)
    arm = values.pop("initialization")
    arm["rules"] = ":".join(arm["rules"])
    return {**values, **{f"initialization.{name}": value for name, value in arm.items()}}


def settings_of(record: RunRecord) -> Row:
    """The settings of a recorded run and the protocol that it was made by."""
    return {**settings(record.config), "protocol": record.protocol}


def _parse(condition: str) -> tuple[str, str]:
    """The full name and the text of a condition."""
    name, equals, text = condition.partition("=")
    if not equals:
        raise ConfigError(f"{condition!r} is no condition; write name=value, such as model=vgg8")
    known = [*settings(RunConfig()), "protocol"]
    short = {full.rpartition(".")[2]: full for full in known}
    if name not in known and name not in short:
        near = get_close_matches(name, [*known, *short], n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise UnknownNameError(f"runs have no setting {name!r}; {hint}")
    return short.get(name, name), text


def _means(text: str, value: object) -> bool:
    """Whether a text denotes a value."""
    if isinstance(value, float):
        try:
            return float(text) == value
        except ValueError:
            return False
    return text == (value if isinstance(value, str) else str(value).lower())
