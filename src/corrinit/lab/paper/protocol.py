"""From the paper's cells to runs: how much of its protocol is run, and on which data.

The defaults of `RunConfig` are the paper's protocol. A scale shrinks it: `paper` is all of it, `mini` has all
tables and figures in about 12 hours of one core, `cpu` a part of them, larger, in a night of two, and `smoke`
runs through every table in minutes, with networks and data that stand in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Literal, TypeAlias

from corrinit.errors import ConflictError, UnknownNameError
from corrinit.lab.experiment.config import Initialization, Precision, RunConfig
from corrinit.lab.experiment.observation import EVERYTHING, Observation
from corrinit.lab.paper.experiments import CORRELATED, DATA, MODELS, Column, Experiment, Row

ScaleName: TypeAlias = Literal["smoke", "mini", "cpu", "paper"]

STAND_INS = {
    "cifar10-jpeg": "CIFAR-10 (JPEG)",
    "tinyimagenet100-32": "100 classes of Tiny-ImageNet at 32×32, in place of CIFAR-100",
}
"""What to call data that are run in place of the paper's, by the name of their folder."""


@dataclass(frozen=True)
class Scale:
    """How much of the protocol is run; the defaults are all of it.

    Args:
        seeds: runs per cell.
        epochs: share of the paper's epochs.
        width: share of the paper's channels.
        train_subset: training images; None for all.
        batch_size: images per update.
        precision: as in `RunConfig`.
        models: networks that stand in for the paper's, by its names; the others are the paper's.
        data: data sets that stand in for the paper's, by its names; the others are the paper's.
        observation: on how many images runs are scored, and how often.
    """

    seeds: int = 5
    epochs: float = 1.0
    width: float = 1.0
    train_subset: int | None = None
    batch_size: int = 256
    precision: Precision = "float32"
    models: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    observation: Observation = EVERYTHING


SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(
        seeds=2,
        epochs=1 / 20,
        width=1 / 4,
        train_subset=256,
        batch_size=64,
        models={"vgg8": "small", "vgg16": "small", "vgg19": "small"},
        data={"cifar10": "digits", "cifar100": "digits"},
    ),
    "mini": Scale(
        seeds=3,
        epochs=1 / 2,
        width=1 / 2,
        train_subset=3_500,
        precision="bfloat16",
        observation=Observation(test_images=2_000, test_every=2, unused_images=10_000),
    ),
    "cpu": Scale(seeds=3, epochs=1 / 2, train_subset=10_000, precision="bfloat16"),
    "paper": Scale(),
}


