"""The amplification ⟨D R D, M⟩ and the scales named after what is assumed of M."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import corrinit
from corrinit import kernels
from corrinit._correlation import SpatialCorrelation, default_correlation
from corrinit._scale import amplification, resolve_scale, signal_scale, transposed_amplification
from corrinit.errors import CorrelationError

WEIGHTED = default_correlation((3, 3)).with_deviations(kernels.centre_weighted((3, 3), 0.8))
MEASURED = SpatialCorrelation(kernels.gaussian((3, 3), 2.0))


@pytest.mark.parametrize(
    ("scale", "moments"),
    [
        ("he", np.eye(9)),
        ("paper", np.ones((9, 9))),
        (MEASURED, MEASURED.matrix),
        (3 * MEASURED.matrix, 3 * MEASURED.matrix),
    ],
)
def test_scale_is_that_of_the_second_moments_it_stands_for(scale, moments):
    power = sum(
        WEIGHTED.deviations[i] * WEIGHTED.deviations[j] * WEIGHTED.matrix[i, j] * moments[i, j]
        for i, j in itertools.product(range(9), repeat=2)
    )
    assert signal_scale(WEIGHTED, 16, gain=3.0, scale=scale) == pytest.approx(3.0 / (16 * power) ** 0.5)


def test_default_scale_is_the_paper_s():
    assert signal_scale(WEIGHTED, 16) == signal_scale(WEIGHTED, 16, scale="paper")


def test_centre_tap_alone_sees_no_correlation_of_the_inputs():
    """All scales agree: one tap amplifies by n times its share of the energy, whatever lies around it."""
    centre = default_correlation((3, 3)).with_deviations(kernels.centre_weighted((3, 3), 0))
    for inputs in ("independent", "identical", MEASURED):
        assert amplification(centre, inputs) == pytest.approx(9)


@pytest.mark.parametrize(
    ("inputs", "scale", "new"),
    [
        ("independent", "he", 'scale="he"'),
        ("identical", "paper", 'scale="paper"'),
        (MEASURED, MEASURED, "scale=M"),
    ],
)
def test_older_name_of_a_scale_is_taken_with_a_warning_that_shows_the_new_line(inputs, scale, new):
    with pytest.warns(DeprecationWarning, match=new) as caught:
        older = signal_scale(WEIGHTED, 16, inputs=inputs)
    assert caught[0].filename == __file__, "the warning should point at the line to change"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert signal_scale(WEIGHTED, 16, scale=scale) == older


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "natural"}, r"'natural' is one of a model, .*use corrinit\.initialize"),
        ({"scale": "measured"}, r"'measured' is one of a model, .*corrinit\.estimate_inputs"),
        ({"scale": "small"}, "scale is 'small'; it is 'he', 'paper', or M"),
        ({"scale": "he", "inputs": "independent"}, "both scale and inputs are given"),
        ({"scale": 3}, "the scale is 3"),
        ({"scale": np.eye(4)}, "needs 9×9 finite numbers"),
        ({"scale": SpatialCorrelation.identity((2, 2))}, "a 2×2 kernel needs"),
    ],
)
def test_scales_that_a_single_weight_cannot_have_are_refused(options, message):
    with pytest.raises(CorrelationError, match=message):
        signal_scale(WEIGHTED, 16, **options)


def test_scale_resolves_to_what_is_assumed_of_the_inputs():
    assert resolve_scale(None) == "identical"
    assert resolve_scale("paper") == "identical"
    assert resolve_scale("he") == "independent"
    assert resolve_scale(MEASURED) is MEASURED


def naive_transposed(correlation, moments, stride, dilation):
    """Sum over pairs of taps that meet the same output, by displacement of their inputs, over the phases."""
    total = 0.0
    for (i, a), (j, b) in itertools.product(
        enumerate(kernels.tap_offsets(correlation.kernel_size)), repeat=2
    ):
        lag = (a - b) * np.array(dilation)
        if not (lag % np.array(stride)).any():
            total += correlation.covariance[i, j] * moments(*(lag // np.array(stride)))
    return total / np.prod(stride)


@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    width=st.floats(0.2, 3),
    separable=st.booleans(),
)
def test_transposed_amplification_is_a_sum_over_pairs_of_one_phase(size, stride, dilation, width, separable):
    axes = [kernels.exponential((k,), 1.2) for k in size]
    flat = SpatialCorrelation.separable(axes) if separable else SpatialCorrelation(np.kron(*axes), size)
    for taps in (flat, flat.with_deviations(kernels.centre_weighted(size, width))):
        for inputs, moments in (
            ("identical", lambda y, x: 1.0),
            ("independent", lambda y, x: float(y == x == 0)),
        ):
            assert transposed_amplification(taps, inputs, stride=stride, dilation=dilation) == pytest.approx(
                naive_transposed(taps, moments, stride, dilation)
            )
        given_inputs = SpatialCorrelation(kernels.gaussian(size, 2.0), size)
        if all(d == 1 for d in dilation):
            expected = naive_transposed(taps, lambda y, x: np.exp(-(y * y + x * x) / 8), stride, dilation)
            for measured in (given_inputs, given_inputs.matrix):
                assert transposed_amplification(
                    taps, measured, stride=stride, dilation=dilation
                ) == pytest.approx(expected)


def test_large_kernels_need_no_matrix():
    """A matrix of 10,201 taps would be refused."""
    large = default_correlation((101, 101))
    assert signal_scale(large, 1, scale="he") == pytest.approx(1 / 101)
    assert signal_scale(large, 1) == pytest.approx(large.total**-0.5)
    strided = transposed_amplification(large, "identical", stride=(2, 2), dilation=(1, 1))
    assert 101**2 / 4 < strided < large.total / 4


def test_signal_scale_is_public():
    assert corrinit.signal_scale is signal_scale
