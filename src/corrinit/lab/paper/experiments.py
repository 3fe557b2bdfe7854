"""The paper's experiments as data: what each table and figure runs, and the values it prints.

Schneider, Correlated Initialization for Correlated Data, Section 6. A table of accuracies has a column per
network and data set, and a row per initialization and regularization. Every correlated row is followed, at
the end of its table, by two controls that are ours: independent taps at the same scale, and the same
correlation at He's scale. They tell what correlation does from what the smaller scale does.

Where the paper takes R of its ResNet-10, rows have the default one, a closed form with the mean that the
paper prints, and `corrinit.lab.paper.protocol` may put another in its place. Table 4 asks where R comes from:
its rows have R of the network they name, and nothing takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from corrinit.errors import UnknownNameError
from corrinit.lab.experiment.config import Initialization

MODELS = {
    "resnet10": "ResNet-10",
    "vgg8": "VGG-8",
    "resnet18": "ResNet-18",
    "vgg16": "VGG-16",
    "resnet34": "ResNet-34",
    "vgg19": "VGG-19",
}
DATA = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}

THEORY = ("figure2", "figure3", "table1")
"""What the paper computes without training networks: `corrinit theory` does so."""

FIGURE_1 = "figure1"
"""Correlation by distance and layer of trained networks: drawn from the presets, without any run."""

MEAN_CORRELATIONS = {"resnet10-cifar10": 0.26, "vgg8-cifar10": 0.18}
"""Mean off-diagonal correlation of trained networks that Section 6.2 prints, by the name of our preset."""


@dataclass(frozen=True)
class Printed:
    """A test accuracy as the paper prints it: mean ± standard deviation over 5 seeds."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Column:
    """A network and a data set, by the names of `MODELS` and `DATA`.

    Args:
        model: the network.
        data: the data set.
        run_as: what of the two is really run, for the heading; empty where it is the paper's.
    """

    model: str
    data: str
    run_as: str = ""

    @property
    def label(self) -> str:
        """The heading of the column."""
        return self.run_as or f"{MODELS[self.model]} {DATA[self.data]}"


@dataclass(frozen=True)
class Row:
    """What distinguishes a row of a table.

    Args:
        label: what the row is called.
        initialization: its arm.
        printed: the paper's values, one per column; empty if the row is ours.
        l2: λ of L2 regularization.
        epochs: passes over the training images.
        width: factor on the numbers of channels, the paper's netSize.
        others: further settings of its runs, by their names in `corrinit.lab.experiment.setting`.
    """

    label: str
    initialization: Initialization
    printed: tuple[Printed, ...] = ()
    l2: float = 0.0
    epochs: int = 40
    width: float = 0.5
    others: tuple[tuple[str, bool | float | str], ...] = ()

    def shares_settings(self, other: Row) -> bool:
        """Whether the rows differ in their initialization alone."""
        return replace(self, label="", initialization=INDEPENDENT, printed=()) == replace(
            other, label="", initialization=INDEPENDENT, printed=()
        )


