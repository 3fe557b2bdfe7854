"""Algorithm 1: draw convolution weights whose taps have a given correlation, in `torch.nn.init`'s grammar.

For each filter, z ~ N(0, I) and w = s C z, where C is the symmetric root of the correlation R. With
n_in input channels, gain g and M the correlation of the inputs within a patch, the output has
E[y²] = n_in s² ⟨R, M⟩ E[x²]; the scale s = g / √(n_in ⟨R, M⟩) keeps the signal. M = I gives He's scale,
M = 1 (identical inputs) the paper's, g / √(n_in ΣR).
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.init import calculate_gain

from corrinit.correlation import SpatialCorrelation
from corrinit.errors import CorrelationError, CorrInitError
from corrinit.scale import Inputs, signal_scale

FanMode: TypeAlias = Literal["fan_in", "fan_out"]

_FILTERS_PER_PRODUCT = 1 << 14


def correlated_normal_(
    tensor: Tensor,
    correlation: SpatialCorrelation,
    std: float = 1.0,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill a convolution weight with Gaussian filters whose taps have the given correlation.

    Each tap is N(0, std²); the taps of one filter have the correlation matrix R; filters are independent.
    Drawn in float32 (float64 for float64 tensors) in logical order, then cast: neither dtype nor memory
    format changes the draw. With R = I the values are those of `torch.nn.init.normal_`.

    Args:
        tensor: weight of shape (out, in / groups, k_1, ..., k_d), d = 1, 2 or 3; or (in, out / groups, ...)
            for a transposed convolution. On the meta device nothing happens.
        correlation: R of a kernel of size (k_1, ..., k_d).
        std: standard deviation of each tap.
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
    correlation.require(tuple(tensor.shape[2:]))
    if not (math.isfinite(std) and std >= 0):
        raise CorrelationError(f"std is {std}; it must be finite and at least 0")
    if tensor.is_meta:
        return tensor
    return draw_(tensor, correlation, std, generator)


def correlated_kaiming_normal_(
    tensor: Tensor,
    correlation: SpatialCorrelation,
    a: float = 0,
    mode: FanMode = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    inputs: Inputs = "identical",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Kaiming initialization with correlated taps: s = g / √(n ⟨R, M⟩), He et al. (2015) where R = I.

    Args:
        tensor: as in `correlated_normal_`. For a grouped or depthwise convolution axis 1 already is
            in / groups. Axes 0 and 1 are swapped in a transposed convolution, so there `"fan_in"` counts
            outputs, as in `torch.nn.init`; `corrinit.initialize` knows the module and counts right.
        correlation: R, the correlation of the taps.
        a: negative slope of the leaky ReLU.
        mode: `"fan_in"` keeps the scale of the signal (n = n_in), `"fan_out"` that of the gradient.
        nonlinearity: as in `torch.nn.init.calculate_gain`; it sets the gain g.
        inputs: M, the correlation of the inputs within a patch, see `signal_scale`.
        generator: see `correlated_normal_`.

    >>> R = SpatialCorrelation.identity((3, 3))
    >>> ours, theirs = torch.empty(8, 4, 3, 3), torch.empty(8, 4, 3, 3)
    >>> _ = correlated_kaiming_normal_(ours, R, generator=torch.Generator().manual_seed(0))
    >>> _ = torch.nn.init.kaiming_normal_(theirs, generator=torch.Generator().manual_seed(0))
    >>> bool((ours == theirs).all())
    True
    """
    channels = _channels(tensor, mode)
    gain = calculate_gain(nonlinearity, a)  # pyright: ignore[reportArgumentType]
    std = signal_scale(correlation, channels, gain=gain, inputs=inputs)
    return correlated_normal_(tensor, correlation, std, generator=generator)


def correlated_xavier_normal_(
    tensor: Tensor,
    correlation: SpatialCorrelation,
    gain: float = 1.0,
    *,
    inputs: Inputs = "identical",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Xavier initialization with correlated taps: n = (n_in + n_out) / 2, Glorot & Bengio (2010) where R = I.

    Args:
        tensor: as in `correlated_normal_`.
        correlation: R, the correlation of the taps.
        gain: g.
        inputs: M, the correlation of the inputs within a patch, see `signal_scale`.
        generator: see `correlated_normal_`.
    """
    channels = (_channels(tensor, "fan_in") + _channels(tensor, "fan_out")) / 2
    std = signal_scale(correlation, channels, gain=gain, inputs=inputs)
    return correlated_normal_(tensor, correlation, std, generator=generator)


def _require_kernel(tensor: Tensor) -> None:
    if torch.nn.parameter.is_lazy(tensor):
        raise CorrInitError("the parameter is lazy: run one forward pass of its module first")
    if not tensor.is_floating_point():
        raise CorrelationError(f"the tensor is of type {tensor.dtype}; weights are drawn as real numbers")
    if tensor.dim() < 3:
        raise CorrelationError(
            f"the tensor has shape {tuple(tensor.shape)}; a convolution weight has one axis for "
            "outputs, one for inputs and one or more for taps: use torch.nn.init for the others"
        )


def _channels(tensor: Tensor, mode: FanMode) -> int:
    _require_kernel(tensor)
    if mode not in ("fan_in", "fan_out"):
        raise CorrelationError(f"mode is {mode!r}; it is 'fan_in' or 'fan_out'")
    return tensor.shape[1 if mode == "fan_in" else 0]


@torch.no_grad()
def draw_(
    tensor: Tensor, correlation: SpatialCorrelation | None, std: float, generator: torch.Generator | None
) -> Tensor:
    """Draw N(0, std² R) into each row of taps of any materialized tensor; independently if R is None.

    Every rank draws the whole of a DTensor, alike where the generators are, and keeps its shard.
    """
    if not hasattr(tensor, "device_mesh"):
        return _draw_local(tensor, correlation, std, generator)
    whole = torch.empty(tensor.shape, dtype=tensor.dtype)
    return write_(tensor, _draw_local(whole, correlation, std, generator))


@torch.no_grad()
def write_(tensor: Tensor, values: Tensor) -> Tensor:
    """Copy values into a materialized tensor; into a DTensor, the shard that belongs to this rank."""
    if not hasattr(tensor, "device_mesh"):
        return tensor.copy_(values)
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(tensor, DTensor)
    whole = values.to(tensor.to_local().device, tensor.dtype)
    shard = distribute_tensor(whole, tensor.device_mesh, tensor.placements, src_data_rank=None)
    return tensor.copy_(shard)


def _draw_local(
    tensor: Tensor, correlation: SpatialCorrelation | None, std: float, generator: torch.Generator | None
) -> Tensor:
    """Draw in place where layout, precision and device allow, else in a buffer of one layer."""
    device = generator.device if generator is not None else tensor.device
    precision = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    in_place = tensor.is_contiguous() and tensor.dtype == precision and tensor.device == device
    buffer = tensor if in_place else torch.empty(tensor.shape, dtype=precision, device=device)
    buffer.normal_(0, std, generator=generator)
    if correlation is not None and not _is_identity(correlation):
        root = torch.tensor(correlation.root, dtype=precision, device=device)
        for filters in buffer.view(-1, len(root)).split(_FILTERS_PER_PRODUCT):
            filters.copy_(filters @ root)
    return tensor if in_place else tensor.copy_(buffer)


def _is_identity(correlation: SpatialCorrelation) -> bool:
    return bool((correlation.matrix == np.eye(len(correlation.matrix))).all())
