"""Whether a function acts on each value alone, found by trying."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def acts_elementwise(function: Callable[[Tensor], Tensor]) -> bool:
    """Whether a function gives each value what it would give it anywhere else, and is not the identity.

    It is called on a few values in shape (2, 4, 3, 3), and again with half of them replaced and all in
    another order; what raises, draws at random or makes something else of the values that stayed does not act
    elementwise.

    >>> acts_elementwise(lambda x: x * torch.sigmoid(x)), acts_elementwise(lambda x: x - x.mean())
    (True, False)
    """
    values = torch.linspace(-3, 3, 72).view(2, 4, 3, 3)
    order = torch.arange(72).mul(31).remainder(72)  # 31 and 72 have no common divisor: each once
    stayed = order % 2 == 0
    mixed = torch.where(stayed, values.flatten()[order], 0.7)
    try:
        once, other = function(values.clone()), function(mixed.view_as(values))
    except Exception:
        return False
    if not (isinstance(once, Tensor) and isinstance(other, Tensor)) or once.shape != values.shape:
        return False
    if other.shape != values.shape or torch.equal(once, values):
        return False
    expected = once.flatten()[order][stayed]
    return torch.allclose(expected, other.flatten()[stayed], rtol=1e-5, atol=1e-6, equal_nan=True)
