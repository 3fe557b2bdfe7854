"""Contrasts: weighted sums of samples, their tests, and the one rule by which they are decided."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import ttest_rel

from corrinit.lab.statistics import moderated_tests
from corrinit.lab.statistics.contrast import (
    MARGIN,
    Contrast,
    Decision,
    Inference,
    Sample,
    against,
    as_family,
    contrast,
    contrasts,
)
from corrinit.lab.statistics.moderated import Conditions
from corrinit.lab.statistics.paired import holm

A, B = (Sample(dict(enumerate(values))) for values in ([0.71, 0.72, 0.745], [0.70, 0.70, 0.71]))


def test_a_difference_has_the_p_value_of_the_paired_t_test():
    found = contrast([(1.0, A), (-1.0, B)], Inference.FIXED)
    assert found.p == pytest.approx(ttest_rel(list(A.values.values()), list(B.values.values())).pvalue)


def test_a_contrast_of_four_is_that_of_its_weighted_sum():
    """An interaction of rounded values, by hand."""
    rng = np.random.default_rng(0)
    four = [Sample(dict(enumerate(np.round(rng.normal(0.7, 0.02, 5), 4)))) for _ in range(4)]
    weights = (1.0, -1.0, -1.0, 1.0)
    found = contrast(list(zip(weights, four, strict=True)), Inference.FIXED)
    total = sum(w * np.array([*sample.values.values()]) for w, sample in zip(weights, four, strict=True))
    assert found.mean == pytest.approx(total.mean())
    assert found.sd == pytest.approx(total.std(ddof=1))
    assert found.p == pytest.approx(ttest_rel(total, np.zeros(5)).pvalue)


def test_only_seeds_that_all_conditions_have_count():
    found = contrast([(1.0, Sample({0: 1.0, 5: 3.0})), (-1.0, Sample({5: 1.0, 7: 9.0}))], Inference.FIXED)
    assert (found.n, found.mean, found.decision) == (1, 2.0, Decision.UNTESTED)


def test_the_rounding_of_a_sum_grows_with_its_weights():
    """Equal differences of values on a grid still have the spread of rounding: √(Σw²/12) steps."""
    one = Sample({0: 0.50, 1: 0.52}), Sample({0: 0.48, 1: 0.50})
    simple = contrast([(1.0, one[0]), (-1.0, one[1])], Inference.FIXED, step=0.02)
    doubled = contrast([(2.0, one[0]), (-2.0, one[1])], Inference.FIXED, step=0.02)
    assert doubled.p == pytest.approx(simple.p)
    assert doubled.high - doubled.low == pytest.approx(2 * (simple.high - simple.low))


def test_a_side_that_diverged_is_not_tested_and_does_not_count_in_the_family():
    lost = Sample(A.values, diverged=(3,))
    weights = {"lost": {"lost": 1.0, "B": -1.0}, "whole": {"A": 1.0, "B": -1.0}}
    found = contrasts({"A": A, "B": B, "lost": lost}, weights, family="arms")
    assert found["lost"].decision is Decision.DIVERGED
    assert math.isnan(found["lost"].p_adjusted)
    assert not math.isnan(found["lost"].mean)
    assert found["whole"].p_adjusted == found["whole"].p
    assert {each.size for each in found.values()} == {1}


def known(mean, low, high, p):
    return Contrast(5, mean, 0.01, low, high, p)


@pytest.mark.parametrize(
    ("found", "decision"),
    [
        (known(0.02, 0.01, 0.03, 0.01), Decision.DIFFERENT),
        (known(0.002, 0.001, 0.003, 0.01), Decision.DIFFERENT),  # however small
        (known(0.001, -0.002, 0.004, 0.6), Decision.EQUIVALENT),
        (known(0.001, -MARGIN, MARGIN, 0.6), Decision.EQUIVALENT),
        (known(0.001, -0.002, MARGIN + 1e-9, 0.6), Decision.OPEN),
        (known(0.001, -MARGIN - 1e-9, 0.002, 0.6), Decision.OPEN),
        (known(0.02, -math.inf, math.inf, 1.0), Decision.OPEN),
        (known(0.02, math.nan, math.nan, math.nan), Decision.UNTESTED),
    ],
)
def test_decisions(found, decision):
    (judged,) = as_family({"only": found}, "arms").values()
    assert judged.decision is decision
    assert judged.direction == (decision is Decision.DIFFERENT)


def test_a_family_is_corrected_together_and_named():
    p_values = [0.03, 0.04, 0.5]
    found = as_family({p: known(0.02, 0.001, 0.03, p) for p in p_values}, "arms")
    assert [each.p_adjusted for each in found.values()] == pytest.approx(list(holm(p_values)))
    assert not any(each.decided for each in found.values())
    assert {(each.family, each.size) for each in found.values()} == {("arms", 3)}


def test_a_baseline_is_named():
    with pytest.raises(KeyError):
        against({"a": A}, "b", family="arms")


def test_the_step_is_that_of_all_values_of_a_family_or_the_one_that_is_given():
    coarse = {"a": Sample({0: 0.5, 1: 0.7}), "b": Sample({0: 0.4, 1: 0.6})}
    fine = {**coarse, "c": Sample({0: 0.123, 1: 0.456})}

    def width(samples, **options):
        found = against(samples, "a", family="arms", **options)["b"]
        again = contrasts(samples, {"b": {"b": 1.0, "a": -1.0}}, family="arms", **options)["b"]
        return found.high - found.low, again.high - again.low

    assert width(coarse) == pytest.approx(width(coarse, step=0.1))
    assert width(fine)[0] == pytest.approx(width(coarse, step=0.001)[0])
    assert width(fine, step=0.1) == pytest.approx(width(coarse))
    assert width(coarse)[0] == pytest.approx(100 * width(coarse, step=0.001)[0])


# All conditions of a setting


def setting(conditions, seeds, shift=0.0, rng=None):
    """Conditions of normal noise, the second of them better."""
    rng = rng or np.random.default_rng(3)
    drawn = 0.7 + 0.02 * rng.standard_normal((conditions, seeds))
    drawn[1] += shift
    return {i: Sample(dict(enumerate(values)), endpoint="accuracy") for i, values in enumerate(drawn)}


@pytest.mark.parametrize("inference", Inference)
def test_with_enough_conditions_variances_borrow_from_all(inference):
    """Effects of seeds are taken out where their number is fixed."""
    samples = setting(5, 4)
    found = against(samples, 0, family="arms", inference=inference, step=0.0)
    values = [each.in_order for each in samples.values()]
    if inference is Inference.FIXED:
        values = list(moderated_tests.without_seeds(values))
    expected = moderated_tests.contrasts(Conditions.of(values), moderated_tests.against_baseline(5))
    low = (
        moderated_tests.anytime_test(values, moderated_tests.against_baseline(5))[0]
        if inference is Inference.ANYTIME
        else moderated_tests.t_test(expected)[0]
    )
    assert [each.mean for each in found.values()] == pytest.approx(list(expected.mean))
    assert [each.error for each in found.values()] == pytest.approx(list(expected.error))
    assert [each.low for each in found.values()] == pytest.approx(list(low))
    assert all(each.moderated and each.endpoint == "accuracy" for each in found.values())


@pytest.mark.parametrize(
    ("samples", "within"),
    [(setting(3, 5), False), (setting(5, 2), False), (setting(4, 3), True)],
    ids=["three conditions", "two seeds", "an endpoint of pairs"],
)
def test_else_differences_are_taken_within_seeds(samples, within):
    found = against(samples, 0, family="arms", within_seeds=within, step=0.0)
    alone = contrast([(1.0, samples[1]), (-1.0, samples[0])], Inference.FIXED, step=0.0)
    assert not found[1].moderated
    assert (found[1].low, found[1].p) == (alone.low, alone.p)


def test_a_condition_that_diverged_is_not_tested_and_lends_nothing():
    samples = setting(5, 4)
    whole = against(samples, 0, family="arms")
    lost = {**samples, 5: Sample({0: 0.1, 1: 0.9, 2: 0.5}, diverged=(3,), endpoint="accuracy")}
    found = against(lost, 0, family="arms")
    assert found[5].decision is Decision.DIVERGED
    assert [found[i].p for i in range(1, 5)] == [whole[i].p for i in range(1, 5)]


def test_a_condition_with_fewer_seeds_than_it_takes_is_compared_within_seeds():
    samples = {**setting(5, 4), 5: Sample({0: 0.7, 1: 0.72}, endpoint="accuracy")}
    found = against(samples, 0, family="arms")
    assert [each.moderated for each in found.values()] == [True] * 4 + [False]


def test_more_seeds_of_the_baseline_alone_make_intervals_shorter():
    samples = setting(5, 16)
    few = {key: each.over(range(4)) for key, each in samples.items()}
    more = against({**few, 0: samples[0]}, 0, family="arms")
    alike = against(few, 0, family="arms")
    assert all(more[i].error < alike[i].error for i in alike)


def test_what_a_decision_rests_on_is_not_taken_back():
    """With seeds added one by one, p never rises, whatever the other conditions do."""
    samples = setting(6, 12, shift=0.02)
    p = []
    for n in range(3, 13):
        seen = {key: each.over(range(n if key < 2 else min(n, 5))) for key, each in samples.items()}
        p.append(against(seen, 0, family="arms", inference=Inference.ANYTIME, step=0.0)[1].p)
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(p))


def test_conditions_of_different_endpoints_are_not_compared():
    with pytest.raises(ValueError, match="conditions are of the endpoints accuracy, loss"):
        against({0: replace(A, endpoint="accuracy"), 1: replace(B, endpoint="loss")}, 0, family="arms")


@pytest.mark.statistical
def test_copies_are_called_different_as_rarely_as_promised():
    """300 families of six copies: more than 29 with a false decision have a chance of 1e-4 at 5 %."""
    rng = np.random.default_rng(0)
    wrong = [
        any(each.decided for each in against(setting(6, 4, rng=rng), 0, family="arms").values())
        for _ in range(300)
    ]
    assert sum(wrong) <= 29
