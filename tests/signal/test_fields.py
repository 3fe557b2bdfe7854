"""Second moments of layers against the layers themselves, applied to every basis image."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from corrinit._signal import natural, white
from corrinit._signal.fields import MOST_PAIRS, LagField, PairField, stationary
from corrinit._signal.graph import Step
from corrinit._signal.law import LayerInput
from corrinit._signal.windows import convolution_windows
from corrinit._tracing.operations import module_arguments
from corrinit.kernels import exponential

LAYERS = [
    nn.Conv2d(1, 1, 3, bias=False),
    nn.Conv2d(1, 1, 3, padding=1, bias=False),
    nn.Conv2d(1, 1, (3, 5), stride=2, padding=(1, 2), bias=False),
    nn.Conv2d(1, 1, 3, padding=2, dilation=2, bias=False),
    nn.Conv2d(1, 1, 3, padding="same", dilation=(1, 2), bias=False),
    nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect", bias=False),
    nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular", bias=False),
    nn.Conv2d(1, 1, 3, padding=1, padding_mode="replicate", stride=2, bias=False),
    nn.ConvTranspose2d(1, 1, 2, stride=2, bias=False),
    nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1, bias=False),
    nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1, output_padding=1, bias=False),
    nn.ConvTranspose2d(1, 1, 3, stride=1, dilation=2, bias=False),
    nn.Conv1d(1, 1, 5, stride=2, padding=2, bias=False),
    nn.Conv3d(1, 1, 3, padding=1, bias=False),
    nn.ConvTranspose1d(1, 1, 5, stride=3, padding=2, bias=False),
]


PLANE = [layer for layer in LAYERS if len(layer.kernel_size) == 2]


def maps_of_taps(layer, size):
    """The layer as a matrix per tap, shape (taps, outputs, inputs): its output on every basis image."""
    positions, taps = int(np.prod(size)), layer.weight.numel()
    images = torch.eye(positions, dtype=torch.float64).view(positions, 1, *size)
    weights = torch.eye(taps, dtype=torch.float64).view(taps, *layer.weight.shape)
    layer = layer.double()
    columns = []
    for weight in weights:
        layer.weight.data = weight
        columns.append(layer(images).detach().flatten(1).T)
    return torch.stack(columns).numpy(), tuple(layer(images).shape[2:])


def moments_between_positions(matrices, moments, covariance):
    """Σ C_tt′ A_t K A_t′ᵀ, with the root of C: Σ_j B_j K B_jᵀ."""
    values, vectors = np.linalg.eigh(covariance)
    modes = np.tensordot((vectors * np.sqrt(values)).T, matrices, axes=1)
    return sum(mode @ moments @ mode.T for mode in modes)


def covariance_of(layer):
    size = layer.kernel_size
    deviations = np.linspace(0.5, 1.5, int(np.prod(size)))
    return deviations[:, None] * exponential(size, length_scale=1.0) * deviations


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: str(layer).replace(" ", ""))
def test_moments_of_layers_on_small_maps_are_exact(layer):
    axes = len(layer.kernel_size)
    size = {1: (13,), 2: (7, 6), 3: (4, 3, 5)}[axes]
    generator = np.random.default_rng(0)
    root = generator.normal(size=(2, int(np.prod(size)), 50))
    same, cross = root @ root.transpose(0, 2, 1)
    field = PairField(same, cross, size)
    matrices, output_size = maps_of_taps(layer, size)
    transposed = isinstance(layer, _ConvTransposeNd)
    windows = convolution_windows(module_arguments(layer, "conv"), size, transposed=transposed)
    assert windows.output_size == output_size
    covariance = covariance_of(layer)
    result = field.convolved(windows, covariance)
    outputs = [matrix @ same for matrix in matrices]
    moments = np.array([[(a * b).sum() for b in matrices] for a in outputs]) / np.prod(output_size)
    assert np.allclose(field.window_moments(windows), moments)
    assert result.mean_square == pytest.approx((covariance * moments).sum())
    if np.prod(output_size) <= MOST_PAIRS:
        assert isinstance(result, PairField)
        for before, after in ((same, result.same), (cross, result.cross)):
            assert np.allclose(after, moments_between_positions(matrices, before, covariance))


@pytest.mark.parametrize("layer", PLANE, ids=str)
def test_moments_of_layers_on_large_maps(layer):
    """The mean square at each position is exact with zero padding; what else is told is near.

    Circular padding brings together pixels that lie far apart, which one number per displacement cannot say.
    """
    size = (18, 16)
    field = stationary(natural(size), size)
    assert isinstance(field, LagField)
    matrices, output_size = maps_of_taps(layer, size)
    transposed = isinstance(layer, _ConvTransposeNd)
    windows = convolution_windows(module_arguments(layer, "conv"), size, transposed=transposed)
    covariance = covariance_of(layer)
    places = np.indices(size).reshape(2, -1)
    lags = tuple(at[None] - at[:, None] + n - 1 for at, n in zip(places, size, strict=True))
    same = natural(size)[lags]
    exact = moments_between_positions(matrices, same, covariance)
    result = field.convolved(windows, covariance)
    mode = getattr(layer, "padding_mode", "zeros")
    expected = PairField(exact, 0 * exact, output_size)
    if mode == "zeros":
        assert np.allclose(result.power, exact.diagonal())
    assert result.mean_square == pytest.approx(expected.mean_square, rel=0.1 if mode == "circular" else 0.02)
    assert result.neighbours() == pytest.approx(expected.neighbours(), abs=0.03)
    assert result.within() == pytest.approx(expected.within(), rel=0.15)


def test_independent_pixels_stay_independent_under_independent_taps():
    size = (32, 32)
    layer = nn.Conv2d(1, 1, 3, padding=1)
    windows = convolution_windows(module_arguments(layer, "conv"), size, transposed=False)
    moments = stationary(white(size), size).window_moments(windows)
    assert np.allclose(moments, np.diag(moments.diagonal()))
    assert moments[4, 4] == pytest.approx(1.0)
    assert moments[0, 0] == pytest.approx((31 / 32) ** 2)


def test_both_kinds_of_field_agree():
    """Normalization, activation and resizing on the same moments, held pair by pair and by displacement."""
    size = (12, 12)
    pairs = stationary(natural(size), size).plus(0.3)
    lags = LagField(np.ones(144), natural(size), 0.0, size).plus(0.3)
    assert isinstance(pairs, PairField)
    for change in (
        lambda f: f,
        lambda f: f.centred(),
        lambda f: f.centred(0.25, own=True),
        lambda f: f.less_mean(0.2),
        lambda f: f.times(3.0, 0.5),
        lambda f: f.mapped(lambda rho: rho**2, lambda v: 2 * v),
        lambda f: f.combined(f, np.multiply),
        lambda f: f.with_power(f.power * 1.25),
        lambda f: f.resampled((24, 24)),
    ):
        first, second = change(pairs), change(lags)
        assert first.mean_square == pytest.approx(second.mean_square, rel=1e-6)
        assert first.between() == pytest.approx(second.between(), rel=0.02, abs=1e-9)
        assert first.within() == pytest.approx(second.within(), rel=0.05)
        assert first.neighbours() == pytest.approx(second.neighbours(), abs=0.02)


@pytest.mark.parametrize("kernel", [((9, 5), (1, 1), (1, 1)), ((7, 7), (2, 3), (2, 1)), ((13,), (2,), (3,))])
def test_a_large_kernel_does_to_correlations_what_its_taps_do_one_lag_after_the_other(kernel, monkeypatch):
    size, stride, dilation = kernel
    arguments = {
        "kernel_size": size, "stride": stride, "dilation": dilation, "padding": [(3, 3)] * len(size),
        "padding_mode": "zeros",
    }  # fmt: skip
    pixels = (41, 37)[: len(size)]
    windows = convolution_windows(arguments, pixels, transposed=False)
    field = stationary(natural(pixels), pixels)
    factor = np.random.default_rng(0).standard_normal((int(np.prod(size)),) * 2)
    found = []
    for most in (0, len(factor)):
        monkeypatch.setattr("corrinit._signal.fields._FEW_TAPS", most)
        found.append(field.convolved(windows, factor @ factor.T))
    np.testing.assert_allclose(found[0].power, found[1].power, rtol=1e-12)
    by_lag = [each.correlation if isinstance(each, LagField) else each.same for each in found]
    np.testing.assert_allclose(*by_lag, rtol=0, atol=1e-12 * abs(by_lag[1]).max())


def test_what_stands_for_several_taps_has_the_sum_of_their_covariances():
    members = (np.array([0, 0, 1, 1, 1]), np.array([0, 1, 2]))
    covariance = np.arange(15.0 * 15).reshape(15, 15)
    arriving = LayerInput("layer", Step(0, "conv", "Conv2d"), 1, 1.0, np.eye(6), members)
    rows = np.array([[3 * first + second for second in range(3)] for first in members[0]]).ravel()
    total = np.zeros((6, 6))
    for t, row in enumerate(rows):
        for u, column in enumerate(rows):
            total[row, column] += covariance[t, u]
    np.testing.assert_array_equal(arriving.standing_for(covariance), total)
    np.testing.assert_array_equal(arriving.standing_for(None).diagonal(), [2, 2, 2, 3, 3, 3])
