"""The paper beside our runs: what a reader finds in the report, and the commands that write it."""

import html
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.lab.handmade import handmade

from corrinit.cli import main
from corrinit.lab.experiment import identity
from corrinit.lab.experiment.identity import Change
from corrinit.lab.paper.cells import measure
from corrinit.lab.paper.experiments import CORRELATED, INDEPENDENT, Column, experiments
from corrinit.lab.paper.protocol import Protocol
from corrinit.lab.paper.report import write_paper_report
from corrinit.lab.runs.design import Design, designs
from corrinit.lab.runs.table import Runs
from corrinit.lab.statistics.anytime import sequential
from corrinit.lab.statistics.paired import holm, paired_difference

PROTOCOL = Protocol("smoke")
COLUMN = Column("vgg8", "cifar10")
(TABLE_3,) = experiments("table3")


def recorded(accuracy):
    """A record for every run of Table 3; `accuracy` of its configuration, None for a run not made."""
    return [
        handmade(config, value)
        for config in PROTOCOL.runs([TABLE_3])
        if (value := accuracy(config)) is not None
    ]


def gain(config):
    """Correlated initialization is worth 2 points in one seed and 3 in the other."""
    if config.initialization == CORRELATED:
        return 0.82 + 0.01 * config.seed
    return 0.80


def text_of(path):
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", path.read_text())))


class TestMeasure:
    def test_difference_and_its_p(self):
        measured = measure(TABLE_3, PROTOCOL, Runs(recorded(gain)))
        row = TABLE_3.rows[0]
        cell = measured.cells[row, COLUMN, 0.1]
        expected = paired_difference([0.82, 0.83], [0.80, 0.80])
        assert (cell.difference.mean, cell.difference.p) == pytest.approx((expected.mean, expected.p))
        p = [part.difference.p if part.difference else float("nan") for part in measured.cells.values()]
        assert cell.difference.p_adjusted == pytest.approx(
            dict(zip(measured.cells, holm(p), strict=True))[row, COLUMN, 0.1]
        )
        assert cell.printed_difference == pytest.approx(0.827 - 0.815)

    def test_the_uncorrelated_row_is_not_compared_with_itself(self):
        measured = measure(TABLE_3, PROTOCOL, Runs(recorded(gain)))
        assert measured.cells[TABLE_3.rows[1], COLUMN, 0.1].difference is None

    def test_pairs_need_both_runs(self):
        records = recorded(lambda c: None if c.seed == 1 and c.initialization == INDEPENDENT else gain(c))
        difference = measure(TABLE_3, PROTOCOL, Runs(records)).cells[TABLE_3.rows[0], COLUMN, 0.1].difference
        assert difference is not None
        assert (difference.n, difference.mean) == (1, pytest.approx(0.02))

    def test_a_run_that_diverged_does_not_count(self):
        diverged = [handmade(run.config, 0.1, loss=float("nan")) for run in recorded(gain)]
        cell = measure(TABLE_3, PROTOCOL, Runs(diverged)).cells[TABLE_3.rows[0], COLUMN, 0.1]
        assert cell.arm is None
        assert len(cell.left_out) == 2

    @pytest.mark.parametrize("lost", [INDEPENDENT, CORRELATED])
    def test_a_row_is_not_tested_by_survivors_of_its_own_or_of_the_uncorrelated_one(self, lost, tmp_path):
        row = TABLE_3.rows[0]
        records = recorded(gain)
        (gone,) = (
            record
            for record in records
            if record.config.initialization == lost
            and record.config == replace(PROTOCOL.cell(row, COLUMN, 0.1)[1], initialization=lost)
        )
        records[records.index(gone)] = handmade(gone.config, 0.1, loss=float("nan"))
        cell = measure(TABLE_3, PROTOCOL, Runs(records)).cells[row, COLUMN, 0.1]
        assert (cell.difference.fair, math.isnan(cell.difference.p_adjusted)) == (False, True)
        text = text_of(
            write_paper_report("table3", PROTOCOL, Runs(records), tmp_path / "r.html", command="c")
        )
        assert "no fair sample" in text

    def test_seeds_that_were_not_fixed_are_obeyed(self):
        row = TABLE_3.rows[0]
        setting = PROTOCOL.cell(row, COLUMN, 0.1)[0].setting
        planned = {setting: Design(frozenset({2}), sequential=True)}
        cell = measure(TABLE_3, PROTOCOL, Runs(recorded(gain), planned)).cells[row, COLUMN, 0.1]
        assert cell.difference.p == sequential([0.82, 0.83], [0.80, 0.80]).p

    def test_an_initialization_may_be_written_in_two_ways(self):
        named = [
            handmade(replace(run.config, initialization=replace(CORRELATED, scale="paper")), 0.9)
            for run in recorded(gain)
            if run.config.initialization == CORRELATED
        ]
        assert measure(TABLE_3, PROTOCOL, Runs(named)).cells[TABLE_3.rows[0], COLUMN, 0.1].arm is not None


