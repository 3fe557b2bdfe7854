import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from corrinit._correlation import default_correlation
from corrinit.errors import ConfigError
from corrinit.theory import Samples, descend, dynamics, stability_limit

R = default_correlation((3, 3)).matrix

distances = st.lists(st.floats(0.0, 0.9), min_size=2, max_size=5).map(np.array)


def gaussian(rng, covariance, size):
    return rng.multivariate_normal(np.zeros(len(covariance)), covariance, size, method="eigh")


def inside_the_certified_ball(samples, direction, fraction):
    radius = samples.targets.min() / np.linalg.norm(samples.inputs, axis=-1).max()
    return samples.optima[0] + fraction * radius * direction / np.linalg.norm(direction)


@given(d=distances, seed=st.integers(0, 2**32), fraction=st.floats(0, 0.99), rate=st.floats(0.02, 0.99))
@settings(max_examples=60, deadline=None)
def test_on_the_symmetric_set_descent_is_theorem_3_1_corrected(d, seed, fraction, rate):
    samples = Samples.symmetric(d)
    direction = np.random.default_rng(seed).normal(size=len(d))
    start = inside_the_certified_ball(samples, direction, fraction)
    learning_rate = rate * stability_limit(samples)
    descent = descend(samples, start[None], learning_rate, 30)
    assert descent.always_active.all()
    closed = dynamics.weights_after(
        samples.second_moment[0], start, samples.optima[0], learning_rate, descent.steps
    )
    np.testing.assert_allclose(descent.weights[:, 0, 0], closed, atol=1e-10)
    iterated = start
    for step in range(30):
        iterated = dynamics.theorem_update(iterated, d, learning_rate)
        np.testing.assert_allclose(descent.weights[step + 1, 0, 0], iterated, atol=1e-10)


@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 12),
    p=st.integers(2, 9),
    fraction=st.floats(0, 0.99),
    rate=st.floats(0.02, 0.99),
)
@settings(max_examples=60, deadline=None)
def test_on_any_samples_descent_is_the_closed_form_while_all_are_active(seed, n, p, fraction, rate):
    rng = np.random.default_rng(seed)
    samples = Samples.noiseless(rng.uniform(0.1, 1, (n, p)), rng.uniform(0.1, 1, p))
    start = inside_the_certified_ball(samples, rng.normal(size=p), fraction)
    assert dynamics.stays_active(samples, start).all()
    learning_rate = rate * stability_limit(samples)
    descent = descend(samples, start[None], learning_rate, 40)
    assert descent.always_active.all()
    closed = dynamics.weights_after(
        samples.second_moment[0], start, samples.optima[0], learning_rate, descent.steps
    )
    np.testing.assert_allclose(descent.weights[:, 0, 0], closed, atol=1e-10)


def exact_update(w, samples, learning_rate):
    """One step along the gradient that autograd computes of the paper's loss."""
    w = torch.tensor(w, requires_grad=True)
    outputs = (torch.tensor(samples.inputs[0]) @ w).clamp(min=0)
    torch.square(torch.tensor(samples.targets[0]) - outputs).mean().backward()
    return (w - learning_rate * w.grad).detach().numpy()


@given(d=distances, seed=st.integers(0, 2**32), fraction=st.floats(0.1, 0.99))
@settings(max_examples=60, deadline=None)
def test_equation_4_as_printed_is_refuted_by_the_exact_gradient(d, seed, fraction):
    """For w_0 > 1 and 0 < w_i < 1 it is off by at least the fraction 1 − w_i of the whole update."""
    assume((d[1:] > 0.05).all())
    samples = Samples.symmetric(d)
    direction = np.random.default_rng(seed).uniform(0.2, 1, len(d))
    start = inside_the_certified_ball(samples, direction, fraction)
    exact = exact_update(start, samples, 0.1)
    printed = dynamics.printed_update(start, d, 0.1)
    np.testing.assert_allclose(dynamics.theorem_update(start, d, 0.1), exact, atol=1e-12)
    assert printed[0] == pytest.approx(exact[0], abs=1e-12), "Eq. (3) is right"
    taps = start[1:]
    moved = 2 * 0.1 * d[1:] ** 2 * taps
    assert (np.abs(printed - exact)[1:] > 0.99 * (1 - taps) * moved).all(), "Eq. (4) is not"


def test_equation_4_as_printed_drives_a_negative_tap_away_from_its_optimum():
    d, printed, exact = np.array([0.0, 0.9]), np.array([1.0, -0.2]), np.array([1.0, -0.2])
    for _ in range(30):
        printed = dynamics.printed_update(printed, d, 0.1)
        exact = dynamics.theorem_update(exact, d, 0.1)
    assert abs(exact[1]) < 0.01
    assert abs(printed[1]) > 2


