"""Verdicts on the paper's claims, from runs written so that each claim is true, false or open.

Significance is that of fixed, handwritten numbers: no test can raise a false alarm.
"""

from dataclasses import replace

import pytest
from scipy.stats import ttest_rel
from tests.lab.handmade import handmade

from corrinit.lab.comparison.groups import compare
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.paper.claims import CLAIMS, judge, verdicts
from corrinit.lab.paper.experiments import CORRELATED, INDEPENDENT
from corrinit.lab.paper.measures import READINGS
from corrinit.lab.runs.design import Design
from corrinit.lab.runs.table import Runs
from corrinit.lab.statistics.paired import holm
from corrinit.lab.statistics.random_effects import Answer

SMALL = Initialization("kaiming_normal", "correlated", CORRELATED.correlation)
AT_HE = replace(CORRELATED, scale="he")
SEEDS = (0, 1, 2)
NOISE = (0.0, 0.002, -0.001)
SETTING = RunConfig(data="digits", model="vgg8", epochs=10, lr=0.005)
PAPER, EQUAL, AT_SMALL = "as the paper compares", "at equal scale, averaged over both", "at the small scale"


def runs(gains, *, setting=SETTING, noise=NOISE, **metrics):
    """An arm per initialization, `gains` above 0.7; the noise belongs to correlated runs alone."""
    return [
        handmade(
            replace(setting, initialization=arm, seed=seed),
            0.7 + gain + (noise[seed] if arm == CORRELATED else 0) + 0.01 * seed,
            **{name: value(arm, seed) for name, value in metrics.items()},
        )
        for arm, gain in gains.items()
        for seed in SEEDS
    ]


def found(records, number, reading, measure=0, designs=None):
    claim = next(claim for claim in CLAIMS if claim.number == number)
    return next(
        finding
        for finding in judge(compare(Runs(records, designs or {})), CORRELATED)
        if (finding.claim, finding.reading, finding.measure) == (claim, reading, claim.measures[measure])
    )


def test_without_runs_nothing_is_tested():
    findings = judge((), CORRELATED)
    assert [finding.outcome for finding in findings] == ["not tested"] * 4 * 13


