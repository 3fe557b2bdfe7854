"""What the paper of each initialization method promises, of single convolutions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import nn

import corrinit
from corrinit import SpatialCorrelation, kernels
from corrinit._seeding import layer_generator
from corrinit._signal.spectrum import natural
from corrinit.methods.convolutional_covariance import covariance


def initialized(convolution, method, *, seed=0, **options):
    """The convolution alone in a model: it is its first and last."""
    model = nn.Sequential(convolution)
    corrinit.initialize(model, method=method, seed=seed, **options)
    return convolution.weight.detach()


def filled(function, shape, seed=0, **options):
    """What `torch.nn.init` makes of the generator that the first layer of a model has."""
    return function(torch.empty(shape), **options, generator=layer_generator(seed, "0"))


# torch.nn.init


@pytest.mark.parametrize(
    ("method", "function", "options"),
    [
        ("pytorch_default", nn.init.kaiming_uniform_, {"a": math.sqrt(5)}),
        ("kaiming_uniform", nn.init.kaiming_uniform_, {"nonlinearity": "relu"}),
        ("kaiming_normal", nn.init.kaiming_normal_, {"nonlinearity": "relu"}),
        ("xavier_uniform", nn.init.xavier_uniform_, {}),
        ("xavier_normal", nn.init.xavier_normal_, {}),
        ("truncated_normal", nn.init.trunc_normal_, {"std": 0.02}),
        ("orthogonal", nn.init.orthogonal_, {}),
    ],
)
@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (4, 16, 5, 3), (6, 2, 1, 1), (5, 7, 4)])
def test_the_values_are_those_of_torch(method, function, options, shape):
    kind = nn.Conv1d if len(shape) == 3 else nn.Conv2d
    weight = initialized(kind(shape[1], shape[0], shape[2:]), method, seed=5)
    torch.testing.assert_close(weight, filled(function, shape, 5, **options), rtol=3e-7, atol=0)


def test_the_default_of_pytorch_is_what_its_layers_start_from():
    torch.manual_seed(0)
    fresh = nn.Conv2d(16, 32, 3)
    bound = fresh.weight.abs().max().item()
    ours = initialized(nn.Conv2d(16, 32, 3), "pytorch_default")
    assert ours.abs().max().item() == pytest.approx(bound, rel=1e-2)
    assert ours.abs().max() <= 1 / math.sqrt(16 * 9)


@pytest.mark.statistical
def test_truncated_normal_has_its_deviation_and_keeps_within_its_bounds():
    """36,864 weights: the deviation within 2 % is 5.4 standard errors, p < 1e-7."""
    weight = initialized(nn.Conv2d(64, 64, 3), "truncated_normal")
    assert weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert weight.abs().max() < 2


# Isometries


@pytest.mark.parametrize(("outputs", "inputs", "groups"), [(64, 4, 1), (8, 4, 1), (64, 8, 4), (16, 16, 16)])
def test_orthogonal_has_orthonormal_rows_or_columns_in_each_group(outputs, inputs, groups):
    weight = initialized(nn.Conv2d(inputs, outputs, 3, groups=groups), "orthogonal")
    for group in weight.flatten(1).double().chunk(groups):
        gram = group @ group.T if len(group) <= group.shape[1] else group.T @ group
        torch.testing.assert_close(gram, torch.eye(len(gram)).double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kernel", [(3, 3), (5, 1), (1, 1)])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("outputs", [8, 24])
def test_delta_orthogonal_with_circular_padding_keeps_every_norm(kernel, groups, outputs):
    padding = tuple(k // 2 for k in kernel)
    convolution = nn.Conv2d(
        8, outputs, kernel, padding=padding, padding_mode="circular", groups=groups, bias=False
    )
    initialized(convolution, "delta_orthogonal")
    x = torch.randn(5, 8, 6, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(convolution(x).flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))


def test_delta_orthogonal_with_fewer_outputs_has_orthonormal_rows():
    weight = initialized(nn.Conv2d(8, 3, 3), "delta_orthogonal")
    central = weight[:, :, 1, 1]
    torch.testing.assert_close(central @ central.T, torch.eye(3), rtol=0, atol=1e-6)
    assert weight.count_nonzero() == central.numel()


@pytest.mark.parametrize(
    ("outputs", "inputs", "groups"), [(8, 8, 1), (12, 8, 1), (5, 8, 1), (8, 8, 4), (6, 6, 6)]
)
def test_dirac_passes_on_the_shared_channels(outputs, inputs, groups):
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, groups=groups, bias=False)
    initialized(convolution, "dirac")
    x = torch.randn(2, inputs, 6, 6, generator=torch.Generator().manual_seed(0))
    shared = min(inputs, outputs)
    assert torch.equal(convolution(x)[:, :shared], x[:, :shared])
    assert not convolution(x)[:, shared:].any()


@pytest.mark.parametrize("method", ["dirac", "delta_orthogonal"])
def test_transposed_convolutions_of_stride_1_are_isometries_too(method):
    convolution = nn.ConvTranspose2d(8, 8, 3, padding=1, groups=2, bias=False)
    initialized(convolution, method)
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(convolution(x).norm(), x.norm())


# Closed-form covariance


@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=2).map(tuple),
    st.floats(0, 1),
)
def test_the_closed_form_is_a_covariance_of_mean_variance_one(kernel_size, depth):
    matrix = covariance(kernel_size, depth)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > -1e-9
    assert matrix.trace() == pytest.approx(len(matrix))


def test_the_closed_form_is_that_of_the_docstring_and_its_variance_peaks_in_the_middle():
    sigma = 0.16 + 0.32 * 0.5 + 2.88 * 0.25 / 2
    wrapped = {0: 0, 1: 1, 2: -2, 3: -1, -1: -1, -2: -2, -3: 1}  # displacements on a ring of four taps
    z = np.exp(-np.array([(-2) ** 2, 1, 0, 1]) / (2 * sigma))
    printed = np.empty((4, 4))
    for p in range(4):
        for q in range(4):
            around = math.exp(-(wrapped[p - q] ** 2) / (2 * sigma))
            printed[p, q] = z[p] * z[q] * (around - (z[p] + z[q]) / 4)
    values, vectors = np.linalg.eigh(printed)
    nearest = vectors @ np.diag(np.maximum(values, 0)) @ vectors.T
    np.testing.assert_allclose(covariance((4,), 0.5), nearest * 4 / np.trace(nearest), atol=1e-12)
    assert covariance((5, 5), 0.5).diagonal().argmax() == 12


def test_deeper_filters_are_wider():
    spread = [covariance((7, 7), depth).diagonal().max() for depth in (0, 0.5, 1)]
    assert spread[0] > 2 * spread[1] > 4 * spread[2]


@pytest.mark.statistical
@pytest.mark.parametrize("kernel_size", [(3, 3), (2, 4)])
def test_the_filters_have_the_covariance_of_the_closed_form(kernel_size):
    """At most 45 entries, each beyond 4.5 standard errors with p = 7e-6: 0.0003 in all."""
    model = nn.Sequential(*(nn.Conv2d(64, 64, kernel_size) for _ in range(3)))
    corrinit.initialize(model, method="convolutional_covariance", seed=0)
    for layer, depth in zip(model, (0, 0.5, 1), strict=True):
        filters = layer.weight.detach().flatten(2).flatten(0, 1).double().numpy()
        he = 2 / (64 * len(filters[0]))
        sample, expected = filters.T @ filters / len(filters) / he, covariance(kernel_size, depth)
        variance = expected.diagonal()
        error = np.sqrt((np.outer(variance, variance) + expected**2) / len(filters))
        assert (np.abs(sample - expected) <= 4.5 * error + 1e-9).all()


@pytest.mark.statistical
def test_centre_weighted_taps_vary_most_in_the_middle():
    """9 variances of 4,096 filters, each beyond 4.5 standard errors with p = 7e-6: 0.0001 in all."""
    weight = initialized(nn.Conv2d(64, 64, 3), "centre_weighted").flatten(2).flatten(0, 1).double()
    variances = weight.square().mean(0).numpy() / (2 / (64 * 9))
    falling = np.exp(-np.array([2, 1, 2, 1, 0, 1, 2, 1, 2]) / (2 * 0.8**2))
    expected = 9 * falling / falling.sum()
    assert (np.abs(variances - expected) <= 4.5 * expected * math.sqrt(2 / 4096)).all()


# Whitening without images


def test_whitening_of_natural_images_whitens_what_it_is_derived_from():
    """Σ = C ⊗ S, written out; 27 outputs have the covariance I but for ε, the next are their negatives."""
    stem = nn.Conv2d(3, 64, 3)
    weight = initialized(stem, "natural_whitening").flatten(1).double().numpy()
    taps = np.array([(i, j) for i in range(3) for j in range(3)])
    moments = natural((32, 32))
    spatial = np.array([[moments[tuple(p - q + 31)] for q in taps] for p in taps])
    colours = [[1, 0.8988, 0.7725], [0.8988, 1, 0.8988], [0.7725, 0.8988, 1]]
    covariance = np.kron(colours, spatial)
    outputs = weight @ covariance @ weight.T
    np.testing.assert_allclose(outputs[:27, :27].diagonal()[:20], 1, atol=0.06)
    assert np.abs(outputs[:27, :27] - np.diag(outputs.diagonal()[:27])).max() < 0.01
    np.testing.assert_array_equal(weight[27:54], -weight[:27])
    np.testing.assert_allclose(weight[54:] @ covariance @ weight[54:].T, np.eye(10), atol=0.2)


def test_natural_whitening_is_about_the_first_convolution_alone():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1))
    reference = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1))
    corrinit.initialize(model, method="natural_whitening", seed=0)
    corrinit.initialize(reference, method="kaiming_normal", seed=0)
    same = [torch.equal(one.weight, other.weight) for one, other in zip(model, reference, strict=True)]
    assert same == [False, False, True, True]


def test_a_scale_multiplies_whitening_filters_alike():
    own, he = (initialized(nn.Conv2d(3, 64, 3), "natural_whitening", scale=scale) for scale in ("own", "he"))
    torch.testing.assert_close(he / he.square().mean().sqrt(), own / own.square().mean().sqrt())
    assert he.square().mean().item() == pytest.approx(2 / 27, rel=0.15)


# Orthogonal modes


def test_filters_of_an_output_are_orthogonal_to_those_of_any_other():
    correlation = SpatialCorrelation(kernels.exponential((3, 3), mean=0.3))
    weight = initialized(nn.Conv2d(16, 12, 3), "mode_orthogonal", correlation=correlation, scale="he")
    products = weight.flatten(1) @ weight.flatten(1).T
    torch.testing.assert_close(products, 2 * torch.eye(12), atol=1e-5, rtol=1e-5)


@pytest.mark.statistical
def test_modes_have_the_covariance_of_the_taps_in_the_mean():
    """Each entry of the covariance of 4,096 filters is exact: λ_j is shared by Q_j, which is orthogonal."""
    correlation = SpatialCorrelation(kernels.exponential((3, 3), mean=0.3))
    weight = initialized(nn.Conv2d(64, 64, 3), "mode_orthogonal", correlation=correlation)
    filters = weight.flatten(2).flatten(0, 1).double().numpy()
    sample = np.corrcoef(filters, rowvar=False)
    assert np.abs(sample - correlation.matrix).max() < 4.5 / math.sqrt(4096)


def test_a_mode_of_the_central_tap_is_delta_orthogonal():
    weight = initialized(nn.Conv2d(8, 8, 3), "mode_orthogonal", correlation="centre:0", scale="he")
    delta = weight[..., 1, 1]
    torch.testing.assert_close(delta @ delta.T, 2 * torch.eye(8), atol=1e-5, rtol=1e-5)
    assert weight.count_nonzero() == delta.count_nonzero()


# Uniform


def test_uniform_taps_stay_within_their_bounds_and_fill_them():
    correlation = SpatialCorrelation(kernels.exponential((3, 3), mean=0.3))
    correlation = correlation.with_deviations(kernels.centre_weighted((3, 3), 0.8))
    weight = initialized(nn.Conv2d(64, 64, 3), "correlated_uniform", correlation=correlation, scale="he")
    std = math.sqrt(2 / (64 * 9)) * torch.as_tensor(correlation.deviations.copy()).view(3, 3)
    largest = weight.abs().amax((0, 1))
    assert (largest <= math.sqrt(3) * std * (1 + 1e-6)).all()
    assert (largest >= 0.99 * math.sqrt(3) * std).all()


@pytest.mark.statistical
def test_uniform_taps_are_uniform_and_have_the_correlation_asked_for():
    """Of 4,096 filters: each entry within 4.5 deviations, and each tap by Kolmogorov's test: 1e-3 in all."""
    correlation = SpatialCorrelation(kernels.exponential((3, 3), mean=0.3))
    weight = initialized(nn.Conv2d(64, 64, 3), "correlated_uniform", correlation=correlation)
    filters = weight.flatten(2).flatten(0, 1).double().numpy()
    assert np.abs(np.corrcoef(filters, rowvar=False) - correlation.matrix).max() < 4.5 / math.sqrt(4096)
    bound = math.sqrt(3) * math.sqrt(2 / (64 * correlation.total))
    p = [kstest(tap, "uniform", (-bound, 2 * bound)).pvalue for tap in filters.T]
    assert min(p) > 1e-4


