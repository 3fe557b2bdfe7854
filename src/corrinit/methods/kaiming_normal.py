"""Kaiming normal: independent Gaussian taps."""

from corrinit.methods.method import Method, independent_taps

METHOD = Method(
    name="kaiming_normal",
    source="He et al. 2015, Delving deep into rectifiers",
    std=lambda convolution: convolution.he_std,
    draw="normal",
    correlation=independent_taps,
    own_scale="he",
)
