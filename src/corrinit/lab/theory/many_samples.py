"""Section 3.2, enough samples: Theorem 3.1 in two dimensions, and its general form on real patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from corrinit.lab.document.blocks import Table
from corrinit.lab.theory.few_samples import SHIFT, covariances
from corrinit.lab.theory.inputs import Setting, gaussian
from corrinit.theory import Descent, Samples, descend, dynamics, second_moment
from corrinit.theory.samples import Array

SHOWN = (0, 10, 100, 1000)
"""Updates after which the table shows the expected error."""

HALF_LIMIT = 0.5
"""The learning rate as a fraction of its limit 1/h_max; above it the first direction zig-zags."""


@dataclass(frozen=True, eq=False)
class TwoWeights:
    """Figure 3: two weights, two samples symmetric about w*.

    Args:
        distances: d_0 and d_1.
        rotation: columns are w* and the direction orthogonal to it, in tap coordinates.
        descent: simulated in the coordinates of the theorem, one set, two starts.
        printed: the second start under Eq. (3) and the printed Eq. (4), until it leaves the picture.
    """

    distances: Array
    rotation: Array
    descent: Descent
    printed: Array


def two_weights(distance: float = 0.35, learning_rate: float = 0.2, updates: int = 60) -> TwoWeights:
    """Descend from a start that points along w*, and from one that does not."""
    distances = np.array([0.0, distance])
    rotation = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)
    starts = np.array([[0.35, 0.08], [0.5, -0.9]])
    descent = descend(Samples.symmetric(distances), starts, learning_rate, updates)
    printed = [starts[1]]
    while len(printed) <= updates and np.abs(printed[-1]).max() < 100:
        printed.append(dynamics.printed_update(printed[-1], distances, learning_rate))
    return TwoWeights(distances, rotation, descent, np.array(printed))


@dataclass(frozen=True, eq=False)
class Spectrum:
    """H of real patches along its eigenvectors, largest eigenvalue first.

    Args:
        values: eigenvalues, shape (9,).
        vectors: eigenvectors, shape (9, 9), one per column.
        shuffled: eigenvalues where every input is drawn from a patch of its own: same values, no correlation
            but the common mean.
        start_variance: vᵀRv of a correlated start along each eigenvector; 1 for independent taps.
    """

    values: Array
    vectors: Array
    shuffled: Array
    start_variance: Array

    def halving(self, values: Array) -> Array:
        """Updates until the gap along each direction is halved, at half the largest learning rate."""
        return np.log(0.5) / np.log1p(-np.minimum(values / values.max(), 1 - 1e-12))


def spectrum(setting: Setting) -> Spectrum:
    """The directions in which filters on real patches learn, fast to slow."""
    rng = np.random.default_rng(32)
    values, vectors = np.linalg.eigh(setting.moment)
    values, vectors = values[::-1], vectors[:, ::-1]
    alone = np.stack([rng.permutation(setting.patches[:, tap]) for tap in range(9)], axis=1)
    return Spectrum(
        values,
        vectors,
        np.linalg.eigvalsh(second_moment(alone))[::-1].astype(np.float64),
        np.einsum("pi,pq,qi->i", vectors, setting.correlation.matrix, vectors),
    )


def spectrum_table(result: Spectrum) -> Table:
    """How fast each direction of a real patch is learned."""
    halving, shuffled = result.halving(result.values), result.halving(result.shuffled)
    rows = [
        (
            str(i + 1),
            f"{result.values[i] / result.values[0]:.4f}",
            f"{halving[i]:.1f}" if i else "1",
            f"{shuffled[i]:.1f}" if i else "1",
            f"{result.start_variance[i]:.2f}",
        )
        for i in range(9)
    ]
    return Table(
        "Directions of a 3×3 patch, from fast to slow",
        (
            "direction",
            "h / h_max",
            "updates to halve the gap",
            "the same, pixels shuffled",
            "variance of a correlated start",
        ),
        tuple(rows),
        "Eigenvectors of H = E[X Xᵀ] of real patches, at half the largest stable learning rate. An "
        "independent start has variance 1 in every direction; a correlated one has most in the fastest and "
        "least in the slowest.",
    )


@dataclass(frozen=True, eq=False)
class OverTime:
    """Expected squared distance and loss while training on real patches, by start.

    Args:
        steps: updates, shape (times,).
        distance: E‖w(t) − w*‖², shape (times,).
        loss: E[(w(t)·x − w*·x)²], shape (times,).
        simulated: measured squared distance at the recorded steps, mean over starts.
        recorded: those steps.
    """

    steps: Array
    distance: Mapping[str, Array]
    loss: Mapping[str, Array]
    simulated: Mapping[str, Array]
    recorded: NDArray[np.int64]


def over_time(setting: Setting, samples: int = 64, starts: int = 1000, updates: int = 1000) -> OverTime:
    """Closed form and simulation from independent and correlated starts of equal scale, w* ~ N(0, R)."""
    rng = np.random.default_rng(34)
    chosen = setting.sample_sets(1, samples, rng)
    moment = second_moment(chosen)[0]
    steps = np.union1d(np.geomspace(1, updates + 1, 60).astype(int) - 1, SHOWN)
    distance, loss, simulated = {}, {}, {}
    recorded = np.zeros(0, dtype=np.int64)
    prior = setting.correlation.matrix
    # Only w(0) − w* counts while all samples are active, so one optimum serves for all.
    shifted = Samples.noiseless(chosen, np.full(9, SHIFT))
    arms = {name: covariances(setting)[f"{name}, He scale"] for name in ("independent", "correlated")}
    for name, covariance in arms.items():
        expected = [
            [dynamics.expected_error(moment, covariance + prior, HALF_LIMIT, t, metric=q) for t in steps]
            for q in (None, moment)
        ]
        distance[name], loss[name] = np.array(expected)
        weights = SHIFT + gaussian(rng, covariance + prior, (starts,))
        descent = descend(shifted, weights, HALF_LIMIT, updates, every=20)
        simulated[name], recorded = np.square(descent.distances).mean(axis=(1, 2)), descent.steps
    return OverTime(steps, distance, loss, simulated, recorded)


def over_time_table(result: OverTime) -> Table:
    """Distance and loss on the way."""
    rows = []
    for t in SHOWN:
        i = int(np.searchsorted(result.steps, t))
        cells = [f"{part[name][i]:.3g}" for part in (result.distance, result.loss) for name in part]
        rows.append((str(t), *cells))
    return Table(
        "Expected error while training on 64 real patches, starts of equal scale",
        (
            "updates",
            "distance², independent",
            "distance², correlated",
            "loss, independent",
            "loss, correlated",
        ),
        tuple(rows),
        "The correlated start begins with the larger loss, all of it where descent is fast, and ends nearer.",
    )
