import numpy as np
import pytest

from corrinit.errors import ConfigError
from corrinit.theory import Samples, patches


def test_symmetric_samples_have_the_diagonal_second_moment_of_theorem_3_1():
    d = np.array([0.3, 0.7, 0.1])
    samples = Samples.symmetric(d)
    assert samples.shape == (1, 8, 3)
    assert len(np.unique(samples.inputs[0], axis=0)) == 8
    np.testing.assert_allclose(samples.second_moment[0], np.diag([1 + 0.3**2, 0.7**2, 0.1**2]), atol=1e-15)


def test_one_set_is_paired_with_many_optima_and_the_reverse():
    inputs, optima = np.ones((4, 3)), np.eye(3)[[0, 1]]
    many_optima = Samples.noiseless(inputs, optima)
    many_sets = Samples.noiseless(np.ones((5, 4, 3)), optima[0])
    assert many_optima.shape == (2, 4, 3)
    assert many_sets.optima.shape == (5, 3)


def test_leaning_samples_keep_every_magnitude_and_lose_the_symmetry():
    samples = Samples.symmetric([0.0, 0.5]).leaning(3)
    moment = samples.second_moment[0]
    np.testing.assert_allclose(np.diag(moment), [1, 0.25])
    assert moment[0, 1] == pytest.approx(0.5 * (3 - 1) / (3 + 1))


def test_terms_the_filter_cannot_express_are_added_to_the_targets():
    samples = Samples.noiseless([[1.0, 0.0], [0.0, 2.0]], [3.0, 4.0])
    np.testing.assert_allclose(samples.plus([1.0, -1.0]).targets, [[4.0, 7.0]])


def test_patches_are_the_windows_a_kernel_sees():
    images = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    found = patches(images, (3, 2))
    assert found.shape == (2 * 3 * 3 * 3, 6)
    np.testing.assert_array_equal(found[1], images[0, 0, :3, 1:3].ravel())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Samples.symmetric([0.5, 1.2]), r"each in \[0, 1\]"),
        (lambda: Samples.symmetric([0.5]), "p ≥ 2"),
        (lambda: Samples.noiseless(np.ones((4, 3)), np.ones(2)), "do not fit"),
        (lambda: Samples.noiseless(np.ones((2, 4, 3)), np.ones((3, 3))), "do not pair up"),
        (lambda: Samples.noiseless([[np.nan, 1.0]], [1.0, 1.0]), "NaN"),
        (lambda: Samples(np.ones((1, 2, 3)), np.ones((1, 3)), np.ones((1, 3))), "do not fit"),
        (lambda: Samples.symmetric([0.5, 0.5]).leaning(0), "at least once"),
        (lambda: patches(np.ones((1, 1, 2, 2))), "no smaller than"),
    ],
)
def test_what_is_no_sample_set_is_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