def test_a_correlation_beyond_what_uniform_taps_can_have_gives_the_nearest_one():
    correlation = SpatialCorrelation(np.ones((9, 9)) * 0.999 + np.eye(9) * 0.001, (3, 3))
    weight = initialized(nn.Conv2d(64, 64, 3), "correlated_uniform", correlation=correlation)
    sample = np.corrcoef(weight.flatten(2).flatten(0, 1).double().numpy(), rowvar=False)
    assert sample.min() > 0.99


# Correlated


@pytest.mark.statistical
@pytest.mark.parametrize("scale", [None, "he", "paper"])
def test_correlated_taps_have_r_at_every_scale(scale):
    """36 correlations of 4,096 filters, each beyond 4.5 standard errors with p = 7e-6: 0.0003 in all."""
    correlation = SpatialCorrelation(kernels.exponential((3, 3), mean=0.3))
    weight = initialized(nn.Conv2d(64, 64, 3), "correlated", scale=scale, correlation=correlation)
    sample = np.corrcoef(weight.flatten(2).flatten(0, 1).double().numpy(), rowvar=False)
    error = (1 - correlation.matrix**2) / math.sqrt(4096)
    assert (np.abs(sample - correlation.matrix) <= 4.5 * error + 1e-12).all()


@pytest.mark.statistical
def test_the_correlated_scale_keeps_the_variance_of_identical_inputs():
    """4,096 outputs of identical taps: E[y²] = 2 E[x²] within 10 %, 4.5 standard errors."""
    convolution = nn.Conv2d(32, 4096, 3, bias=False)
    initialized(convolution, "correlated")
    pixels = torch.randn(1, 32, 1, 1, generator=torch.Generator().manual_seed(0))
    power = convolution(pixels.expand(1, 32, 3, 3)).square().mean() / pixels.square().mean()
    assert power.item() == pytest.approx(2, rel=0.1)