CELL = TABLE_3.rows[0], COLUMN, 0.1


@pytest.fixture
def second(monkeypatch):
    """A second protocol, which touches correlated taps alone."""
    change = Change(2, "how taps are drawn", lambda run: run.initialization.method == "correlated")
    monkeypatch.setattr(identity, "CHANGES", (identity.CHANGES[0], change))


def by_protocol(number, accuracy):
    return [
        handmade(run.config, run.result.endpoints["test_accuracy"], protocol=number)
        for run in recorded(accuracy)
    ]


class TestOlderProtocol:
    def test_runs_of_an_older_protocol_fill_a_cell_that_has_no_others(self, second):
        cell = measure(TABLE_3, PROTOCOL, Runs(by_protocol(1, gain))).cells[CELL]
        assert cell.arm is not None
        assert {record.protocol for record in cell.arm.runs.values()} == {1}
        assert (cell.mark, cell.difference_mark) == ("†", "†")

    def test_a_cell_prefers_todays(self, second):
        old = by_protocol(1, lambda config: 0.1)
        new = [
            handmade(config, 0.9)
            for config in PROTOCOL.runs([TABLE_3])
            if config.initialization == CORRELATED
        ]
        for records in (old + new, new + old):
            cell = measure(TABLE_3, PROTOCOL, Runs(records)).cells[CELL]
            assert cell.arm is not None
            assert set(cell.sample.values.values()) == {0.9}
            assert (cell.mark, cell.difference_mark) == ("", "")

    def test_no_difference_crosses_a_change(self, monkeypatch):
        change = Change(2, "how taps are drawn", lambda run: True)
        monkeypatch.setattr(identity, "CHANGES", (identity.CHANGES[0], change))
        old = by_protocol(1, gain)
        baselines = [handmade(c, 0.2) for c in PROTOCOL.runs([TABLE_3]) if c.initialization == INDEPENDENT]
        cells = measure(TABLE_3, PROTOCOL, Runs(old + baselines)).cells
        reference = cells[TABLE_3.rows[1], COLUMN, 0.1]
        assert reference.arm is not None
        assert set(reference.sample.values.values()) == {0.2}
        assert cells[CELL].difference.p == pytest.approx(paired_difference([0.82, 0.83], [0.80, 0.80]).p)
        assert cells[CELL].difference_mark == "†"
        alone = [run for run in old if run.config.initialization == CORRELATED]
        assert measure(TABLE_3, PROTOCOL, Runs(alone + baselines)).cells[CELL].difference is None

    def test_the_report_marks_them_and_says_why(self, tmp_path, second):
        page = tmp_path / "r.html"
        text = text_of(write_paper_report("table3", PROTOCOL, Runs(by_protocol(1, gain)), page, command="c"))
        assert "82.50 ± 0.71 (2)†" in text
        assert "80.00 ± 0.00 (2) " in text  # independent taps were not touched
        assert re.search(r"† marks numbers of \d+ runs made before a change .*how taps are drawn", text)
        text = text_of(write_paper_report("table3", PROTOCOL, Runs(recorded(gain)), page, command="c"))
        assert "†" not in text


