import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from corrinit._correlation import SpatialCorrelation, default_correlation
from corrinit.errors import ConfigError, CorrelationError
from corrinit.kernels import tap_offsets
from corrinit.theory import measure_stack, variance

INDEPENDENT = SpatialCorrelation.identity((3, 3))
ALIKE = SpatialCorrelation(np.ones((9, 9)))
DEFAULT = default_correlation((3, 3))
TORUS = (8, 8)

CASES = {
    "A": (ALIKE, variance.identical_field(TORUS)),
    "B": (INDEPENDENT, variance.identical_field(TORUS)),
    "C": (ALIKE, variance.independent_field(TORUS)),
    "D": (INDEPENDENT, variance.independent_field(TORUS)),
}


def inputs_of(field, channels, seed):
    """Gaussian images whose pixels are all equal, or all independent."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, channels, 1, 1) if field.min() == 1 else (2, channels, *field.shape)
    return torch.randn(shape, generator=generator).expand(2, channels, *field.shape).contiguous()


def amplifications(case, depth=6):
    correlation, field = CASES[case]
    return [layer.amplification for layer in variance.propagate(field, correlation, depth)]


def test_the_cases_of_table_1():
    np.testing.assert_allclose(amplifications("A"), 81)
    np.testing.assert_allclose(amplifications("B"), 9)
    np.testing.assert_allclose(amplifications("D"), 9)
    first, second, *later = amplifications("C")
    assert first == pytest.approx(9), "the paper's factor holds in the first layer"
    assert second > 9 + 72 / np.pi, "then by the mean of ReLU outputs, and by the overlap of patches"
    assert later == sorted(later)
    assert 80 < amplifications("C", 12)[-1] < 81


def test_with_identical_inputs_every_layer_amplifies_by_the_sum_of_r():
    layers = variance.propagate(variance.identical_field(TORUS), DEFAULT, 5)
    np.testing.assert_allclose([layer.amplification for layer in layers], DEFAULT.matrix.sum())


@given(seed=st.integers(0, 2**32), strength=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_the_first_layer_amplifies_by_the_inner_product_of_r_and_m(seed, strength):
    images = np.random.default_rng(seed).normal(0.3, 1, (3, 2, 8, 8))
    field = variance.measured_field(images)
    correlation = DEFAULT.with_strength(strength)
    layer = variance.propagate(field, correlation, 1)[0]
    assert layer.amplification == pytest.approx(correlation.inner(layer.inputs))
    moments = variance.convolved(field, correlation)
    offsets = tap_offsets((3, 3))
    naive = sum(
        correlation.matrix[i, j] * field[tuple((np.array([2, 1]) + offsets[j] - offsets[i]) % 8)]
        for i in range(9)
        for j in range(9)
    )
    assert moments[2, 1] == pytest.approx(naive)


def test_the_measured_field_is_the_circular_second_moment():
    images = np.random.default_rng(0).normal(0.5, 1, (4, 3, 6, 5))
    field = variance.measured_field(images)
    shifted = np.roll(images, (-1, -2), axis=(2, 3))
    assert field[1, 2] == pytest.approx((images * shifted).mean() / np.square(images).mean())


def test_the_keeping_scale_is_he_s_for_independent_taps():
    layer = variance.propagate(variance.independent_field(TORUS), INDEPENDENT, 1)[0]
    assert layer.keeping_scale(64) == pytest.approx(np.sqrt(2 / (64 * 9)))


@pytest.mark.statistical
def test_relu_correlation_is_that_of_rectified_gaussian_pairs():
    """False-alarm rate: 1e-5 for each of three correlations (two-sided z test, 4.42 standard errors)."""
    rng = np.random.default_rng(0)
    for rho in (-0.5, 0.0, 0.8):
        pairs = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 200_000).clip(min=0)
        expected = variance.relu_correlation(np.array(rho)) / 2
        assert abs(stats.ttest_1samp(pairs.prod(axis=1), expected).statistic) < 4.42


@pytest.mark.statistical
@pytest.mark.parametrize("case", CASES)
def test_random_networks_agree_with_the_algebra_in_each_case_of_table_1(case):
    """False-alarm rate: below 1e-3 for each case (5 layers, two-sided t, 4.42 standard errors, skewed)."""
    correlation, field = CASES[case]
    growth = 2 / correlation.matrix.sum()
    measured = measure_stack(
        inputs_of(field, 64, seed=1),
        correlation,
        channels=64,
        depth=6,
        std=(growth / 64) ** 0.5,
        networks=100,
        seed=ord(case),
    )
    ratio, error = measured.relative_moments()
    expected = variance.output_moments(variance.propagate(field, correlation, 6), growth)
    assert (np.abs(ratio - expected)[1:] < 4.42 * error[1:]).all()
    assert error.max() < 0.1, "and the interval is narrow enough to tell"


@pytest.mark.statistical
def test_the_printed_factor_of_case_c_is_refuted_by_random_networks():
    """The printed value lies more than 20 standard errors from the measured one: no chance decides this."""
    field, growth = variance.independent_field(TORUS), 2 / 9
    measured = measure_stack(
        inputs_of(field, 64, 1), ALIKE, channels=64, depth=3, std=(growth / 64) ** 0.5, networks=50, seed=0
    )
    ratio, error = measured.relative_moments()
    printed = variance.printed_moments(9, 3, growth, correlated=False)
    np.testing.assert_allclose(printed, 1)
    assert ((ratio - printed)[1:] > 20 * error[1:]).all()


@pytest.mark.statistical
def test_with_independent_taps_the_moments_are_exact_even_for_few_channels():
    """False-alarm rate: about 1e-3 (two-sided t, 4.42 standard errors, skewed)."""
    field = variance.independent_field((6, 6))
    measured = measure_stack(
        inputs_of(field, 4, 2), INDEPENDENT, channels=4, depth=3, std=(2 / 36) ** 0.5, networks=3000, seed=1
    )
    ratio, error = measured.relative_moments()
    assert (np.abs(ratio - 1)[1:] < 4.42 * error[1:]).all()


def test_measured_inputs_of_a_layer_are_as_correlated_as_the_algebra_says():
    field = variance.independent_field(TORUS)
    measured = measure_stack(
        inputs_of(field, 256, 3), DEFAULT, channels=256, depth=3, std=0.02, networks=4, seed=4
    )
    predicted = variance.propagate(field, DEFAULT, 3)
    for found, layer in zip(measured.input_fields, predicted, strict=True):
        assert variance.patch_correlation(found, (3, 3)).mean == pytest.approx(layer.inputs.mean, abs=0.05)


def test_the_torus_convolution_is_the_one_of_the_algebra_for_images():
    """In the first layer E[y²] = n s² ⟨R, M⟩ E[x²] holds for the very images, up to the number of filters."""
    images = np.random.default_rng(0).uniform(0, 1, (5, 3, 8, 8))
    measured = measure_stack(
        torch.tensor(images), DEFAULT, channels=4000, depth=1, std=0.1, networks=4, seed=5
    )
    layer = variance.propagate(variance.measured_field(images), DEFAULT, 1)[0]
    expected = 3 * 0.01 * layer.amplification * np.square(images).mean()
    assert measured.second_moments.mean() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("kernel_size", [(5,), (3, 2), (2, 2, 2)])
def test_kernels_of_any_shape(kernel_size):
    correlation = default_correlation(kernel_size)
    field = variance.exponential_field((9,) * len(kernel_size), 2.0)
    layers = variance.propagate(field, correlation, 3)
    assert layers[0].amplification == pytest.approx(correlation.inner(layers[0].inputs))
    images = torch.randn(2, 8, *field.shape, generator=torch.Generator().manual_seed(0))
    measured = measure_stack(images, correlation, channels=8, depth=2, std=[0.1, 0.2], networks=2, seed=0)
    assert measured.input_fields.shape == (2, *field.shape)


def test_the_printed_expressions():
    equations = variance.printed_moments(9, 3, 2 / 9, correlated=True)
    np.testing.assert_allclose(equations, [1, 9, 81])
    table = variance.printed_moments(9, 3, 2 / 9, correlated=False, as_table=True)
    np.testing.assert_allclose(table, [1 / 3, 1 / 9, 1 / 27])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: variance.propagate(np.ones((4, 4)), DEFAULT, 2), CorrelationError, r"at least \(5, 5\)"),
        (
            lambda: variance.propagate(
                np.ones((8, 8)), SpatialCorrelation(1.5 * np.eye(3) - 0.5, kernel_size=(1, 3)), 2
            ),
            CorrelationError,
            "cancel such inputs",
        ),
        (lambda: variance.exponential_field((8, 8), 0), CorrelationError, "length_scale"),
        (lambda: variance.measured_field(np.zeros((2, 1, 8, 8))), CorrelationError, "not all 0"),
        (
            lambda: measure_stack(
                torch.ones(1, 1, 8, 8), DEFAULT, channels=4, depth=3, std=[1.0], networks=2, seed=0
            ),
            ConfigError,
            "do not fit",
        ),
        (
            lambda: measure_stack(
                torch.ones(1, 1, 8, 8), DEFAULT, channels=4, depth=1, std=1, networks=1, seed=0
            ),
            ConfigError,
            "at least 2",
        ),
    ],
)
def test_bad_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
