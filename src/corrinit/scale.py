"""The scale that keeps a signal: s = g / √(n ⟨R, M⟩).

With n input channels, taps of correlation R and standard deviation s, and inputs whose second moments within
a patch have correlation M, the output of a convolution has E[y²] = n s² ⟨R, M⟩ E[x²], where
⟨R, M⟩ = Σ_ij R_ij M_ij. M = I gives He's scale, M = 1 (identical inputs) the paper's, g / √(n ΣR).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from corrinit.correlation import SpatialCorrelation
from corrinit.errors import CorrelationError
from corrinit.kernels import tap_offsets

Inputs: TypeAlias = Literal["independent", "identical"] | SpatialCorrelation


def signal_scale(
    correlation: SpatialCorrelation,
    channels: float,
    *,
    gain: float = 1.0,
    inputs: Inputs = "identical",
) -> float:
    """The standard deviation per tap that keeps the signal, s = g / √(n ⟨R, M⟩).

    Args:
        correlation: R, the correlation of the taps.
        channels: n, the number of channels each output sums over.
        gain: g, √2 for ReLU.
        inputs: M: `"independent"` for M = I (He's scale), `"identical"` for M = 1 (the paper's scale,
            ⟨R, M⟩ = ΣR), or a measured correlation.

    Raises:
        CorrelationError: if ⟨R, M⟩ is not positive: then the signal vanishes at every scale.

    >>> round(signal_scale(SpatialCorrelation.identity((3, 3)), 64, gain=2**0.5), 6)  # √(2 / (64 × 9))
    0.058926
    """
    return scale_for(amplification(correlation, inputs), channels, gain)


def scale_for(amplification: float, channels: float, gain: float) -> float:
    """The scale g / √(n a) for an amplification a = ⟨R, M⟩; an error where no scale keeps the signal."""
    if channels <= 0:
        raise CorrelationError(f"the layer has {channels} input channels; a scale needs at least one")
    if amplification <= 1e-9:
        raise CorrelationError(
            f"⟨R, M⟩ is {amplification:.3g}: filters with this correlation cancel such inputs, so no scale "
            'keeps the signal; use inputs="independent" or a measured correlation of the inputs'
        )
    scale = gain / math.sqrt(channels * amplification)
    if not math.isfinite(scale):
        raise CorrelationError(
            f"gain {gain}, n {channels} and ⟨R, M⟩ {amplification:.3g} give no finite scale"
        )
    return scale


def amplification(correlation: SpatialCorrelation, inputs: Inputs) -> float:
    """⟨R, M⟩: the number of taps for M = I, ΣR for M = 1.

    Args:
        correlation: R, the correlation of the taps.
        inputs: M, see `signal_scale`.
    """
    if isinstance(inputs, SpatialCorrelation):
        return correlation.inner(inputs)
    if inputs == "independent":
        return float(len(correlation.matrix))
    if inputs == "identical":
        return float(correlation.matrix.sum())
    raise CorrelationError(
        f"inputs is {inputs!r}; it is 'independent', 'identical' or a SpatialCorrelation of the inputs"
    )


def transposed_amplification(
    correlation: SpatialCorrelation, inputs: Inputs, *, stride: Sequence[int], dilation: Sequence[int]
) -> float:
    """The amplification of a transposed convolution, averaged over its output positions.

    An output at phase φ (its position modulo the stride σ) meets only the taps t with δ t ≡ φ (mod σ), for
    dilation δ, and two such taps meet inputs that lie δ (t − t′)/σ apart. So the mean over the ∏σ phases is
    Σ R_tt′ M(δ (t − t′)/σ) / ∏σ over the pairs of taps of equal phase; for stride 1 it is ⟨R, M⟩.

    Args:
        correlation: R, the correlation of the taps.
        inputs: M, see `signal_scale`; a measured M is read as a function of the displacement.
        stride: σ per axis.
        dilation: δ per axis.

    >>> R = SpatialCorrelation.identity((4, 4))
    >>> transposed_amplification(R, "identical", stride=(2, 2), dilation=(1, 1))
    4.0
    """
    offsets = tap_offsets(correlation.kernel_size) * np.asarray(dilation)
    lags = offsets[:, None, :] - offsets[None, :, :]
    same_phase = (lags % np.asarray(stride) == 0).all(axis=-1)
    if isinstance(inputs, SpatialCorrelation):
        inputs.require(correlation.kernel_size)
        limit = np.asarray(inputs.kernel_size) - 1
        apart = np.where(same_phase[..., None], lags // np.asarray(stride), 0)
        if (np.abs(apart) > limit).any():
            raise CorrelationError(
                f"stride {tuple(stride)} and dilation {tuple(dilation)} bring together inputs further apart "
                'than the measured correlation reaches; use inputs="identical" or "independent"'
            )
        moments = inputs.by_displacement()[tuple(np.moveaxis(apart + limit, -1, 0))]
        total = (correlation.matrix * moments * same_phase).sum()
    else:
        phase_only = correlation.matrix * same_phase
        total = amplification(SpatialCorrelation(phase_only, correlation.kernel_size), inputs)
    return float(total) / math.prod(stride)
