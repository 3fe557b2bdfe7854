import numpy as np
import pytest

from corrinit._signal import measured, moments_by_displacement, natural, power_law, white
from corrinit.errors import PlanError
from corrinit.kernels import exponential, tap_offsets


def amplification(correlation, moments):
    offsets = tap_offsets((3, 3))
    lags = offsets[:, None] - offsets[None, :]
    middle = np.asarray(moments.shape) // 2
    return (correlation * moments[tuple(np.moveaxis(lags + middle, -1, 0))]).sum()


def test_natural_images_nearly_fill_a_correlated_patch():
    """⟨R, M⟩ of the paper's R is 27.7 at most; CIFAR images have 25.7."""
    R = exponential((3, 3), mean=0.26)
    assert amplification(R, natural((32, 32))) == pytest.approx(25.7, rel=0.05)
    assert amplification(R, power_law(2.0)((32, 32))) < 0.87 * 25.7
    assert amplification(R, white((32, 32))) == pytest.approx(9)


@pytest.mark.parametrize("size", [(32,), (9, 20), (8, 8, 8), (300, 300)])
def test_moments_are_symmetric_and_fall_with_distance(size):
    moments = natural(size)
    assert moments.shape == tuple(2 * n - 1 for n in size)
    assert np.allclose(moments, moments[(slice(None, None, -1),) * len(size)])
    middle = tuple(n - 1 for n in size)
    line = moments[(slice(size[0] - 1, size[0] + 4), *middle[1:])]
    assert line[0] == 1
    assert (np.diff(line) < 0).all()


def test_moments_of_images_are_means_over_pairs_of_pixels():
    images = np.random.default_rng(0).normal(size=(3, 2, 4, 5)) + 1
    moments = moments_by_displacement(images)
    expected = (images[:, :, :-1, 2:] * images[:, :, 1:, :-2]).mean() / (images**2).mean()
    assert moments[3 + 1, 4 - 2] == pytest.approx(expected)
    assert np.allclose(measured(moments)((4, 5)), moments)
    assert measured(moments)((2, 9)).shape == (3, 17)


@pytest.mark.parametrize("moments", [np.ones((2, 3)), np.zeros((3, 3)), np.array(1.0)])
def test_what_are_no_moments_is_refused(moments):
    with pytest.raises(PlanError, match="middle"):
        measured(moments)


def test_moments_of_other_axes_are_refused():
    with pytest.raises(PlanError, match="1 axes"):
        measured(np.ones(3))((8, 8))
