"""Which runs a comparison asks for: the same seeds for all, then more where the answer is open."""

from dataclasses import replace

import numpy as np
import pytest
from tests.lab.handmade import handmade

from corrinit.errors import ConfigError
from corrinit.lab.comparison.rounds import Contest, panels_at, panels_at_best, with_controls
from corrinit.lab.experiment.arm import BASELINE
from corrinit.lab.experiment.config import Initialization, RunConfig

CORRELATED = Initialization("correlated", "paper")
ORTHOGONAL = Initialization("orthogonal")
BASE = RunConfig(epochs=1)


def played(configs, gains, *, diverged=()):
    """Records of runs whose accuracy is that of their seed, the gain of their arm, and a little noise."""
    records = []
    for config in configs:
        noise = np.random.default_rng([config.seed, len(config.initialization.method)]).normal(scale=0.002)
        accuracy = 0.6 + 0.05 * np.sin(config.seed) + gains.get(config.initialization, 0.0) + noise
        loss = float("nan") if config.initialization in diverged else 1.0
        records.append(handmade(config, accuracy, loss=loss))
    return records


def play(contest, gains, **options):
    """All runs of a contest, round by round."""
    configs = list(contest.opening())
    while more := contest.following(played(configs, gains, **options)):
        configs += more
    return configs


def seeds(configs, arm):
    return sorted(config.seed for config in configs if config.initialization == arm)


def test_every_arm_gets_the_same_seeds_at_every_rate_those_of_the_first_seed_first():
    arms = (BASELINE, CORRELATED)
    runs = Contest(BASE, panels_at([0.1, 0.005], arms), seeds=2, max_seeds=2).opening()
    assert {(run.initialization, run.lr, run.seed) for run in runs} == {
        (arm, lr, seed) for arm in arms for lr in (0.1, 0.005) for seed in (0, 1)
    }
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)


def test_nothing_follows_a_fixed_number_of_seeds():
    contest = Contest(BASE, panels_at([0.1], (BASELINE, CORRELATED)), seeds=3, max_seeds=3)
    assert contest.following(played(contest.opening(), {})) == ()


def test_seeds_go_where_the_answer_is_open():
    """Correlated gains 5 points and is decided; orthogonal gains 0.4, too little and too much to tell."""
    arms = (BASELINE, CORRELATED, ORTHOGONAL)
    contest = Contest(BASE, panels_at([0.1], arms), seeds=3, max_seeds=8)
    runs = play(contest, {CORRELATED: 0.05, ORTHOGONAL: 0.004})
    assert len(seeds(runs, CORRELATED)) < len(seeds(runs, ORTHOGONAL)) <= 8
    assert seeds(runs, BASELINE) == seeds(runs, ORTHOGONAL)
    assert len(runs) == len(set(runs))


def test_a_diverged_arm_gets_no_more_seeds_and_the_others_go_on():
    arms = (BASELINE, CORRELATED, ORTHOGONAL)
    contest = Contest(BASE, panels_at([0.1], arms), seeds=2, max_seeds=6)
    runs = play(contest, {CORRELATED: 0.004}, diverged=(ORTHOGONAL,))
    assert seeds(runs, ORTHOGONAL) == [0, 1]
    assert len(seeds(runs, CORRELATED)) > 2


def test_a_diverged_baseline_ends_the_contest():
    contest = Contest(BASE, panels_at([0.1], (BASELINE, CORRELATED)), seeds=2, max_seeds=6)
    assert contest.following(played(contest.opening(), {}, diverged=(BASELINE,))) == ()


@pytest.mark.parametrize(("seeds", "most"), [(0, 5), (3, 2)])
def test_impossible_numbers_of_seeds_are_errors(seeds, most):
    with pytest.raises(ConfigError, match="seeds is"):
        Contest(BASE, panels_at([0.1], (BASELINE,)), seeds, most)


def test_a_correlated_arm_at_hes_scale_is_no_two_by_two():
    at_he = Initialization("correlated", "he")
    assert with_controls([at_he]) == (BASELINE, at_he)


def test_a_correlated_arm_is_completed_to_its_two_by_two():
    half = Initialization("correlated", strength=0.5)
    assert with_controls([ORTHOGONAL, half]) == (
        BASELINE,
        ORTHOGONAL,
        replace(half, scale="paper"),
        replace(half, method="kaiming_normal", scale="paper"),
        replace(half, scale="he"),
    )


def test_arms_meet_at_the_baselines_best_rate_and_each_at_its_own():
    common, own = panels_at_best({BASELINE: 0.1, CORRELATED: 0.03}, (BASELINE, CORRELATED))
    assert common == {BASELINE: 0.1, CORRELATED: 0.1}
    assert own == {BASELINE: 0.1, CORRELATED: 0.03}
    assert len(panels_at_best({BASELINE: 0.1, CORRELATED: 0.1}, (BASELINE, CORRELATED))) == 1


def test_an_arm_that_diverged_at_every_rate_is_left_out_of_its_best():
    common, own = panels_at_best({BASELINE: 0.1}, (BASELINE, CORRELATED))
    assert set(common) == {BASELINE, CORRELATED}
    assert set(own) == {BASELINE}


def test_a_baseline_that_always_diverged_is_an_error():
    with pytest.raises(ConfigError, match="diverged at every learning rate"):
        panels_at_best({CORRELATED: 0.1}, (BASELINE, CORRELATED))
