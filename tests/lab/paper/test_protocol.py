"""From cells of the paper to runs."""

from dataclasses import replace

import pytest

from corrinit.errors import ConfigError
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.networks.catalog import NAMES
from corrinit.lab.paper.experiments import CORRELATED, EXPERIMENTS, MODELS, Column, experiments
from corrinit.lab.paper.protocol import SCALES, Protocol, data_sources
from corrinit.lab.paper.report import write_paper_report
from corrinit.lab.runs.table import Runs

COLUMN = Column("vgg8", "cifar10")


def row(name, label, part=0):
    return next(row for row in experiments(name)[part].rows if row.label == label)


class TestCell:
    def test_paper_scale_is_the_papers_protocol(self):
        runs = Protocol().cell(row("table3", "kaiming-normal (correlated)"), COLUMN, 0.1)
        expected = {
            "data": "cifar10", "model": "vgg8", "width": 0.5, "initialization": CORRELATED, "epochs": 40,
            "batch_size": 256, "lr": 0.1, "momentum": 0.8, "l2": 0.0, "batch_norm": True,
        }  # fmt: skip
        assert runs == tuple(RunConfig(**expected, seed=seed) for seed in range(5))

    def test_l2_and_width_rows(self):
        regularized = Protocol().cell(row("table2", "λ = 0.001, correlated"), COLUMN, 0.1)[0]
        assert (regularized.l2, regularized.epochs) == (0.001, 80)
        assert Protocol().cell(row("table6", "correlated", part=1), COLUMN, 0.1)[0].width == 1.5

    def test_cpu_scale(self):
        runs = Protocol("cpu").cell(row("table2", "λ = 0.001, correlated"), COLUMN, 0.1)
        assert len(runs) == 3
        assert {(run.train_subset, run.epochs, run.precision) for run in runs} == {(10_000, 40, "bfloat16")}
        plain = Protocol("cpu").cell(row("table2", "λ = 0, correlated"), COLUMN, 0.1)[0]
        assert (plain.epochs, plain.width, plain.batch_size) == (20, 0.5, 256)

    def test_mini_has_every_cell_with_its_controls_and_the_papers_ratios(self):
        protocol = Protocol("mini")
        runs = protocol.runs(EXPERIMENTS)
        assert len(runs) == 3 * len({replace(run, seed=0) for run in runs}) == 648
        ids = {run.run_id for run in runs}  # two names of one R are one run
        for part in EXPERIMENTS:
            for lr in part.learning_rates:
                cells = [protocol.cell(each, column, lr) for each in part.rows for column in part.columns]
                assert all(len(cell) == 3 and {run.run_id for run in cell} <= ids for cell in cells)
        assert {(run.train_subset, run.batch_size, run.precision) for run in runs} == {
            (3500, 256, "bfloat16")
        }
        assert {(run.epochs, run.l2) for run in runs} == {(20, 0.0), (40, 0.001), (40, 0.0)}
        assert {run.width for run in runs} == {0.25, 0.75}
        assert {run.model for run in runs} == set(MODELS)
        observation = SCALES["mini"].observation
        assert [epoch for epoch in range(1, 21) if observation.scores(epoch, 20)] == [1, *range(2, 21, 2)]

    def test_smoke_needs_no_download_and_keeps_the_ratio_of_widths(self):
        protocol = Protocol("smoke")
        assert {run.data for run in protocol.runs(EXPERIMENTS)} == {"digits"}
        wide = protocol.cell(row("table6", "correlated", part=1), COLUMN, 0.1)[0]
        assert wide.width == 3 * protocol.cell(row("table6", "correlated"), COLUMN, 0.1)[0].width

    def test_data_from_elsewhere_and_left_out(self):
        protocol = Protocol("cpu", data_sources(cifar10="parquet:DIR", cifar100="none"))
        correlated = row("table3", "kaiming-normal (correlated)")
        assert {run.data for run in protocol.cell(correlated, COLUMN, 0.1)} == {"parquet:DIR"}
        assert protocol.cell(correlated, Column("vgg8", "cifar100"), 0.1) == ()

    @pytest.mark.parametrize("correlation", ["default", "vgg8-cifar10", "R.safetensors"])
    def test_table_4_keeps_the_correlations_it_names(self, correlation):
        control = "control of “R of ResNet-10 trained on CIFAR-10”: same correlation, He's scale"
        for label, name in {
            "R of VGG-8 trained on CIFAR-10": "vgg8-cifar10",
            "R of ResNet-10 trained on CIFAR-10": "resnet10-cifar10",
            control: "resnet10-cifar10",
            "stand-in: exponential, mean 0.26 (not in the paper's table)": "exponential:0.26",
        }.items():
            (run, *_) = Protocol(correlation=correlation).cell(row("table4", label), COLUMN, 0.1)
            assert run.initialization.correlation == name

    @pytest.mark.parametrize("scale", list(SCALES))
    def test_the_correlation_is_the_closed_form_unless_another_is_named(self, scale):
        runs = Protocol(scale).runs(part for part in EXPERIMENTS if part.name != "table4")
        assert {run.initialization.correlation for run in runs} == {"default"}

    def test_another_correlation_takes_the_place_of_resnet10s(self):
        strong = row("table5", "α = 1.5")
        (cell, *_) = Protocol(correlation="R.safetensors").cell(strong, COLUMN, 0.1)
        assert cell.initialization == replace(CORRELATED, correlation="R.safetensors", strength=1.5)

    def test_networks_left_out(self):
        protocol = Protocol("paper", models=("vgg8",))
        assert {run.model for run in protocol.runs(EXPERIMENTS)} == {"vgg8"}

    def test_unknown_network(self):
        with pytest.raises(ConfigError, match="no network 'vgg9'; it has resnet10"):
            Protocol(models=("vgg9",))


