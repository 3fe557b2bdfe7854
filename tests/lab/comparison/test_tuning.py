"""Learning rates, chosen from held-out images alone."""

from dataclasses import replace

import numpy as np
import pytest
from tests.lab.handmade import handmade

from corrinit.lab.comparison.groups import compare
from corrinit.lab.comparison.names import compared
from corrinit.lab.comparison.tuning import GRID, SEEDS, each_at_its_best, tuning_runs, tunings
from corrinit.lab.experiment.arm import BASELINE
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.runs.design import Design
from corrinit.lab.runs.endpoints import TEST_ACCURACY
from corrinit.lab.runs.table import Runs
from corrinit.lab.statistics.contrast import Inference

CORRELATED = Initialization("correlated", "paper")
BASE = RunConfig(epochs=1)


def tuned(accuracies):
    """Records of the runs that choose, from accuracies over the grid by arm."""
    by_run = {(arm, lr): a for arm, values in accuracies.items() for lr, a in zip(GRID, values, strict=True)}
    runs = tuning_runs(BASE, list(accuracies))
    return [
        handmade(run, accuracy, loss=float("nan") if np.isnan(accuracy) else 1.0)
        for run in runs
        for accuracy in [by_run[run.initialization, run.lr]]
    ]


def test_every_arm_is_tried_at_every_rate_on_held_out_images_with_seeds_of_their_own():
    runs = tuning_runs(BASE, [BASELINE, CORRELATED])
    assert {(run.initialization, run.lr) for run in runs} == {
        (arm, lr) for arm in (BASELINE, CORRELATED) for lr in GRID
    }
    assert {run.tested_on for run in runs} == {"held_out"}
    assert min(run.seed for run in runs) > 1000
    assert len(runs) == 3 * 2 * len(GRID)
    assert len(set(runs)) == len(runs)


def test_a_rate_that_was_lucky_once_is_not_chosen():
    """The mean over the seeds decides; of records with one seed, that one does."""
    by_seed = [[0, 0.90, 0.93, 0, 0], [0, 0.91, 0.55, 0, 0], [0, 0.89, 0.60, 0, 0]]
    records = [
        handmade(run, 0.01 + by_seed[run.seed - SEEDS[0]][GRID.index(run.lr)])
        for run in tuning_runs(BASE, [BASELINE])
    ]
    (found,) = tunings(records)
    assert found.best == {BASELINE: 0.01}
    assert found.accuracies[BASELINE][0.01] == pytest.approx(0.91)
    (old,) = tunings([record for record in records if record.config.seed == SEEDS[0]])
    assert old.best == {BASELINE: 0.03}


def test_the_best_rate_is_that_of_the_highest_accuracy_and_the_smallest_of_equals():
    records = tuned({BASELINE: [0.1, 0.2, 0.5, 0.4, 0.3], CORRELATED: [0.1, 0.6, 0.5, 0.6, 0.3]})
    (found,) = tunings(records)
    assert found.best == {BASELINE: 0.03, CORRELATED: 0.01}


def test_rates_at_which_a_run_diverged_are_never_chosen():
    nan = float("nan")
    (found,) = tunings(tuned({BASELINE: [0.1, 0.2, nan, nan, nan], CORRELATED: [nan] * 5}))
    assert found.best == {BASELINE: 0.01}


def test_runs_that_are_tested_on_test_images_choose_nothing():
    assert tunings([handmade(BASE, 0.5)]) == ()


def test_settings_are_told_apart():
    other = [
        handmade(replace(record.config, epochs=1, width=0.25), 0.5)
        for record in tuned({BASELINE: [0.1, 0.2, 0.5, 0.4, 0.3]})
    ]
    found = tunings([*tuned({BASELINE: [0.1, 0.2, 0.5, 0.4, 0.3]}), *other])
    assert sorted(tuning.best[BASELINE] for tuning in found) == [0.003, 0.03]


@pytest.fixture
def runs():
    return [
        handmade(replace(BASE, initialization=arm, lr=lr, seed=seed), 0.5 + lr + 0.01 * seed)
        for arm in (BASELINE, CORRELATED)
        for lr in (0.03, 0.1)
        for seed in (0, 1)
    ]


def test_each_arm_is_compared_at_its_own_best(runs):
    (found,) = tunings(tuned({BASELINE: [0, 0, 1, 0, 0], CORRELATED: [0, 0, 0, 1, 0]}))
    comparison = each_at_its_best(compare(Runs(runs)), found)
    assert {arm.initialization: arm.runs[0].config.lr for arm in comparison.arms} == {
        BASELINE: 0.03,
        CORRELATED: 0.1,
    }
    baseline, correlated = comparison.arms
    assert comparison.find(BASELINE) is baseline
    ours, theirs = (arm.sample(TEST_ACCURACY).values for arm in (correlated, baseline))
    assert ours[1] - theirs[1] == pytest.approx(0.07)


def test_what_is_known_of_the_runs_goes_along(runs):
    """The runs that diverged, and the seeds that were planned, at the rates that were chosen."""
    (found,) = tunings(tuned({BASELINE: [0, 0, 1, 0, 0], CORRELATED: [0, 0, 0, 1, 0]}))
    lost = [
        handmade(replace(BASE, initialization=CORRELATED, lr=lr, seed=2), 0.1, loss=float("nan"))
        for lr in (0.03, 0.1)
    ]
    designs = {
        replace(BASE, lr=0.03).setting: Design(frozenset({2})),
        replace(BASE, lr=0.1).setting: Design(frozenset({3})),
    }
    comparison = each_at_its_best(compare(Runs([*runs, *lost], designs)), found)
    assert comparison is not None
    assert [out.record.config.lr for out in comparison.left_out] == [0.1]
    assert comparison.design == Design(frozenset({2, 3}))
    assert comparison.inference is Inference.ANYTIME


def test_arms_that_are_run_for_their_best_rate_alone_make_no_setting_of_their_own(runs):
    tried = tuned({BASELINE: [0, 0, 1, 0, 0], CORRELATED: [0, 0, 0, 1, 0]})
    needed = [run for run in runs if run.config.lr == 0.03 or run.config.initialization == CORRELATED]
    assert list(compared(Runs([*tried, *needed])).comparisons) == [
        "digits, small, lr 0.03",
        "digits, small, each at its best learning rate",
    ]


def test_equal_rates_need_no_second_comparison(runs):
    (found,) = tunings(tuned({BASELINE: [0, 0, 0, 1, 0], CORRELATED: [0, 0, 0, 1, 0]}))
    assert each_at_its_best(compare(Runs(runs)), found) is None


def test_a_baseline_without_runs_at_its_rate_compares_with_nothing(runs):
    (found,) = tunings(tuned({BASELINE: [1, 0, 0, 0, 0], CORRELATED: [0, 0, 0, 1, 0]}))
    assert each_at_its_best(compare(Runs(runs)), found) is None
