"""Estimating how the taps of trained weights vary together, and the correlation of inputs from images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corrinit._arrays import Array, as_array, is_array
from corrinit._correlation import SpatialCorrelation, format_size
from corrinit._moments import Moments, mean_by_channel, pixel_moments, tap_moments
from corrinit._pooling import Influence, LayerCorrelation, LayerCorrelations, Pooling, Skipped
from corrinit._spd import Matrix, Vector, relative_deviations
from corrinit._weights import Filter, Filters, Patterns, Source, read_filters
from corrinit.errors import (
    DivergedWeightsError,
    ImageShapeError,
    NothingToEstimateError,
    WeightsError,
)
from corrinit.kernels import number_of_taps

FLAGGED_VARIANCE = 1e-4
"""A tap is flagged if its variance is below this fraction of the largest in its layer."""


def estimate(
    source: Source,
    kernel_size: Sequence[int] | None = None,
    *,
    pooling: Pooling = "filters",
    include: Patterns = (),
    exclude: Patterns = (),
    weights: str | None = None,
) -> SpatialCorrelation:
    """The correlation and the relative deviations of the taps of trained filters, pooled over the layers.

    Args:
        source: a module, a state dict, the path of a file, or a name on the Hugging Face hub such as
            `"hf:timm/resnet18.a1_in1k"`, see `corrinit._weights.read_filters`.
        kernel_size: the size to estimate for; default: of the sizes of more than one tap the one that most
            filters have.
        pooling: see `LayerCorrelations.pooled`.
        include: globs of names of weights or layers to estimate from, and no others; a tensor of a state dict
            that is named in full is taken for filters even where its name and shape do not tell.
        exclude: globs of names to leave out.
        weights: which set of weights is meant where a checkpoint holds several, such as `"state_dict_ema"`.

    Raises:
        WeightsError: if the source cannot be read, holds NaN, or has no convolution of that size; or a glob
            matches nothing.

    Warns:
        CorrInitWarning: if it is a guess which tensors are filters, or which of several sets of weights is
            meant.

    >>> from corrinit import kernels
    >>> R = SpatialCorrelation(kernels.exponential((3, 3), mean=0.26))
    >>> filters = np.random.default_rng(0).standard_normal((256 * 64, 9)) @ R.factor.T
    >>> estimate({"conv.weight": filters.reshape(256, 64, 3, 3)})
    SpatialCorrelation(kernel_size=(3, 3), mean=0.26..., deviations=0.99... to 1.00...)
    """
    found = read_filters(source, include=include, exclude=exclude, weights=weights)
    return _estimate_layers(found, kernel_size, with_influence=False).pooled(pooling)


def estimate_layers(
    source: Source,
    kernel_size: Sequence[int] | None = None,
    *,
    include: Patterns = (),
    exclude: Patterns = (),
    weights: str | None = None,
) -> LayerCorrelations:
    """The correlations and relative deviations of the taps of trained filters, layer by layer.

    Correlations are Pearson's, the taps centred on their means over the filters, and deviations those about
    these means, d_i = √(v_i / mean v). A layer needs more filters than
    taps: with fewer, the matrix is singular whatever the weights are.

    Args:
        source: see `estimate`.
        kernel_size: see `estimate`.
        include: see `estimate`.
        exclude: see `estimate`.
        weights: see `estimate`.

    Raises:
        WeightsError: see `estimate`.
    """
    found = read_filters(source, include=include, exclude=exclude, weights=weights)
    return _estimate_layers(found, kernel_size, with_influence=True)


def estimate_inputs(images: ArrayLike, kernel_size: Sequence[int]) -> SpatialCorrelation:
    """M, the correlation of the inputs of a patch: E[x_i x_j] / √(E[x_i²] E[x_j²]), not centred.

    The means run over images, channels and every position of the patch inside the image. Give the images as
    the network gets them: before normalization their mean makes M all but ones.

    Args:
        images: array or tensor of shape (N, C, *spatial), of any type of real number.
        kernel_size: of the patch, one number per spatial axis.

    Raises:
        DataError: if the images are smaller than the patch, constant, or hold NaN.

    >>> images = np.random.default_rng(0).standard_normal((64, 3, 32, 32))
    >>> abs(estimate_inputs(images, (3, 3)).mean) < 0.01
    True
    """
    values = as_array(images) if is_array(images) else np.array(None)
    if values.dtype.kind not in "buif":
        kind = getattr(images, "dtype", type(images).__name__)
        raise ImageShapeError(
            f"the images are of type {kind}; give an array of real numbers (N, C, *spatial)"
        )
    number_of_taps(kernel_size)
    size, shape = tuple(int(k) for k in kernel_size), tuple(values.shape)
    if len(shape) != len(size) + 2 or 0 in shape or any(np.array(shape[2:]) < size):
        raise ImageShapeError(
            f"the images have shape {shape}; a {format_size(size)} patch needs images, channels and "
            f"{len(size)} spatial axes at least as long as the patch",
            shape=shape,
        )
    if values.min() == values.max():
        raise ImageShapeError("all pixels of all images are equal; a correlation needs images that differ")
    moments = pixel_moments(values, size)
    power = moments.diagonal()
    if not np.isfinite(moments).all():
        raise ImageShapeError("the images hold NaN or infinite values; replace them")
    if not power.all():
        raise ImageShapeError("one pixel of the patch is zero wherever the patch lies; give larger images")
    provenance = {"source": f"{shape[0]} images of {format_size(shape[1:])}"}
    return SpatialCorrelation(moments / np.sqrt(np.outer(power, power)), size, provenance)


def _estimate_layers(
    found: Filters, kernel_size: Sequence[int] | None, *, with_influence: bool
) -> LayerCorrelations:
    wanted = _most_common_size(found) if kernel_size is None else kernel_size
    if number_of_taps(wanted) == 1:
        raise NothingToEstimateError(f"kernel size is {format_size(wanted)}; a single tap has no correlation")
    size = tuple(int(k) for k in wanted)
    layers: list[LayerCorrelation] = []
    skipped: list[Skipped] = []
    for each in found.filters:
        layer = _layer(each, size, with_influence)
        (layers if isinstance(layer, LayerCorrelation) else skipped).append(layer)  # pyright: ignore
    if not layers:
        raise _nothing_to_estimate(found, size, skipped)
    skipped += [Skipped(*each) for each in found.left_out]
    return LayerCorrelations(tuple(layers), size, tuple(skipped), found.source)


def _layer(each: Filter, size: tuple[int, ...], with_influence: bool) -> LayerCorrelation | Skipped:
    name, shape = each.name, each.tensor.shape
    filters, taps = shape[0] * shape[1], prod(size)
    if shape[2:] != size:
        return Skipped(name, f"its kernel is {format_size(shape[2:])}")
    if filters <= taps:
        return Skipped(name, f"{filters} filters of {taps} taps are too few")
    weight = each.tensor.read()
    moments = tap_moments(weight)
    if not np.isfinite(moments.covariance).all():
        raise DivergedWeightsError(
            f"{name} holds NaN, infinite or absurdly large values; take weights from before they diverged"
        )
    variance = moments.covariance.diagonal()
    live = variance > max(FLAGGED_VARIANCE * variance.max(), np.finfo(np.float32).tiny)
    if live.sum() < 2:
        return Skipped(name, f"{live.sum()} of its taps vary over the filters")
    if (different := _different_filters(weight, taps)) <= taps:
        return Skipped(name, f"its {filters:,} filters are {different} different ones, over and over: fixed")
    matrix = _pearson(moments.covariance, live)
    return LayerCorrelation(
        name=name,
        filters=filters,
        correlation=SpatialCorrelation(
            matrix,
            size,
            {"source": name, "filters": str(filters)},
            deviations=relative_deviations(np.sqrt(variance.clip(min=0))),
        ),
        flagged=tuple(np.flatnonzero(~live).tolist()),
        moments=moments,
        influence=_influence(weight, moments, matrix, live) if with_influence else None,
    )


def _different_filters(weight: Array, taps: int) -> int:
    """How many different filters there are; counted no further than shows that they are more than taps."""
    first = weight[: 4 * taps, : max(1, 4 * taps // weight.shape[0])].reshape(-1, taps)
    if (count := len(np.unique(first, axis=0))) > taps:
        return count
    return len(np.unique(weight.reshape(-1, taps), axis=0))


def _pearson(covariance: Matrix, live: NDArray[np.bool_]) -> Matrix:
    inverse = _inverse_deviations(covariance, live)
    matrix = covariance * np.outer(inverse, inverse)
    np.fill_diagonal(matrix, 1.0)
    return matrix


def _influence(weight: Array, moments: Moments, matrix: Matrix, live: NDArray[np.bool_]) -> Influence:
    """`Influence`, with z_i = x_i / s_i written into the coefficients."""
    inverse = _inverse_deviations(moments.covariance, live)
    pairs = live.sum() * (live.sum() - 1)
    return Influence(
        *mean_by_channel(
            weight, moments.mean, inverse / np.sqrt(pairs), matrix.sum(axis=1) * inverse**2 / pairs
        )
    )


def _inverse_deviations(covariance: Matrix, live: NDArray[np.bool_]) -> Vector:
    """1/s_i, and 0 for a tap that is not live."""
    return np.where(live, 1 / np.sqrt(np.where(live, covariance.diagonal(), 1.0)), 0.0)


def _filters_by_size(found: Filters) -> Counter[tuple[int, ...]]:
    count: Counter[tuple[int, ...]] = Counter()
    for _, tensor in found.filters:
        count[tensor.shape[2:]] += tensor.shape[0] * tensor.shape[1]
    return count


def _most_common_size(found: Filters) -> tuple[int, ...]:
    sizes = (size for size, _ in _filters_by_size(found).most_common() if prod(size) > 1)
    if (size := next(sizes, None)) is None:
        raise NothingToEstimateError(
            f"there is no convolution of more than one tap: {_sizes_in_words(found)}"
        )
    return size


def _nothing_to_estimate(found: Filters, size: tuple[int, ...], skipped: Sequence[Skipped]) -> WeightsError:
    unfit = [why for why, each in zip(skipped, found.filters, strict=True) if each.tensor.shape[2:] == size]
    if unfit:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in unfit)
        return WeightsError(f"no layer with a {format_size(size)} kernel can be estimated from: {reasons}")
    return WeightsError(f"there is no {format_size(size)} convolution: {_sizes_in_words(found)}")


def _sizes_in_words(found: Filters) -> str:
    sizes = [format_size(size) for size, _ in _filters_by_size(found).most_common()]
    words = f"the kernels there are {', '.join(sizes)}" if sizes else "there are no convolutions at all"
    if not found.left_out:
        return words
    name, reason = found.left_out[0]
    more = f", and {len(found.left_out) - 1} more" if len(found.left_out) > 1 else ""
    return f"{words}; left out are {name}: {reason}{more}"
