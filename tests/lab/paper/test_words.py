"""Experiments on what the paper says in words: planned like its tables, and their layers are watched."""

from dataclasses import replace

import pytest

from corrinit.errors import ConfigError
from corrinit.lab.experiment.observation import Observation
from corrinit.lab.paper import protocol as protocols
from corrinit.lab.paper.experiments import EXPERIMENTS, experiments
from corrinit.lab.paper.protocol import SCALES, Protocol
from corrinit.lab.paper.report import write_paper_report
from corrinit.lab.paper.words import WORD_NAMES, WORDS, planned, watches_layers
from corrinit.lab.runs.table import Runs
from corrinit.lab.training.sweep import sweep


@pytest.mark.parametrize("experiment", WORDS, ids=lambda experiment: experiment.title)
class TestEveryExperiment:
    def test_every_correlated_row_has_both_controls(self, experiment):
        for row in experiment.rows:
            if row.initialization.method == "correlated":
                arms = {r.initialization for r in experiment.rows if r.shares_settings(row)}
                independent = replace(row.initialization, method="kaiming_normal", scale="paper")
                assert {replace(row.initialization, scale="he"), independent} <= arms

    def test_every_row_has_one_that_is_uncorrelated_in_its_setting(self, experiment):
        for row in experiment.rows:
            assert experiment.reference(row).shares_settings(row)

    def test_all_rows_can_be_planned(self, experiment):
        cells = len(experiment.rows) * len(experiment.columns) * len(experiment.learning_rates)
        assert len(Protocol("mini").runs([experiment])) == 3 * cells


def test_the_paper_is_planned_as_before():
    assert planned("all") == experiments("all") == EXPERIMENTS
    assert planned("words") == WORDS
    assert [watches_layers(name) for name in ("all", "words", *WORD_NAMES)] == [False] + [True] * (
        1 + len(WORD_NAMES)
    )
    with pytest.raises(ConfigError, match="no 'tabel2'"):
        planned("tabel2")


def test_rows_bring_their_settings_into_the_runs():
    (no_norm,), (regularized,) = planned("no-batch-norm"), planned("regularization")
    assert {run.batch_norm for run in Protocol("mini").runs([no_norm])} == {False}
    found = {
        (run.l2, run.dropout, run.augmentation, run.epochs) for run in Protocol("mini").runs([regularized])
    }
    assert found == {
        (0.0, 0.0, "none", 20),
        (0.001, 0.0, "none", 20),
        (0.0, 0.5, "none", 20),
        (0.0, 0.0, "crop_flip", 20),
    }


def test_the_lengths_of_training_share_their_runs_with_the_tables():
    runs = Protocol("mini").runs(planned("training-length"))
    assert sorted({run.epochs for run in runs}) == [5, 10, 20, 40]
    assert {run.run_id for run in runs if run.epochs == 20} <= {
        run.run_id for run in Protocol("mini").runs(experiments("table2"))
    }


def test_a_report_shows_what_is_seen_of_the_layers(tmp_path, monkeypatch):
    monkeypatch.setitem(SCALES, "smoke", replace(SCALES["smoke"], seeds=1, epochs=1 / 40))
    monkeypatch.setattr(protocols, "SCALES", SCALES)
    protocol = Protocol("smoke", {"cifar10": "digits", "cifar100": None}, ("resnet10",))
    configs = [run for run in protocol.runs(planned("figure6-cifar10")) if run.lr == 0.1]
    made = sweep(configs, tmp_path / "runs", observation=Observation(layers=True), needs=("layers",))
    assert not made.failures
    markdown = tmp_path / "words.md"
    write_paper_report(
        "figure6-cifar10",
        protocol,
        Runs(made.records, {}),
        tmp_path / "words.html",
        command="corrinit",
        markdown=markdown,
    )
    text = markdown.read_text()
    assert "What is seen while they train" in text
    row = text.partition("What is seen while they train")[2].partition("| correlated |")[2].partition("\n")[0]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2] == "1"
    assert "–" not in cells
