"""What a user reads first: the recommendation, the verdicts and the tables."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from handmade import handmade

from corrinit.lab.arms import Initialization
from corrinit.lab.comparison import BASELINE, label
from corrinit.lab.conclusions import conclusions
from corrinit.lab.config import RunConfig
from corrinit.lab.tuning import SEED

CORRELATED = Initialization("correlated", "paper")
SMALL = Initialization("kaiming_normal", "correlated")
AT_HE = Initialization("correlated", "he")
ORTHOGONAL = Initialization("orthogonal")
BASE = RunConfig(epochs=4)


def runs(gains, *, seeds=range(5), diverged=()):
    """Runs whose accuracy is 60 % plus the gain of the arm, effects of seeds, and noise of 0.1 points."""
    noise = np.random.default_rng(0).normal(scale=0.001, size=(len(gains), len(seeds)))
    return [
        handmade(
            replace(BASE, initialization=arm, seed=seed),
            0.6 + gain + 0.02 * np.sin(seed) + noise[row, seed],
            loss=float("nan") if (arm, seed) in diverged else 1.0,
        )
        for row, (arm, gain) in enumerate(gains.items())
        for seed in seeds
    ]


@pytest.fixture(autouse=True)
def undrawn():
    with mock.patch("corrinit.lab.figures.figure_svg", return_value="<svg></svg>"):
        yield


def text(records, **options):
    (section,) = conclusions(records, **options)
    return " ".join(section.paragraphs)


def test_the_best_of_the_arms_that_win_is_recommended_with_its_line():
    said = text(runs({BASELINE: 0, CORRELATED: 0.02, ORTHOGONAL: 0.04}))
    assert "Most accurate of those that beat kaiming_normal: orthogonal." in said
    assert 'corrinit.initialize(model, method="orthogonal", seed=0)' in said


def test_without_a_winner_the_baseline_is_kept():
    said = text(runs({BASELINE: 0, ORTHOGONAL: -0.03}))
    assert "No initialization was found to be better than kaiming_normal" in said


def test_the_share_of_the_scale_is_told():
    said = text(runs({BASELINE: 0, SMALL: 0.01, AT_HE: 0.01, CORRELATED: 0.03}))
    assert "of these 3.0 points are scale" in said.replace("3.00", "3.0").replace("2.9", "3.0")
    assert "kaiming_normal, small scale: " not in said


def test_an_arm_that_diverged_is_no_candidate():
    gains = {BASELINE: 0, ORTHOGONAL: 0.05}
    said = text(runs(gains, diverged=[(ORTHOGONAL, 1)]))
    assert "orthogonal diverged in 1 of 5 runs (seed 1)" in said
    assert "No initialization was found to be better" in said


def test_the_target_can_be_chosen():
    records = runs({BASELINE: 0, ORTHOGONAL: 0.01})
    (section,) = conclusions(records, target=0.5)
    assert any(item.title == "Time to 50 % test accuracy" for item in section.items)


def test_sequential_intervals_are_wider():
    records = runs({BASELINE: 0, ORTHOGONAL: 0.01})
    fixed, anytime = (conclusions(records, sequential=each)[0].items[0] for each in (False, True))
    low, high = (float(t.rows[1][4].partition(" to ")[0]) for t in (anytime, fixed))
    assert low < high
    assert "anytime-valid" in anytime.caption


def test_without_the_baseline_nothing_is_compared():
    assert f"No run of {label(BASELINE)} is finished" in text(runs({ORTHOGONAL: 0}))


def test_if_all_runs_diverge_it_says_so():
    everything = [(arm, seed) for arm in (BASELINE, ORTHOGONAL) for seed in range(5)]
    assert text(runs({BASELINE: 0, ORTHOGONAL: 0}, diverged=everything)) == "All 10 runs diverged."


def test_learning_rates_that_were_chosen_are_shown():
    tried = [
        handmade(replace(BASE, initialization=BASELINE, lr=lr, seed=SEED, tested_on="held_out"), accuracy)
        for lr, accuracy in ((0.01, 0.5), (0.1, 0.6))
    ]
    sections = conclusions([*runs({BASELINE: 0, ORTHOGONAL: 0}), *tried])
    assert sections[-1].title == "Learning rates"
    assert sections[-1].items[0].rows == (("kaiming_normal", "50.00", "60.00", "0.1"),)