@dataclass(frozen=True)
class Protocol:
    """The paper's protocol at a scale, on data at hand.

    Args:
        scale: how much of it is run.
        data: where the paper's data sets come from, by its names: `{"cifar10": "parquet:DIR"}`; None leaves
            one out. Those not named are as the scale says.
        models: the paper's networks to run; empty for all.
        correlation: R of every row for which the paper takes that of its ResNet-10, as in `Initialization`;
            those of Table 4 keep the one that they name.
        resample: draw the training images by the seed; the scale must train on a part of them.

    Raises:
        ConfigError: if the paper has no such network, or the scale leaves nothing to draw.
    """

    scale: ScaleName = "paper"
    data: Mapping[str, str | None] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    correlation: str = "default"
    resample: bool = False

    def __post_init__(self) -> None:
        if self.resample and SCALES[self.scale].train_subset is None:
            raise ConflictError(f"the scale {self.scale!r} trains on all images, so that none can be drawn")
        for model in self.models:
            if model not in MODELS:
                raise UnknownNameError(f"the paper has no network {model!r}; it has {', '.join(MODELS)}")

    def cell(self, row: Row, column: Column, lr: float) -> tuple[RunConfig, ...]:
        """The runs behind one cell, a seed each; none if its network or data set is left out.

        >>> from corrinit.lab.paper.experiments import experiments
        >>> row = experiments("table3")[0].rows[0]
        >>> runs = Protocol("cpu").cell(row, Column("vgg8", "cifar10"), 0.1)
        >>> [(run.seed, run.epochs, run.train_subset) for run in runs]
        [(0, 20, 10000), (1, 20, 10000), (2, 20, 10000)]
        """
        scale = SCALES[self.scale]
        data = {**scale.data, **self.data}.get(column.data, column.data)
        if data is None or (self.models and column.model not in self.models):
            return ()
        return tuple(
            RunConfig(
                data=data,
                train_subset=scale.train_subset,
                resample=self.resample,
                model=scale.models.get(column.model, column.model),
                width=row.width * scale.width,
                initialization=self.initialization(row.initialization),
                epochs=round(row.epochs * scale.epochs),
                batch_size=scale.batch_size,
                lr=lr,
                l2=row.l2,
                precision=scale.precision,
                seed=seed,
                **dict(row.others),  # pyright: ignore[reportArgumentType]
            )
            for seed in range(scale.seeds)
        )

    def initialization(self, paper: Initialization) -> Initialization:
        """An initialization of the paper with the R that is chosen here."""
        named = not paper.depends_on_correlation or paper.correlation != CORRELATED.correlation
        return paper if named else replace(paper, correlation=self.correlation)

    def labelled(self, experiments: Iterable[Experiment]) -> tuple[Experiment, ...]:
        """Experiments whose columns are headed by the data that are run, where they are not the paper's.

        >>> from corrinit.lab.paper.experiments import experiments
        >>> protocol = Protocol("mini", {"cifar100": "parquet:tinyimagenet100-32"})
        >>> protocol.labelled(experiments("figure4"))[0].columns[0].label
        'VGG-8, 100 classes of Tiny-ImageNet at 32×32, in place of CIFAR-100'
        """
        return tuple(
            replace(experiment, columns=tuple(self._labelled(column) for column in experiment.columns))
            for experiment in experiments
        )

    def _labelled(self, column: Column) -> Column:
        spec = self.data.get(column.data)
        if spec is None or spec == column.data:
            return column
        return replace(column, run_as=f"{MODELS[column.model]}, {_data_title(spec, column.data)}")

    def runs(self, experiments: Iterable[Experiment]) -> tuple[RunConfig, ...]:
        """All runs behind experiments, each once; those of the first seeds come first in each experiment."""
        found: list[RunConfig] = []
        for experiment in experiments:
            cells = [
                self.cell(row, column, lr)
                for lr in experiment.learning_rates
                for column in experiment.columns
                for row in experiment.rows
            ]
            found += sorted((run for cell in cells for run in cell), key=lambda run: run.seed)
        first: dict[str, RunConfig] = {}
        for config in found:  # two names of one R are one run
            first.setdefault(config.run_id, config)
        return tuple(first.values())

    def stand_ins(self) -> dict[str, str]:
        """What is run in place of the paper's networks and data sets, by the paper's titles."""
        scale = SCALES[self.scale]
        data = {**scale.data, **self.data}.items()
        return {MODELS[name]: model for name, model in scale.models.items()} | {
            DATA[name]: _data_title(spec, name).partition(", in place")[0]
            for name, spec in data
            if spec is not None and spec != name
        }


def _data_title(spec: str, name: str) -> str:
    """What a data set is called that is run for one of the paper's."""
    return STAND_INS.get(PurePath(spec.partition(":")[2]).name, f"{spec}, in place of {DATA[name]}")


def data_sources(**sources: str | None) -> dict[str, str | None]:
    """`Protocol.data` from what a user says: `none` leaves a data set out, None leaves it to the scale.

    >>> data_sources(cifar10="parquet:DIR", cifar100="none")
    {'cifar10': 'parquet:DIR', 'cifar100': None}
    """
    return {name: None if spec == "none" else spec for name, spec in sources.items() if spec is not None}
