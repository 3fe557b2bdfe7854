"""Contrasts of a comparison: who is compared over which seeds, what is tested, and what is said of it."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrinit.lab.comparison.contrasts import scale_shares, standings
from corrinit.lab.comparison.groups import Arm, Comparison
from corrinit.lab.comparison.time_to_accuracy import default_target, epochs_saved
from corrinit.lab.comparison.two_by_two import (
    AT_HE,
    AT_SMALL,
    CORRELATION,
    INTERACTION,
    OF_CORRELATED,
    OF_INDEPENDENT,
    SCALE,
    effect_weights,
    two_by_twos,
)
from corrinit.lab.comparison.verdict import text_table, unstable, unstable_in_words, verdicts
from corrinit.lab.document.numbers import Unit
from corrinit.lab.experiment.arm import BASELINE, Initialization
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.setting import Setting
from corrinit.lab.runs.design import Design
from corrinit.lab.runs.endpoints import TEST_ACCURACY
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.runs.result import RunResult
from corrinit.lab.statistics.contrast import Decision, Inference
from corrinit.lab.statistics.paired import holm, paired_difference
from corrinit.lab.statistics.targets import epochs_to, seconds_to

ARMS = {
    "kaiming_normal": Initialization("kaiming_normal"),
    "correlated": Initialization("correlated"),
    "orthogonal": Initialization("orthogonal"),
    "small": Initialization("kaiming_normal", "correlated"),
    "measured": Initialization("correlated", "measured"),
    "at He's": Initialization("correlated", "he"),
}
BASE = {0: 0.70, 1: 0.72, 2: 0.71, 3: 0.70}
LOSS = replace(TEST_ACCURACY, unit=Unit(), curve=lambda run: None)


def run_of(arm, seed, curve):
    metrics = tuple(
        {"epoch": epoch, "train_loss": 1.0, "test_accuracy": v} for epoch, v in enumerate(curve, 1)
    )
    return RunRecord(
        Path("run"),
        RunConfig(initialization=ARMS[arm], seed=seed),
        metrics,
        RunResult({"test_accuracy": curve[-1]}),
    )


def compared(values, *, anytime=False):
    """A comparison of final values, or of curves, by arm and seed."""
    arms = tuple(
        Arm(
            ARMS[arm].canonical,
            {s: run_of(arm, s, v if isinstance(v, list) else [v]) for s, v in by_seed.items()},
        )
        for arm, by_seed in values.items()
    )
    names = {initialization.canonical: name for name, initialization in ARMS.items()}
    return Comparison(Setting(), arms, design=Design(sequential=anytime), names=names)


def better_by(*differences):
    return {seed: BASE[seed] + difference for seed, difference in enumerate(differences)}


def rows_of(values, **options):
    return {row.name: row for row in standings(compared({"kaiming_normal": BASE} | values, **options))}


def said(values, **options):
    comparison = compared({"kaiming_normal": BASE} | values, **options)
    return "\n\n".join(verdicts(comparison, standings(comparison), TEST_ACCURACY))


def test_pairs_are_the_seeds_that_both_finished():
    row = rows_of({"correlated": {3: 0.75, 1: 0.74, 9: 0.9}})["correlated"]
    expected = paired_difference([0.74, 0.75], [0.72, 0.70])
    assert (row.gain.n, row.gain.mean, row.gain.low) == pytest.approx((2, expected.mean, expected.low))
    assert (row.sample.summary.n, row.sample.runs) == (3, 3)


def test_p_values_are_corrected_for_the_arms_that_are_tested():
    values = {
        "correlated": better_by(0.02, 0.03, 0.02, 0.03),
        "orthogonal": better_by(0.01, -0.01, 0.01, 0.0),
        "small": better_by(0.5, 0.5, 0.5, math.nan),
    }
    rows = rows_of(values)
    tested = ("correlated", "orthogonal")
    raw = [paired_difference(list(values[arm].values()), list(BASE.values())).p for arm in tested]
    assert [rows[arm].gain.p_adjusted for arm in tested] == pytest.approx(list(holm(raw)))
    assert {rows[arm].gain.size for arm in tested} == {2}
    assert rows["small"].sample.diverged == (3,)
    assert rows["small"].gain.decision is Decision.DIVERGED
    assert rows["kaiming_normal"].gain is None


@pytest.mark.parametrize("anytime", [False, True])
def test_nothing_is_tested_against_the_survivors_of_a_baseline_that_diverged(anytime):
    """Its two worst runs are lost: against the others a copy of it looks worse."""
    values = {
        "kaiming_normal": {0: 0.70, 1: math.nan, 2: math.nan, 3: 0.71, 4: 0.72},
        "correlated": dict(enumerate([0.69, 0.70, 0.71, 0.695, 0.70])),
    }
    row = rows_of(values, anytime=anytime)["correlated"]
    assert (row.gain.n, row.gain.decision) == (3, Decision.DIVERGED)
    assert math.isnan(row.gain.p_adjusted)
    text = said(values, anytime=anytime)
    assert text.startswith("kaiming_normal diverged in 2 of 5 runs (seeds 1, 2).")
    assert "which is no fair sample, as the baseline diverged" in text
    comparison = compared(values, anytime=anytime)
    table = text_table(standings(comparison), TEST_ACCURACY, inference=comparison.inference)
    assert "no fair sample" in table.splitlines()[-1]


def test_a_baseline_that_diverged_on_a_seed_of_its_own_is_no_fair_sample_either():
    values = {"kaiming_normal": BASE | {4: math.inf}, "correlated": better_by(0.02, 0.03, 0.02, 0.03)}
    assert not rows_of(values)["correlated"].gain.fair


def test_equal_differences_are_not_certain():
    """Two seeds on 50 images that happen to gain 2 points each, among copies."""
    values = {
        "kaiming_normal": {0: 0.70, 1: 0.72},
        "correlated": {0: 0.72, 1: 0.74},
        "orthogonal": {0: 0.66, 1: 0.74},
    }
    gain = rows_of(values)["correlated"].gain
    assert gain.p_adjusted > 0.3
    assert not gain.decided


@given(st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=3, max_size=3))
def test_what_is_decided_has_an_interval_that_excludes_zero(counts):
    arms = ("kaiming_normal", "correlated", "orthogonal")
    values = {
        arm: dict(enumerate(count / 50 for count in own)) for arm, own in zip(arms, counts, strict=True)
    }
    for anytime in (False, True):
        for row in standings(compared(values, anytime=anytime))[1:]:
            assert not row.gain.decided or row.gain.low > 0 or row.gain.high < 0


def test_seeds_that_end_anywhere_are_called_unstable():
    values = {
        "kaiming_normal": dict(enumerate([0.10, 0.97, 0.50])),
        "correlated": dict(enumerate([0.80, 0.81, 0.83])),
        "orthogonal": dict(enumerate([0.10, 0.55, math.nan])),
    }
    found = unstable(standings(compared(values)))
    assert found == {"kaiming_normal": (0.10, 0.97), "orthogonal": (0.10, 0.55)}
    text = unstable_in_words(found, "choose one with --lr auto")
    assert "for kaiming_normal anywhere from 10.0 to 97.0 %, orthogonal anywhere from 10.0 to 55.0 %" in text
    assert text.endswith(
        "Differences say little there, and with fewer than 5 seeds a test calls them real too often; choose "
        "one with --lr auto."
    )


def test_seeds_are_wanted_where_the_answer_is_open():
    values = {
        "correlated": better_by(0.05, 0.051, 0.05, 0.049),
        "orthogonal": better_by(0.03, -0.03, 0.0, 0.02),
        "small": {},
    }
    rows = rows_of(values, anytime=True)
    assert {name: row.gain.wants_seeds for name, row in rows.items() if row.gain} == {
        "correlated": False,
        "orthogonal": True,
        "small": True,
    }
    assert rows["correlated"].gain.inference is Inference.ANYTIME


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
    text = said({arm: better_by(0.05, 0.051, 0.05, 0.049)})
    assert (f"add the arm {control}." in text) == (control is not None)
    assert ("are not separated" in text) == (control is not None)


def test_the_control_that_is_there_is_found_by_what_it_is():
    values = {
        "correlated": better_by(0.05, 0.051, 0.05, 0.049),
        "small": better_by(0.02, 0.021, 0.022, 0.02),
    }
    assert "2.1 of these 5.0 points are scale: small, at the same scale, gains +2.1 points" in said(values)


SHARED = {
    "kaiming_normal": {0: 0.70, 1: 0.71, 2: 0.72},
    "small": {0: 0.75, 1: 0.76, 2: 0.77},
    "at He's": {0: 0.72, 1: 0.73, 2: 0.74},
    "correlated": {0: 0.79, 1: 0.80, 2: 0.81},
}


class TestScaleShare:
    @staticmethod
    def of(values):
        comparison = compared(values)
        return scale_shares(comparison, standings(comparison))[ARMS["correlated"].canonical]

    def test_the_baseline_at_the_scale_of_the_arm_separates_scale_from_structure(self):
        share, _ = self.of(SHARED)
        assert (share.control, share.at_he) == ("small", False)
        assert (share.scale.mean, share.structure.mean) == pytest.approx((0.05, 0.04))

    def test_the_arm_at_he_scale_does_it_where_the_other_control_is_missing(self):
        share, _ = self.of({name: own for name, own in SHARED.items() if name != "small"})
        assert (share.control, share.at_he) == ("at He's", True)
        assert (share.scale.mean, share.structure.mean) == pytest.approx((0.07, 0.02))

    def test_or_where_it_diverged(self):
        share, _ = self.of(SHARED | {"small": {0: 0.75, 1: math.nan, 2: 0.77}})
        assert share.at_he

    def test_parts_add_up_to_the_gain(self):
        """Within seeds, over those that all have; of independent samples, over all."""
        few = {name: SHARED[name] for name in ("kaiming_normal", "correlated")}
        share, _ = self.of(few | {"small": {1: 0.9, 2: 0.5, 7: 0.1}})
        assert share.scale.n == share.structure.n == 2
        assert share.scale.mean + share.structure.mean == pytest.approx(0.09)
        share, _ = self.of(SHARED | {"small": {1: 0.9, 2: 0.5, 7: 0.1}})
        assert share.scale.n == share.structure.n == 3
        assert share.scale.mean == pytest.approx(0.5 - 0.71)
        assert share.scale.mean + share.structure.mean == pytest.approx(0.09)

    def test_without_a_control_nothing_is_separated(self):
        two = {name: SHARED[name] for name in ("kaiming_normal", "correlated")}
        assert self.of(two)[0] is None
        assert self.of(two | {"small": {9: 0.7}, "at He's": {9: 0.7}})[0] is None


FOUR = ("kaiming_normal", "small", "at He's", "correlated")
scores = st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=4, max_size=4)


def effects_of(*values):
    (design,) = two_by_twos(
        compared({name: dict(enumerate(own)) for name, own in zip(FOUR, values, strict=True)})
    )
    return {name: effect.mean for name, effect in (dict(design.main) | dict(design.simple)).items()}


def test_effects_worked_by_hand():
    # Seed effects 0 and 0.1; correlation +.01 at He's scale and +.04 at the small one; scale +.02 and +.05.
    seeds = [0.0, 0.1]
    found = effects_of(seeds, *([seed + gain for seed in seeds] for gain in (0.02, 0.01, 0.06)))
    assert list(found.values()) == pytest.approx([0.025, 0.035, 0.03, 0.01, 0.04, 0.02, 0.05, 0.06])


@given(scores)
def test_main_effects_are_means_of_simple_effects_and_interaction_their_difference(arms):
    found = effects_of(*arms)
    assert found[CORRELATION] == pytest.approx((found[AT_HE] + found[AT_SMALL]) / 2, abs=1e-12)
    assert found[INTERACTION] == pytest.approx(found[AT_SMALL] - found[AT_HE], abs=1e-12)
    assert found[SCALE] == pytest.approx((found[OF_INDEPENDENT] + found[OF_CORRELATED]) / 2, abs=1e-12)
    assert found[INTERACTION] == pytest.approx(found[OF_CORRELATED] - found[OF_INDEPENDENT], abs=1e-12)


def test_all_effects_of_a_two_by_two_are_contrasts():
    for weights in effect_weights(Initialization("correlated", strength=0.5)).values():
        assert sum(weights.values()) == 0
        assert sum(map(abs, weights.values())) in (2, 4)


class TestTime:
    def test_epochs_to_counts_from_one_and_takes_the_first(self):
        assert epochs_to([0.8, 0.7, 0.9], 0.8) == 1
        assert epochs_to([0.1, 0.8, 0.7, 0.9], 0.8) == 2
        assert epochs_to([0.1, 0.2], 0.8) is None
        assert epochs_to([math.nan, 0.8], 0.8) == 2

    def test_seconds_are_those_at_the_end_of_the_epoch(self):
        assert seconds_to([0.1, 0.8, 0.9], [10.0, 20.5, 31.0], 0.8) == 20.5
        assert seconds_to([0.1], [10.0], 0.8) is None

    def test_the_default_target_is_a_share_of_the_plateau_of_the_baseline(self):
        curves = {0: [0.1, 0.5, 0.4, 0.5, 0.6, 0.6], 1: [0.2, 0.4, 0.4, 0.4, 0.4, 0.9]}
        target = default_target(compared({"kaiming_normal": curves}))
        assert target == pytest.approx(0.95 * (0.52 + 0.5) / 2, abs=6e-4)

    @pytest.mark.statistical
    def test_copies_of_the_baseline_miss_the_default_target_as_seldom_as_it_does(self):
        """Its own best epoch as the target would be missed by 44 of 100 copies, and by it never."""
        rng = np.random.default_rng(0)
        missed = {"kaiming_normal": 0, "orthogonal": 0}
        for _ in range(200):
            curve = 0.6 - 0.5 ** np.arange(1, 21)
            curves = {arm: {s: list(curve + rng.normal(0, 0.02, 20)) for s in range(3)} for arm in missed}
            target = default_target(compared(curves))
            for arm, runs in curves.items():
                missed[arm] += any(epochs_to(curve, target) is None for curve in runs.values())
        assert missed == {"kaiming_normal": 0, "orthogonal": 0}  # 0.57 is far below the best of 20 epochs

    def test_without_a_baseline_there_is_no_target(self):
        assert default_target(compared({"correlated": {0: 0.5}})) is None

    def test_epochs_saved_pairs_the_seeds_for_which_both_reach_the_target(self):
        ours = {0: [0.8, 0.9], 1: [0.5, 0.8], 2: [0.1, 0.2], 3: [0.9, 0.9], 9: [0.9, 0.9]}
        theirs = {0: [0.5, 0.8], 1: [0.8, 0.8], 2: [0.8, 0.9], 3: [0.5, 0.6], 8: [0.9, 0.9]}
        comparison = compared({"kaiming_normal": theirs, "correlated": ours})
        (saved,) = epochs_saved(comparison, standings(comparison), 0.8).values()
        assert (saved.contrast.n, saved.contrast.mean) == (2, 0)  # one earlier, one later
        assert (saved.not_reached, saved.baseline_not_reached, saved.runs) == ((2,), (3,), 4)

    def test_no_common_seed_leaves_nothing_to_pair(self):
        comparison = compared({"kaiming_normal": {1: [0.9]}, "correlated": {0: [0.9]}})
        (saved,) = epochs_saved(comparison, standings(comparison), 0.8).values()
        assert (saved.contrast.n, saved.runs) == (0, 0)


def test_table_as_text():
    values = {"correlated": better_by(0.05, 0.06, 0.05, math.nan), "orthogonal": {0: 0.9}}
    rows = list(rows_of(values).values())
    lines = text_table(rows, TEST_ACCURACY, inference=Inference.FIXED).splitlines()
    assert [len(line.rstrip()) <= len(lines[1]) for line in lines]
    assert lines[2].split() == ["kaiming_normal", "70.75", "±", "0.96", "4"]
    assert lines[3].split()[:8] == ["correlated", "76.33", "±", "1.53", "3", "of", "4", "+5.3"]
    assert lines[4].split() == ["orthogonal", "90.00", "1", "+20.0", "points", "none", "yet"]


def test_table_of_another_metric_keeps_its_unit():
    comparison = compared({"kaiming_normal": {0: 1.25, 1: 1.5}, "correlated": {0: math.nan, 1: math.nan}})
    lines = text_table(standings(comparison, LOSS), LOSS, inference=Inference.FIXED).splitlines()
    assert lines[2].split()[:4] == ["kaiming_normal", "1.375", "±", "0.1768"]
    assert lines[3].split() == ["correlated", "diverged", "0", "of", "2"]


def test_the_baseline_can_be_another_arm():
    comparison = compared({"kaiming_normal": BASE, "orthogonal": better_by(0.05, 0.051, 0.05, 0.049)})
    other = Comparison(Setting(), comparison.arms, baseline=ARMS["orthogonal"].canonical)
    assert {row.arm: row.gain is None for row in standings(other)} == {
        BASELINE: False,
        ARMS["orthogonal"].canonical: True,
    }
