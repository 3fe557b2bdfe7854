"""Statistics: against scipy, against hand-worked examples, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import t as student
from scipy.stats import ttest_rel

from corrinit.lab.statistics.anytime import sequential
from corrinit.lab.statistics.paired import PRECISION, holm, paired_difference, resolution, summary, t_test

scores = arrays(np.float64, (4, 5), elements=st.integers(0, 1000).map(lambda n: n / 1000))


def test_summary_is_mean_and_sample_deviation():
    result = summary([2.0, 4.0, 9.0])
    assert (result.mean, result.n) == (5.0, 3)
    assert result.sd == pytest.approx(math.sqrt((9 + 1 + 16) / 2))


def test_one_value_has_no_deviation():
    assert math.isnan(summary([0.5]).sd)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_paired_difference_agrees_with_scipy(n, level):
    a, b = np.random.default_rng(n).normal(size=(2, n))
    expected = ttest_rel(a, b)
    result = paired_difference(a, b, level=level)
    assert result.p == pytest.approx(expected.pvalue, rel=1e-12)
    assert (result.low, result.high) == pytest.approx(tuple(expected.confidence_interval(level)), rel=1e-9)
    assert result.mean == pytest.approx((a - b).mean())


def test_interval_worked_by_hand():
    # Differences 1, 2, 3: mean 2, sd 1, t = 4.302653 for 2 degrees of freedom.
    result = paired_difference([2, 4, 6], [1, 2, 3])
    assert (result.low, result.high) == pytest.approx(
        (2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-6
    )


@pytest.mark.statistical
def test_intervals_cover_the_true_difference_as_often_as_they_say():
    """4,000 experiments of 5 seeds; the count is within 4 deviations of 95 %: false alarm 6e-5."""
    generator = np.random.default_rng(0)
    seed_effects = generator.normal(scale=3.0, size=(4000, 5))
    a = seed_effects + generator.normal(loc=0.7, size=(4000, 5))
    b = seed_effects + generator.normal(size=(4000, 5))
    covered = sum((r := paired_difference(*pair)).low <= 0.7 <= r.high for pair in zip(a, b, strict=True))
    assert abs(covered - 3800) < 4 * math.sqrt(4000 * 0.95 * 0.05)


def test_one_pair_decides_nothing():
    result = paired_difference([0.9], [0.1])
    assert result.mean == pytest.approx(0.8)
    assert all(math.isnan(value) for value in (result.sd, result.low, result.high, result.p))


def test_equal_differences_are_known_to_the_resolution_of_the_values_alone():
    # Of 50 images, 25 and 12, 20 and 7 are right: differences of 13 steps with the spread of rounding.
    found = paired_difference([0.50, 0.40], [0.24, 0.14])
    t = 0.26 * 2**0.5 / (0.02 / 6**0.5)
    assert found.p == pytest.approx(2 * student.sf(t, 1))
    assert found.high - found.mean == pytest.approx(student.ppf(0.975, 1) * 0.02 / 6**0.5 / 2**0.5)
    assert (found.sd, found.p > 0.01) == (pytest.approx(0, abs=1e-12), True)


def test_equal_values_are_no_difference():
    same = paired_difference([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    assert (same.mean, same.p) == (0, 1)
    assert same.low < 0 < same.high


@given(st.integers(2, 2000), st.lists(st.integers(0, 10**6), min_size=8, max_size=20), st.booleans())
def test_the_resolution_is_found_of_accuracies_in_double_and_single_precision(images, counts, single):
    right = [count % (images + 1) for count in counts]
    if len(set(right)) == 1:
        return
    accuracies = np.array(right) / images
    common = math.gcd(images, *right)
    found = resolution(accuracies.astype(np.float32) if single else accuracies)
    assert found == pytest.approx(common / images)


def test_values_that_lie_on_no_grid_are_resolved_to_single_precision():
    assert resolution(np.random.default_rng(0).normal(size=12)) < 1e-6


@pytest.mark.parametrize("estimate", [paired_difference, sequential])
def test_values_that_are_all_equal_exclude_no_difference(estimate):
    # Every run right on all of, say, 10 images: nothing tells how many there were.
    same = estimate([1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    assert (same.mean, same.p) == (0, 1)
    assert same.low < -0.01 < 0.01 < same.high


def test_opposite_values_are_not_taken_for_certain():
    assert paired_difference([0.5, 0.5], [-0.5, -0.5]).p > 0.05


def test_many_samples_at_once_are_the_same_as_one_by_one():
    values = np.random.default_rng(0).integers(0, 51, size=(2, 100, 3)) / 50
    low, high, p = t_test(values[0] - values[1], 0.02)
    for row, (a, b) in enumerate(zip(*values, strict=True)):
        one = paired_difference(a, b, step=0.02)
        assert (low[row], high[row], p[row]) == pytest.approx((one.low, one.high, one.p))


@pytest.mark.parametrize("values", [[], [[1.0]], [1.0, math.nan], [math.inf]])
def test_values_that_have_no_statistics_are_refused(values):
    with pytest.raises(ValueError, match="one or more finite numbers"):
        summary(values)


def test_vectors_of_different_length_cannot_be_paired():
    with pytest.raises(ValueError, match="3 and 1 values cannot be paired"):
        paired_difference([1, 2, 3], [1])


def test_holm_worked_by_hand():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04; the last may not decrease.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_holm_stops_at_one_and_passes_over_undefined_tests():
    adjusted = holm([0.6, math.nan, 0.5])
    assert adjusted[0] == adjusted[2] == 1.0
    assert math.isnan(adjusted[1])
    assert holm([]).shape == (0,)


def test_holm_takes_many_families_at_once():
    families = np.random.default_rng(0).uniform(size=(50, 4))
    families[::3, 2] = np.nan
    assert np.array_equal(holm(families), [holm(family) for family in families], equal_nan=True)


@pytest.mark.statistical
def test_holm_keeps_the_chance_of_any_false_discovery():
    """2,000 families of 5 true nulls at level 0.05; at most 5 % + 4 deviations reject: false alarm 3e-5."""
    families = np.random.default_rng(1).uniform(size=(2000, 5))
    wrong = sum(min(holm(family.tolist())) < 0.05 for family in families)
    assert wrong < 2000 * 0.05 + 4 * math.sqrt(2000 * 0.05 * 0.95)


@pytest.mark.parametrize("size", [1.0, 0.1])
def test_values_on_no_grid_have_the_resolution_of_single_precision(size):
    values = size * np.array([np.pi, np.e, np.sqrt(2)]) / 4
    assert resolution(values) == pytest.approx(PRECISION * values.max())


def test_no_difference_that_is_exact_is_none_for_certain():
    low, high, p = t_test(np.array([[0.0, 0.0, 0.0], [1.0, 2.0, np.nan]]), 0.0)
    assert (low[0], high[0], p[0]) == (0, 0, 1)
    assert np.isnan([low[1], high[1], p[1]]).all()


def test_values_that_are_all_zero_are_whole_numbers():
    assert resolution([0.0, 0.0]) == 1
