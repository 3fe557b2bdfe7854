"""How many seeds would settle a difference, and when a curve reaches a target."""

import math

import numpy as np
import pytest

from corrinit.lab.statistics.contrast import Inference
from corrinit.lab.statistics.planning import MOST, baseline_seeds, pairing_ratio, power, seeds_to_settle
from corrinit.lab.statistics.targets import crossing, epochs_to, seconds_to


def test_the_number_of_seeds_is_the_first_that_decides():
    assert [seeds_to_settle(0.01, sd, 3, family=1) for sd in (0.005, 0.01, 0.02)] == [6, 16, 54]
    assert [seeds_to_settle(-0.01, sd, 3, family=1) for sd in (0.005, 0.01, 0.02)] == [6, 16, 54]
    assert seeds_to_settle(0.01, 0.01, 3, family=4) > 16
    assert seeds_to_settle(0.01, 0.01, 20, family=1) == 21  # one more than there are


@pytest.mark.parametrize(
    ("mean", "sd"), [(0.0, 0.01), (0.01, 0.0), (0.01, -1.0), (math.nan, 0.01), (0.01, math.inf), (1e-6, 1.0)]
)
def test_what_cannot_be_settled_has_no_number(mean, sd):
    assert seeds_to_settle(mean, sd, 3, family=1) is None


def test_a_number_beyond_the_most_is_none():
    found = [seeds_to_settle(0.01, sd / 1000, 3, family=1) for sd in range(30, 80)]
    assert max(each for each in found if each) <= MOST
    assert found[-1] is None


def test_a_target_is_reached_at_the_first_epoch_that_is_not_below_it():
    curve = [0.3, 0.5, 0.4, 0.6]
    assert [epochs_to(curve, target) for target in (0.1, 0.5, 0.55, 0.7)] == [1, 2, 4, None]
    assert epochs_to([math.nan, 0.5], 0.2) == 2


def test_the_time_is_that_of_the_end_of_this_epoch():
    curve, seconds = [0.3, 0.5, 0.6], [1.5, 3.0, 4.5]
    assert [seconds_to(curve, seconds, target) for target in (0.1, 0.5, 0.7)] == [1.5, 3.0, None]


def test_two_hundred_seeds_are_the_most():
    close = [seeds_to_settle(0.01, sd, 190, family=1) for sd in (0.03794, 0.03796)]
    assert close == [200, None]


def test_a_crossing_lies_on_the_line_between_two_epochs():
    curve = np.array([0.25, 0.5, 0.75])
    assert [crossing(curve, target) for target in (0.2, 0.25, 0.375, 0.625, 0.8)] == [1, 1, 1.5, 2.5, None]


def test_pairing_is_as_good_as_seeds_have_in_common():
    """By hand: variances 1 and 1, covariance 1/2 of (1, 2, 3) and (1, 3, 2)."""
    assert pairing_ratio([[1, 2, 3], [1, 3, 2]]) == pytest.approx(0.5)
    assert pairing_ratio([[1, 2, 3], [1, 3, 2], [1, 2, 3]]) == pytest.approx(1 - (0.5 + 1 + 0.5) / 3)
    assert [baseline_seeds(5, conditions) for conditions in (1, 2, 4)] == [5, 8, 10]


@pytest.mark.parametrize(("sd", "seeds"), [(0.0, 5), (-1.0, 5), (math.nan, 5), (1.0, 1)])
def test_without_noise_or_a_second_seed_there_is_no_power_to_tell(sd, seeds):
    assert math.isnan(power(1.0, sd, seeds))


def test_power_begins_at_two_seeds():
    assert 0.05 < power(1.0, 1.0, 2) < 0.2


def test_power_at_any_time_is_below_that_of_a_fixed_number():
    """By 2,000 simulated studies; of copies at most α, which 2,000 keep with a fixed seed."""
    anytime, fixed = (power(1.0, 1.0, 17, inference=each) for each in (Inference.ANYTIME, Inference.FIXED))
    assert 0.2 < anytime < fixed - 0.05
    assert power(0.0, 1.0, 17, inference=Inference.ANYTIME) <= 0.05


@pytest.mark.parametrize("inference", Inference)
def test_power_is_of_the_effect_in_deviations(inference):
    assert power(2.0, 2.0, 12, inference=inference) == pytest.approx(power(1.0, 1.0, 12, inference=inference))
