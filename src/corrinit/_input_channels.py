"""A convolution for another number of input channels, with what its filters have learned.

The channels that are kept keep their filters; a new channel gets filters with the tap covariance s² D R D of
all that there are. With n inputs of equal strength that do not vary together, the output has
E[y²] = Σ_c ⟨Σ_c, M⟩ E[x²], n terms of one mean: so all filters are multiplied by √(n_old / n_new).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from corrinit._correlation import SpatialCorrelation
from corrinit._init import correlated_normal_
from corrinit._layers import has_values, is_loaded, why_unwritable
from corrinit._layers.weight_standardization import is_weight_standardized
from corrinit._layers.weight_storage import StoredWeight, stored_weight
from corrinit._moments import tap_moments
from corrinit._seeding import layer_generator, seed_from_torch
from corrinit._spd import relative_deviations
from corrinit.errors import InputChannelsError, UnwritableWeightError

Conv = TypeVar("Conv", bound=nn.Module)


def adapt_inputs(
    conv: Conv,
    pretrained: nn.Module | Tensor | None = None,
    *,
    channels: int | Sequence[int | None] | None = None,
    seed: int | None = None,
) -> Conv:
    """A convolution for other input channels: known ones keep their filters, new ones are drawn alike.

        model.conv1 = corrinit.adapt_inputs(model.conv1, channels=5)    # a copy with two more channels
        corrinit.adapt_inputs(model.conv1, pretrained.conv1)            # fills a convolution that is there

    New filters are drawn with the correlation R, the deviations d and the strength s of all filters there
    are; then all are multiplied by √(n_old / n_new), which keeps the strength of the output for inputs of
    equal strength that do not vary together. A single channel, as of grey images, gets the sum of all
    filters instead: an image that was given in every channel has the same output as before.

    Args:
        conv: a convolution. Its weights are those to be adapted, and it is left as it is, unless
            `pretrained` is given.
        pretrained: a convolution, or its weight, whose filters are taken; `conv` then is filled, and its
            bias, if both have one.
        channels: how many input channels there shall be: those that there are keep their place, and new ones
            follow. Or, for each of them, the number of the one that it was, None if it is new:
            `[2, 1, 0, None]` for blue, green, red and infrared after red, green and blue. Default: as many as
            `conv` has.
        seed: of what is drawn; default: one number from torch's global generator.

    Returns:
        `conv` itself where `pretrained` is given, else a copy of it.

    Raises:
        PlanError: if it is no ungrouped convolution with a plain weight, or it is not clear which of its
            channels are meant; nothing is changed.

    Source: the adaptation to other channels by repeating or summing filters, as in timm's
    `adapt_input_conv`; drawn filters do not make one channel a copy of another.

    >>> stem = nn.Conv2d(3, 64, 7)
    >>> wider = adapt_inputs(stem, channels=5, seed=0)
    >>> wider.weight.shape, bool(torch.allclose(wider.weight[:, :3], (3 / 5) ** 0.5 * stem.weight))
    (torch.Size([64, 5, 7, 7]), True)
    """
    _require_plain(conv, "the convolution")
    if pretrained is None and channels is None:
        raise InputChannelsError("neither channels nor pretrained weights are given; say which: channels=5")
    source = _weight(conv if pretrained is None else pretrained, conv)
    inputs = 0 if isinstance(conv, _ConvTransposeNd) else 1
    old = source.transpose(0, 1) if inputs == 0 else source  # (out, in, taps)
    wanted = _wanted(channels, conv, fills=pretrained is not None)
    places = _places(wanted, old.shape[1])
    if pretrained is None and len(places) != old.shape[1] and is_weight_standardized(conv):
        raise InputChannelsError(
            f"{type(conv).__name__} standardizes its weight, with a factor for its number of inputs; build "
            "one for the new channels, and give it this one: adapt_inputs(new, this)"
        )
    if len(places) == 1 and wanted == 1:
        new = old.double().sum(1, keepdim=True)
    else:
        new = _adapted(old, places, seed) * (old.shape[1] / len(places)) ** 0.5
    weight = new.transpose(0, 1) if inputs == 0 else new
    adapted = conv if pretrained is not None else _copy(conv, weight, len(places))
    with torch.no_grad():
        adapted.weight.copy_(weight)  # pyright: ignore[reportCallIssue, reportArgumentType]
        given = getattr(pretrained, "bias", None)
        if isinstance(given, Tensor) and adapted.bias is not None:
            adapted.bias.copy_(given)  # pyright: ignore[reportCallIssue, reportArgumentType]
    if is_loaded(source):
        adapted.weight._is_hf_initialized = True  # pyright: ignore
    return adapted


def _weight(source: nn.Module | Tensor, conv: nn.Module) -> Tensor:
    """The weight to be adapted, of a shape that fits."""
    if isinstance(source, nn.Module):
        _require_plain(source, "the convolution")
        weight: Any = source.weight
    else:
        weight = source
    own: Any = conv.weight
    inputs = 0 if isinstance(conv, _ConvTransposeNd) else 1
    shapes = [[size for axis, size in enumerate(each.shape) if axis != inputs] for each in (weight, own)]
    if not isinstance(weight, Tensor) or weight.dim() != own.dim() or shapes[0] != shapes[1]:
        raise InputChannelsError(
            f"the weight has shape {tuple(weight.shape)}, and the convolution {tuple(own.shape)}; they may "
            "differ in their inputs alone",
            shape=tuple(weight.shape),
        )
    if not has_values(weight) or not bool(torch.isfinite(weight).all()):
        raise InputChannelsError("the weight holds no values, or some that are not finite; load it first")
    return weight


def _require_plain(conv: object, what: str) -> None:
    if not isinstance(conv, _ConvNd):
        raise InputChannelsError(f"{what} is of type {type(conv).__name__}; give a convolution of torch.nn")
    if conv.groups != 1:
        raise InputChannelsError(
            f"{what} has {conv.groups} groups, so that no filter sees all channels; give groups=1"
        )
    if type(stored := stored_weight(conv)) is not StoredWeight:
        raise UnwritableWeightError(
            f"the weight of {what} is not a plain parameter; remove its parametrization first"
        )
    if has_values(stored.parameter) and (obstacle := why_unwritable(stored.parameter)):
        raise UnwritableWeightError(f"the weight of {what} is {obstacle}")


def _wanted(
    channels: int | Sequence[int | None] | None, conv: Any, *, fills: bool
) -> int | Sequence[int | None]:
    """The channels there shall be; those of a convolution that is filled are given."""
    wanted = conv.in_channels if channels is None else channels
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        count = len(wanted)
    elif isinstance(wanted, int) and not isinstance(wanted, bool):
        count = wanted
    else:
        raise InputChannelsError(f"channels is {wanted!r}; it is a number, or a list of numbers and None")
    if count < 1:
        raise InputChannelsError(f"channels is {wanted!r}; a convolution has at least one")
    if fills and count != conv.in_channels:
        raise InputChannelsError(
            f"channels names {count}, and the convolution has {conv.in_channels} input channels"
        )
    return wanted


def _places(wanted: int | Sequence[int | None], old: int) -> list[int | None]:
    """For each new channel, the old one whose filters it keeps; None for those to be drawn."""
    if isinstance(wanted, int):
        if 1 < wanted < old:
            raise InputChannelsError(
                f"there are {old} input channels and {wanted} are wanted; say which: "
                f"channels={list(range(wanted))}"
            )
        return [place if place < old else None for place in range(wanted)]
    for place in wanted:
        if place is not None and not (isinstance(place, int) and 0 <= place < old):
            raise InputChannelsError(f"channels names {place!r}; there are the input channels 0 to {old - 1}")
    return list(wanted)


def _adapted(old: Tensor, places: Sequence[int | None], seed: int | None) -> Tensor:
    """Kept and drawn filters, shape (out, new, taps), in float64."""
    new = torch.empty(old.shape[0], len(places), *old.shape[2:], dtype=torch.float64)
    kept = {at: place for at, place in enumerate(places) if place is not None}
    values = old.detach().cpu().double()
    new[:, list(kept)] = values[:, list(kept.values())]
    if drawn := [at for at in range(len(places)) if at not in kept]:
        generator = layer_generator(seed_from_torch() if seed is None else seed, "")
        new[:, drawn] = _alike(values, len(drawn), generator)
    return new


def _alike(filters: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Filters for more channels, with the second moments E[w wᵀ] of those that there are."""
    moments = tap_moments(filters)
    second = moments.covariance + np.outer(moments.mean, moments.mean)
    variances = second.diagonal().clip(min=0)
    drawn = torch.zeros(filters.shape[0], count, *filters.shape[2:])
    if not variances.any():  # deliberately zero, as the new ones then are
        return drawn.double()
    inverse = np.where(variances > 0, 1 / np.sqrt(np.where(variances > 0, variances, 1)), 0)
    matrix = second * np.outer(inverse, inverse)
    np.fill_diagonal(matrix, 1)
    size = tuple(filters.shape[2:])
    alike = SpatialCorrelation(matrix, size, deviations=relative_deviations(np.sqrt(variances)))
    return correlated_normal_(drawn, alike, float(np.sqrt(variances.mean())), generator=generator).double()


def _copy(conv: Conv, weight: Tensor, channels: int) -> Conv:
    made = copy.deepcopy(conv)
    own: Any = conv.weight
    made.in_channels = channels  # pyright: ignore
    made.weight = nn.Parameter(
        torch.empty(weight.shape, dtype=own.dtype, device=own.device), own.requires_grad
    )
    return made
