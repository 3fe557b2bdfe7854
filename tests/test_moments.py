import numpy as np
import pytest
import torch

from corrinit._moments import mean_by_channel, pixel_moments, tap_moments


def reference(weight):
    filters = weight.double().reshape(weight.shape[0] * weight.shape[1], -1).numpy()
    return filters.mean(axis=0), np.cov(filters, rowvar=False, bias=True).reshape(filters.shape[1], -1)


@pytest.mark.parametrize(
    "shape", [(1, 2, 3), (7, 3, 3, 3), (129, 258, 3, 3), (300, 401, 3, 3), (64, 65, 5, 5)]
)
@pytest.mark.parametrize("mean", [0.0, 1e-3, 10.0])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_tap_moments_are_means_and_covariances(shape, mean, scale):
    weight = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) + mean) * scale
    expected_mean, expected_covariance = reference(weight)
    measured = tap_moments(weight)
    deviation = np.sqrt(expected_covariance.diagonal().max())
    assert np.allclose(measured.mean, expected_mean, rtol=0, atol=1e-6 * (abs(mean) * scale + deviation))
    assert np.allclose(measured.covariance, expected_covariance, rtol=0, atol=3e-6 * deviation**2)


def test_tap_moments_of_a_view_in_another_order():
    weight = torch.randn(40, 30, 3, 3, generator=torch.Generator().manual_seed(0))
    expected = reference(weight.transpose(0, 1).flip(0))
    measured = tap_moments(weight.transpose(0, 1))
    assert np.allclose(measured.covariance, expected[1], rtol=0, atol=1e-6)


def test_tap_moments_of_broken_weights_are_not_finite():
    weight = torch.randn(40, 30, 3, 3)
    weight[3, 4, 1, 1] = torch.nan
    assert not np.isfinite(tap_moments(weight).covariance).all()


def test_mean_by_channel_is_that_of_the_formula():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(200, 90, 3, 3, generator=generator) + 2
    mean, linear, square = torch.rand(3, 9, generator=generator, dtype=torch.float64).numpy()
    centred = weight.double().flatten(2).numpy() - mean
    values = (centred @ linear) ** 2 - centred**2 @ square
    by_output, by_input, mean_square = mean_by_channel(weight.numpy(), mean, linear, square)
    assert np.allclose(by_output, values.mean(axis=1), rtol=1e-4, atol=1e-5)
    assert np.allclose(by_input, values.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert np.isclose(mean_square, np.mean(values**2), rtol=1e-4)


def test_pixel_moments_of_a_ramp():
    """Two pixels side by side of 0, 1, 2: mean squares 1/2 and 5/2, mean product 1."""
    assert pixel_moments(torch.tensor([[[0.0, 1.0, 2.0]]]), (2,)).tolist() == [[0.5, 1.0], [1.0, 2.5]]


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("size", [16, 160])
def test_moments_do_not_depend_on_how_filters_lie_in_memory(size, aligned):
    kernel = np.random.default_rng(0).normal(size=(3, 3, size, size + 1)).astype(np.float32)
    if not aligned:
        kernel = np.frombuffer(b"\0" + kernel.tobytes(), np.float32, offset=1).reshape(kernel.shape)
    taps_first = np.moveaxis(kernel, (-1, -2), (0, 1))
    found, expected = tap_moments(taps_first), tap_moments(np.array(taps_first, order="C"))
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-7)
    np.testing.assert_allclose(found.covariance, expected.covariance, atol=1e-6)
    means = [
        mean_by_channel(weight, found.mean, np.arange(9.0), np.ones(9))
        for weight in (taps_first, np.array(taps_first, order="C"))
    ]
    for one, other in zip(*means, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
