"""GradientSignChanges and gradient magnitudes, transcribed element by element."""

import math


def sign(x):
    return (x > 0) - (x < 0)


def sign_changes(before, after):
    """Mean over all parameters of |sign g_t − sign g_(t+1)| / 2; both are lists of flat gradients."""
    pairs = [pair for old, new in zip(before, after, strict=True) for pair in zip(old, new, strict=True)]
    return sum(abs(sign(old) - sign(new)) / 2 for old, new in pairs) / len(pairs)


def mean_abs(gradients):
    values = [abs(g) for gradient in gradients for g in gradient]
    return sum(values) / len(values)


def l2(gradients):
    return math.sqrt(sum(g * g for gradient in gradients for g in gradient))