class TestRuns:
    @pytest.mark.parametrize("scale", list(SCALES))
    def test_tables_share_runs(self, scale):
        protocol = Protocol(scale)
        runs = protocol.runs(EXPERIMENTS)
        assert len(set(runs)) == len(runs) < sum(len(protocol.runs([part])) for part in EXPERIMENTS)

    def test_two_names_of_one_correlation_are_one_run(self):
        tables = experiments("table3") + experiments("table4")
        named = {run.initialization.correlation for run in Protocol().runs(tables)}
        assert named == {"default", "vgg8-cifar10", "resnet10-cifar10"}  # no "exponential:0.26"

    @pytest.mark.parametrize("scale", list(SCALES))
    def test_models_exist(self, scale):
        assert {run.model for run in Protocol(scale).runs(EXPERIMENTS)} <= set(NAMES)

    def test_a_stopped_experiment_has_whole_seeds(self):
        seeds = [run.seed for run in Protocol().runs(experiments("table3"))]
        assert seeds == sorted(seeds)

    def test_figures_have_both_learning_rates_and_four_arms(self):
        runs = Protocol("paper").runs(experiments("figure5"))
        assert len(runs) == 2 * 4 * 5
        assert {run.lr for run in runs} == {0.005, 0.1}


class TestLabels:
    SOURCES = data_sources(cifar10="parquet:DIR/cifar10-jpeg", cifar100="parquet:tinyimagenet100-32")

    def test_every_column_is_headed_by_what_is_run(self):
        labelled = Protocol("mini", self.SOURCES).labelled(EXPERIMENTS)
        labels = {column.data: column.label for part in labelled for column in part.columns}
        assert labels["cifar10"].endswith(", CIFAR-10 (JPEG)")
        assert labels["cifar100"].endswith(", 100 classes of Tiny-ImageNet at 32×32, in place of CIFAR-100")
        assert [part.columns for part in Protocol("mini").labelled(EXPERIMENTS)] == [
            part.columns for part in EXPERIMENTS
        ]

    def test_data_of_ones_own_go_by_their_name(self):
        protocol = Protocol("cpu", data_sources(cifar100="folder:photos"))
        (figure,) = protocol.labelled(experiments("figure4"))
        assert figure.columns[0].label == "VGG-8, folder:photos, in place of CIFAR-100"

    def test_labels_move_no_run_and_no_printed_value(self):
        protocol = Protocol("mini", self.SOURCES)
        assert protocol.runs(protocol.labelled(EXPERIMENTS)) == protocol.runs(EXPERIMENTS)
        (table,), (named,) = experiments("table3"), protocol.labelled(experiments("table3"))
        assert [named.printed(named.rows[0], column) for column in named.columns] == [
            table.printed(table.rows[0], column) for column in table.columns
        ]

    def test_a_report_never_calls_a_stand_in_by_the_name_of_the_papers_data(self, tmp_path):
        page = tmp_path / "page.md"
        protocol = Protocol("mini", self.SOURCES)
        write_paper_report("table3", protocol, Runs([]), tmp_path / "page.html", command="", markdown=page)
        assert "by epoch are of 2,000 test images, every 2 epochs" in page.read_text()
        headings = [line for line in page.read_text().splitlines() if line.startswith("|  | ResNet-10")]
        assert headings
        for line in headings:
            assert "ResNet-10, 100 classes of Tiny-ImageNet at 32×32, in place of CIFAR-100" in line
            assert "ResNet-10 CIFAR-100" not in line


class TestStandIns:
    def test_smoke_names_them(self):
        stand_ins = Protocol("smoke").stand_ins()
        assert stand_ins["CIFAR-10"] == stand_ins["CIFAR-100"] == "digits"
        assert stand_ins["VGG-8"] == "small"

    def test_paper_has_none(self):
        assert Protocol("paper", {"cifar100": None}).stand_ins() == {}


def test_every_network_of_the_paper_can_be_built():
    assert set(MODELS) <= set(NAMES)
