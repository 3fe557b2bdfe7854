"""One answer from many settings: oracles, coverage, and what the answers say."""

import math

import numpy as np
import pytest
from scipy import stats

from corrinit.lab.statistics.random_effects import Answer, MeanEffect, answers, mean_effect


def test_equal_errors_give_the_t_test_of_the_effects():
    y = np.array([0.01, 0.05, 0.02, -0.03, 0.06])
    found = mean_effect(y, np.full(5, 0.001))
    assert found.p == pytest.approx(stats.ttest_1samp(y, 0).pvalue)
    low, high = stats.t.interval(0.95, 4, y.mean(), stats.sem(y))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.tau**2 == pytest.approx(y.var(ddof=1) - 1e-6)
    width = stats.t.ppf(0.975, 3) * math.sqrt(found.tau**2 + y.var(ddof=1) / 5)
    assert found.new_high - found.mean == pytest.approx(width)


def test_effects_that_agree_are_not_taken_for_certain():
    found = mean_effect([0.01, 0.01, 0.01], [0.004, 0.004, 0.004])
    assert (found.tau, found.i_squared) == (0, 0)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 2) * 0.004 / math.sqrt(3))


def test_heterogeneity_is_that_of_cochran_and_higgins():
    y, v = np.array([0.1, 0.3, 0.5]), np.array([0.01, 0.02, 0.01])
    found, mean = mean_effect(y, np.sqrt(v)), (y / v).sum() / (1 / v).sum()
    q = ((y - mean) ** 2 / v).sum()
    assert found.i_squared == pytest.approx(1 - 2 / q)
    assert found.p_homogeneous == pytest.approx(stats.chi2.sf(q, 2))
    w = 1 / (v + found.tau**2)
    assert (w * (y - found.mean) ** 2).sum() == pytest.approx(2)


def test_one_setting_tells_no_mean_and_nonsense_is_refused():
    found = mean_effect([0.02], [0.01])
    assert (found.mean, found.tau, found.i_squared) == (0.02, 0, 0)
    assert all(math.isnan(each) for each in (found.low, found.high, found.p, found.new_low))
    assert answers({"claim": found}) == {"claim": Answer.UNDECIDED}
    for effects, errors in (([], []), ([1.0], [0.0]), ([1.0, 2.0], [1.0]), ([math.nan], [1.0])):
        with pytest.raises(ValueError, match="one of each per setting"):
            mean_effect(effects, errors)


@pytest.mark.statistical
@pytest.mark.parametrize("tau", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("settings", [3, 6, 15])
def test_intervals_of_the_mean_and_of_a_new_setting_cover(settings, tau):
    """95 % intervals cover in at least 92 % of 1,000, of a new setting where τ is large in 90 %: false alarm
    2e-5 if coverage is 95 % (of a new setting 94 %)."""
    rng = np.random.default_rng([settings, round(10 * tau)])
    errors = rng.uniform(0.5, 1.5, settings)
    covered = new = 0
    for _ in range(1_000):
        y = 1 + rng.standard_normal(settings) * np.hypot(tau, errors)
        found = mean_effect(y, errors)
        covered += found.low <= 1 <= found.high
        new += found.new_low <= 1 + tau * rng.standard_normal() <= found.new_high
    assert covered >= 920
    assert new >= 900 or tau < 2


def effect(low, high, p):
    return MeanEffect(5, (low + high) / 2, low, high, p, 0.0, 0.0, 1.0, low, high)


def test_the_four_answers():
    found = answers(
        {
            "gain": effect(0.01, 0.03, 1e-4),
            "loss": effect(-0.03, -0.01, 1e-4),
            "sure but small": effect(0.001, 0.004, 1e-4),
            "nothing": effect(-0.004, 0.003, 0.7),
            "who knows": effect(-0.02, 0.03, 0.6),
            "not after Holm": effect(0.001, 0.03, 0.03),
            "as large as the margin": effect(-0.005, 0.005, 0.9),
            "below the margin": effect(-0.0051, 0.005, 0.9),
            "just": effect(0.001, 0.03, 0.05 / 6),  # six tests have a larger p
        }
    )
    assert [each.value for each in found.values()] == [
        *("supported", "contradicted", "negligible", "negligible", "undecided", "undecided"),
        *("negligible", "undecided", "supported"),
    ]


@pytest.mark.statistical
def test_reports_without_any_effect_seldom_support_a_claim():
    """At most 5 % of 400 reports of eight null claims over four settings: false alarm 1e-6."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(400):
        found = {claim: mean_effect(rng.standard_normal(4) * 0.02, np.full(4, 0.01)) for claim in range(8)}
        wrong += any(a in (Answer.SUPPORTED, Answer.CONTRADICTED) for a in answers(found).values())
    assert wrong <= stats.binom.isf(1e-6, 400, 0.05)
