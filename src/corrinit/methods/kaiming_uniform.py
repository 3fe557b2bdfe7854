"""Kaiming uniform: independent uniform taps at He's scale."""

import math

from corrinit.methods.method import Method

METHOD = Method(
    name="kaiming_uniform",
    source="He et al. 2015, Delving deep into rectifiers",
    std=lambda convolution: convolution.he_std,
    draw=lambda weight, _, std, generator: weight.uniform_(
        -math.sqrt(3) * std, math.sqrt(3) * std, generator=generator
    ),
    own_scale="he",
)
