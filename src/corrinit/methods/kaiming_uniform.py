"""Kaiming uniform: independent uniform taps at He's scale."""

from corrinit.methods.method import Method, independent_taps

METHOD = Method(
    name="kaiming_uniform",
    source="He et al. 2015, Delving deep into rectifiers",
    std=lambda convolution: convolution.he_std,
    draw="uniform",
    correlation=independent_taps,
    own_scale="he",
)