class TestGeneralization:
    @pytest.mark.parametrize(
        ("gain", "outcome"),
        [
            (0.05, "as claimed in its one setting"),
            (-0.05, "the other way in its one setting"),
            (0.001, "undecided in its one setting"),
        ],
    )
    def test_outcome(self, gain, outcome):
        assert found(runs({INDEPENDENT: 0, CORRELATED: gain}), "(i)", PAPER).outcome == outcome

    def test_readings_differ_where_the_scale_does_the_work(self):
        records = runs({INDEPENDENT: 0, SMALL: 0.05, CORRELATED: 0.05})
        assert found(records, "(i)", PAPER).outcome == "as claimed in its one setting"
        assert found(records, "(i)", AT_SMALL).outcome == "undecided in its one setting"

    def test_the_main_effect_decides_where_neither_simple_effect_does(self):
        """It averages over twice as many runs, and the variances of all four arms are one another's."""
        noise = (0.01, -0.02, 0.01)
        gains = {INDEPENDENT: 0, SMALL: 0, AT_HE: 0.013, CORRELATED: 0.025}
        records = [
            handmade(replace(SETTING, initialization=arm, seed=seed), 0.7 + gain + sign * noise[seed] / 2)
            for sign, (arm, gain) in zip((1, -1, 1, -1), gains.items(), strict=True)
            for seed in SEEDS
        ]
        outcomes = {reading: found(records, "(i)", reading).outcome for reading in READINGS}
        assert outcomes == {
            PAPER: "as claimed in its one setting",
            EQUAL: "as claimed in its one setting",
            "at He's scale": "undecided in its one setting",
            AT_SMALL: "as claimed in its one setting",
        }

    def test_without_the_control_equal_scale_is_not_tested(self):
        records = runs({INDEPENDENT: 0, CORRELATED: 0.05})
        assert found(records, "(i)", EQUAL).outcome == "not tested"

    def test_numbers_are_the_paired_t_test_with_holm(self):
        other = replace(SETTING, lr=0.1)
        ours = [0.05 + noise for noise in NOISE]
        records = runs({INDEPENDENT: 0, CORRELATED: 0.05}) + runs(
            {INDEPENDENT: 0, CORRELATED: 0.01}, setting=other
        )
        finding = found(records, "(i)", PAPER)
        expected = [ttest_rel([gain + noise for noise in NOISE], [0, 0, 0]).pvalue for gain in (0.05, 0.01)]
        by_setting = dict(finding.contrasts)
        first, second = by_setting["vgg8, digits, lr 0.005, λ 0"], by_setting["vgg8, digits, lr 0.1, λ 0"]
        assert first.mean == pytest.approx(sum(ours) / 3)
        assert (first.p_adjusted, second.p_adjusted) == pytest.approx(holm(expected))

    def test_settings_that_disagree_are_counted_both_ways(self):
        other = replace(SETTING, lr=0.1)
        records = runs({INDEPENDENT: 0, CORRELATED: 0.05}) + runs(
            {INDEPENDENT: 0, CORRELATED: -0.05}, setting=other
        )
        finding = found(records, "(i)", PAPER)
        assert finding.outcome == "as claimed in 1, the other way in 1 of 2 settings"

    def test_one_setting_does_not_bear_out_a_general_claim(self):
        other = replace(SETTING, lr=0.1)
        records = runs({INDEPENDENT: 0, CORRELATED: 0.05}) + runs(
            {INDEPENDENT: 0, CORRELATED: 0.001}, setting=other
        )
        assert found(records, "(i)", PAPER).outcome == "as claimed in 1 of 2 settings"

    @pytest.mark.parametrize("lost", [INDEPENDENT, CORRELATED])
    def test_the_survivors_of_a_setting_in_which_runs_diverged_are_not_tested(self, lost):
        records = runs({INDEPENDENT: 0, CORRELATED: 0.05})
        records.append(handmade(replace(SETTING, initialization=lost, seed=3), 0.1, loss=float("nan")))
        assert found(records, "(i)", PAPER).outcome == "not tested"

    def test_seeds_that_were_not_fixed_need_more_evidence(self):
        records = runs({INDEPENDENT: 0, CORRELATED: 0.05})
        planned = {SETTING.setting: Design(frozenset({2}), sequential=True)}
        finding = found(records, "(i)", PAPER, designs=planned)
        assert finding.contrasts[0][1].p > found(records, "(i)", PAPER).contrasts[0][1].p

    def test_one_seed_decides_nothing(self):
        records = [run for run in runs({INDEPENDENT: 0, CORRELATED: 0.3}) if run.config.seed == 0]
        assert found(records, "(i)", PAPER).outcome == "undecided in its one setting"

    def test_equal_differences_of_a_step_decide_nothing(self):
        records = runs({INDEPENDENT: 0, CORRELATED: 0.01}, noise=(0, 0, 0))
        assert found(records, "(i)", PAPER).outcome == "undecided in its one setting"


def rising(final, epochs_needed):
    """A curve that climbs to `final` in a straight line and stays there."""
    return [final * min(1, epoch / epochs_needed) for epoch in range(1, 11)]


