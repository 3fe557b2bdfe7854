"""Independent Gaussian taps whose variance falls off from the centre of the kernel.

With r the distance of a tap from the centre, its relative deviation is d ∝ exp(−r² / (4τ²)), τ = 0.8 taps.
The mean variance of the taps is He's: of a 3×3 kernel the centre has 2.5 times the variance of a flat one, a
corner half of it. Another width, or one beside a correlation, is a correlation of the method `correlated`,
such as `exponential:0.3+centre:0.8`.

That trained filters vary most in the middle, and that such a start helps depthwise convolutions, is from
Trockman, Willmott & Kolter, whose filters are correlated as well (`convolutional_covariance`).
"""

from __future__ import annotations

from corrinit._correlation import SpatialCorrelation
from corrinit.kernels import centre_weighted
from corrinit.methods.method import Convolution, Method, independent_taps

WIDTH = 0.8
"""τ, in taps."""


def _centred(convolution: Convolution) -> SpatialCorrelation:
    independent = independent_taps(convolution)
    if convolution.taps == 1:
        return independent
    return independent.with_deviations(centre_weighted(convolution.kernel_size, WIDTH))


METHOD = Method(
    name="centre_weighted",
    source="after Trockman et al. 2023, Understanding the covariance structure of conv. filters",
    std=lambda convolution: convolution.he_std,
    draw="normal",
    correlation=_centred,
    own_scale="he",
)
