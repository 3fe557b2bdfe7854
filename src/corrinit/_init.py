"""Algorithm 1: draw convolution weights whose taps have a given correlation, in `torch.nn.init`'s grammar.

For each filter, z ~ N(0, I) and w = s D C z, where C is the symmetric root of the correlation R and
D = diag d holds the relative deviations of the taps, 1 in the paper. With n_in input channels, gain g and M
the second moments of the inputs within a patch, the output has E[y²] = n_in s² ⟨D R D, M⟩ E[x²]; the scale
s = g / √(n_in ⟨D R D, M⟩) keeps the signal. M = I gives He's scale, M = 1 (identical inputs) the paper's.

As in transformers' own versions of `torch.nn.init`, a tensor whose `_is_hf_initialized` is true was loaded
from a checkpoint and is left as it is.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.init import calculate_gain

from corrinit._arguments import real
from corrinit._correlation import SpatialCorrelation, require_correlation
from corrinit._drawing import holds_nothing
from corrinit._drawing.mixing import drawn_precision, mixer
from corrinit._drawing.shards import write_
from corrinit._scale import Inputs, TensorScale, amplification, resolve_scale, scale_for
from corrinit.errors import CorrelationError, LazyParameterError, UnfitTensorError

FanMode: TypeAlias = Literal["fan_in", "fan_out"]


def correlated_normal_(
    tensor: Tensor,
    correlation: SpatialCorrelation,
    std: float = 1.0,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill a convolution weight with Gaussian filters whose taps have the given correlation.

    The taps of one filter have the covariance std² D R D: the correlation R and, where all deviate alike
    (d = 1), each the deviation std. Filters are independent. Drawn in float32 (float64 for float64 tensors)
    in logical order, then cast: neither dtype nor memory format changes the draw. With R = I and d = 1 the
    values are those of `torch.nn.init.normal_`.

    Args:
        tensor: weight of shape (out, in / groups, k_1, ..., k_d), d = 1, 2 or 3; or (in, out / groups, ...)
            for a transposed convolution. Nothing happens on the meta device, nor to a tensor that
            transformers has marked as loaded (`_is_hf_initialized`).
        correlation: R and d of a kernel of size (k_1, ..., k_d).
        std: standard deviation of the taps, root mean square over a filter.
        generator: on the CPU or the tensor's device; default: the device's global generator.

    Returns:
        The tensor.

    Raises:
        CorrelationError: if the kernel of R and of the tensor differ, or `std` is negative or not finite.

    >>> R = SpatialCorrelation([[1, 0.8], [0.8, 1]], kernel_size=(2,))
    >>> w = correlated_normal_(torch.empty(4000, 8, 2), R, generator=torch.Generator().manual_seed(0))
    >>> bool(abs(torch.corrcoef(w.reshape(-1, 2).T)[0, 1] - 0.8) < 0.01)
    True
    """
    _require_kernel(tensor)
    require_correlation(correlation)
    correlation.require(tuple(tensor.shape[2:]))
    std = real("std", std)
    if not (math.isfinite(std) and std >= 0):
        raise CorrelationError(f"std is {std:g}; it must be finite and at least 0")
    if not (generator is None or isinstance(generator, torch.Generator)):
        raise CorrelationError(f"generator is of type {type(generator).__name__}; give a torch.Generator")
    if holds_nothing(tensor) or getattr(tensor, "_is_hf_initialized", False):
        return tensor
    return draw_(tensor, correlation, std, generator)


