"""Truncated normal: independent Gaussian taps of standard deviation 0.02, whatever the layer.

As in timm, values beyond ±2 are drawn again; the bounds are absolute, so at 0.02 they never bind.
"""

from corrinit.methods.method import Method, independent_taps

METHOD = Method(
    name="truncated_normal",
    source="Liu et al. 2022, A ConvNet for the 2020s; timm's trunc_normal_",
    std=lambda _: 0.02,
    draw="truncated_normal",
    correlation=independent_taps,
)