class TestReport:
    def test_ours_beside_the_papers(self, tmp_path):
        path = write_paper_report(
            "table3", PROTOCOL, Runs(recorded(gain)), tmp_path / "r.html", command="a command"
        )
        text = text_of(path)
        assert "82.50 ± 0.71 (2)" in text
        assert "82.7 ± 0.2" in text
        assert "a command" in text
        assert "0123456789ab" in text
        for row in TABLE_3.rows:
            assert row.label in text

    def test_without_records_every_cell_is_not_run(self, tmp_path):
        text = text_of(write_paper_report("all", PROTOCOL, Runs([]), tmp_path / "r.html", command="c"))
        cells = sum(len(e.rows) * len(e.columns) * len(e.learning_rates) for e in experiments("all"))
        assert text.count("not run") >= cells
        assert "not tested" in text
        for experiment in experiments("all"):
            assert experiment.title in text

    def test_figure_has_a_panel_per_quantity_and_learning_rate(self, tmp_path):
        records = [handmade(config, 0.5) for config in PROTOCOL.runs(experiments("figure5"))]
        page = write_paper_report("figure5", PROTOCOL, Runs(records), tmp_path / "r.html", command="c")
        assert page.read_text().count("<svg") == 6

    def test_another_correlation_is_named_and_judged(self, tmp_path):
        protocol = Protocol("smoke", correlation="default")
        records = [handmade(config, 0.8 + 0.01 * config.seed) for config in protocol.runs([TABLE_3])]
        text = text_of(
            write_paper_report("table3", protocol, Runs(records), tmp_path / "r.html", command="c")
        )
        assert "R is “default”, with a mean off-diagonal correlation of 0.260" in text
        assert "not tested" not in text.split("(ii)")[0].partition("(i) Generalization")[2]

    def test_table_4_shows_no_run_under_a_source_that_it_did_not_have(self, tmp_path):
        protocol, (table,) = Protocol("smoke"), experiments("table4")
        records = [handmade(c, 0.8) for c in protocol.runs([TABLE_3])]  # all of the closed form
        markdown = tmp_path / "r.md"
        write_paper_report(
            "table4", protocol, Runs(records), tmp_path / "r.html", command="c", markdown=markdown
        )
        ours = {
            cells[1]: cells[2]
            for cells in (re.split(r" *\| *", line) for line in markdown.read_text().splitlines())
            if len(cells) == 2 * len(table.columns) + 3
        }
        assert ours["R of ResNet-10 trained on CIFAR-10"] == "not run"
        assert ours["R of VGG-8 trained on CIFAR-10"] == "not run"
        assert ours["stand-in: exponential, mean 0.26 (not in the paper's table)"] == "80.00 ± 0.00 (2)"

    def test_table_2_says_what_tells_l2_from_training_time(self, tmp_path):
        text = text_of(write_paper_report("table2", PROTOCOL, Runs([]), tmp_path / "r.html", command="c"))
        assert "The rows of λ = 0 with 80 epochs do." in text
        assert "gain with it and twice the epochs" in text.partition("(v)")[2]

    def test_figure_1_shows_the_presets(self, tmp_path):
        text = text_of(write_paper_report("figure1", PROTOCOL, Runs([]), tmp_path / "r.html", command="c"))
        assert re.search(r"resnet10-cifar10 (0\.\d{3}|not packaged) 0\.26", text)

    def test_same_input_same_bytes(self, tmp_path):
        runs = Runs(recorded(gain))
        pages = [
            write_paper_report("table3", PROTOCOL, runs, tmp_path / name, command="c").read_bytes()
            for name in ("a.html", "b.html")
        ]
        assert pages[0] == pages[1]

    def test_markdown_holds_the_same_tables(self, tmp_path):
        markdown = tmp_path / "docs" / "r.md"
        write_paper_report(
            "table3",
            PROTOCOL,
            Runs(recorded(gain)),
            tmp_path / "r.html",
            command="a *command*",
            markdown=markdown,
        )
        lines = markdown.read_text().splitlines()
        (row,) = (
            line for line in lines if line.startswith("| kaiming-normal (correlated) |") and "82.6" in line
        )
        assert "| 82.50 ± 0.71 (2) | 82.7 ± 0.2 |" in row
        assert r"| command | a \*command\* |" in lines


def test_reproduce_end_to_end(tmp_path, monkeypatch, capsys):
    arguments = ("table3", "--scale", "smoke")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", *arguments])
    assert ended.value.code in (0, None), capsys.readouterr().err
    text = text_of(Path("reproduction.html"))
    assert "24 of 24 planned runs finished" in text
    assert all(each == Design(frozenset({2})) for each in designs([Path("runs")]).values())
    for row in TABLE_3.rows:
        assert row.label in text
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["reproduce", *arguments])
    assert "24 of 24 runs are finished already" in capsys.readouterr().err

    # The records alone give the same tables, without torch.
    code = (
        "import sys; sys.argv[0] = 'corrinit'\nfrom corrinit.cli import main\n"
        "try: main(sys.argv[1:])\nfinally: print('torch' in sys.modules)"
    )
    again = ["report", "runs", "--paper", "table3", "-o", "again.html"]
    printed = subprocess.run([sys.executable, "-c", code, *again], capture_output=True, text=True, check=True)
    assert printed.stdout == "again.html\nFalse\n"
    cells = re.compile(r"\d\d\.\d\d ± \d+\.\d\d \(2\)")
    assert cells.findall(text_of(Path("again.html"))) == cells.findall(text) != []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce", "table1"], "corrinit theory"),
        (["reproduce", "table9"], "no 'table9'"),
        (["reproduce", "table3", "--models", "vgg9"], "no network 'vgg9'"),
        (["report"], "no folder of run records"),
        (["report", "missing"], "there is no folder missing"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
