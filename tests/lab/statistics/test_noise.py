"""The split of the noise of an accuracy: unbiased, and the parts add up."""

import numpy as np
import pytest

from corrinit.lab.statistics.noise import split_noise


@pytest.mark.statistical
@pytest.mark.parametrize("network_sd", [0.0, 0.01])
def test_the_split_is_without_bias(network_sd):
    """Means of 400 estimates within 4 standard errors: false alarm 6e-5 each."""
    rng, images, runs = np.random.default_rng(5), 500, 6
    network, total = [], []
    for _ in range(400):
        ability = rng.uniform(0.2, 0.9, images)  # of any network on each of these images
        shift = rng.standard_normal(runs)[:, None] * network_sd
        found = split_noise(rng.random((runs, images)) < ability + shift)
        network.append(found.network_part)
        total.append(found.total)
        assert found.images_part + found.network_part == pytest.approx(found.total)
    error = np.std(network) / 20
    assert np.mean(network) == pytest.approx(network_sd**2, abs=4 * error)


def test_networks_that_agree_on_every_image_have_no_noise_and_whole_runs_that_differ_have_no_other():
    same = np.tile(np.arange(10) % 3 == 0, (4, 1))
    found = split_noise(same)
    assert (found.total, found.network_part, found.images_part) == (0, 0, 0)
    apart = split_noise(np.repeat([[True], [False], [True]], 50, axis=1))
    assert apart.network_part == pytest.approx(apart.total)


def test_one_run_is_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 3\)"):
        split_noise([[True, False, True]])


def test_two_runs_of_two_images_are_enough_and_one_image_is_not():
    """By hand: accuracies 1/2 and 1 have the variance 1/8, images 1/2 and 0, and V = (2/8 − 1/4) / 1."""
    found = split_noise([[True, False], [True, True]])
    assert (found.total, found.network_part, found.images_part) == (0.125, 0, 0.125)
    for shape in ((2, 1), (2,), (2, 2, 2)):
        with pytest.raises(ValueError, match="at least 2 runs by 2 images"):
            split_noise(np.ones(shape))
