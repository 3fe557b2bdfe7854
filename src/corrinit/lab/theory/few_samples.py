"""Section 3.1, fewer samples than weights: what training leaves of a start, in closed form and simulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from corrinit.lab.document.blocks import Table
from corrinit.lab.theory.inputs import Setting, gaussian, normalized
from corrinit.theory import Samples, descend, dynamics, second_moment
from corrinit.theory.samples import Array

SIZES = np.arange(1, 10)
SIMULATED_SIZES = np.array([1, 2, 4, 6])
RATE = 0.5
SHIFT = 20.0
"""Added to every tap of start and optimum to keep all samples active: only their difference counts."""


@dataclass(frozen=True, eq=False)
class Reach:
    """Expected errors after training on n samples, by start: the start's own part, tr(Q P⊥ S P⊥), and R's.

    Args:
        distance: ‖w(∞) − w*‖² without the optimum's part, by start, shape (sizes,).
        unseen: squared error of w·x on unseen patches, likewise.
        optimum: the optimum's own part of the distance, tr(P⊥ R).
        optimum_unseen: and of the error on unseen patches.
    """

    distance: Mapping[str, Array]
    unseen: Mapping[str, Array]
    optimum: Array
    optimum_unseen: Array


def covariances(setting: Setting) -> dict[str, Array]:
    """S of the 2×2: independent or correlated taps, at He's scale (variance 1) or the paper's (k²/ΣR)."""
    matrix = setting.correlation.matrix
    paper = len(matrix) / matrix.sum()
    return {
        "independent, He scale": np.eye(len(matrix)),
        "correlated, He scale": matrix,
        "independent, paper's scale": paper * np.eye(len(matrix)),
        "correlated, paper's scale": paper * matrix,
    }


def reach(setting: Setting, sets: int = 2000) -> Reach:
    """Closed forms, averaged over random sets of real patches."""
    rng = np.random.default_rng(31)
    starts, prior, unseen = covariances(setting), setting.correlation.matrix, second_moment(setting.unseen)
    moments = [second_moment(setting.sample_sets(sets, int(n), rng)) for n in SIZES]

    def expected(covariance: Array, metric: Array | None) -> Array:
        return np.array([dynamics.expected_error(h, covariance, RATE, metric=metric).mean() for h in moments])

    return Reach(
        {name: expected(s, None) for name, s in starts.items()},
        {name: expected(s, unseen) for name, s in starts.items()},
        expected(prior, None),
        expected(prior, unseen),
    )


def simulated_distances(setting: Setting, sets: int = 400, updates: int = 4000) -> dict[str, Array]:
    """‖w − w*‖² after descent from the first two starts: means and standard errors, shape (2, sizes)."""
    rng = np.random.default_rng(36)
    starts = {name: s for name, s in covariances(setting).items() if name.endswith("He scale")}
    measured = np.empty((len(starts), 2, len(SIMULATED_SIZES)))
    for i, n in enumerate(SIMULATED_SIZES):
        optima = SHIFT + gaussian(rng, setting.correlation.matrix, (sets,))
        samples = Samples.noiseless(setting.sample_sets(sets, int(n), rng), optima)
        weights = SHIFT + np.stack([gaussian(rng, s, (sets,)) for s in starts.values()], axis=1)
        squares = descend(samples, weights, RATE, updates, every=updates).distances[-1] ** 2
        measured[:, :, i] = np.stack([squares.mean(axis=0), squares.std(axis=0) / np.sqrt(sets)], axis=1)
    return dict(zip(starts, measured, strict=True))


def reach_table(result: Reach) -> Table:
    """The start's own part of the error, the 2×2 beside each other."""
    rows = []
    for i, n in enumerate(SIZES[:-1]):
        parts = (f"{result.distance[name][i]:.2f} · {result.unseen[name][i]:.3f}" for name in result.distance)
        rows.append((str(n), *parts, f"{result.optimum[i]:.2f} · {result.optimum_unseen[i]:.3f}"))
    return Table(
        "What n samples leave of a start: tr(P⊥S) · error on unseen patches",
        ("n", *result.distance, "the optimum's own part"),
        tuple(rows),
        "Expected ‖w(∞) − w*‖² and expected squared error of w·x on unseen patches: the part of the start, "
        "to which the last column is added. A start at 0 has only the last column, but is dead under ReLU. "
        "Averages over random sets of real patches.",
    )


