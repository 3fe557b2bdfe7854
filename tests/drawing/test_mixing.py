"""From independent to correlated taps: the products that give D C z."""

import numpy as np
import pytest
import torch

from corrinit import SpatialCorrelation, kernels
from corrinit._drawing.mixing import mixer

AXES = {size: [kernels.exponential((k,), 1.5) for k in size] for size in [(3, 3), (19, 17), (9, 2, 25)]}


def z(filters: int, taps: int, dtype=torch.float32) -> torch.Tensor:
    return torch.empty(filters, taps, dtype=dtype).normal_(generator=torch.Generator().manual_seed(0))


def correlations():
    ramp = np.sqrt(np.arange(1, 26) / 13)
    yield "dense", SpatialCorrelation(kernels.exponential((5, 5), mean=0.3))
    yield "a single tap apart", SpatialCorrelation(np.eye(25) + 0.2 * (np.eye(25, k=1) + np.eye(25, k=-1)))
    yield "deviations", SpatialCorrelation(kernels.exponential((5, 5), mean=0.3), deviations=ramp)
    for size, axes in AXES.items():
        yield f"separable {size}", SpatialCorrelation.separable(axes)
    taps = 19 * 17
    deviations = np.sqrt(2 * np.arange(1, taps + 1) / (taps + 1))
    yield "separable, deviations", SpatialCorrelation.separable(AXES[19, 17], deviations=deviations)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("correlation", [pytest.param(R, id=name) for name, R in correlations()])
def test_every_filter_is_d_c_z_rounded_once(correlation, dtype):
    """So processors, which sum in different orders, differ in the last digit at most."""
    independent = z(1000, len(correlation.deviations), dtype)
    expected = independent.double().numpy() @ correlation.factor.T
    mix = mixer(correlation)
    assert mix is not None
    mix(independent)
    if dtype == torch.float32:
        np.testing.assert_array_max_ulp(independent.numpy(), expected.astype(np.float32), 1)
    np.testing.assert_allclose(independent.numpy(), expected, rtol=1e-7, atol=1e-13)


@pytest.mark.parametrize("correlation", [None, SpatialCorrelation.identity((3, 3))])
def test_independent_taps_are_left_alone(correlation):
    assert mixer(correlation) is None


def test_independent_taps_of_unequal_deviations_are_not():
    centre = kernels.centre_weighted((3, 3), width=0.8)
    mix = mixer(SpatialCorrelation.identity((3, 3)).with_deviations(centre))
    assert mix is not None
    filters = torch.ones(2, 9)
    mix(filters)
    np.testing.assert_allclose(filters[1], centre, rtol=1e-6)


@pytest.mark.parametrize("size", AXES)
def test_a_filter_does_not_depend_on_those_beside_it(size):
    correlation = SpatialCorrelation.separable(AXES[size])
    mix = mixer(correlation)
    assert mix is not None
    many = z(4000, len(correlation.deviations))
    few = many[:3].clone()
    mix(many)
    mix(few)
    torch.testing.assert_close(many[:3], few, rtol=2e-7, atol=1e-13)