def correlated_kaiming_normal_(
    tensor: Tensor,
    correlation: SpatialCorrelation,
    a: float = 0,
    mode: FanMode = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    scale: TensorScale | None = None,
    inputs: Inputs | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Kaiming initialization with correlated taps: s = g / √(n ⟨D R D, M⟩), He et al. (2015) where R = I.

    Args:
        tensor: as in `correlated_normal_`. For a grouped or depthwise convolution axis 1 already is
            in / groups. Axes 0 and 1 are swapped in a transposed convolution, so there `"fan_in"` counts
            outputs, as in `torch.nn.init`; `corrinit.initialize` knows the module and counts right.
        correlation: R and d of the taps.
        a: negative slope of the leaky ReLU.
        mode: `"fan_in"` keeps the scale of the signal (n = n_in), `"fan_out"` that of the gradient.
        nonlinearity: as in `torch.nn.init.calculate_gain`; it sets the gain g.
        scale: M, the second moments of the inputs within a patch: `"he"`, `"paper"` (the default), or M
            itself, see `signal_scale`.
        inputs: the older name of `scale`, see `signal_scale`; it goes with the next release.
        generator: see `correlated_normal_`.

    >>> R = SpatialCorrelation.identity((3, 3))
    >>> ours, theirs = torch.empty(8, 4, 3, 3), torch.empty(8, 4, 3, 3)
    >>> _ = correlated_kaiming_normal_(ours, R, generator=torch.Generator().manual_seed(0))
    >>> _ = torch.nn.init.kaiming_normal_(theirs, generator=torch.Generator().manual_seed(0))
    >>> bool((ours == theirs).all())
    True
    """
    channels = _channels(tensor, mode)
    try:
        gain = calculate_gain(nonlinearity, a)  # pyright: ignore[reportArgumentType]
    except ValueError as error:
        raise CorrelationError(
            f"nonlinearity is {nonlinearity!r} and a is {a!r}: {error}; give a name that "
            "torch.nn.init.calculate_gain knows, such as 'relu', and a number"
        ) from error
    std = scale_for(amplification(correlation, resolve_scale(scale, inputs)), channels, gain)
    return correlated_normal_(tensor, correlation, std, generator=generator)


def correlated_xavier_normal_(
    tensor: Tensor,
    correlation: SpatialCorrelation,
    gain: float = 1.0,
    *,
    scale: TensorScale | None = None,
    inputs: Inputs | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Xavier initialization with correlated taps: n = (n_in + n_out) / 2, Glorot & Bengio (2010) where R = I.

    Args:
        tensor: as in `correlated_normal_`.
        correlation: R and d of the taps.
        gain: g.
        scale: M, the second moments of the inputs within a patch: `"he"`, `"paper"` (the default), or M
            itself, see `signal_scale`.
        inputs: the older name of `scale`, see `signal_scale`; it goes with the next release.
        generator: see `correlated_normal_`.
    """
    channels = (_channels(tensor, "fan_in") + _channels(tensor, "fan_out")) / 2
    std = scale_for(amplification(correlation, resolve_scale(scale, inputs)), channels, gain)
    return correlated_normal_(tensor, correlation, std, generator=generator)


def _require_kernel(tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise UnfitTensorError(f"the tensor is of type {type(tensor).__name__}; give a torch.Tensor")
    if torch.nn.parameter.is_lazy(tensor):
        raise LazyParameterError("the parameter is lazy: run one forward pass of its module first")
    if not tensor.is_floating_point():
        raise UnfitTensorError(f"the tensor is of type {tensor.dtype}; weights are drawn as real numbers")
    if tensor.dim() < 3:
        raise UnfitTensorError(
            f"the tensor has shape {tuple(tensor.shape)}; a convolution weight has one axis for "
            "outputs, one for inputs and one or more for taps: use torch.nn.init for the others",
            shape=tuple(tensor.shape),
        )


def _channels(tensor: Tensor, mode: FanMode) -> int:
    _require_kernel(tensor)
    if not isinstance(mode, str) or mode not in ("fan_in", "fan_out"):
        raise CorrelationError(f"mode is {mode!r}; it is 'fan_in' or 'fan_out'")
    return tensor.shape[1 if mode == "fan_in" else 0]


@torch.no_grad()
def draw_(
    tensor: Tensor, correlation: SpatialCorrelation | None, std: float, generator: torch.Generator | None
) -> Tensor:
    """Draw N(0, std² D R D) into each row of taps of any materialized tensor; independently if R is None.

    Every rank draws the whole of a DTensor, as there is one generator, and keeps its shard; `draw_all`
    need not.
    """
    if not hasattr(tensor, "device_mesh"):
        return _draw_local(tensor, correlation, std, generator)
    whole = torch.empty(tensor.shape, dtype=tensor.dtype)
    return write_(tensor, _draw_local(whole, correlation, std, generator))


def _draw_local(
    tensor: Tensor, correlation: SpatialCorrelation | None, std: float, generator: torch.Generator | None
) -> Tensor:
    """Draw in place where layout, precision and device allow, else in a buffer of one layer."""
    device = generator.device if generator is not None else tensor.device
    precision = drawn_precision(tensor)
    in_place = tensor.is_contiguous() and tensor.dtype == precision and tensor.device == device
    buffer = tensor if in_place else torch.empty(tensor.shape, dtype=precision, device=device)
    buffer.normal_(0, std, generator=generator)
    if (mix := mixer(correlation)) is not None:
        values = buffer.cpu()  # itself if it is there
        mix(values.view(-1, math.prod(tensor.shape[2:])))
        buffer.copy_(values)
    return tensor if in_place else tensor.copy_(buffer)
