"""Gaussian taps with the correlation of trained filters."""

from corrinit.correlation import SpatialCorrelation
from corrinit.init import draw_
from corrinit.methods.method import Convolution, Method


def _correlation(convolution: Convolution) -> SpatialCorrelation:
    return convolution.correlation or SpatialCorrelation.identity(convolution.kernel_size)


METHOD = Method(
    name="correlated",
    source="Schneider, Correlated initialization for correlated data, Algorithm 1",
    std=lambda convolution: convolution.correlated_std,
    draw=lambda weight, convolution, std, generator: draw_(weight, convolution.correlation, std, generator),
    correlation=_correlation,
    uses_correlation=True,
    own_scale="correlated",
)
