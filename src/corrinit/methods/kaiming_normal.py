"""Kaiming normal: independent Gaussian taps."""

from corrinit.correlation import SpatialCorrelation
from corrinit.init import draw_
from corrinit.methods.method import Method

METHOD = Method(
    name="kaiming_normal",
    source="He et al. 2015, Delving deep into rectifiers",
    std=lambda convolution: convolution.he_std,
    draw=lambda weight, _, std, generator: draw_(weight, None, std, generator),
    correlation=lambda convolution: SpatialCorrelation.identity(convolution.kernel_size),
    own_scale="he",
)
