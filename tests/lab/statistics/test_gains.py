"""Epochs to a target, and what part of a gain is scale: worked by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrinit.lab.statistics.anytime import sequential
from corrinit.lab.statistics.gains import default_target, epochs_saved, epochs_to, scale_share, seconds_to

accuracies = st.lists(st.integers(0, 100).map(lambda n: n / 100), min_size=1, max_size=8)


def test_epochs_to_counts_from_one_and_takes_the_first():
    assert epochs_to([0.8, 0.7, 0.9], 0.8) == 1
    assert epochs_to([0.1, 0.8, 0.7, 0.9], 0.8) == 2
    assert epochs_to([0.1, 0.2], 0.8) is None
    assert epochs_to([math.nan, 0.8], 0.8) == 2


def test_seconds_are_those_at_the_end_of_the_epoch():
    assert seconds_to([0.1, 0.8, 0.9], [10.0, 20.5, 31.0], 0.8) == 20.5
    assert seconds_to([0.1], [10.0], 0.8) is None


@given(st.lists(accuracies, min_size=1, max_size=5))
def test_every_baseline_run_reaches_the_default_target_and_none_is_left_out_by_one_percent_more(curves):
    target = default_target(curves)
    assert all(epochs_to(curve, target) for curve in curves)
    assert not all(epochs_to(curve, (round(100 * target) + 1) / 100) for curve in curves)


def test_without_a_baseline_there_is_no_target():
    with pytest.raises(ValueError, match="no finished runs"):
        default_target([])


def test_epochs_saved_pairs_the_seeds_for_which_both_reach_the_target():
    ours = {0: [0.8, 0.9], 1: [0.5, 0.8], 2: [0.1, 0.2], 3: [0.9, 0.9], 9: [0.9, 0.9]}
    theirs = {0: [0.5, 0.8], 1: [0.8, 0.8], 2: [0.8, 0.9], 3: [0.5, 0.6], 8: [0.9, 0.9]}
    saved = epochs_saved(ours, theirs, 0.8)
    assert saved.difference is not None
    assert (saved.difference.n, saved.difference.mean) == (2, 0)  # one earlier, one later
    assert (saved.not_reached, saved.baseline_not_reached, saved.runs) == ((2,), (3,), 4)


def test_epochs_saved_can_be_estimated_for_stopping_at_any_time():
    curves, baseline = ({seed: [0.0] * wait + [1.0] for seed in range(5)} for wait in (2, 5))
    saved = epochs_saved(curves, baseline, 0.5, difference=sequential)
    assert saved.difference == sequential([6] * 5, [3] * 5)


def test_no_common_seed_leaves_nothing_to_pair():
    saved = epochs_saved({0: [0.9]}, {1: [0.9]}, 0.8)
    assert (saved.difference, saved.runs) == (None, 0)


VALUES = {
    "base": {0: 0.70, 1: 0.71, 2: 0.72},
    "base at the scale": {0: 0.75, 1: 0.76, 2: 0.77},
    "arm at He's": {0: 0.72, 1: 0.73, 2: 0.74},
    "arm": {0: 0.79, 1: 0.80, 2: 0.81},
}


def split(values, same="base at the scale", he="arm at He's"):
    return scale_share(values, "arm", "base", same_scale=same, he_scale=he)


def test_the_baseline_at_the_scale_of_the_arm_tells_scale_from_structure():
    share = split(VALUES)
    assert share is not None
    assert (share.control, share.at_he) == ("base at the scale", False)
    assert (share.scale.mean, share.structure.mean) == pytest.approx((0.05, 0.04))


def test_the_arm_at_he_scale_does_it_where_the_other_control_is_missing():
    share = split({name: VALUES[name] for name in ("base", "arm at He's", "arm")})
    assert share is not None
    assert (share.control, share.at_he) == ("arm at He's", True)
    assert (share.scale.mean, share.structure.mean) == pytest.approx((0.07, 0.02))


def test_parts_add_up_to_the_gain_over_the_seeds_that_all_have():
    share = split(VALUES | {"base at the scale": {1: 0.9, 2: 0.5, 7: 0.1}})
    assert share is not None
    assert share.scale.n == share.structure.n == 2
    assert share.scale.mean + share.structure.mean == pytest.approx(0.09)


def test_without_a_control_nothing_is_told_apart():
    assert split({name: VALUES[name] for name in ("base", "arm")}) is None
    assert split(VALUES | {"base at the scale": {9: 0.7}, "arm at He's": {9: 0.7}}) is None
    assert split(VALUES, same=None, he=None) is None