def kinds_table(setting: Setting, n: int = 4, sets: int = 2000) -> Table:
    """When correlation helps: correlated against independent starts, on four kinds of samples."""
    rng = np.random.default_rng(33)
    matrix, taps = setting.correlation.matrix, setting.patches
    values, vectors = np.linalg.eigh(setting.moment)
    kinds = {
        "patches": taps,
        "patches less their own mean": taps - taps.mean(axis=1, keepdims=True),
        "patches, whitened": taps @ (vectors / np.sqrt(values)) @ vectors.T,
        "white noise": rng.normal(size=taps.shape),
    }
    rows = []
    for name, inputs in kinds.items():
        population = second_moment(inputs)
        moments = second_moment(normalized(inputs[rng.integers(0, len(inputs), (sets, n))]))
        parts = [
            [dynamics.expected_error(moments, s, RATE, metric=q).mean() for s in (np.eye(9), matrix)]
            for q in (None, population)
        ]
        rows.append((name, *(f"{correlated / independent:.2f}" for independent, correlated in parts)))
    return Table(
        f"Correlated ÷ independent start of equal scale, {n} samples",
        ("samples", "distance to w*", "error on unseen samples"),
        tuple(rows),
        "Ratios of tr(P⊥S) and of tr(H P⊥SP⊥): below 1, the correlated start is better. Whatever w* is, the "
        "distance is smaller where the samples span the directions in which a smooth filter varies most; on "
        "white noise, where no direction is special, nothing is gained.",
    )


@dataclass(frozen=True, eq=False)
class Rectified:
    """ReLU filters trained on n samples of a ReLU teacher, by start; arrays of shape (sets,).

    Args:
        n: samples.
        dead: whether the filter ended without an active sample, although its teacher has one.
        distance: ‖w − w*‖².
        unseen: mean of (ŷ − y)² on unseen patches, relative to the mean of y² there.
    """

    n: int
    dead: Mapping[str, NDArray[np.bool_]]
    distance: Mapping[str, Array]
    unseen: Mapping[str, Array]


def rectified(setting: Setting, n: int, sets: int = 500, updates: int = 1000) -> Rectified:
    """Simulate the whole ReLU model, dead filters included: y = max(w*·X, 0), w* ~ N(0, R)."""
    rng = np.random.default_rng(100 + n)
    covariance = covariances(setting)
    optima = gaussian(rng, setting.correlation.matrix, (sets,))
    linear = Samples.noiseless(setting.sample_sets(sets, n, rng), optima)
    samples = Samples(linear.inputs, linear.targets.clip(min=0), optima)
    taught = samples.targets.max(axis=1) > 0  # for others, to be inactive is right, and a matter of rounding
    starts = np.stack([gaussian(rng, s, (sets,)) for s in covariance.values()], axis=1)
    descent = descend(samples, starts, RATE, updates, every=updates)
    inputs = setting.unseen[:2000]
    truth = (optima @ inputs.T).clip(min=0)[:, None]
    errors = np.square((descent.weights[-1] @ inputs.T).clip(min=0) - truth).mean(axis=-1)
    errors /= np.square(truth).mean()
    squares = descent.distances[-1] ** 2
    return Rectified(
        n,
        {name: descent.dead[:, i] & taught for i, name in enumerate(covariance)},
        {name: squares[:, i] for i, name in enumerate(covariance)},
        {name: errors[:, i] for i, name in enumerate(covariance)},
    )


def rectified_table(results: list[Rectified]) -> Table:
    """What becomes of ReLU filters, dead ones counted and not."""
    rows = [
        (
            str(result.n),
            name,
            f"{dead.mean():.2f}",
            f"{result.distance[name][~dead].mean():.2f}",
            f"{result.unseen[name][~dead].mean():.2f}",
            f"{result.unseen[name].mean():.2f} ± {2 * result.unseen[name].std() / len(dead) ** 0.5:.2f}",
        )
        for result in results
        for name, dead in result.dead.items()
    ]
    return Table(
        "ReLU filters after training on n real patches",
        ("n", "start", "dead", "‖w − w*‖², alive", "unseen error, alive", "unseen error, all"),
        tuple(rows),
        f"{len(next(iter(results[0].dead.values())))} random teachers y = max(w*·X, 0) with w* ~ N(0, R). "
        "Dead: inactive on all samples, although the teacher is active on some. "
        "Unseen error is relative to the mean of y², ± 2 standard errors. Correlated starts die more often, "
        "because on positive samples a smooth filter is active on all of them or on none.",
    )


def dead_table(setting: Setting, sets: int = 1000) -> Table:
    """The probability that a start is inactive on all of n patches: closed form, and drawn."""
    rng = np.random.default_rng(35)
    rows = []
    for n in (1, 2, 3):
        chosen = setting.patches[rng.integers(0, len(setting.patches), (sets, n))]
        cells = []
        for covariance in (np.eye(9), setting.correlation.matrix):
            exact = np.mean([dynamics.dead_probability(x, covariance) for x in chosen])
            drawn = gaussian(rng, covariance, (sets, 20)) @ chosen.swapaxes(1, 2)
            cells += [f"{exact:.3f}", f"{(drawn <= 0).all(axis=-1).mean():.3f}"]
        rows.append((str(n), *cells))
    return Table(
        "Filters that are dead from the start",
        ("n", "independent: closed form", "drawn", "correlated: closed form", "drawn"),
        tuple(rows),
    )
