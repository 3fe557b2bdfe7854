"""The placebo: the baseline once more, seen beside all arms and part of nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.lab.handmade import handmade

from corrinit.lab.comparison.contrasts import standings
from corrinit.lab.comparison.groups import compare
from corrinit.lab.comparison.names import compared
from corrinit.lab.comparison.placebo import placebo, placebo_in_words, placebo_seeds
from corrinit.lab.comparison.report import write_report
from corrinit.lab.comparison.rounds import Contest, panels_at, with_controls
from corrinit.lab.comparison.tuning import SEEDS as TUNING_SEEDS
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.runs.design import Design, designs, plan
from corrinit.lab.runs.endpoints import TEST_ACCURACY as ENDPOINT
from corrinit.lab.runs.table import Runs

SEEDS = 4
BASE = RunConfig(epochs=2)
ARMS = with_controls([Initialization("correlated")])


def contest(copies=SEEDS, arms=ARMS):
    return Contest(
        base=BASE.setting, panels=panels_at((0.1,), arms), seeds=SEEDS, max_seeds=SEEDS, placebo=copies
    )


def runs_of(wanted, lost=()):
    """Runs with the accuracies that a network without any effect of the arm would have."""
    rng = np.random.default_rng(3)
    records = [handmade(config, float(np.round(rng.normal(0.6, 0.01), 4))) for config in wanted.opening()]
    records = [
        replace(each, result=replace(each.result, diverged=True)) if each.seed in lost else each
        for each in records
    ]
    design = Design(frozenset({SEEDS}), placebo=frozenset(wanted.placebo))
    return Runs(records, {records[0].setting: design})


def test_a_placebo_leaves_the_runs_of_the_arms_as_they_are():
    bare, more = contest(()).opening(), contest(placebo_seeds(SEEDS)).opening()
    assert more[: len(bare)] == bare
    added = more[len(bare) :]
    assert [config.seed for config in added] == list(placebo_seeds(SEEDS))
    assert {config.initialization for config in added} == {contest().baseline}
    assert not {config.seed for config in added} & {*range(10**6), *TUNING_SEEDS}


@pytest.mark.parametrize("arms", [ARMS, ARMS[:2]], ids=["variances borrow", "too few arms to borrow"])
def test_the_verdicts_on_arms_are_those_without_it(arms):
    with_it = runs_of(contest(placebo_seeds(SEEDS), arms))
    (beside,) = compare(with_it)
    (bare,) = compare(with_it.where(lambda record: record.seed < SEEDS))
    assert bare.placebo == ()
    assert placebo(bare) is None
    assert standings(beside) == standings(bare)
    row = placebo(beside)
    assert row.gain.size == 1
    assert row.gain.p == row.gain.p_adjusted
    assert {each.gain.size for each in standings(beside) if each.gain} == {len(arms) - 1}
    mean = np.mean(list(row.sample.values.values())) - np.mean(
        list(beside.sample(beside.baseline, ENDPOINT).values.values())
    )
    assert row.gain.mean == pytest.approx(mean, abs=1e-12)


def test_a_placebo_that_diverged_takes_nothing_from_the_baseline():
    (found,) = compare(runs_of(contest(placebo_seeds(SEEDS)), lost=[placebo_seeds(SEEDS)[1]]))
    assert found.diverged == {}
    assert all(each.gain.fair for each in standings(found) if each.gain)
    row = placebo(found)
    assert not row.gain.fair
    assert "compared with nothing" in placebo_in_words(row)[0]


def test_a_report_over_a_folder_knows_which_runs_are_the_placebo(tmp_path):
    wanted = contest(placebo_seeds(SEEDS))
    plan(tmp_path, wanted.opening(), seeds=SEEDS, placebo=wanted.placebo)
    plan(tmp_path, wanted.opening(), seeds=SEEDS)  # without one, later
    found = Runs(runs_of(wanted).records, designs([tmp_path]))
    page = write_report(compared(found), tmp_path / "page.html", command="").read_text()
    assert "placebo" in page
    assert "from itself" in page
    (comparison,) = compare(found)
    assert {len(arm.runs) for arm in comparison.arms} == {SEEDS}
    assert len(comparison.placebo) == SEEDS


@pytest.mark.statistical
def test_the_interval_of_a_placebo_covers_0_as_often_as_it_says():
    """Binomial with 400 trials of 0.05: below 5 or above 40 with a chance of 2 in 10,000."""
    rng = np.random.default_rng(11)
    wanted = contest(placebo_seeds(SEEDS))
    configs = wanted.opening()
    ids = [handmade(config, 0.5) for config in configs]
    missed = 0
    for _ in range(400):
        records = [
            replace(each, result=replace(each.result, endpoints={"test_accuracy": float(value)}))
            for each, value in zip(ids, rng.normal(0.6, 0.01, len(ids)), strict=True)
        ]
        design = Design(frozenset({SEEDS}), placebo=frozenset(wanted.placebo))
        (found,) = compare(Runs(records, {records[0].setting: design}))
        missed += placebo(found).gain.decided
    assert 5 <= missed <= 40


def test_compare_runs_one_unless_told_not_to(run):
    fast = ("--epochs", "1", "--jobs", "1", "--width", "0.1", "--methods", "orthogonal", "--seeds", "2")
    first = run("compare", *fast)
    assert first.code == 0, first.err
    assert "placebo" in first.out
    assert len(list(Path("runs").glob("*/result.json"))) == 6
    again = run("compare", *fast)
    assert "6 of 6 runs are finished already" in again.err
    assert again.out == first.out
    assert "placebo" not in run("compare", *fast, "--no-placebo").out.replace("--no-placebo", "")
    assert run("report", "runs", "-o", "later.html").code == 0
    assert "from itself" in Path("later.html").read_text()
