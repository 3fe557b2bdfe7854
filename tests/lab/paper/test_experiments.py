"""The paper's tables as data, against a second transcription of cells and against its own text."""

import pytest

from corrinit.errors import ConfigError
from corrinit.lab.experiment.config import Initialization
from corrinit.lab.paper.experiments import (
    CORRELATED,
    EXPERIMENTS,
    INDEPENDENT,
    NAMES,
    Column,
    Printed,
    experiments,
)

# Copied cell by cell from the paper: table, part, row, network, data set, mean, deviation.
CELLS = [
    ("table2", 0, "λ = 0.001, uncorrelated", "resnet10", "cifar10", 0.851, 0.002),
    ("table2", 0, "λ = 0.001, correlated", "vgg8", "cifar100", 0.551, 0.004),
    ("table3", 0, "kaiming-normal (uncorrelated)", "vgg8", "cifar10", 0.815, 0.003),
    ("table3", 0, "xavier-normal", "resnet10", "cifar100", 0.521, 0.006),
    ("table3", 0, "orthogonal", "vgg8", "cifar100", 0.531, 0.004),
    ("table4", 0, "R of VGG-8 trained on CIFAR-10", "resnet10", "cifar100", 0.527, 0.005),
    ("table4", 0, "R of ResNet-10 trained on CIFAR-10", "vgg8", "cifar100", 0.544, 0.004),
    ("table5", 0, "α = 1.5", "resnet10", "cifar10", 0.822, 0.004),
    ("table5", 0, "α = 1.0", "resnet10", "cifar10", 0.820, 0.004),
    ("table5", 0, "α = 0.25", "vgg8", "cifar100", 0.530, 0.004),
    ("table6", 1, "uncorrelated", "resnet10", "cifar100", 0.579, 0.0),
    ("table6", 1, "correlated", "vgg8", "cifar100", 0.622, 0.003),
    ("table6", 2, "correlated", "vgg16", "cifar10", 0.856, 0.002),
    ("table6", 2, "uncorrelated", "resnet18", "cifar100", 0.545, 0.002),
    ("table7", 0, "correlated, α = 0.25", "resnet34", "cifar10", 0.835, 0.014),
    ("table7", 1, "correlated", "vgg19", "cifar100", 0.639, 0.004),
    ("table7", 1, "uncorrelated", "vgg19", "cifar10", 0.894, 0.002),
]


@pytest.mark.parametrize(("name", "part", "label", "model", "data", "mean", "sd"), CELLS)
def test_printed_values(name, part, label, model, data, mean, sd):
    experiment = experiments(name)[part]
    (row,) = (row for row in experiment.rows if row.label == label)
    assert experiment.printed(row, Column(model, data)) == Printed(mean, sd)


def test_number_of_printed_values_is_the_papers():
    counts = dict.fromkeys(NAMES, 0)
    for experiment in EXPERIMENTS:
        counts[experiment.name] += sum(len(row.printed) for row in experiment.rows)
    assert counts == {
        "figure1": 0, "figure4": 0, "figure5": 0, "figure6": 0,
        "table2": 16, "table3": 16, "table4": 12, "table5": 16, "table6": 24, "table7": 24,
    }  # fmt: skip


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.title)
class TestEveryExperiment:
    def test_every_correlated_row_has_both_controls(self, experiment):
        arms = {(row.initialization, row.l2, row.epochs, row.width) for row in experiment.rows}
        for row in experiment.rows:
            arm = row.initialization
            if (arm.method, arm.scale) == ("correlated", "own"):
                for control in (
                    Initialization("kaiming_normal", "correlated", arm.correlation, arm.strength),
                    Initialization("correlated", "he", arm.correlation, arm.strength),
                ):
                    assert (control, row.l2, row.epochs, row.width) in arms

    def test_rows_are_told_apart_by_label(self, experiment):
        assert len({row.label for row in experiment.rows}) == len(experiment.rows)

    def test_every_row_has_an_uncorrelated_one_to_compare_with(self, experiment):
        for row in experiment.rows:
            reference = experiment.reference(row)
            assert reference.initialization == INDEPENDENT
            assert (reference.l2, reference.epochs, reference.width) == (row.l2, row.epochs, row.width)


def test_l2_rows_train_twice_as_long_and_table_2_has_their_control():
    rows = [row for experiment in EXPERIMENTS for row in experiment.rows]
    assert {(row.l2, row.epochs) for row in rows if row.printed} == {(0.0, 40), (0.001, 80)}
    ours = [(row.l2, row.epochs) for row in experiments("table2")[0].rows if not row.printed]
    assert ours.count((0.0, 80)) == 4  # correlated, uncorrelated, and two controls of the scale


def test_the_correlation_is_one_for_all_rows_but_those_of_table_4():
    sources = {row.initialization.correlation for e in EXPERIMENTS if e.name != "table4" for row in e.rows}
    assert sources == {CORRELATED.correlation} == {"default"}


def test_rows_of_table_4_have_the_correlation_that_their_labels_name():
    (table,) = experiments("table4")
    sources = {
        row.label: row.initialization.correlation for row in table.rows if "control of" not in row.label
    }
    assert sources == {
        "R of VGG-8 trained on CIFAR-10": "vgg8-cifar10",
        "R of ResNet-10 trained on CIFAR-10": "resnet10-cifar10",
        "none (uncorrelated)": "default",  # on which independent taps do not depend
        "stand-in: exponential, mean 0.26 (not in the paper's table)": "exponential:0.26",
    }


class TestNames:
    def test_all_is_everything(self):
        assert experiments("all") == EXPERIMENTS

    def test_figure_1_trains_nothing(self):
        assert experiments("figure1") == ()

    @pytest.mark.parametrize("name", ["figure2", "figure3", "table1"])
    def test_theory_is_pointed_to(self, name):
        with pytest.raises(ConfigError, match="corrinit theory"):
            experiments(name)

    def test_unknown(self):
        with pytest.raises(ConfigError, match=r"no 'table8'.*table7 and all"):
            experiments("table8")
