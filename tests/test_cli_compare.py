"""`corrinit compare` as users call it, on real digits; runs are tiny, and made in this process."""

import re
from pathlib import Path

import pytest
from PIL import Image

from corrinit.lab.runs.record import read_runs

FAST = ("--epochs", "1", "--jobs", "1", "--width", "0.1", "--no-placebo")

NETWORK = """
from torch import nn

def build():
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, 10))

def single_taps():
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, 10))

def too_wide():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1000))

def broken():
    raise RuntimeError("no weights here")
"""


def records():
    return read_runs(Path("runs"))[0]


def test_a_comparison_ends_with_a_table_a_verdict_a_line_of_code_and_a_report(run):
    outcome = run("compare", "--methods", "orthogonal", "--seeds", "2", *FAST)
    assert outcome.code == 0, outcome.err
    assert re.search(r"kaiming_normal +\d+\.\d\d ± \d+\.\d\d +2", outcome.out)
    assert re.search(r"orthogonal: |orthogonal reaches", outcome.out)
    assert "corrinit.initialize(model, " in outcome.out
    assert outcome.out.splitlines()[-1] == "report.html"
    page = Path("report.html").read_text()
    assert "Gain over the baseline" in page
    assert "Time to" in page


def test_a_correlated_arm_brings_its_controls(run):
    assert run("compare", "--methods", "correlated", "--seeds", "1", *FAST).code == 0
    arms = {(r.config.initialization.method, r.config.initialization.scale) for r in records()}
    assert arms == {
        ("kaiming_normal", "he"),
        ("kaiming_normal", "paper"),
        ("correlated", "he"),
        ("correlated", "paper"),
    }


def test_controls_can_be_left_out(run):
    assert run("compare", "--methods", "correlated", "--no-controls", "--seeds", "1", *FAST).code == 0
    assert len(records()) == 2


def test_a_comparison_is_taken_up_where_it_stood(run):
    arguments = ("compare", "--methods", "orthogonal", "--seeds", "1", *FAST)
    run(*arguments)
    before = {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/result.json")}
    assert "2 of 2 runs are finished already" in run(*arguments).err
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_seeds_are_added_while_the_answer_is_open(run):
    """Two copies of one method can never be told apart, nor told equal from noisy runs."""
    arguments = ("--methods", "kaiming_uniform", "--seeds", "2", "--max-seeds", "3")
    outcome = run("compare", *arguments, *FAST)
    assert outcome.code == 0
    assert len(records()) == 6
    assert "open after 3 seeds" in outcome.out
    assert "anytime-valid" in Path("report.html").read_text()


def test_later_reports_obey_the_seeds_that_were_added(run):
    assert run("compare", "--methods", "orthogonal", "--seeds", "2", "--max-seeds", "3", *FAST).code == 0
    first = Path("report.html").read_text()
    assert run("report", "runs", "-o", "again.html").code == 0
    later = Path("again.html").read_text()
    interval = re.compile(r"<td[^>]*>[+−]\d+\.\d\d to [+−]\d+\.\d\d</td>|too few")
    assert interval.findall(first) == interval.findall(later) != []
    assert "anytime-valid" in later
    assert run("compare", "--methods", "orthogonal", "--seeds", "3", *FAST).code == 0
    assert "anytime-valid" in Path("report.html").read_text()


def test_runs_that_are_named_one_by_one_keep_their_design(run):
    assert run("compare", "--methods", "orthogonal", "--seeds", "2", "--max-seeds", "3", *FAST).code == 0
    assert run("report", *sorted(Path("runs").glob("*/")), "-o", "named.html").code == 0
    assert "anytime-valid" in Path("named.html").read_text()


def test_looking_again_with_more_seeds_is_not_a_fixed_design(run):
    arguments = ("compare", "--methods", "orthogonal", *FAST)
    assert "anytime" not in run(*arguments, "--seeds", "2").out
    outcome = run(*arguments, "--seeds", "3")
    assert "Planned with 2, then 3 seeds: intervals and p-values are those that hold whenever" in outcome.out
    elsewhere = run(*arguments, "--seeds", "3", "--runs", "elsewhere")
    assert "Planned with" not in elsewhere.out


def test_a_damaged_record_of_the_seeds_stops_a_comparison_before_any_run(run):
    Path("runs").mkdir()
    Path("runs/design.json").write_text("{")
    outcome = run("compare", "--methods", "orthogonal", "--seeds", "2", *FAST)
    assert outcome.code == 2
    assert "runs/design.json is damaged" in outcome.err
    assert records() == []


def test_learning_rates_are_chosen_on_held_out_images(run):
    outcome = run("compare", "--methods", "orthogonal", "--seeds", "1", "--lr", "auto", *FAST)
    assert outcome.code == 0, outcome.err
    assert len([r for r in records() if r.config.tested_on == "held_out"]) == 30
    assert "Learning rates" in outcome.out
    assert "held out" in Path("report.html").read_text()


def test_a_model_and_images_of_the_users_own(run, tmp_path):
    Path("network.py").write_text(NETWORK)
    for label in ("0", "1"):
        for index in range(10):
            path = Path("images") / label / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 20 * index + 5 * int(label)).save(path)
    Path("network.py").write_text(NETWORK.replace("Linear(4, 10)", "Linear(4, 2)"))
    arguments = ("--data", "folder:images", "--methods", "correlated", "--seeds", "1")
    outcome = run("compare", "network.py:build", *arguments, *FAST)
    assert outcome.code == 0, outcome.err
    assert {r.config.model for r in records()} == {"network.py:build"}
    assert len({r.config.architecture for r in records()}) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("network.py:too_wide",), "the data has 10 classes, so it needs to return (2, 10)"),
        (("network.py:broken",), "network.py:broken failed: RuntimeError: no weights here"),
        (("network.py:nothing",), "has no callable nothing"),
        (
            ("--methods", "ortogonal"),
            "is called 'ortogonal'; did you mean orthogonal",
        ),
        (("--methods", "dirac:scale=measured"), "dirac states no correlation of its taps"),
        (
            ("network.py:single_taps", "--methods", "correlated"),
            "left the weights as those of kaiming_normal: 0 of 4 tensors differ, so there is nothing to",
        ),
        (("--methods", "kaiming_normal"), "name at least one beside kaiming_normal"),
        (("--methods", "correlated:alpha=2"), "'alpha' is no setting of the arm"),
        (("--lr", "fast"), "lr is 'fast'; it is numbers separated by commas"),
        (("--seeds", "0"), "seeds is 0"),
        (("--seeds", "3", "--max-seeds", "2"), "max_seeds is 2"),
        (("--target", "80"), "target is 80; it is an accuracy between 0 and 1"),
        (("--data", "folder:nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_told_before_any_run(run, arguments, message):
    Path("network.py").write_text(NETWORK)
    outcome = run("compare", *arguments, *FAST)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert not Path("runs").exists()


def test_data_of_one_class_are_refused(run):
    for index in range(10):
        path = Path("images/cat") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), index).save(path)
    outcome = run("compare", "--data", "folder:images", *FAST)
    assert outcome.code == 2
    assert re.search(r"one class|single class|two classes|classes", outcome.err)


def test_runs_that_diverge_are_reported_and_the_rest_goes_on(run):
    outcome = run("compare", "--methods", "orthogonal", "--lr", "0.1,1e30", "--seeds", "2", *FAST)
    assert outcome.code == 0, outcome.err
    assert "All 4 runs diverged." in outcome.out
    assert re.search(r"kaiming_normal +\d+\.\d\d", outcome.out)
