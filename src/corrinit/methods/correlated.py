"""Gaussian taps with the correlation of trained filters."""

from corrinit._correlation import SpatialCorrelation
from corrinit.methods.method import Convolution, Method, independent_taps


def _correlation(convolution: Convolution) -> SpatialCorrelation:
    return convolution.correlation or independent_taps(convolution)


METHOD = Method(
    name="correlated",
    source="Schneider, Correlated initialization for correlated data, Algorithm 1",
    std=lambda convolution: convolution.paper_std,
    draw="normal",
    correlation=_correlation,
    uses_correlation=True,
    own_scale="paper",
)
