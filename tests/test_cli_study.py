"""`corrinit study`: what was planned is what is done, and nothing else is called confirmed."""

import re
from pathlib import Path

import pytest

from corrinit.lab.comparison.study import Study
from corrinit.lab.runs.record import read_runs
from corrinit.lab.statistics.contrast import Inference
from corrinit.lab.statistics.planning import power

PLAN = ("study", "plan", "--methods", "orthogonal", "--seeds", "2", "--epochs", "1", "--width", "0.1")
CARRY_OUT = ("compare", "--study", "study.toml", "--jobs", "1")
EXPLORE = (
    "compare",
    "--methods",
    "orthogonal",
    "--seeds",
    "2",
    "--epochs",
    "1",
    "--width",
    "0.1",
    "--jobs",
    "1",
)


def words_of(monkeypatch, *words):
    """What was typed, as the command sees it."""
    monkeypatch.setattr("sys.argv", ["corrinit", *words])
    return words


def test_a_study_is_carried_out_as_planned_and_stamped(run):
    assert run(*EXPLORE).out.startswith("Exploratory: ")
    assert run(*PLAN, "--pilot", "runs", "--endpoint", "auto", "--question", "Is it better?").code == 0
    study = Study.read(Path("study.toml"))
    assert study.expected["deviation_of_a_run"] > 0
    outcome = run(*CARRY_OUT)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(f"Confirmatory: study {study.digest}")
    assert re.search(r"orthogonal: (better|worse|no difference that matters|inconclusive)\.", outcome.out)
    assert "Confirmatory" in Path("report.html").read_text()
    made = [record for record in read_runs(Path("runs"))[0] if record.result.study == study.digest]
    assert {record.seed for record in made} == {*study.numbers, *study.placebo_numbers}
    assert len(made) == study.budget == 6
    assert "6 of 6 runs are finished already" in run(*CARRY_OUT).err
    checked = run("study", "check", "study.toml", "runs")
    assert (checked.code, "0 of the 6" in checked.out) == (0, True)
    # a report over the folder keeps the study and what was tried before it apart
    assert run("report", "runs", "-o", "all.html").code == 0
    page = Path("all.html").read_text()
    assert f"study {study.digest[:12]}" in page
    assert "Exploratory" in page
    assert "anytime-valid" not in page


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("epochs = 1", "epochs = 2"),
        ("margin = 0.005", "margin = 0.05"),
        ('endpoint = "test_accuracy"', 'endpoint = "train_accuracy"'),
        ("seeds = 2", "seeds = 3"),
        ("budget_runs = 6", "budget_runs = 60"),
        ("seed_numbers = [", "seed_numbers = [1, "),
        ("question = ", "more = 1\nquestion = "),
        ("question = ", "question "),
        ("hash = ", "hush = "),
    ],
)
def test_a_study_that_was_edited_is_refused(run, old, new):
    assert run(*PLAN).code == 0
    text = Path("study.toml").read_text()
    assert old in text
    Path("study.toml").write_text(text.replace(old, new, 1))
    outcome = run(*CARRY_OUT)
    assert outcome.code == 2
    assert outcome.err.endswith("[C410]\n")
    assert outcome.err.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "words",
    [("--epochs", "20"), ("--epochs=3",), ("vgg8",), ("--no-placebo",), ("--placebo",), ("--lr", "0.2")],
)
def test_other_options_beside_a_study_are_refused_even_at_their_defaults(run, monkeypatch, words):
    assert run(*PLAN).code == 0
    outcome = run(*words_of(monkeypatch, *CARRY_OUT, *words))
    assert outcome.code == 2
    assert "given beside --study" in outcome.err
    assert outcome.err.endswith("[C410]\n")
    assert not Path("runs").exists()


def test_a_run_from_outside_spoils_the_seeds(run):
    assert run(*PLAN).code == 0
    assert run(*CARRY_OUT).code == 0
    first = next(Path("runs").glob("*/result.json")).parent
    study = Study.read(Path("study.toml"))
    record = next(each for each in read_runs(Path("runs"))[0] if each.path == first)
    result = record.result.row()
    del result["study"]
    from corrinit.lab.runs.record import finish

    finish(first, record.updates(), result)
    for words in (("study", "check", "study.toml", "runs"), CARRY_OUT):
        outcome = run(*words)
        assert outcome.code == 2
        assert "was not made by it" in outcome.err
    assert len(study.outside(read_runs(Path("runs"))[0])) == 1


def test_a_study_is_not_overwritten_and_needs_a_pilot_to_choose(run):
    assert run(*PLAN).code == 0
    assert "exists" in run(*PLAN).err
    assert "--pilot" in run(*PLAN, "--endpoint", "auto", "-o", "b.toml").err
    assert "decided by an accuracy" in run(*PLAN, "--endpoint", "test_loss", "-o", "b.toml").err
    Path("runs").mkdir()
    assert "two or more" in " ".join(run(*PLAN, "--pilot", "runs", "-o", "b.toml").err.split())


def study_of(**changes):
    values = {
        "question": "",
        "arms": ("kaiming_normal", "orthogonal"),
        "lr": (0.1,),
        "setting": {"epochs": 1},
        "seeds": 3,
        "max_seeds": 3,
        "placebo": True,
        "endpoint": "test_accuracy",
        "margin": 0.005,
        "correlations": "",
        "images": "",
    }
    return Study(**values | changes)


def test_whatever_changes_a_study_changes_its_seeds():
    first = study_of()
    for changes in (
        {"question": "?"},
        {"lr": (0.2,)},
        {"setting": {"epochs": 2}},
        {"max_seeds": 9},
        {"margin": 0.01},
        {"images": "others"},
    ):
        other = study_of(**changes)
        assert not set(other.numbers) & set(first.numbers)
    assert not set(first.numbers) & set(first.placebo_numbers)
    assert len(set(study_of(max_seeds=500).numbers)) == 500


def test_the_stopping_rule_follows_from_the_numbers_of_seeds():
    assert study_of().inference is Inference.FIXED
    assert "after 3 seeds" in study_of().stopping
    assert study_of(max_seeds=9).inference is Inference.ANYTIME
    assert "9 seeds at most" in study_of(max_seeds=9).stopping
    assert study_of(max_seeds=9, lr=(0.1, 0.2)).budget == 2 * (2 * 9 + 3)


@pytest.mark.parametrize("inference", Inference)
def test_power_grows_with_seeds_and_difference_and_falls_with_noise_and_tests(inference):
    def at(difference=0.01, sd=0.01, seeds=12, tests=1):
        return power(difference, sd, seeds, tests=tests, inference=inference)

    assert at(seeds=6) < at() < at(seeds=40)
    assert at(0.005) < at() < at(0.02)
    assert at(sd=0.02) < at() < at(sd=0.005)
    assert at(tests=10) < at()
    assert at(0.0) <= 0.05 + 1e-12
    assert power(0.01, 0.01, 12) >= power(0.01, 0.01, 12, inference=Inference.ANYTIME)
