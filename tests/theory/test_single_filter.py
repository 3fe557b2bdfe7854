import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from corrinit.errors import ConfigError
from corrinit.theory import Samples, descend, stability_limit


def naive_descent(inputs, targets, start, learning_rate, steps, cyclic=False):
    """Eqs. (1) and (2), transcribed sample by sample: the weights and the gradient before each update."""
    w, path, gradients = np.array(start, dtype=float), [], []
    for step in range(steps + 1):
        used = [step % len(inputs)] if cyclic else range(len(inputs))
        gradient = np.zeros_like(w)
        for i in used:
            if w @ inputs[i] > 0:
                gradient += -2 * (targets[i] - w @ inputs[i]) * inputs[i] / len(used)
        path.append(w.copy())
        gradients.append(gradient)
        w = w - learning_rate * gradient
    return np.array(path), np.array(gradients)


def random_samples(seed, sets=3, n=5, p=4, noise=0.3):
    rng = np.random.default_rng(seed)
    samples = Samples.noiseless(rng.normal(size=(sets, n, p)), rng.normal(size=(sets, p)))
    return samples.plus(noise * rng.normal(size=(sets, n))), rng.normal(size=(sets, 6, p))


@pytest.mark.parametrize("order", ["batch", "cyclic"])
@given(seed=st.integers(0, 10_000), fraction=st.floats(0.05, 0.95))
@settings(max_examples=25, deadline=None)
def test_the_vectorized_descent_is_the_one_written_sample_by_sample(order, seed, fraction):
    samples, starts = random_samples(seed)
    learning_rate = fraction * stability_limit(samples, order)
    descent = descend(samples, starts, learning_rate, 12, order=order)
    for s in range(3):
        for m in range(6):
            path, gradients = naive_descent(
                samples.inputs[s], samples.targets[s], starts[s, m], learning_rate, 12, order == "cyclic"
            )
            np.testing.assert_allclose(descent.weights[:, s, m], path, atol=1e-10)
            clear = (gradients == 0) | (np.abs(gradients) > 1e-9)
            if clear.all():  # rounding does not decide any sign
                changes = np.abs(np.diff(np.sign(gradients), axis=0)).mean(axis=1) / 2
                np.testing.assert_allclose(descent.sign_changes[:, s, m], changes, atol=1e-12)


def test_the_step_is_autograd_of_the_paper_s_loss():
    samples, starts = random_samples(1)
    descent = descend(samples, starts, 0.01, 1)
    w = torch.tensor(starts, requires_grad=True)
    outputs = torch.einsum("smp,snp->smn", w, torch.tensor(samples.inputs)).clamp(min=0)
    torch.square(torch.tensor(samples.targets)[:, None] - outputs).mean(dim=-1).sum().backward()
    np.testing.assert_allclose(descent.weights[1], starts - 0.01 * w.grad.numpy(), atol=1e-12)


def test_thinned_records_agree_with_full_ones():
    samples, starts = random_samples(2)
    full, thin = (descend(samples, starts, 0.02, 20, every=every) for every in (1, 5))
    np.testing.assert_array_equal(thin.steps, [0, 5, 10, 15, 20])
    np.testing.assert_array_equal(thin.weights, full.weights[::5])
    np.testing.assert_array_equal(thin.active, full.active[::5])
    changes = full.sign_changes.reshape(4, 5, *full.sign_changes.shape[1:]).mean(axis=1)
    np.testing.assert_allclose(thin.sign_changes, changes, atol=1e-15)


def test_sets_do_not_depend_on_their_neighbours():
    rng = np.random.default_rng(3)
    samples = Samples.noiseless(rng.random((4000, 6, 9)), rng.normal(size=(4000, 9)))
    starts = rng.normal(size=(4000, 3, 9))
    rate = stability_limit(samples) / 2
    together = descend(samples, starts, rate, 5)
    alone = descend(Samples.noiseless(samples.inputs[3210], samples.optima[3210]), starts[3210], rate, 5)
    np.testing.assert_allclose(together.weights[:, 3210], alone.weights[:, 0], atol=1e-12)


def test_what_is_measured_along_the_way():
    samples = Samples.noiseless([[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0])
    descent = descend(samples, [[2.0, -1.0]], 0.5, 1)
    assert descent.active[0, 0, 0] == 1
    assert descent.distances[0, 0, 0] == pytest.approx(np.sqrt(5))
    assert descent.angles[0, 0, 0] == pytest.approx(np.arccos(1 / np.sqrt(10)))
    assert descent.losses[0, 0, 0] == pytest.approx((1 + 1) / 2)
    assert not descent.dead[0, 0]
    assert not descent.always_active[0, 0]


def test_a_dead_filter_never_moves():
    samples = Samples.symmetric([0.1, 0.2])
    descent = descend(samples, [[-1.0, 0.1]], 0.1, 50)
    assert descent.dead.all()
    np.testing.assert_array_equal(descent.weights[-1], descent.weights[0])
    assert descent.sign_changes.sum() == 0


def test_a_start_may_be_active_on_all_samples_and_lose_some_on_the_way():
    samples = Samples.symmetric([0.0, 0.5])
    descent = descend(samples, [[4.0, 6.0]], 0.2, 50)
    assert descent.active[0, 0, 0] == 4
    assert descent.active.min() == 2
    assert not descent.always_active[0, 0]


@pytest.mark.parametrize(("learning_rate", "expected"), [(0.4, 0.0), (0.55, 0.5), (0.7, 1.0)])
def test_whether_a_direction_zig_zags_is_up_to_the_learning_rate_not_to_the_start(learning_rate, expected):
    """H = diag(1, 0.81): the directions change sign at every update above 1/2 and 1/1.62, else never."""
    samples = Samples.symmetric([0.0, 0.9])
    starts = np.array([1.0, 0.0]) + np.random.default_rng(0).uniform(-0.1, 0.1, (50, 2))
    assert (descend(samples, starts, learning_rate, 8).sign_changes == expected).all()


def test_a_learning_rate_that_diverges_is_refused_and_the_limit_is_named():
    samples = Samples.symmetric([0.5, 0.5])
    with pytest.raises(ConfigError, match=r"converges between 0 and 0\.8"):
        descend(samples, [[1.0, 0.0]], 0.8, 10)
    error = np.abs(1 - 2 * 0.81 * 1.25)
    assert error > 1 > np.abs(1 - 2 * 0.79 * 1.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.0}, "learning rate"),
        ({"learning_rate": float("nan")}, "learning rate"),
        ({"steps": 0}, "steps"),
        ({"steps": 10, "every": 3}, "multiple"),
        ({"order": "random"}, "'batch' or 'cyclic'"),
        ({"starts": np.ones((2, 3))}, "starts have shape"),
        ({"starts": [[np.inf, 0.0]]}, "NaN or infinite"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    arguments = {"starts": [[1.0, 0.0]], "learning_rate": 0.1, "steps": 10} | change
    with pytest.raises(ConfigError, match=message):
        descend(Samples.symmetric([0.1, 0.1]), **arguments)
