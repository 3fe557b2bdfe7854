"""The exponential average of a model's weights while it trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

LONGEST_WINDOW = 50.0
"""Updates over which weights are averaged, in a run that is long enough: a decay of 0.98 an update."""

SHORTEST_RUN = 7.0
"""Windows that a run has at least."""


def averaging_window(updates: int) -> float:
    """The window w of the average in updates: 50, but at most a seventh of the run, and at least 1.

    The decay is 1 − 1/w an update. The weights that the run started from keep a share of (1 − 1/w)^updates,
    below e^(−updates/w): with at least seven windows, that is less than 0.1 %.

    >>> [averaging_window(updates) for updates in (3, 70, 350, 7800)]
    [1.0, 10.0, 50.0, 50.0]
    """
    return max(1.0, min(LONGEST_WINDOW, updates / SHORTEST_RUN))


class WeightAverage:
    """wₜ ← (1 − 1/w) wₜ₋₁ + vₜ/w of the weights vₜ after each update t, from those that training starts with.

    Running statistics of batch normalization are averaged as well, so that they fit the averaged weights.
    (`torch.optim.swa_utils.AveragedModel` waits for the device at each update, and averages masks of −∞ to
    NaN.)

    Args:
        model: in training, with its parameters and buffers on their device.
        window: w in updates, at least 1; at 1 the average is the last weights.
    """

    def __init__(self, model: nn.Module, window: float) -> None:
        self._average = get_ema_multi_avg_fn(1 - 1 / window)
        owners = [
            (name, *_owner(model, name))
            for named in (model.named_parameters(), model.named_buffers())
            for name, tensor in named
            if tensor.is_floating_point() and bool(tensor.isfinite().all())  # others are masks and counters
        ]
        # Tensors are looked up at each update, as modules may replace their buffers instead of changing them.
        self._owners = {name: (tensors, key) for name, tensors, key in owners}
        self._averages = {name: tensor.detach().clone() for name, tensor in self._current().items()}

    def update(self) -> None:
        """Take in the weights as they are after an update."""
        current = [tensor.detach() for tensor in self._current().values()]
        self._average(list(self._averages.values()), current, 0)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in the place of the model's weights for a while."""
        last = {name: tensor.detach().clone() for name, tensor in self._current().items()}
        try:
            self._assign(self._averages)
            yield
        finally:
            self._assign(last)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by name."""
        return dict(self._averages)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from averages as `state_dict` gave them.

        Raises:
            KeyError: if one is missing.
        """
        for name, average in self._averages.items():
            average.copy_(state[name])

    def _current(self) -> dict[str, Tensor]:
        return {name: tensors[key] for name, (tensors, key) in self._owners.items()}

    @torch.no_grad()
    def _assign(self, values: Mapping[str, Tensor]) -> None:
        for name, tensor in self._current().items():
            tensor.copy_(values[name])


def _owner(model: nn.Module, name: str) -> tuple[dict[str, Tensor], str]:
    """The parameters or buffers of the module that has a tensor, and its name there."""
    where, _, key = name.rpartition(".")
    module = model.get_submodule(where)
    return (module._parameters if key in module._parameters else module._buffers), key  # pyright: ignore
