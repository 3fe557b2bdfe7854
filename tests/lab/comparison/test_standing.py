"""Standings: who is compared over which seeds, what is tested, and the table."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrinit.lab.comparison.standing import Terms, standings, text_table, unstable, verdicts
from corrinit.lab.comparison.verdict import unstable_in_words
from corrinit.lab.document.numbers import POINTS, Unit
from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.statistics.paired import holm, paired_difference

ARMS = {
    "kaiming_normal": Initialization("kaiming_normal"),
    "correlated": Initialization("correlated"),
    "orthogonal": Initialization("orthogonal"),
    "small": Initialization("kaiming_normal", "correlated"),
    "measured": Initialization("correlated", "measured"),
}
BASE = {0: 0.70, 1: 0.72, 2: 0.71, 3: 0.70}


def setting(*, anytime=False, unit=POINTS, lower_is_better=False):
    return Terms(ARMS, "kaiming_normal", "accuracy", unit, lower_is_better, anytime, indifference=0.005)


def better_by(*differences):
    return {seed: BASE[seed] + difference for seed, difference in enumerate(differences)}


def rows_of(values, **options):
    return {row.arm: row for row in standings({"kaiming_normal": BASE} | values, setting(**options))}


def test_pairs_are_the_seeds_that_both_finished():
    row = rows_of({"correlated": {3: 0.75, 1: 0.74, 9: 0.9}})["correlated"]
    assert row.difference == paired_difference([0.74, 0.75], [0.72, 0.70])
    assert row.values is not None
    assert (row.values.n, row.runs) == (3, 3)


def test_p_values_are_corrected_for_the_arms_that_are_tested():
    values = {
        "correlated": better_by(0.02, 0.03, 0.02, 0.03),
        "orthogonal": better_by(0.01, -0.01, 0.01, 0.0),
        "small": better_by(0.5, 0.5, 0.5, math.nan),
    }
    rows = rows_of(values)
    raw = [
        paired_difference(list(values[arm].values()), list(BASE.values())).p
        for arm in ("correlated", "orthogonal")
    ]
    assert (rows["correlated"].p, rows["orthogonal"].p) == tuple(holm(raw))
    assert (rows["small"].diverged, math.isnan(rows["small"].p)) == ((3,), True)
    assert math.isnan(rows["kaiming_normal"].p)


def test_a_seed_for_which_the_baseline_diverged_is_left_out():
    values = {"kaiming_normal": BASE | {1: math.inf}, "correlated": better_by(0.02, 0.03, 0.02, 0.03)}
    correlated = standings(values, setting())[1]
    assert correlated.difference is not None
    assert (correlated.difference.n, correlated.diverged) == (3, ())
    text = verdicts(standings(values, setting()), values, {}, setting())
    assert text.startswith("kaiming_normal diverged in 1 of 4 runs (seed 1).")


@pytest.mark.parametrize("anytime", [False, True])
def test_nothing_is_tested_against_the_survivors_of_a_baseline_that_diverged(anytime):
    """Its two worst runs are lost: against the others a copy of it looks worse."""
    values = {
        "kaiming_normal": {0: 0.70, 1: math.nan, 2: math.nan, 3: 0.71, 4: 0.72},
        "correlated": dict(enumerate([0.69, 0.70, 0.71, 0.695, 0.70])),
    }
    row = standings(values, setting(anytime=anytime))[1]
    assert (row.fair, row.decided, row.answer, math.isnan(row.p)) == (False, False, None, True)
    rows = standings(values, setting(anytime=anytime))
    assert "which is no fair sample, as the baseline diverged" in verdicts(rows, values, {}, setting())
    assert "no fair sample" in text_table(rows, setting()).splitlines()[-1]


def test_a_baseline_that_diverged_on_a_seed_of_its_own_is_no_fair_sample_either():
    values = {
        "kaiming_normal": BASE | {4: math.nan},
        "correlated": better_by(0.02, 0.03, 0.02, 0.03),
    }
    assert not standings(values, setting())[1].fair


def test_equal_differences_are_not_certain():
    """Two seeds on 50 images that happen to gain 2 points each, among copies."""
    values = {
        "kaiming_normal": {0: 0.70, 1: 0.72},
        "correlated": {0: 0.72, 1: 0.74},
        "orthogonal": {0: 0.66, 1: 0.74},
    }
    row = standings(values, setting())[1]
    assert row.p > 0.3
    assert not row.decided


@given(st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=3, max_size=3))
def test_what_is_decided_has_an_interval_that_excludes_zero(counts):
    arms = ("kaiming_normal", "correlated", "orthogonal")
    values = {
        arm: dict(enumerate(count / 50 for count in own)) for arm, own in zip(arms, counts, strict=True)
    }
    for anytime in (False, True):
        for row in standings(values, setting(anytime=anytime))[1:]:
            assert row.difference is not None
            assert not row.decided or row.difference.low > 0 or row.difference.high < 0


def test_seeds_that_end_anywhere_are_called_unstable():
    values = {
        "kaiming_normal": dict(enumerate([0.10, 0.97, 0.50])),
        "correlated": dict(enumerate([0.80, 0.81, 0.83])),
        "orthogonal": dict(enumerate([0.10, 0.55, math.nan])),
    }
    found = unstable(standings(values, setting()), values)
    assert found == {"kaiming_normal": (0.10, 0.97), "orthogonal": (0.10, 0.55)}
    text = unstable_in_words(found, "choose one with --lr auto")
    assert "for kaiming_normal anywhere from 10.0 to 97.0 %, orthogonal anywhere from 10.0 to 55.0 %" in text
    assert text.endswith(
        "Differences say little there, and with fewer than 5 seeds a test calls them real too often; choose "
        "one with --lr auto."
    )


def test_only_anytime_inference_answers():
    values = {
        "correlated": better_by(0.05, 0.051, 0.05, 0.049),
        "orthogonal": better_by(0.03, -0.03, 0.0, 0.02),
    }
    assert {row.answer for row in rows_of(values).values()} == {None}
    assert [row.answer for row in rows_of(values, anytime=True).values()] == [None, "different", "open"]


@pytest.mark.parametrize(
    ("arm", "control"),
    [
        ("correlated", "kaiming_normal:scale=paper"),
        ("orthogonal", "orthogonal:scale=he"),
        ("measured", "correlated:scale=he"),
        ("small", None),
    ],
)
def test_only_arms_with_a_scale_of_their_own_need_a_control(arm, control):
    values = {"kaiming_normal": BASE, arm: better_by(0.05, 0.051, 0.05, 0.049)}
    text = verdicts(standings(values, setting()), values, {}, setting())
    assert (f"add the arm {control}." in text) == (control is not None)
    assert ("told apart" in text) == (control is not None)


def test_the_control_that_is_there_is_found_by_what_it_is():
    values = {
        "kaiming_normal": BASE,
        "correlated": better_by(0.05, 0.051, 0.05, 0.049),
        "small": better_by(0.02, 0.021, 0.022, 0.02),
    }
    text = verdicts(standings(values, setting()), values, {}, setting())
    assert "2.1 of these 5.0 points are scale: small, at the same scale, gains +2.1 points" in text


def test_table_as_text():
    values = {
        "kaiming_normal": BASE,
        "correlated": better_by(0.05, 0.06, 0.05, math.nan),
        "orthogonal": {0: 0.9},
    }
    lines = text_table(standings(values, setting()), setting()).splitlines()
    assert [len(line.rstrip()) <= len(lines[1]) for line in lines]
    assert lines[2].split() == ["kaiming_normal", "70.75", "±", "0.96", "4"]
    assert lines[3].split()[:8] == ["correlated", "76.33", "±", "1.53", "3", "of", "4", "+5.3"]
    assert lines[4].split() == ["orthogonal", "90.00", "1", "+20.0", "points", "none", "yet"]


def test_table_of_another_metric_keeps_its_unit():
    values = {"kaiming_normal": {0: 1.25, 1: 1.5}, "correlated": {0: math.nan, 1: math.nan}}
    lines = text_table(standings(values, setting(unit=Unit())), setting(unit=Unit())).splitlines()
    assert lines[2].split()[:4] == ["kaiming_normal", "1.375", "±", "0.1768"]
    assert lines[3].split() == ["correlated", "diverged", "0", "of", "2"]
