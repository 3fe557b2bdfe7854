"""What the adapters of other frameworks share, against torch and the library's own draws."""

import math
import sys

import numpy as np
import pytest
import torch
from torch.nn.init import calculate_gain

from corrinit import SpatialCorrelation, kernels
from corrinit._filters import Channels, correlate, correlation_of_kernels, gain_of
from corrinit._planning.gains import gain_of as gain_in_torch
from corrinit.errors import CorrelationError, MissingLibraryError


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains_by_name_are_torchs(name):
    assert gain_of(name) == pytest.approx(calculate_gain(name, 0), rel=1e-12)
    assert gain_of("leaky_relu", 0.2) == pytest.approx(calculate_gain("leaky_relu", 0.2), rel=1e-12)


@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "softplus", "hardtanh"])
def test_gains_of_functions_are_the_librarys(name):
    function = getattr(torch.nn.functional, name)
    foreign = gain_of(lambda values: function(torch.from_numpy(values)).numpy())
    assert foreign == pytest.approx(gain_in_torch(function), rel=1e-3)


@pytest.mark.parametrize("function", [np.cumsum, np.sum, lambda z: z / abs(z).sum()])
def test_what_mixes_values_has_no_gain(function):
    with pytest.raises(CorrelationError, match="is not elementwise"):
        gain_of(function)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [(3,), (2, 3), (18, 19)])
def test_filters_are_mixed_along_their_leading_axes(size, weighted):
    lines = [kernels.exponential((k,), length_scale=1.5) for k in size]
    deviations = kernels.centre_weighted(size, width=1.0) if weighted else None
    R = SpatialCorrelation.separable(lines, deviations=deviations)
    independent = np.random.default_rng(0).normal(size=(*size, 2, 3))
    mixed = correlate(independent, R, np.tensordot)
    n = math.prod(size)
    np.testing.assert_allclose(mixed.reshape(n, -1), R.factor @ independent.reshape(n, -1), atol=1e-12)


def test_independent_taps_stay_as_they_are():
    independent = np.ones((3, 3, 2))
    assert correlate(independent, SpatialCorrelation.identity((3, 3)), np.tensordot) is independent


def test_one_correlation_serves_its_own_kernel_and_a_family_all():
    R = SpatialCorrelation.identity((3, 3))
    assert correlation_of_kernels(R)((3, 3)) == R
    with pytest.raises(CorrelationError, match=r"use \.resize\(\(5, 5\)\)"):
        correlation_of_kernels(R)((5, 5))
    assert correlation_of_kernels("exponential:0.3")((7,)).kernel_size == (7,)


def test_fan_modes():
    assert [Channels(3, 5).of(mode) for mode in ("fan_in", "fan_out")] == [3, 5]


@pytest.mark.parametrize("module", ["jax", "keras"])
def test_a_framework_that_is_missing_is_named_with_the_line_to_paste(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"corrinit.{module}", raising=False)
    with pytest.raises(MissingLibraryError, match=rf'needs {module}: pip install "corrinit\[{module}\]"'):
        __import__(f"corrinit.{module}")
