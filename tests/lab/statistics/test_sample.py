"""What a condition gave, by seed, and what contrasts keep of it."""

import math

import pytest

from corrinit.lab.statistics.contrast import Decision, Inference, against, contrast, contrasts
from corrinit.lab.statistics.sample import Sample

SAMPLE = Sample.of({3: 0.5, 1: 0.7, 2: math.nan, 0: math.inf}, "accuracy")


def test_values_that_are_not_finite_diverged():
    assert (SAMPLE.values, SAMPLE.diverged, SAMPLE.endpoint) == ({3: 0.5, 1: 0.7}, (2, 0), "accuracy")
    assert SAMPLE.runs == 4
    assert SAMPLE.in_order.tolist() == [0.7, 0.5]


def test_a_sample_over_some_seeds_keeps_what_else_it_is():
    assert SAMPLE.over([1, 2]) == Sample({1: 0.7}, (2, 0), "accuracy")
    assert SAMPLE.over(None) is SAMPLE


def test_a_summary_is_of_the_values_that_there_are():
    summary = SAMPLE.summary
    assert summary is not None
    assert (summary.mean, summary.n) == (pytest.approx(0.6), 2)
    assert Sample().summary is None


@pytest.mark.filterwarnings("error")
def test_a_contrast_says_what_it_is_of():
    ours, theirs = (
        Sample.of(dict(enumerate(v)), "accuracy") for v in ([0.71, 0.72, 0.76], [0.70, 0.70, 0.71])
    )
    found = contrast([(1, ours), (-1, theirs)], Inference.ANYTIME, step=0.0)
    assert (found.endpoint, found.inference, found.n) == ("accuracy", Inference.ANYTIME, 3)
    assert found.error == pytest.approx(found.sd / math.sqrt(3))
    assert found.decision is Decision.UNTESTED
    coarse = contrast([(1, ours), (-1, theirs)], Inference.FIXED, step=0.6)
    assert coarse.error == pytest.approx(0.6 / math.sqrt(6) / math.sqrt(3))
    one = contrast([(1, ours.over([0])), (-1, theirs)], Inference.FIXED)
    assert math.isnan(one.sd)
    assert math.isnan(one.error)


def test_a_contrast_without_a_common_seed_is_of_nothing():
    found = contrast([(1, Sample({0: 0.5})), (-1, Sample({1: 0.5}))], Inference.ANYTIME)
    assert (found.n, found.inference, found.decision) == (0, Inference.ANYTIME, Decision.UNTESTED)
    assert all(
        math.isnan(each) for each in (found.mean, found.sd, found.low, found.high, found.p, found.error)
    )
    lost = contrast([(1, Sample({0: 0.5}, (1,))), (-1, Sample())], Inference.FIXED)
    assert lost.decision is Decision.DIVERGED


def test_what_more_seeds_are_worth_is_for_what_is_open():
    arms = {"a": Sample({0: 0.5, 1: 0.6, 2: 0.55}), "b": Sample({0: 0.7, 1: 0.3, 2: 0.6}), "c": Sample()}
    found = against(arms, "a", family="arms")
    assert {name: each.wants_seeds for name, each in found.items()} == {"b": True, "c": True}
    assert {name: each.direction for name, each in found.items()} == {"b": 0, "c": 0}
    worse = against(
        {"a": Sample({0: 0.9, 1: 0.901, 2: 0.9}), "b": Sample({0: 0.5, 1: 0.5, 2: 0.501})}, "a", family="x"
    )
    assert (worse["b"].direction, worse["b"].wants_seeds, worse["b"].fair) == (-1, False, True)


def moderated_setting(seeds, conditions=4):
    """Values that differ in every way, the same for each number of seeds."""
    values = [[0.5 + 0.01 * ((7 * c + 3 * s * s) % 11) for s in range(seeds)] for c in range(conditions)]
    return {c: Sample(dict(enumerate(each))) for c, each in enumerate(values)}


@pytest.mark.parametrize(("conditions", "seeds", "crossed"), [(4, 4, True), (4, 3, False), (10, 3, True)])
def test_effects_of_seeds_are_taken_out_where_nine_residuals_tell_them(conditions, seeds, crossed):
    samples = moderated_setting(seeds, conditions)
    shifted = {
        c: Sample({s: v + 0.3 * (s == 1) for s, v in each.values.items()}) for c, each in samples.items()
    }
    plain, moved = (against(each, 0, family="arms", step=0.0)[1] for each in (samples, shifted))
    assert (moved.error == pytest.approx(plain.error)) is crossed


def test_the_deviation_of_a_moderated_contrast_is_that_of_pairs_of_its_smaller_condition():
    samples = {**moderated_setting(6), 3: Sample(dict(enumerate([0.5, 0.52, 0.57])))}
    found = against(samples, 0, family="arms", step=0.0)
    assert {key: each.n for key, each in found.items()} == {1: 6, 2: 6, 3: 3}
    assert found[3].sd == pytest.approx(found[3].error * math.sqrt(3))


def test_contrasts_come_in_the_order_of_their_weights():
    samples = {**moderated_setting(4), 4: Sample({0: 0.5, 1: 0.6})}
    weights = {"few": {4: 1.0, 0: -1.0}, "many": {1: 0.5, 2: 0.5, 0: -1.0}}
    found = contrasts(samples, weights, family="x")
    assert list(found) == ["few", "many"]
    assert [each.moderated for each in found.values()] == [False, True]
    assert found["many"].mean == pytest.approx(
        (samples[1].in_order + samples[2].in_order).mean() / 2 - samples[0].in_order.mean()
    )
