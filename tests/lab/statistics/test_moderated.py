"""Variances that borrow from each other: limits, calibration, and what is refused."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import polygamma

from corrinit.lab.statistics.anytime import evidence_path
from corrinit.lab.statistics.moderated import (
    Conditions,
    Moderated,
    _inverse_trigamma,
    expected_df,
    moderated,
)
from corrinit.lab.statistics.moderated_tests import (
    Contrasts,
    against_baseline,
    anytime_test,
    contrasts,
    evidence,
    t_test,
    without_seeds,
)
from corrinit.lab.statistics.paired import holm
from corrinit.lab.statistics.planning import pairing_helps, pairing_ratio

FAMILIES = 2_000
MOST = stats.binom.isf(1e-6, FAMILIES, 0.05) / FAMILIES


def family(values):
    """Contrasts of shape (studies, conditions, seeds) with the first condition."""
    return contrasts(Conditions.of(list(values.swapaxes(0, 1))), against_baseline(values.shape[1]))


def test_variances_that_are_all_alike_are_pooled_and_a_lone_one_keeps_to_itself():
    n = np.full(5, 8)
    alike = moderated(Conditions(n, np.zeros(5), np.full(5, 2.0)))
    np.testing.assert_allclose(alike.variance, 2.0)
    assert alike.df[0] == pytest.approx(7 + 28)  # d₀ is all that the others have
    apart = moderated(Conditions(n, np.zeros(5), np.array([1e-6, 1e-3, 1.0, 1e3, 1e6])))
    assert apart.df.max() < 7.5


def test_the_borrowed_degrees_of_freedom_solve_their_equation():
    d = np.array([4.0, 4, 4, 9, 9, 9])
    s2 = np.array([0.2, 1.0, 5.0, 0.3, 1.1, 4.0])
    e = np.log(s2) - polygamma(0, d / 2) + np.log(d / 2)
    wanted = ((e - e.mean()) ** 2).sum() / stats.chi2.ppf(0.1, 5) - polygamma(1, d / 2).mean()
    found = moderated(Conditions(d.astype(int) + 1, np.zeros(6), s2))
    d0 = found.df - d
    np.testing.assert_allclose(polygamma(1, d0 / 2), wanted, rtol=1e-9)
    np.testing.assert_allclose(found.variance, (d0 * s2.mean() + d * s2) / (d0 + d))


def test_the_inverse_of_the_trigamma_function():
    x = np.array([1e-3, 0.1, 1.0, 7.0, 1e4])
    np.testing.assert_allclose(_inverse_trigamma(polygamma(1, x)), x, rtol=1e-8)
    assert _inverse_trigamma(np.array([-1.0, 0.0, np.inf])).tolist() == [np.inf, np.inf, 0.0]


def test_contrasts_without_borrowing_are_those_of_welch(monkeypatch):
    own = "corrinit.lab.statistics.moderated_tests.moderated"
    monkeypatch.setattr(own, lambda conditions: Moderated(conditions.variance, conditions.n - 1.0))
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(n) * sd for n, sd in ((9, 1.0), (6, 2.0), (5, 0.5), (4, 1.0))]
    found = t_test(contrasts(Conditions.of(values), against_baseline(4)))[2]
    expected = [stats.ttest_ind(each, values[0], equal_var=False).pvalue for each in values[1:]]
    np.testing.assert_allclose(found, expected)


def test_evidence_is_that_of_the_paired_test_where_error_and_degrees_of_freedom_are(monkeypatch):
    monkeypatch.setattr("corrinit.lab.statistics.moderated_tests.PRIOR_EFFECT", 3.0)
    x = np.array([0.5, 1.0, 0.2, 0.9])
    n = len(x)
    found = Contrasts(*(np.array([v]) for v in (x.mean(), x.std(ddof=1) / n**0.5, n - 1.0, float(n))))
    low, high, e = evidence(found)
    assert e[0] == pytest.approx(evidence_path(x)[-1])
    for end in (low[0], high[0]):
        assert evidence_path(x - end)[-1] == pytest.approx(20)


def test_few_conditions_or_seeds_are_not_tested_and_a_diverged_run_costs_its_condition_alone():
    rng = np.random.default_rng(1)
    assert np.isnan(t_test(family(rng.standard_normal((3, 9))[None]))[2]).all()
    assert np.isnan(t_test(family(rng.standard_normal((9, 2))[None]))[2]).all()
    low, high, e = evidence(family(rng.standard_normal((9, 2))[None]))
    assert (e == 1).all()
    assert np.isinf(low).all()
    assert np.isinf(high).all()
    values = rng.standard_normal((6, 5))
    values[2, 3] = np.nan
    p = t_test(family(values[None]))[2][0]
    assert np.isnan(p).tolist() == [False, True, False, False, False]
    without = t_test(family(np.delete(values, 2, 0)[None]))[2][0]
    np.testing.assert_allclose(p[~np.isnan(p)], without)


def test_values_that_never_vary_are_equal_or_decided_without_warnings():
    values = np.repeat(np.array([[1.0], [1.0], [2.0], [1.0]]), 4, axis=1)
    p = t_test(contrasts(Conditions.of(list(values)), against_baseline(4)))[2]
    assert np.isnan(p).all() or p[0] == 1.0
    rounded = t_test(contrasts(Conditions.of(list(values), step=0.5), against_baseline(4)))[2]
    assert rounded[0] == 1.0
    assert 0 < rounded[1] < 1e-3


@pytest.mark.statistical
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [1.0, 10.0])
@pytest.mark.parametrize("conditions", [4, 12])
def test_copies_are_seldom_called_different(conditions, spread, seeds):
    """Family error at most 5 % of 2,000 families; false alarm 1e-6 each, 8e-6 in all."""
    rng = np.random.default_rng([conditions, seeds])
    sd = np.geomspace(1, spread, conditions)[:, None]
    values = rng.standard_normal((FAMILIES, conditions, seeds)) * sd
    assert (holm(t_test(family(values))[2]) <= 0.05).any(-1).mean() <= MOST


@pytest.mark.statistical
def test_copies_are_seldom_called_different_by_who_looks_again_and_again():
    """Family error at most 5 % over 13 looks at 2,000 families; false alarm 1e-6."""
    values = np.random.default_rng(3).standard_normal((FAMILIES, 8, 15))
    largest = np.max([evidence(family(values[..., :n]))[2] for n in range(3, 16)], axis=0)
    assert (holm(1 / largest) <= 0.05).any(-1).mean() <= MOST


def test_pairing_is_chosen_where_seeds_explain_something():
    rng = np.random.default_rng(4)
    noise, seeds = rng.standard_normal((6, 40)), rng.standard_normal(40)
    assert not pairing_helps(noise)
    assert pairing_helps(noise + 2 * seeds)
    assert pairing_ratio(noise + 2 * seeds) == pytest.approx(1 / 5, abs=0.15)
    out = without_seeds(noise + 2 * seeds)
    np.testing.assert_allclose(out.mean(-1), (noise + 2 * seeds).mean(-1))
    np.testing.assert_allclose(out, without_seeds(noise) + 2 * seeds.mean(), atol=1e-12)
    assert out.var(-1, ddof=1).mean() == pytest.approx(1, abs=0.3)


def test_the_t_test_is_that_of_the_textbook():
    found = Contrasts(np.array([0.5, 0.0, 0.0]), np.array([0.2, 0.1, 0.0]), np.full(3, 7.0), np.full(3, 8.0))
    low, high, p = t_test(found, level=0.9)
    reach = stats.t.ppf(0.95, 7) * np.array([0.2, 0.1, 0.0])
    np.testing.assert_allclose(low, found.mean - reach, rtol=1e-12)
    np.testing.assert_allclose(high, found.mean + reach, rtol=1e-12)
    np.testing.assert_allclose(p, [2 * stats.t.sf(2.5, 7), 1.0, 1.0], rtol=1e-12)
    sure = Contrasts(np.array([0.5]), np.array([0.0]), np.array([7.0]), np.array([8.0]))
    assert t_test(sure)[2] == 0


@pytest.mark.filterwarnings("error")
def test_a_variance_is_at_least_that_of_rounding():
    values = [np.full(4, 0.5), np.array([0.0, 1.0, 0.0, 1.0])]
    found = Conditions.of(values, step=0.1)
    np.testing.assert_allclose(found.variance, [0.01 / 12, 1 / 3], rtol=1e-12)
    assert found.n.dtype == np.int64
    assert np.isnan(Conditions.of([[1.0], [1.0, 3.0]]).variance).tolist() == [True, False]


def test_without_seeds_the_rest_is_scaled_and_keeps_its_sign():
    values = np.array([[1.0, 2.0, 6.0], [3.0, 2.0, 1.0]])
    half = (values[0] - values[0].mean() - values[1] + values[1].mean()) / 2 * np.sqrt(2)
    np.testing.assert_allclose(without_seeds(values), [3 + half, 2 - half], rtol=1e-12)


def test_degrees_of_freedom_are_at_most_those_that_there_are_and_pairs_those_of_the_sizes():
    alike = Conditions(np.full(6, 4), np.linspace(0.5, 0.6, 6), np.ones(6))
    found = contrasts(alike, [[-1.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    assert (found.df[0], found.pairs[0]) == (6 * 3, 4)
    of_one_seed = Conditions(np.array([4] * 6 + [1]), np.zeros(7), np.array([1.0] * 6 + [np.nan]))
    assert contrasts(of_one_seed, [[-1.0, 1.0, 0, 0, 0, 0, 0]]).df[0] == 6 * 3
    uneven = Conditions(np.array([3, 6]), np.array([0.5, 0.6]), np.ones(2))
    assert contrasts(uneven, [[-1.0, 1.0]]).pairs[0] == pytest.approx(4)


def test_a_condition_that_is_lost_loses_the_contrasts_that_it_is_part_of_alone():
    lost = Conditions(np.array([4, 4, 4]), np.array([0.5, 0.6, np.nan]), np.ones(3))
    found = contrasts(lost, [[-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]])
    assert found.mean[0] == pytest.approx(0.1)
    assert np.isnan(found.mean[1])


def test_conditions_of_many_studies_have_one_row_each():
    found = Conditions.of([np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([[0.0, 0.0], [5.0, 7.0]])])
    assert found.n.tolist() == [[2, 2], [2, 2]]
    assert found.mean.tolist() == [[2, 0], [2, 6]]
    assert found.variance.tolist() == [[2, 0], [0, 2]]
    assert Conditions.of([np.ones((3, 1)), np.ones((3, 1))]).variance.shape == (3, 2)


@pytest.mark.parametrize("n", [[5] * 12, [3, 4, 6, 9]])
def test_the_degrees_of_freedom_to_expect_solve_the_equation_of_variances_that_differ_as_samples_do(n):
    d = np.array(n) - 1.0
    others = len(n) - 1
    spread = others * polygamma(1, d / 2).mean()
    wanted = spread / stats.chi2.ppf(0.1, others) - polygamma(1, d / 2).mean()
    borrowed = expected_df(n) - d
    np.testing.assert_allclose(borrowed, borrowed[0])
    assert borrowed[0] == pytest.approx(d.mean() * others) or polygamma(1, borrowed[0] / 2) == pytest.approx(
        wanted
    )
    assert borrowed[0] <= d.mean() * others


def test_three_seeds_of_four_conditions_are_enough():
    rng = np.random.default_rng(5)
    assert not np.isnan(moderated(Conditions.of(list(rng.standard_normal((4, 3))))).df).any()
    uneven = [rng.standard_normal(n) for n in (3, 3, 3, 3, 2)]
    assert np.isnan(moderated(Conditions.of(uneven)).df).tolist() == [False] * 4 + [True]


def test_looks_from_the_third_seed_on_are_taken_together():
    """Intervals are the intersection of those of all looks, p-values those of the strongest evidence."""
    rng = np.random.default_rng(6)
    values = list(rng.standard_normal((5, 7)) + np.array([[0.0], [2.0], [0.5], [0.0], [0.0]]))
    w = against_baseline(5)
    looks = [evidence(contrasts(Conditions.of([each[:n] for each in values]), w)) for n in range(3, 8)]
    low, high, p = anytime_test(values, w)
    np.testing.assert_allclose(low, np.max([each[0] for each in looks], axis=0))
    np.testing.assert_allclose(high, np.min([each[1] for each in looks], axis=0))
    np.testing.assert_allclose(p, 1 / np.maximum(1, np.max([each[2] for each in looks], axis=0)))
    narrower = anytime_test(values, w, level=0.8)
    assert (narrower[0] >= low).all()
    assert (narrower[0] > low).any()


def test_where_no_difference_fits_all_looks_the_last_one_says():
    early, late = np.array([5.0, 5.01, 4.99]), np.array([0.0] * 12)
    rng = np.random.default_rng(7)
    values = [0.01 * rng.standard_normal(15) for _ in range(5)]
    values[1] = np.concatenate([early, late - 5])
    w = against_baseline(5)
    last = evidence(contrasts(Conditions.of(values), w))
    low, high, _ = anytime_test(values, w)
    assert low[0] <= high[0]
    assert (low[0], high[0]) == (last[0][0], last[1][0])


@pytest.mark.filterwarnings("error")
def test_evidence_at_its_edges():
    """With three degrees of freedom and two pairs K r is 1.2; a mean of 0 is no evidence, of any error."""
    few = Contrasts(*(np.array([v]) for v in (0.5, 0.1, 3.0, 2.0)))
    assert [each.item() for each in evidence(few)[:2]] == [-np.inf, np.inf]
    found = Contrasts(np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.1, 0.1]), np.full(3, 9.0), np.full(3, 4.0))
    none, also, some = evidence(found)[2]
    r = 1 / 1.5**2 / (4 + 1 / 1.5**2)
    assert none == also == pytest.approx(r**0.5)
    assert some > 100
