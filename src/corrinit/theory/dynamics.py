"""Gradient descent of a single filter in closed form, while all samples are active (Section 3.2).

With H = E[X Xᵀ] and y = w*·X, one update is w − w* ← (I − 2λH)(w − w*). So along an eigenvector of H with
eigenvalue h the error shrinks by 1 − 2λh per update, from any start: fast where the inputs vary, slowly where
they hardly do, to and fro where λ > 1/(2h). Theorem 3.1 is the case H = diag(1 + d_0², d_1², ..., d_(p−1)²).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corrinit.errors import ConfigError
from corrinit.theory.samples import Array, Samples

_ZERO = 1e-12
"""Eigenvalues of H below this fraction of the largest are zero: no sample reaches that direction."""


def weights_after(
    moment: ArrayLike, start: ArrayLike, optimum: ArrayLike, learning_rate: float, steps: ArrayLike
) -> Array:
    """w(t) = w* + (I − 2λH)^t (w(0) − w*).

    Args:
        moment: H, shape (p, p).
        start: w(0), shape (p,).
        optimum: w*, shape (p,).
        learning_rate: λ.
        steps: numbers of updates t, shape (times,).

    Returns:
        Shape (times, p).

    >>> weights_after(np.diag([1, 0.25]), [0.5, 0.2], [1, 0], 0.25, [0, 1, 2]).round(6)
    array([[0.5     , 0.2     ],
           [0.75    , 0.175   ],
           [0.875   , 0.153125]])
    """
    start, optimum = np.asarray(start, np.float64), np.asarray(optimum, np.float64)
    values, vectors = np.linalg.eigh(np.asarray(moment, np.float64))
    factors = (1 - 2 * learning_rate * values) ** np.asarray(steps)[:, None]
    return optimum + (factors * (vectors.T @ (start - optimum))) @ vectors.T


def theorem_update(weights: ArrayLike, distances: ArrayLike, learning_rate: float) -> Array:
    """One update on the symmetric sample set: Eq. (3), and Eq. (4) corrected.

    w_0 ← w_0 + 2λ(1 + d_0²)(1 − w_0), and w_i ← w_i (1 − 2λ d_i²) for i > 0.

    Args:
        weights: w, shape (..., p).
        distances: d, shape (p,).
        learning_rate: λ.
    """
    w, d = np.asarray(weights, np.float64), np.asarray(distances, np.float64)
    updated = w * (1 - 2 * learning_rate * d**2)
    updated[..., 0] = w[..., 0] + 2 * learning_rate * (1 + d[0] ** 2) * (1 - w[..., 0])
    return updated


def printed_update(weights: ArrayLike, distances: ArrayLike, learning_rate: float) -> Array:
    """One update as Theorem 3.1 is printed; Eq. (4) is wrong and is kept for comparison only.

    w_i ← w_i − 2λ(2(1 − w_0) d_i + w_i d_i²) w_i for i > 0. See `theorem_update` for the arguments.
    """
    w, d = np.asarray(weights, np.float64), np.asarray(distances, np.float64)
    updated = w - 2 * learning_rate * (2 * (1 - w[..., :1]) * d + w * d**2) * w
    updated[..., 0] = w[..., 0] + 2 * learning_rate * (1 + d[0] ** 2) * (1 - w[..., 0])
    return updated


def stays_active(samples: Samples, start: ArrayLike) -> NDArray[np.bool_]:
    """Whether all samples certainly stay active, so that the closed forms hold: a sufficient condition.

    ‖w(0) − w*‖ max‖X‖ < min w*·X. A stable learning rate never increases ‖w − w*‖, so w·X > 0 throughout.

    Args:
        samples: noiseless sample sets.
        start: w(0), shape (sets, p) or (p,).

    Returns:
        Shape (sets,).
    """
    radius = np.linalg.norm(np.asarray(start, np.float64) - samples.optima, axis=-1)
    longest = np.linalg.norm(samples.inputs, axis=-1).max(axis=-1)
    return radius * longest < samples.targets.min(axis=-1)


def limit(samples: Samples, starts: ArrayLike) -> Array:
    """Where descent ends if all samples stay active: the projection of w(0) on the least-squares solutions.

    w(∞) = w(0) + X⁺ (y − X w(0)), with X the n × p matrix of samples and X⁺ its pseudo-inverse. Only
    w(0) + span(X) is within reach: what is orthogonal to all samples stays as it was drawn.

    Args:
        samples: sample sets, noisy or not, fewer or more samples than inputs.
        starts: w(0), shape (starts, p) or (sets, starts, p).

    Returns:
        Shape (sets, starts, p).

    >>> limit(Samples.noiseless([[1.0, 1.0]], [2.0, 0.0]), [[0.0, 1.0]])  # w_0 + w_1 = 2, nearest to (0, 1)
    array([[[0.5, 1.5]]])
    """
    starts = np.asarray(starts, np.float64)
    residuals = samples.targets[:, :, None] - samples.inputs @ starts.swapaxes(-1, -2)
    return starts + (np.linalg.pinv(samples.inputs, rcond=_ZERO**0.5) @ residuals).swapaxes(-1, -2)


def unreachable(moment: ArrayLike) -> Array:
    """P⊥, the orthogonal projector on the directions that no sample reaches, from H; shape (..., p, p).

    >>> unreachable(Samples.noiseless([[1.0, 1.0]], [2.0, 0.0]).second_moment)[0].round(9)
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    """
    values, vectors = np.linalg.eigh(np.asarray(moment, np.float64))
    return (vectors * _unreached(values)[..., None, :]) @ vectors.swapaxes(-1, -2)


def expected_error(
    moment: ArrayLike,
    covariance: ArrayLike,
    learning_rate: float,
    steps: float = math.inf,
    *,
    metric: ArrayLike | None = None,
) -> Array:
    """E[(w(t) − w*)ᵀ Q (w(t) − w*)] = tr(Q Aᵗ (S + R) Aᵗ) with A = I − 2λH, while all samples are active.

    Start and optimum are independent, of mean 0 and covariances S and R. After infinitely many updates
    Aᵗ becomes P⊥: the expected squared distance is then tr(P⊥(S + R)), whatever the samples' targets.

    Args:
        moment: H of the training samples, shape (..., p, p).
        covariance: S + R, shape (p, p).
        learning_rate: λ, at which descent is stable.
        steps: t; infinite for the limit.
        metric: Q, shape (p, p); default the identity, for ‖w − w*‖². H of unseen inputs gives the expected
            squared error of the output on them.

    Returns:
        Shape (...).

    >>> H = Samples.symmetric([0, 0.5]).second_moment[0]
    >>> expected_error(H, 2 * np.eye(2), learning_rate=0.25, steps=1).round(6)  # 2 (0.5² + 0.875²)
    np.float64(2.03125)
    """
    values, vectors = np.linalg.eigh(np.asarray(moment, np.float64))
    if learning_rate * values.max() >= 1:
        raise ConfigError(
            f"learning rate is {learning_rate:.6g}; "
            f"descent on these samples converges below {1 / values.max():.6g}"
        )
    factors = _unreached(values) if math.isinf(steps) else (1 - 2 * learning_rate * values) ** steps
    power = (vectors * factors[..., None, :]) @ vectors.swapaxes(-1, -2)
    error = power @ np.asarray(covariance, np.float64) @ power
    return np.trace(error if metric is None else np.asarray(metric) @ error, axis1=-2, axis2=-1)


def expected_error_if_active(
    sample: ArrayLike, start_covariance: ArrayLike, prior_covariance: ArrayLike
) -> float:
    """E‖w(∞) − w*‖² after training on one sample X, given that w(0)·X > 0 and w*·X > 0, both Gaussian.

    tr P⊥(S + R) − (4/π) (P⊥ S X)·(P⊥ R X) / √(XᵀSX · XᵀRX). Being active says something about w(0) beyond
    the direction X, E[w(0)] = √(2/π) SX / √(XᵀSX), and y > 0 says the same about w*. Where both covariances
    share their shape, the two guesses agree, and the error is smaller than without the condition.

    Args:
        sample: X, shape (p,).
        start_covariance: S, shape (p, p).
        prior_covariance: R, shape (p, p).
    """
    x, s, r = (np.asarray(part, np.float64) for part in (sample, start_covariance, prior_covariance))
    outside = unreachable(np.outer(x, x))
    agreement = (outside @ s @ x) @ (outside @ r @ x) / np.sqrt((x @ s @ x) * (x @ r @ x))
    return float(np.trace(outside @ (s + r)) - 4 / np.pi * agreement)


def dead_probability(inputs: ArrayLike, covariance: ArrayLike) -> float:
    """Probability that a Gaussian start is inactive on every one of 1, 2 or 3 samples, so never trains.

    With θ_ij the angle between samples in the metric S, cos θ_ij = X_iᵀSX_j / √(X_iᵀSX_i · X_jᵀSX_j): 1/2 for
    one sample, (π − θ)/2π for two, (2π − θ_12 − θ_13 − θ_23)/4π for three (Sheppard 1899). Alike samples, and
    correlated starts on positive samples, are all active or all inactive together.

    Args:
        inputs: X, shape (n, p) with n ≤ 3.
        covariance: S, shape (p, p).

    >>> round(dead_probability(np.eye(3), np.eye(3)), 9)
    0.125
    """
    inputs = np.asarray(inputs, np.float64)
    if not 1 <= len(inputs) <= 3:
        raise ConfigError(f"{len(inputs)} samples; the probability has a closed form for 1 to 3 of them")
    products = inputs @ np.asarray(covariance, np.float64) @ inputs.T
    deviations = np.sqrt(np.diag(products))
    angles = np.arccos(np.clip(products / np.outer(deviations, deviations), -1, 1))
    pairs = angles[np.triu_indices(len(inputs), k=1)]
    return float((1, 1 - pairs.sum() / np.pi, 1 - pairs.sum() / (2 * np.pi))[len(inputs) - 1] / 2)


def _unreached(values: Array) -> Array:
    """1 for eigenvalues that are zero up to rounding, else 0."""
    return (values <= _ZERO * values.max(axis=-1, keepdims=True)).astype(np.float64)
