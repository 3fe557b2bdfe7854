"""What a run is: frozen configurations, and experiment files that cross them.

An experiment file is TOML: `[base]` holds what all runs share, each `[[cross]]` lists of values, of which
every combination is run.

    [base]
    data = "cifar10"
    model = "vgg8"
    epochs = 40

    [[cross]]
    seed = [0, 1, 2]
    lr = [0.005, 0.1]
    initialization = [{method = "kaiming_normal"}, {method = "correlated", strength = 0.5}]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import tomlkit

from corrinit._reading import read_text
from corrinit.errors import ConfigError, ExperimentFileError
from corrinit.lab.experiment.arm import TWO_BY_TWO as TWO_BY_TWO
from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.experiment.checks import check_keys, require
from corrinit.lab.experiment.identity import run_id
from corrinit.lab.experiment.setting import Precision as Precision
from corrinit.lab.experiment.setting import Setting

MOST_RUNS = 10_000
"""Runs of an experiment file at most: a few short lists cross to more than can be counted in a life."""

LARGEST_FILE = 2**18
"""Bytes of an experiment file at most."""


@dataclass(frozen=True)
class RunConfig(Setting):
    """Everything that determines the result of a run: a setting, an arm and a seed.

    Args:
        initialization: the arm.
        seed: number that the initial weights and the order of the images follow from; with `resample` also
            the choice of the images.

    Raises:
        ConfigError: naming the value and what it may be.
    """

    initialization: Initialization = field(default_factory=Initialization)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.seed >= 0, "seed", self.seed, "at least 0")

    @classmethod
    def of(cls, setting: Setting, arm: Initialization, seed: int) -> RunConfig:
        """The run of an arm and a seed in a setting."""
        shared = {each.name: getattr(setting, each.name) for each in fields(Setting)}
        return cls(**shared, initialization=arm, seed=seed)

    @property
    def setting(self) -> Setting:
        """What the run shares with those that it is compared with."""
        return Setting(**{each.name: getattr(self, each.name) for each in fields(Setting)})

    @property
    def run_id(self) -> str:
        """16 hexadecimal digits that identify the result: equal exactly for runs that must come out alike.

        `corrinit.lab.experiment.identity` makes it.

        Raises:
            ConfigError: if the correlation file cannot be read.
        """
        return run_id(self)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """A configuration as JSON and TOML can hold it."""
    return asdict(config)


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """The inverse of `to_dict`; what is missing has its default.

    Raises:
        ConfigError: for an unknown key, with the nearest known ones, or an impossible value.
    """
    check_keys(values, _names(RunConfig), "a run")
    values = dict(values)
    if isinstance(arm := values.get("initialization"), Mapping):
        check_keys(arm, _names(Initialization), "initialization")
        values["initialization"] = Initialization(**arm)
    return RunConfig(**values)


def to_toml(config: RunConfig) -> str:
    """The experiment file of one run: `read_experiment` gives it back.

    >>> to_toml(RunConfig(seed=3)).splitlines()[:2]
    ['[base]', 'data = "digits"']
    """
    return tomlkit.dumps({"base": {k: v for k, v in to_dict(config).items() if v is not None}})


def read_experiment(path: str | PathLike[str]) -> tuple[RunConfig, ...]:
    """Read an experiment file and expand it.

    Raises:
        ConfigError: if it is missing, no TOML, or `expand` refuses it; the message names the file.
    """
    try:
        document = tomlkit.parse(read_text(Path(path), largest=LARGEST_FILE)).unwrap()
    except Exception as error:  # whatever the parser makes of bytes that are no TOML
        reason = str(error) or type(error).__name__
        raise ExperimentFileError(f"{path} cannot be read as an experiment file (TOML): {reason}") from error
    try:
        return expand(document)
    except ConfigError as error:
        raise ExperimentFileError(f"{path}: {error}") from error


def expand(document: Mapping[str, Any]) -> tuple[RunConfig, ...]:
    """The runs of an experiment: each combination of each `cross`, on top of `base`; every run once.

    The first list varies slowest.

    Raises:
        ConfigError: for unknown keys, values that are no lists, and what `RunConfig` refuses.

    >>> runs = expand({"base": {"lr": 0.1}, "cross": [{"seed": [0, 1], "l2": [0, 0.001]}]})
    >>> [(run.seed, run.l2) for run in runs]
    [(0, 0.0), (0, 0.001), (1, 0.0), (1, 0.001)]
    """
    if unknown := document.keys() - {"base", "cross"}:
        raise ExperimentFileError(
            f"{min(unknown)!r} is unknown; an experiment has [base] and any number of [[cross]]"
        )
    base = from_dict(_table(document.get("base", {}), "[base]"))
    crosses = document.get("cross", [{}])
    if not isinstance(crosses, list):
        raise ExperimentFileError(
            "cross is one table; write [[cross]], with two brackets, as there may be several"
        )
    tables = [_lists(cross) for cross in crosses]
    number = sum(prod(len(values) for values in table.values()) for table in tables)
    if number > MOST_RUNS:
        raise ConfigError(f"the lists cross to {number:,} runs, more than {MOST_RUNS:,}; write several files")
    runs = [run for table in tables for run in _combinations(base, table)]
    return tuple({run.run_id: run for run in runs}.values())


def _lists(cross: object) -> Mapping[str, list[Any]]:
    table = _table(cross, "[[cross]]")
    check_keys(table, _names(RunConfig), "[[cross]]")
    for key, values in table.items():
        if not isinstance(values, list) or not values:
            raise ExperimentFileError(f"{key} is {values!r} in [[cross]]; it needs a list of values to cross")
    return table


def _combinations(base: RunConfig, cross: Mapping[str, list[Any]]) -> list[RunConfig]:
    shared = to_dict(base)
    return [
        from_dict({**shared, **dict(zip(cross, values, strict=True))}) for values in product(*cross.values())
    ]


def _table(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} is {value!r}; it needs a table of settings")
    return value


def _names(cls: type) -> list[str]:
    return [each.name for each in fields(cls)]
