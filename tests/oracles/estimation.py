"""The estimators, written naively: everything in memory, in float64, with numpy's corrcoef."""

from itertools import product

import numpy as np


def filters_of(weight):
    """Filters as rows, shape (out × in, taps)."""
    weight = np.asarray(weight, dtype=np.float64)
    return weight.reshape(weight.shape[0] * weight.shape[1], -1)


def layer_correlation(weight):
    return np.corrcoef(filters_of(weight), rowvar=False)


def pooled(weights, pooling) -> np.ndarray:
    """One correlation for several layers."""
    if pooling == "layers":
        return np.stack([layer_correlation(weight) for weight in weights]).mean(axis=0)
    layers = [filters_of(weight) for weight in weights]
    if pooling == "filters":
        layers = [(filters - filters.mean(axis=0)) / filters.std(axis=0) for filters in layers]
    return np.atleast_2d(np.corrcoef(np.concatenate(layers), rowvar=False))


def layer_deviations(weight):
    """Relative deviations of the taps, mean square 1."""
    deviations = filters_of(weight).std(axis=0)
    return deviations / np.sqrt(np.mean(deviations**2))


def pooled_deviations(weights, pooling):
    """Relative deviations for several layers."""
    if pooling == "layers":
        variance = np.mean([layer_deviations(weight) ** 2 for weight in weights], axis=0)
        return np.sqrt(variance / variance.mean())
    layers = [filters_of(weight) for weight in weights]
    if pooling == "filters":  # every layer centred, and divided by the root mean square of what is left
        layers = [filters - filters.mean(axis=0) for filters in layers]
        layers = [filters / np.sqrt(np.mean(filters**2)) for filters in layers]
    return layer_deviations(np.concatenate(layers)[:, None])


def mean_off_diagonal(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)].mean()


def bootstrap_deviation(weights, channel_axis, resamples, seed):
    """Standard deviation of the pooled mean when whole channels of every layer are drawn anew."""
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        drawn = [
            np.take(
                weight,
                generator.integers(weight.shape[channel_axis], size=weight.shape[channel_axis]),
                channel_axis,
            )
            for weight in map(np.asarray, weights)
        ]
        means.append(mean_off_diagonal(pooled(drawn, "filters")))
    return np.std(means)


def input_correlation(images, kernel_size):
    """M, patch by patch."""
    images = np.asarray(images, dtype=np.float64)
    spatial = images.shape[2:]
    corners = product(*(range(length - k + 1) for length, k in zip(spatial, kernel_size, strict=True)))
    patches = np.concatenate(
        [
            images[(..., *(slice(c, c + k) for c, k in zip(corner, kernel_size, strict=True)))].reshape(
                images.shape[0] * images.shape[1], -1
            )
            for corner in corners
        ]
    )
    moments = patches.T @ patches
    return moments / np.sqrt(np.outer(np.diag(moments), np.diag(moments)))
