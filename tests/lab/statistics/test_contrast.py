"""Contrasts: weighted sums of samples, their tests, and the one rule by which they are decided."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

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
    terms = {"lost": [(1.0, lost), (-1.0, B)], "whole": [(1.0, A), (-1.0, B)]}
    found = contrasts(terms, family="arms")
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
        (known(0.001, -0.002, MARGIN + 1e-9, 0.6), Decision.OPEN),
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
        again = contrasts({"b": [(1.0, samples["b"]), (-1.0, samples["a"])]}, family="arms", **options)["b"]
        return found.high - found.low, again.high - again.low

    assert width(coarse) == pytest.approx(width(coarse, step=0.1))
    assert width(fine)[0] == pytest.approx(width(coarse, step=0.001)[0])
    assert width(fine, step=0.1) == pytest.approx(width(coarse))
    assert width(coarse)[0] == pytest.approx(100 * width(coarse, step=0.001)[0])
