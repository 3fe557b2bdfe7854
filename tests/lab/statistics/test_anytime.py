"""Sequential inference: against numerical integration, by its laws, and by simulation."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import dblquad
from scipy.stats import binom

from corrinit.lab.statistics.anytime import PRIOR_EFFECT, anytime_test, evidence_path, sequential
from corrinit.lab.statistics.contrast import Decision, Inference, Sample, against

scores = arrays(np.float64, st.integers(1, 12), elements=st.integers(0, 1000).map(lambda n: n / 1000))


def prefixes(x, level=0.95):
    return [sequential(x[:n], np.zeros(n), level) for n in range(1, len(x) + 1)]


def bayes_factor(x):
    """The e-value by its definition: scale integrated with dσ/σ, the effect over its prior."""
    x = np.asarray(x)

    def weight(log_sigma, effect):
        sigma = math.exp(log_sigma)
        return sigma ** -len(x) * math.exp(-(((x / sigma - effect) ** 2).sum()) / 2)

    def prior(effect):
        return math.exp(-((effect / PRIOR_EFFECT) ** 2) / 2) / (PRIOR_EFFECT * math.sqrt(2 * math.pi))

    centre = math.log(np.sqrt((x**2).mean()))
    area = (-6 * PRIOR_EFFECT, 6 * PRIOR_EFFECT, centre - 5, centre + 15)
    alternative, _ = dblquad(lambda u, d: weight(u, d) * prior(d), *area, epsrel=1e-6)
    null, _ = dblquad(lambda u, d: weight(u, 0), 0, 1, *area[2:], epsrel=1e-6)
    return alternative / null


@pytest.mark.parametrize("x", [[0.3, -0.1], [1.0, 1.2, 0.7], [2.0, 2.1, 1.9, -0.4]])
def test_evidence_is_the_bayes_factor_that_it_is_said_to_be(x):
    assert sequential(x, np.zeros(len(x))).e == pytest.approx(bayes_factor(x), rel=1e-3)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_interval_ends_where_evidence_against_a_value_reaches_one_in_alpha(level):
    x = np.random.default_rng(0).normal(1.0, 0.5, size=9)
    found = sequential(x, np.zeros(9), level)
    for end in (found.low, found.high):
        assert evidence_path(x - end).max() == pytest.approx(1 / (1 - level), rel=1e-9)
    inside = np.linspace(found.low, found.high, 51)[1:-1]
    assert all(evidence_path(x - value).max() < 1 / (1 - level) for value in inside)


@given(scores, st.floats(0.01, 100))
def test_evidence_does_not_depend_on_the_unit_or_the_sign(x, factor):
    assert evidence_path(-factor * x) == pytest.approx(evidence_path(x), rel=1e-6)


@given(scores, st.floats(-3, 3))
def test_interval_moves_with_the_values(x, shift):
    plain, moved = sequential(x, 0 * x, step=0.001), sequential(x + shift, 0 * x, step=0.001)
    assert (moved.low, moved.high) == pytest.approx((plain.low + shift, plain.high + shift), abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_another_seed_never_weakens_what_is_known(seed):
    x = np.random.default_rng(seed).normal(0.5, size=12)
    for before, after in pairwise(prefixes(x)):
        assert after.p <= before.p
        assert before.low <= after.low <= after.high <= before.high


@pytest.mark.parametrize("effect", [0, 0.5, 1, 2])
def test_p_is_below_alpha_exactly_if_the_interval_excludes_no_difference(effect):
    for seed in range(20):
        found = sequential(np.random.default_rng(seed).normal(effect, size=8), np.zeros(8))
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_one_pair_is_no_evidence():
    found = sequential([0.9], [0.1])
    assert (found.n, found.e, found.p) == (1, pytest.approx(1), pytest.approx(1))
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_arms_that_always_tie_are_no_evidence_of_a_difference():
    found = sequential([0.7, 0.8, 0.6, 0.7], [0.7, 0.8, 0.6, 0.7])
    assert (found.e, found.p) == (1, 1)
    assert found.low < 0 < found.high


def test_without_rounding_equal_differences_are_finite_evidence_that_grows_with_their_number():
    growth = [(1 + n * PRIOR_EFFECT**2) ** ((n - 1) / 2) for n in range(1, 7)]
    assert evidence_path(np.full(6, 0.01)) == pytest.approx(growth)


def test_equal_differences_have_the_spread_of_rounding():
    """Differences of one step, as 1 of 100 images gives them, are weaker evidence than differences of ten."""
    one, ten = (sequential(np.full(6, size), np.zeros(6), step=0.01) for size in (0.01, 0.1))
    assert 1 < one.e < ten.e < (1 + 6 * PRIOR_EFFECT**2) ** 2.5
    assert one.low < 0.01 < one.high
    spread = 0.01 * (5 / 36) ** 0.5  # the same scatter: Σ(x − x̄)² = 5 rounding(0.01)²
    as_rounded = 0.01 + spread * np.array([1, -1, 1, -1, 1, -1])
    assert one.e == pytest.approx(evidence_path(as_rounded)[-1])


def test_many_samples_at_once_are_the_same_as_one_by_one():
    x = np.random.default_rng(0).integers(-10, 20, size=(50, 7)) / 100
    low, high, p = anytime_test(x, 0.01)
    for row, differences in enumerate(x):
        one = sequential(differences, np.zeros(7), step=0.01)
        assert (low[row], high[row], p[row]) == pytest.approx((one.low, one.high, one.p))


def test_one_seed_against_the_others_leaves_it_open():
    agreeing = sequential([0.02, 0.03, 0.025, 0.03, 0.02], np.zeros(5))
    disagreeing = sequential([0.02, 0.03, -0.025, 0.03, 0.02], np.zeros(5))
    assert agreeing.p < 0.05 < disagreeing.p
    assert disagreeing.low < 0 < disagreeing.high


def test_many_seeds_that_agree_do_not_overflow():
    assert sequential(np.full(400, 1.0), np.zeros(400), step=0.0).p == 0


@pytest.mark.parametrize(
    ("a", "b"), [([], []), ([1.0, 2.0], [1.0]), ([[1.0]], [[1.0]]), ([math.nan], [1.0]), ([1.0], [math.inf])]
)
def test_values_that_cannot_be_paired_are_refused(a, b):
    with pytest.raises(ValueError, match="one finite number per seed"):
        sequential(a, b)


BASE = [0.70, 0.71, 0.69, 0.70, 0.72]


def decide(values, baseline, **options):
    samples = {arm: Sample(dict(enumerate(own))) for arm, own in values.items()}
    return against(
        samples, baseline, family="arms", inference=Inference.ANYTIME, within_seeds=True, **options
    )


def open_arms(values, baseline, **options):
    return tuple(arm for arm, each in decide(values, baseline, **options).items() if each.wants_seeds)


def shifted(*differences):
    return [value + difference for value, difference in zip(BASE, differences, strict=False)]


def test_an_arm_is_different_equivalent_or_open():
    found = decide(
        {
            "better": shifted(0.05, 0.051, 0.049, 0.05, 0.05),
            "alike": shifted(0.0001, -0.0001, 0.0002, 0, -0.0001),
            "noisy": shifted(0.03, -0.01, 0.02, -0.02, 0.01),
            "base": BASE,
        },
        "base",
    )
    assert {arm: each.decision.value for arm, each in found.items()} == {
        "better": "different",
        "alike": "equivalent",
        "noisy": "open",
    }


def test_more_arms_need_more_evidence():
    arm = shifted(0.03, 0.034, 0.026, 0.03)
    alone = decide({"base": BASE, "arm": arm}, "base")["arm"]
    others = {f"copy {index}": shifted(0.01, -0.01, 0.01, -0.01) for index in range(30)}
    among = decide({"base": BASE, "arm": arm} | others, "base")["arm"]
    assert (among.mean, among.low, among.p) == (alone.mean, alone.low, alone.p)
    assert among.p_adjusted == pytest.approx(31 * alone.p_adjusted)
    assert (alone.decision, among.decision) == (Decision.DIFFERENT, Decision.OPEN)


def test_seeds_of_the_baseline_that_an_arm_lacks_do_not_count():
    short = shifted(0.05, 0.051, 0.049)
    with_more, without = (decide({"base": base, "arm": short}, "base") for base in (BASE, BASE[:3]))
    assert with_more == without


def test_an_arm_without_a_run_is_open():
    assert open_arms({"base": BASE, "arm": []}, "base") == ("arm",)


def test_the_margin_decides_what_counts_as_equivalent():
    runs = {"base": BASE, "arm": shifted(0.008, 0.009, 0.007, 0.006, 0.008)[:3] + shifted(0, 0, 0, 0.02)[3:]}
    assert open_arms(runs, "base") == ("arm",)
    assert open_arms(runs, "base", margin=0.5) == ()


def simulated(generator, arms, seeds, noise, effect=0.0):
    """Accuracies by arm; arm 1 is better by `effect` deviations of a paired difference."""
    runs = 0.7 + generator.normal(scale=0.03, size=seeds) + 0.01 * noise((arms, seeds))
    runs[1] += effect * 0.01 * math.sqrt(2)
    return dict(enumerate(runs.tolist()))


def run_until_decided(runs, start=3):
    """Seeds one by one, only for open arms; the decisions in the end."""
    n = dict.fromkeys(runs, start)
    while True:
        seen = {arm: values[: n[arm]] for arm, values in runs.items()}
        wanted = [arm for arm in open_arms(seen, 0) if n[arm] < len(runs[arm])]
        if not wanted:
            return decide(seen, 0)
        for arm in wanted:
            n[arm] += 1
        n[0] = max(n.values())


@pytest.mark.statistical
@pytest.mark.parametrize("shape", ["normal", "heavy tails", "skewed"])
def test_copies_of_one_method_are_seldom_called_different(shape):
    """200 comparisons of 4 arms, 3 to 12 seeds; at most 5 % may err: false alarm 1e-5 each."""
    generator = np.random.default_rng(7)
    noise = {
        "normal": generator.standard_normal,
        "heavy tails": lambda size: generator.standard_t(4, size),
        "skewed": lambda size: -generator.exponential(size=size),
    }[shape]
    wrong = 0
    for _ in range(200):
        found = run_until_decided(simulated(generator, 4, 12, noise))
        wrong += any(each.decided for each in found.values())
    assert wrong <= binom.isf(1e-5, 200, 0.05)


@pytest.mark.statistical
def test_real_differences_are_found_with_few_seeds():
    """100 comparisons with an effect of 3; power is above 0.99: below 0.9 by chance with 1e-7."""
    generator = np.random.default_rng(8)
    found = [
        run_until_decided(simulated(generator, 4, 20, generator.standard_normal, effect=3))[1]
        for _ in range(100)
    ]
    assert sum(each.decided for each in found) >= 90
    assert np.mean([each.n for each in found]) < 8


@pytest.mark.statistical
def test_intervals_hold_the_true_mean_at_all_looks_at_once():
    """2,000 sequences of 20; at most 5 % may ever lose the mean: false alarm 1e-5."""
    x = np.random.default_rng(9).normal(0.4, 1.0, size=(2000, 20))
    lost = (evidence_path(x - 0.4).max(axis=1) >= 20).sum()
    assert lost <= binom.isf(1e-5, 2000, 0.05)
