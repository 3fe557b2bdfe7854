"""The scale that keeps a signal: s = g / √(n ⟨D R D, M⟩).

With n input channels, taps of correlation R, relative deviations d (D = diag d) and mean variance s², and
inputs whose second moments within a patch are M, the output of a convolution has
E[y²] = n s² ⟨D R D, M⟩ E[x²], where ⟨A, M⟩ = Σ_ij A_ij M_ij. M = I gives He's scale, M = 1 (identical inputs)
the paper's, g / √(n ΣR).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from corrinit._correlation import SpatialCorrelation
from corrinit._displacement import mean_by_displacement
from corrinit._spd import Matrix
from corrinit.errors import CancelledSignalError, CorrelationError, warn_caller
from corrinit.kernels import tap_offsets

NamedInputs: TypeAlias = Literal["independent", "identical"]

Inputs: TypeAlias = NamedInputs | SpatialCorrelation | Matrix
"""M, what a scale assumes of the inputs of a patch: M = I, M = 1, or a value or n × n array that is given."""

Scale: TypeAlias = Literal["he", "paper", "measured", "natural"]
"""M by the name of the scale that it gives: M = I is He's and M = 1 the paper's; otherwise M is measured on
images of the user, or propagated through the model from the statistics of natural images."""

TensorScale: TypeAlias = Literal["he", "paper"] | SpatialCorrelation | Matrix
"""M for a single weight: by name, or given."""

_INPUTS_OF: dict[str, NamedInputs] = {"he": "independent", "paper": "identical"}


def renamed_inputs(scale: Any, inputs: Any) -> Any:
    """The scale that `inputs=` named before there was `scale=`; a `DeprecationWarning` shows the new line.

    Raises:
        CorrelationError: if both are given, or the inputs are no such thing.
    """
    if scale is not None:
        raise CorrelationError("both scale and inputs are given; give scale alone, inputs is its older name")
    new = inputs
    if isinstance(inputs, str):
        if inputs not in _INPUTS_OF.values():
            raise CorrelationError(
                f"inputs is {inputs!r}; it is 'independent', 'identical', or M, and scale= says it now"
            )
        new = next(name for name, old in _INPUTS_OF.items() if inputs == old)
    said = f"inputs={f'{inputs!r}' if isinstance(inputs, str) else 'M'}"
    named = f'"{new}"' if isinstance(new, str) else "M"
    warn_caller(
        f"{said} is now written scale={named}; inputs= goes with the next release", DeprecationWarning
    )
    return new


def resolve_scale(scale: TensorScale | None, inputs: Inputs | None = None) -> Inputs:
    """M of a scale, or of the older `inputs=`, which is taken for one release with a warning.

    Args:
        scale: `"he"`, `"paper"`, or M; default: the paper's.
        inputs: what was given before there was `scale=`.

    Raises:
        CorrelationError: if both are given, or the scale is no such thing.

    >>> resolve_scale("he")
    'independent'
    """
    if inputs is not None:
        scale = renamed_inputs(scale, inputs)
    if scale is None:
        return "identical"
    if not isinstance(scale, str):
        return scale
    if scale in _INPUTS_OF:
        return _INPUTS_OF[scale]
    if scale in get_args(Scale):
        raise CorrelationError(
            f"the scale {scale!r} is one of a model, not of a single weight: use corrinit.initialize, or "
            "give M, such as corrinit.estimate_inputs measures it"
        )
    raise CorrelationError(f"scale is {scale!r}; it is 'he', 'paper', or M as a SpatialCorrelation or array")


def signal_scale(
    correlation: SpatialCorrelation,
    channels: float,
    *,
    gain: float = 1.0,
    scale: TensorScale | None = None,
    inputs: Inputs | None = None,
) -> float:
    """The deviation of the taps, root mean square over a filter, that keeps the signal: g / √(n ⟨D R D, M⟩).

    Args:
        correlation: R and d of the taps.
        channels: n, the number of channels each output sums over.
        gain: g, √2 for ReLU.
        scale: M: `"he"` for M = I, where ⟨D R D, M⟩ is the number of taps; `"paper"`, the default, for M = 1,
            where it is the sum of D R D; or M itself, a measured `SpatialCorrelation` or an n × n array of
            second moments in units of E[x²].
        inputs: the older name of `scale`: `"independent"` for `"he"`, `"identical"` for `"paper"`, or M.

    Raises:
        CorrelationError: if ⟨D R D, M⟩ is not positive: then the signal vanishes at every scale.

    >>> round(signal_scale(SpatialCorrelation.identity((3, 3)), 64, gain=2**0.5), 6)  # √(2 / (64 × 9))
    0.058926
    """
    return scale_for(amplification(correlation, resolve_scale(scale, inputs)), channels, gain)


def scale_for(amplification: float, channels: float, gain: float) -> float:
    """The scale g / √(n a) for an amplification a = ⟨D R D, M⟩; an error where no scale keeps the signal."""
    if channels <= 0:
        raise CorrelationError(f"the layer has {channels} input channels; a scale needs at least one")
    if amplification <= 1e-9:
        raise CancelledSignalError(
            f"⟨R, M⟩ is {amplification:.3g}: filters with this correlation cancel such inputs, so no scale "
            'keeps the signal; use scale="he" or a measured correlation of the inputs'
        )
    scale = gain / math.sqrt(channels * amplification)
    if not math.isfinite(scale):
        raise CancelledSignalError(
            f"gain {gain}, n {channels} and ⟨R, M⟩ {amplification:.3g} give no finite scale"
        )
    return scale


def amplification(correlation: SpatialCorrelation, inputs: Inputs) -> float:
    """⟨D R D, M⟩: the number of taps for M = I, the sum of D R D for M = 1.

    Args:
        correlation: R and d of the taps.
        inputs: M: `"independent"` for I, `"identical"` for 1, or a value or n × n array.
    """
    if isinstance(inputs, (SpatialCorrelation, np.ndarray)):
        return correlation.inner(inputs)
    _require_named(inputs)
    return float(len(correlation.deviations)) if inputs == "independent" else correlation.total


def transposed_amplification(
    correlation: SpatialCorrelation, inputs: Inputs, *, stride: Sequence[int], dilation: Sequence[int]
) -> float:
    """The amplification of a transposed convolution, averaged over its output positions.

    An output at phase φ (its position modulo the stride σ) meets only the taps t with δ t ≡ φ (mod σ), for
    dilation δ, and two such taps meet inputs that lie δ (t − t′)/σ apart. So the mean over the ∏σ phases is
    Σ (D R D)_tt′ M(δ (t − t′)/σ) / ∏σ over the pairs of taps of equal phase; for stride 1 it is ⟨D R D, M⟩.

    Args:
        correlation: R and d of the taps.
        inputs: M, see `amplification`; one that is given is read as a function of the displacement.
        stride: σ per axis.
        dilation: δ per axis.

    >>> R = SpatialCorrelation.identity((4, 4))
    >>> transposed_amplification(R, "identical", stride=(2, 2), dilation=(1, 1))
    4.0
    """
    phases = math.prod(stride)
    if not isinstance(inputs, (SpatialCorrelation, np.ndarray)):
        _require_named(inputs)
        if inputs == "independent":
            return float(len(correlation.deviations)) / phases
        if correlation.axes is not None and correlation.is_flat:  # the sum factors: one along each axis
            lines = [SpatialCorrelation(axis, axis.shape[:1]) for axis in correlation.axes]
            return math.prod(
                transposed_amplification(line, inputs, stride=(step,), dilation=(apart,))
                for line, step, apart in zip(lines, stride, dilation, strict=True)
            )
    offsets = tap_offsets(correlation.kernel_size) * np.asarray(dilation)
    lags = offsets[:, None, :] - offsets[None, :, :]
    same_phase = (lags % np.asarray(stride) == 0).all(axis=-1)
    met = correlation.covariance * same_phase
    if isinstance(inputs, (SpatialCorrelation, np.ndarray)):
        limit = np.asarray(correlation.kernel_size) - 1
        apart = np.where(same_phase[..., None], lags // np.asarray(stride), 0)
        moments = mean_by_displacement(_second_moments(correlation, inputs), correlation.kernel_size)
        if (np.abs(apart) > limit).any():
            raise CorrelationError(
                f"stride {tuple(stride)} and dilation {tuple(dilation)} bring together inputs further apart "
                'than the measured correlation reaches; use scale="paper" or "he"'
            )
        met = met * moments[tuple(np.moveaxis(apart + limit, -1, 0))]
    return float(met.sum()) / phases


def _second_moments(correlation: SpatialCorrelation, inputs: SpatialCorrelation | Matrix) -> Matrix:
    if isinstance(inputs, SpatialCorrelation):
        inputs.require(correlation.kernel_size)
        return inputs.covariance
    correlation.inner(inputs)  # refuses what is no M of this kernel
    return inputs


def _require_named(inputs: object) -> None:
    if not isinstance(inputs, str) or inputs not in get_args(NamedInputs):
        given = repr(inputs) if isinstance(inputs, (str, int, float)) else f"of type {type(inputs).__name__}"
        raise CorrelationError(
            f"the scale is {given}; it is 'he', 'paper', or M as a SpatialCorrelation or array"
        )
