"""Whether weights are a sample of the filters that were asked for."""

import numpy as np

import corrinit

SIGMAS = 6
"""A normal value lies beyond in 2 of 1e9 cases, and at most 100 are looked at in a weight: a right sampler
fails in 1 of 5 million. The transformed estimates are that normal from a thousand filters on."""


def assert_sampled(weight, correlation, std=None):
    """Check the correlation that corrinit estimates from a weight, and the deviation of each of its taps.

    Args:
        weight: (out, in, k_1, ..., k_d).
        correlation: R and d asked for.
        std: s asked for; None: any.
    """
    weight = np.asarray(weight, dtype=np.float64)
    filters = weight.reshape(-1, len(correlation.deviations))
    count = len(filters)
    assert count > 1000
    estimated = corrinit.estimate({"conv.weight": weight}, weight.shape[2:])
    upper = np.triu_indices(filters.shape[1], k=1)
    # Fisher: artanh r is normal about artanh ρ with the deviation 1 / √(n - 3).
    off = np.arctanh(estimated.matrix[upper]) - np.arctanh(correlation.matrix[upper])
    assert np.abs(off).max(initial=0) < SIGMAS / np.sqrt(count - 3)
    if std is not None:
        # The logarithm of a variance from n normal values has the deviation √(2 / n).
        off = np.log(np.mean(filters**2, axis=0)) - 2 * np.log(std * correlation.deviations)
        assert np.abs(off).max() < SIGMAS * np.sqrt(2 / count)