class TestConvergence:
    def test_sooner_is_supported_and_interpolated(self):
        climbs = {(INDEPENDENT, seed): 8 for seed in SEEDS} | {
            (CORRELATED, seed): epochs for seed, epochs in zip(SEEDS, (4, 4.25, 3.75), strict=True)
        }
        records = [
            handmade(replace(SETTING, initialization=arm, seed=seed), 0.8, curve=rising(0.8, epochs))
            for (arm, seed), epochs in climbs.items()
        ]
        finding = found(records, "(ii)", PAPER)
        target = 0.95 * (0.6 + 0.7 + 0.8 + 0.8 + 0.8) / 5  # of the plateau of the baseline
        expected = target / 0.8 * (4 - 8)
        assert finding.contrasts[0][1].mean == pytest.approx(
            expected, abs=0.05
        )  # the curves are bent at an end
        assert finding.outcome == "as claimed in its one setting"
        assert found(records, "(ii)", PAPER, measure=2).outcome == "as claimed in its one setting"

    def test_a_higher_plateau_is_no_faster_way_to_it(self):
        def curve(arm, seed):
            return rising(0.8 if arm == CORRELATED else 0.6, 5 + NOISE[seed] * (arm == CORRELATED))

        records = runs({INDEPENDENT: 0, CORRELATED: 0}, curve=curve)
        by_baseline, by_own = (found(records, "(ii)", PAPER, measure).contrasts[0][1] for measure in (0, 1))
        assert by_baseline.mean < -1
        assert by_own.mean == pytest.approx(0, abs=0.01)

    def test_never_reached_counts_as_one_epoch_too_many(self):
        def curve(arm, seed):
            return [0.1 + NOISE[seed]] * 10 if arm == CORRELATED else rising(0.8, 2)

        records = runs({INDEPENDENT: 0.1, CORRELATED: -0.6}, curve=curve)
        ((_, contrast),) = found(records, "(ii)", PAPER).contrasts
        assert contrast.mean > 11 - 3


class TestSignChanges:
    def test_early_and_overall_are_told_apart(self):
        def sign_changes(arm, seed):
            early = 0.3 + NOISE[seed] if arm == CORRELATED else 0.4
            return [early] + [0.45 + 0.001 * NOISE[seed] * (arm == CORRELATED)] * 9

        records = runs({INDEPENDENT: 0, CORRELATED: 0}, sign_changes=sign_changes)
        early, overall = (found(records, "(iii)", PAPER, measure).contrasts[0][1] for measure in (0, 1))
        assert early.mean == pytest.approx(-0.1 + sum(NOISE) / 3)
        assert overall.mean == pytest.approx((-0.1 + sum(NOISE) / 3) / 10, abs=1e-5)
        assert found(records, "(iii)", PAPER).outcome == "as claimed in its one setting"

    def test_what_was_not_measured_is_left_out(self):
        records = runs({INDEPENDENT: 0, CORRELATED: 0}, sign_changes=lambda arm, seed: float("nan"))
        assert found(records, "(iii)", PAPER).outcome == "not tested"


