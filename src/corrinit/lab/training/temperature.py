"""The cross-entropy of a classifier at the temperature that suits it best."""

from __future__ import annotations

import torch
from torch import Tensor

RANGE = (1e-4, 1e4)
"""Of 1/T: a classifier that is right about every image would have T = 0, one that knows nothing T = ∞."""

STEPS = 60
"""Newton's method takes about eight from 1/T = 1; bisection, which it falls back on, all of them."""


def scaled_loss(scores: Tensor, labels: Tensor) -> float:
    """The least mean cross-entropy of scores z/T over temperatures T > 0.

    Networks trained to the end of their training images are too sure of themselves, so that their loss on
    others rises while their accuracy does too. One number T mends that. The loss is convex in u = 1/T, with

        d/du = mean (Σ_k p_k z_k − z_y),    d²/du² = mean (Σ_k p_k z_k² − (Σ_k p_k z_k)²)

    and p = softmax(u z), so Newton's method finds its minimum, with bisection where a step would leave the
    bracket. T is chosen on the images that are scored: for one number and N images the loss comes out too
    low by about 1/(2N).

    Args:
        scores: shape (N, classes).
        labels: shape (N,).

    Returns:
        NaN if a score is not finite.

    Source:
        Guo, Pleiss, Sun and Weinberger, On calibration of modern neural networks (2017), section 4.2.

    >>> labels = torch.tensor([0, 1, 1, 0])
    >>> scores = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]])  # three of four are right
    >>> scaled = scaled_loss(scores, labels)
    >>> f"{scaled:.4f}, {scaled_loss(100 * scores, labels):.4f}"  # both that of being sure to 3/4
    '0.5623, 0.5623'
    """
    z = scores.double()
    z = z - z.gather(1, labels[:, None])  # the loss is then the mean of log Σ exp(u z)
    if not bool(z.isfinite().all()):
        return float("nan")
    low, high = (torch.tensor(end, dtype=z.dtype, device=z.device) for end in RANGE)
    u = 1 / z.abs().mean().clamp(*RANGE)
    low, high = low * u, high * u
    for _ in range(STEPS):
        p = (u * z).softmax(1)
        mean = (p * z).sum(1)
        slope, curvature = mean.mean(), ((p * z**2).sum(1) - mean**2).mean()
        low, high = torch.where(slope < 0, u, low), torch.where(slope < 0, high, u)
        step = u - slope / curvature
        inside = (step > low) & (step < high)
        new = torch.where(inside, step, (low * high).sqrt())
        done = bool((new - u).abs() <= 1e-9 * u)
        u = new
        if done:
            break
    return float((u * z).logsumexp(1).mean())