@given(seed=st.integers(0, 2**32), n=st.integers(1, 12), noise=st.sampled_from([0.0, 0.5]))
@settings(max_examples=40, deadline=None)
def test_the_limit_is_the_nearest_least_squares_solution_within_reach(seed, n, noise):
    rng = np.random.default_rng(seed)
    samples = Samples.noiseless(rng.normal(size=(n, 9)), rng.normal(size=9)).plus(noise * rng.normal(size=n))
    start = rng.normal(size=(2, 9))
    end = dynamics.limit(samples, start)[0]
    inputs, targets = samples.inputs[0], samples.targets[0]
    np.testing.assert_allclose(inputs.T @ (inputs @ end.T - targets[:, None]), 0, atol=1e-8)
    outside = dynamics.unreachable(samples.second_moment)[0]
    np.testing.assert_allclose(outside @ (end - start).T, 0, atol=1e-8)
    if n < 9:
        other = end + rng.normal(size=9) @ outside
        assert (np.linalg.norm(other - start, axis=1) >= np.linalg.norm(end - start, axis=1) - 1e-9).all()


def test_simulated_descent_ends_at_the_limit():
    rng = np.random.default_rng(5)
    samples = Samples.noiseless(rng.uniform(0.1, 1, (50, 3, 9)), rng.uniform(0.2, 1, (50, 9)))
    start = samples.optima + 0.02 * rng.normal(size=(50, 9))
    descent = descend(samples, start[:, None], 0.9 * stability_limit(samples), 20_000, every=20_000)
    assert descent.always_active.all()
    np.testing.assert_allclose(descent.weights[-1], dynamics.limit(samples, start[:, None]), atol=1e-6)


@pytest.mark.statistical
@pytest.mark.parametrize("steps", [0, 7, math.inf])
@pytest.mark.parametrize("measured", [False, True])
def test_the_expected_error_is_the_mean_over_starts_and_optima(steps, measured):
    """False-alarm rate: 1e-5 for each of the six cases (two-sided z test, 4.42 standard errors)."""
    rng = np.random.default_rng(0)
    moment = Samples.noiseless(rng.uniform(0, 1, (4, 9)), np.ones(9)).second_moment[0]
    metric = R if measured else None
    rate = 0.3 / np.linalg.eigvalsh(moment).max()
    gaps = gaussian(rng, np.eye(9), 40_000) - gaussian(rng, R, 40_000)
    if math.isinf(steps):
        left = gaps @ dynamics.unreachable(moment)
    else:
        left = gaps @ np.linalg.matrix_power(np.eye(9) - 2 * rate * moment, steps)
    errors = np.einsum("gi,ij,gj->g", left, R if measured else np.eye(9), left)
    expected = dynamics.expected_error(moment, np.eye(9) + R, rate, steps, metric=metric)
    assert abs(stats.ttest_1samp(errors, expected).statistic) < 4.42


def test_after_many_updates_the_expected_error_reaches_its_limit():
    moment = Samples.noiseless(np.random.default_rng(1).uniform(0, 1, (4, 9)), np.ones(9)).second_moment[0]
    rate = 0.5 / np.linalg.eigvalsh(moment).max()
    late = dynamics.expected_error(moment, R, rate, 10**6)
    assert late == pytest.approx(float(dynamics.expected_error(moment, R, rate)), abs=1e-9)


@pytest.mark.statistical
def test_knowing_that_one_sample_is_active_brings_matching_starts_nearer():
    """False-alarm rate: 1e-5 for each of the two covariances (two-sided z test, 4.42 standard errors)."""
    rng = np.random.default_rng(2)
    sample = rng.uniform(0, 1, 9) ** 2
    outside = dynamics.unreachable(np.outer(sample, sample))
    optima = gaussian(rng, R, 60_000)
    for covariance in (np.eye(9), R):
        starts = gaussian(rng, covariance, 60_000)
        agree = (starts @ sample > 0) & (optima @ sample > 0)
        errors = np.square((starts - optima)[agree] @ outside).sum(axis=1)
        expected = dynamics.expected_error_if_active(sample, covariance, R)
        assert abs(stats.ttest_1samp(errors, expected).statistic) < 4.42
    assert expected < dynamics.expected_error(np.outer(sample, sample), 2 * R, 1e-6) - 0.1


@pytest.mark.statistical
@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_probability_of_a_dead_filter(n):
    """False-alarm rate: 1e-5 for each n (exact two-sided binomial test)."""
    rng = np.random.default_rng(n)
    inputs = rng.uniform(0, 1, (n, 9))
    dead = (gaussian(rng, R, 100_000) @ inputs.T <= 0).all(axis=1)
    probability = dynamics.dead_probability(inputs, R)
    assert stats.binomtest(int(dead.sum()), len(dead), probability).pvalue > 1e-5


def test_correlated_starts_on_positive_samples_die_more_often():
    inputs = np.random.default_rng(0).uniform(0, 1, (3, 9))
    assert dynamics.dead_probability(inputs, R) > dynamics.dead_probability(inputs, np.eye(9)) + 0.02


def test_more_samples_than_the_closed_form_knows_are_refused():
    with pytest.raises(ConfigError, match="1 to 3"):
        dynamics.dead_probability(np.ones((4, 9)), R)


def test_an_expected_error_at_a_diverging_rate_is_refused():
    with pytest.raises(ConfigError, match=r"converges below 0\.5"):
        dynamics.expected_error(2 * np.eye(2), np.eye(2), 0.6)
