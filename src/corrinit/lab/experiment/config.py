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
from math import inf, prod
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias

import tomlkit

from corrinit._reading import read_text
from corrinit.errors import ConfigError
from corrinit.lab.experiment.arm import TWO_BY_TWO as TWO_BY_TWO
from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.experiment.checks import check_keys, check_types, require
from corrinit.lab.experiment.identity import run_id
from corrinit.lab.experiment.schedule import Schedule

Precision: TypeAlias = Literal["float32", "bfloat16"]
TestedOn: TypeAlias = Literal["test", "held_out"]
Augmentation: TypeAlias = Literal["none", "crop_flip"]
Optimizer: TypeAlias = Literal["sgd", "adamw"]

MOST_RUNS = 10_000
"""Runs of an experiment file at most: a few short lists cross to more than can be counted in a life."""

LARGEST_FILE = 2**18
"""Bytes of an experiment file at most."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines the result of a run. The defaults are the paper's protocol.

    Args:
        data: data set, as in `corrinit.lab.data.dataset.load`.
        train_subset: train on that many images; None for all.
        resample: draw them by the seed of the run, which all arms share, instead of once for all seeds.
        tested_on: the `"test"` images, or images `"held_out"` from training, to choose settings by.
        model: network, as in `corrinit.lab.networks.catalog.build`, or a factory, as in
            `corrinit._factory.build_model`.
        architecture: of a factory's model, its `corrinit._factory.fingerprint`; empty for networks of ours.
        width: factor on its numbers of channels.
        batch_norm: normalize after each convolution.
        initialization: the arm.
        epochs: passes over the training images.
        batch_size: images per update; what is left of an epoch after the last full batch is dropped.
        lr: learning rate, at its highest.
        momentum: of SGD, in [0, 1); for AdamW its β₁, beside β₂ = 0.999.
        l2: λ of L2 regularization, as the weight decay of SGD; 0 for AdamW.
        precision: `"bfloat16"` is automatic mixed precision.
        channels_last: memory format of images and kernels.
        seed: of the initial weights and of the order of the images; with `resample` also of their choice.
        augmentation: `"crop_flip"` shifts each training image by up to 4 pixels and flips every second one.
        schedule: the learning rate over training, as in `corrinit.lab.experiment.schedule`.
        warmup: share of the updates over which the rate rises to `lr`, in [0, 1).
        optimizer: `"sgd"` or `"adamw"`.
        weight_decay: of AdamW: each update shrinks the weights by the rate times it; 0 for SGD.
        dropout: probability that an input of the classifier is set to 0 in training, in [0, 1).
        noise: standard deviation, in grey levels, of the Gaussian noise that a network such as `unet` learns
            to take away; 0 for classifiers.

    Raises:
        ConfigError: naming the value and what it may be.
    """

    data: str = "digits"
    train_subset: int | None = None
    resample: bool = False
    tested_on: TestedOn = "test"
    model: str = "small"
    architecture: str = ""
    width: float = 0.5
    batch_norm: bool = True
    initialization: Initialization = field(default_factory=Initialization)
    epochs: int = 40
    batch_size: int = 256
    lr: float = 0.1
    momentum: float = 0.8
    l2: float = 0.0
    precision: Precision = "float32"
    channels_last: bool = True
    seed: int = 0
    augmentation: Augmentation = "none"
    schedule: Schedule = "constant"
    warmup: float = 0.0
    optimizer: Optimizer = "sgd"
    weight_decay: float = 0.0
    dropout: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        check_types(self)
        positive = "a positive number"
        require(
            self.train_subset is None or self.train_subset > 0, "train_subset", self.train_subset, positive
        )
        if self.resample and self.train_subset is None:
            raise ConfigError(
                "resample is True; it draws a part of the training images: set train_subset too"
            )
        require(0 < self.width < inf, "width", self.width, positive)
        require(self.epochs > 0, "epochs", self.epochs, positive)
        require(self.batch_size > 0, "batch_size", self.batch_size, positive)
        require(0 < self.lr < inf, "lr", self.lr, positive)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")
        require(0 <= self.l2 < inf, "l2", self.l2, "at least 0")
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        for name in ("warmup", "dropout"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "at least 0 and below 1")
        for name in ("weight_decay", "noise"):
            require(0 <= getattr(self, name) < inf, name, getattr(self, name), "at least 0")
        if self.optimizer == "sgd" and self.weight_decay:
            raise ConfigError(f"weight_decay is {self.weight_decay}; it is of adamw: for sgd, set l2")
        if self.optimizer == "adamw" and self.l2:
            raise ConfigError(f"l2 is {self.l2}; it is of sgd: for adamw, set weight_decay")

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
        raise ConfigError(f"{path} cannot be read as an experiment file (TOML): {reason}") from error
    try:
        return expand(document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


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
        raise ConfigError(
            f"{min(unknown)!r} is unknown; an experiment has [base] and any number of [[cross]]"
        )
    base = from_dict(_table(document.get("base", {}), "[base]"))
    crosses = document.get("cross", [{}])
    if not isinstance(crosses, list):
        raise ConfigError("cross is one table; write [[cross]], with two brackets, as there may be several")
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
            raise ConfigError(f"{key} is {values!r} in [[cross]]; it needs a list of values to cross")
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