@dataclass(frozen=True)
class Experiment:
    """A figure of the paper, or a part of a table; the note says what to know when reading it."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    learning_rates: tuple[float, ...] = (0.1,)
    note: str = ""

    def printed(self, row: Row, column: Column) -> Printed | None:
        """What the paper prints in a cell; None where it prints nothing."""
        return row.printed[self.columns.index(column)] if row.printed else None

    def reference(self, row: Row) -> Row:
        """The uncorrelated row (independent taps, He's scale) with which a row is compared."""
        return next(
            other for other in self.rows if other.initialization == INDEPENDENT and other.shares_settings(row)
        )


RESNET_10 = "resnet10-cifar10"
INDEPENDENT = Initialization("kaiming_normal", "he")
CORRELATED = Initialization("correlated", "own")
"""What the paper proposes, with R of its ResNet-10 unless a row says otherwise."""


def controls(row: Row) -> Iterator[Row]:
    """The two rows that the paper lacks for a correlated one; none for other rows."""
    if row.initialization.method == "correlated":
        named = replace(row, printed=())
        independent = replace(row.initialization, method="kaiming_normal", scale="paper")
        yield replace(
            named, label=f"control of “{row.label}”: independent taps, same scale", initialization=independent
        )
        yield replace(
            named,
            label=f"control of “{row.label}”: same correlation, He's scale",
            initialization=replace(row.initialization, scale="he"),
        )


def _row(label: str, initialization: Initialization, printed: str, *, width: float = 0.5) -> Row:
    """A row with its values as the paper lays them out: `0.826 ± 0.002  0.536 ± 0.004`."""
    numbers = [float(word) for word in printed.replace("±", " ").split()]
    values = tuple(Printed(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True))
    return Row(label, initialization, values, width=width)


def _regularized(label: str, initialization: Initialization, printed: str) -> Row:
    return replace(_row(label, initialization, printed), l2=0.001, epochs=80)


def _table(name: str, title: str, models: tuple[str, str], *rows: Row, note: str = "") -> Experiment:
    columns = tuple(Column(model, data) for model in models for data in DATA)
    with_controls = (*rows, *(control for row in rows for control in controls(row)))
    return Experiment(name, title, columns, with_controls, note=note)


def _figure(name: str, title: str, column: Column) -> Experiment:
    correlated, uncorrelated = Row("correlated", CORRELATED), Row("uncorrelated", INDEPENDENT)
    title += ": gradient sign changes, gradient magnitude and accuracy over training"
    return Experiment(
        name, title, (column,), (correlated, uncorrelated, *controls(correlated)), learning_rates=(0.005, 0.1)
    )


DEFAULT, DEEP, DEEPEST = ("resnet10", "vgg8"), ("resnet18", "vgg16"), ("resnet34", "vgg19")
CORRELATED_PRINTED = "0.826 ± 0.002  0.536 ± 0.004  0.827 ± 0.002  0.544 ± 0.004"
INDEPENDENT_PRINTED = "0.815 ± 0.002  0.52 ± 0.002   0.815 ± 0.003  0.526 ± 0.002"

FIGURES = (
    _figure("figure4", "Figure 4", Column("vgg8", "cifar100")),
    _figure("figure5", "Figure 5", Column("vgg8", "cifar10")),
    _figure("figure6", "Figure 6", Column("resnet10", "cifar100")),
)

TABLES = (
    _table(
        "table2",
        "Table 2: L2 regularization",
        DEFAULT,
        _row("λ = 0, correlated", CORRELATED, CORRELATED_PRINTED),
        _row("λ = 0, uncorrelated", INDEPENDENT, INDEPENDENT_PRINTED),
        _regularized(
            "λ = 0.001, correlated",
            CORRELATED,
            "0.849 ± 0.001  0.554 ± 0.004  0.834 ± 0.003  0.551 ± 0.004",
        ),
        _regularized(
            "λ = 0.001, uncorrelated",
            INDEPENDENT,
            "0.851 ± 0.002  0.548 ± 0.002  0.832 ± 0.002  0.545 ± 0.004",
        ),
        *(
            Row(f"λ = 0, {name}, 80 epochs (not in the paper's table)", arm, epochs=80)
            for name, arm in (("correlated", CORRELATED), ("uncorrelated", INDEPENDENT))
        ),
        note="As in the paper, networks are trained twice as long with λ = 0.001 as without, so its rows do "
        "not tell L2 regularization from training time. The rows of λ = 0 with 80 epochs do. With L2, the "
        "paper speaks of “still significant improvements”; for CIFAR-10 its values differ by −0.2 and +0.2 "
        "points, less than their deviations allow to tell.",
    ),
    _table(
        "table3",
        "Table 3: initialization methods",
        DEFAULT,
        _row("kaiming-normal (correlated)", CORRELATED, CORRELATED_PRINTED),
        _row("kaiming-normal (uncorrelated)", INDEPENDENT, INDEPENDENT_PRINTED),
        _row(
            "orthogonal",
            Initialization("orthogonal"),
            "0.814 ± 0.003  0.521 ± 0.005  0.816 ± 0.003  0.531 ± 0.004",
        ),
        _row(
            "xavier-normal",
            Initialization("xavier_normal"),
            "0.811 ± 0.002  0.521 ± 0.006  0.817 ± 0.003  0.533 ± 0.002",
        ),
    ),
    _table(
        "table4",
        "Table 4: source of the correlation R",
        DEFAULT,
        _row(
            "R of VGG-8 trained on CIFAR-10",
            replace(CORRELATED, correlation="vgg8-cifar10"),
            "0.814 ± 0.002  0.527 ± 0.005  0.818 ± 0.002  0.535 ± 0.002",
        ),
        _row(
            "R of ResNet-10 trained on CIFAR-10",
            replace(CORRELATED, correlation=RESNET_10),
            CORRELATED_PRINTED,
        ),
        _row("none (uncorrelated)", INDEPENDENT, INDEPENDENT_PRINTED),
        Row(
            "stand-in: exponential, mean 0.26 (not in the paper's table)",
            replace(CORRELATED, correlation="exponential:0.26"),
        ),
        note="R of a network is that of our preset of its name, which is trained less than the paper's was "
        "(`corrinit reproduce figure1` says how).",
    ),
    _table(
        "table5",
        "Table 5: strength α of the correlation",
        DEFAULT,
        *(
            _row(f"α = {strength}", replace(CORRELATED, strength=strength), printed)
            for strength, printed in (
                (1.5, "0.822 ± 0.004  0.531 ± 0.005  0.821 ± 0.004  0.537 ± 0.004"),
                (1.0, "0.82 ± 0.004   0.529 ± 0.006  0.821 ± 0.004  0.535 ± 0.004"),
                (0.5, "0.817 ± 0.004  0.527 ± 0.005  0.819 ± 0.003  0.533 ± 0.004"),
                (0.25, "0.816 ± 0.004  0.525 ± 0.005  0.817 ± 0.003  0.53 ± 0.004"),
            )
        ),
        Row("uncorrelated (not in the paper's table)", INDEPENDENT),
        note="The paper's row α = 1.0 is the configuration of its Table 2, and is printed 0.6 to 0.9 points "
        "lower in all four columns: between these runs more varies than the deviations that it prints.",
    ),
    _table(
        "table6",
        "Table 6: default width and depth",
        DEFAULT,
        _row("correlated", CORRELATED, CORRELATED_PRINTED),
        _row("uncorrelated", INDEPENDENT, INDEPENDENT_PRINTED),
    ),
    _table(
        "table6",
        "Table 6: three times as wide",
        DEFAULT,
        _row(
            "correlated",
            CORRELATED,
            "0.85 ± 0.001   0.602 ± 0.001  0.846 ± 0.001  0.622 ± 0.003",
            width=1.5,
        ),
        _row(
            "uncorrelated",
            INDEPENDENT,
            "0.837 ± 0.002  0.579 ± 0.0    0.84 ± 0.001   0.606 ± 0.001",
            width=1.5,
        ),
    ),
    _table(
        "table6",
        "Table 6: deeper",
        DEEP,
        _row("correlated", CORRELATED, "0.849 ± 0.002  0.575 ± 0.004  0.856 ± 0.002  0.571 ± 0.004"),
        _row("uncorrelated", INDEPENDENT, "0.833 ± 0.003  0.545 ± 0.002  0.844 ± 0.003  0.559 ± 0.002"),
    ),
    _table(
        "table7",
        "Table 7: deepest, λ = 0",
        DEEPEST,
        _row("correlated", CORRELATED, "0.828 ± 0.012  0.581 ± 0.008  0.867 ± 0.005  0.567 ± 0.009"),
        _row(
            "correlated, α = 0.25",
            replace(CORRELATED, strength=0.25),
            "0.835 ± 0.014  0.573 ± 0.012  0.869 ± 0.004  0.568 ± 0.007",
        ),
        _row("uncorrelated", INDEPENDENT, "0.827 ± 0.014  0.566 ± 0.008  0.867 ± 0.004  0.568 ± 0.007"),
    ),
    _table(
        "table7",
        "Table 7: deepest, λ = 0.001",
        DEEPEST,
        _regularized("correlated", CORRELATED, "0.877 ± 0.004  0.592 ± 0.014  0.896 ± 0.003  0.639 ± 0.004"),
        _regularized(
            "correlated, α = 0.25",
            replace(CORRELATED, strength=0.25),
            "0.878 ± 0.004  0.601 ± 0.007  0.896 ± 0.003  0.634 ± 0.006",
        ),
        _regularized(
            "uncorrelated", INDEPENDENT, "0.874 ± 0.006  0.599 ± 0.007  0.894 ± 0.002  0.626 ± 0.005"
        ),
    ),
)

EXPERIMENTS: tuple[Experiment, ...] = (*FIGURES, *TABLES)
NAMES = (FIGURE_1, *dict.fromkeys(experiment.name for experiment in EXPERIMENTS))
"""What can be reproduced, besides `all`."""


def experiments(name: str) -> tuple[Experiment, ...]:
    """The experiments behind a figure or table, or every one for `all`; Figure 1 has none.

    Raises:
        ConfigError: if nothing in the paper is called so, or no networks are trained for it.

    >>> [part.title for part in experiments("table7")]
    ['Table 7: deepest, λ = 0', 'Table 7: deepest, λ = 0.001']
    """
    if name in THEORY:
        raise UnknownNameError(
            f"{name} belongs to the theory, for which nothing is trained: see `corrinit theory`"
        )
    if name not in (*NAMES, "all"):
        raise UnknownNameError(
            f"the paper has no {name!r} to reproduce; there are {', '.join(NAMES)} and all"
        )
    return tuple(experiment for experiment in EXPERIMENTS if name in ("all", experiment.name))