class TestDiminishedReturns:
    def test_large_learning_rates(self):
        records = runs({INDEPENDENT: 0, CORRELATED: 0.06}) + runs(
            {INDEPENDENT: 0, CORRELATED: 0.01}, setting=replace(SETTING, lr=0.1), noise=(0.001, 0, 0)
        )
        finding = found(records, "(iv)", PAPER)
        ((name, contrast),) = finding.contrasts
        assert name == "vgg8, digits, lr 0.005, λ 0 minus lr 0.1"
        assert contrast.mean == pytest.approx(0.05 + sum(NOISE) / 3 - 0.001 / 3)
        assert finding.outcome == "as claimed in its one setting"

    def test_one_learning_rate_tests_nothing(self):
        assert found(runs({INDEPENDENT: 0, CORRELATED: 0.06}), "(iv)", PAPER).outcome == "not tested"

    def test_l2_with_its_longer_training_is_paired_with_none(self):
        regularized = replace(SETTING, l2=0.001, epochs=20)
        records = runs({INDEPENDENT: 0, CORRELATED: 0.01}) + runs(
            {INDEPENDENT: 0, CORRELATED: 0.06}, setting=regularized, noise=(0.001, 0, 0)
        )
        finding = found(records, "(v)", PAPER, measure=1)
        assert finding.contrasts[0][1].mean == pytest.approx(-0.05 + sum(NOISE) / 3 - 0.001 / 3)
        assert finding.outcome == "the other way in its one setting"
        assert found(records, "(v)", PAPER).outcome == "not tested"  # both differ, λ and the epochs

    def test_l2_is_told_from_longer_training_by_runs_that_train_as_long_without_it(self):
        """L2 does nothing here; training twice as long does all."""
        records = [
            run
            for gain, epochs, l2 in ((0.06, 10, 0.0), (0.01, 20, 0.0), (0.01, 20, 0.001))
            for run in runs(
                {INDEPENDENT: 0, CORRELATED: gain}, setting=replace(SETTING, l2=l2, epochs=epochs)
            )
        ]
        alone, confounded = (found(records, "(v)", PAPER, measure).contrasts for measure in (0, 1))
        assert [each.mean for _, each in alone] == pytest.approx([0], abs=1e-9)
        assert [each.mean for _, each in confounded] == pytest.approx([0.05], abs=1e-9)

    def test_l2_raises_the_correlation_of_uncorrelated_weights(self):
        def weights(extra):
            return lambda arm, seed: 0.1 + extra + NOISE[seed] * (extra > 0) - 0.5 * (arm == CORRELATED)

        gains = {INDEPENDENT: 0, CORRELATED: 0.01}
        records = runs(gains, weight_correlation=weights(0)) + runs(
            gains, setting=replace(SETTING, l2=0.001, epochs=20), weight_correlation=weights(0.2)
        )
        finding = found(records, "(v)", PAPER, measure=3)
        assert finding.contrasts[0][1].mean == pytest.approx(0.2 + sum(NOISE) / 3)
        assert finding.outcome == "as claimed in its one setting"


class TestAnswers:
    """One answer from all settings."""

    def answer(self, gains, number="(i)", reading=PAPER):
        records = [
            run
            for i, gain in enumerate(gains)
            for run in runs({INDEPENDENT: 0, CORRELATED: gain}, setting=replace(SETTING, lr=0.001 * (i + 1)))
        ]
        return next(
            each
            for each in verdicts(judge(compare(Runs(records)), CORRELATED))
            if (each.claim.number, each.reading) == (number, reading)
        )

    @pytest.mark.parametrize(
        ("gains", "answer"),
        [
            ([0.03, 0.031, 0.029, 0.03, 0.032], Answer.SUPPORTED),
            ([-0.03, -0.031, -0.029, -0.03, -0.032], Answer.CONTRADICTED),
            ([0.001, 0.0, -0.001, 0.0005, 0.0, 0.001], Answer.NEGLIGIBLE),
            ([0.05, -0.05, 0.04, -0.03], Answer.UNDECIDED),
            ([0.05], Answer.UNDECIDED),
        ],
    )
    def test_settings_are_drawn_from_those_that_there_are(self, gains, answer):
        found = self.answer(gains)
        assert found.answer is answer
        assert found.effect.settings == len(gains)

    def test_settings_that_disagree_are_told_by_their_spread(self):
        assert self.answer([0.05, -0.05, 0.04, -0.03]).effect.tau > 0.04
        assert self.answer([0.03, 0.031, 0.029, 0.03]).effect.tau < 0.002

    def test_effects_are_positive_where_they_are_as_claimed(self):
        records = [
            run
            for lr in (0.001, 0.002, 0.003)
            for run in runs(
                {INDEPENDENT: 0, CORRELATED: 0},
                setting=replace(SETTING, lr=lr),
                sign_changes=lambda arm, seed: (0.3 if arm == CORRELATED else 0.4) + NOISE[seed],
            )
        ]
        found = verdicts(judge(compare(Runs(records)), CORRELATED))
        (effect,) = (v.effect for v in found if (v.claim.number, v.reading) == ("(iii)", PAPER))
        assert effect.mean == pytest.approx(0.1)

    def test_what_has_no_runs_is_undecided(self):
        found = self.answer([0.03, 0.03], number="(v)")
        assert (found.answer, found.effect) == (Answer.UNDECIDED, None)
