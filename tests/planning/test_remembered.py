"""The signal of models of equal structure is computed once, and of others anew."""

import numpy as np
import pytest
import torch
from torch import nn

from corrinit import plan
from corrinit._planning import deviations
from corrinit._planning.remembered import MOST, Remembered


def network(width=6, kernel=3, activation=nn.ReLU, gamma=1.0, dilation=1, kept=0.5):
    torch.manual_seed(0)  # for what is kept
    pixels = (16 + 3 - kernel) ** 2
    model = nn.Sequential(
        nn.Conv2d(3, width, kernel, padding=1), nn.BatchNorm2d(width), activation(),
        nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.BatchNorm2d(width), activation(),
        nn.Conv2d(width, width, 1), nn.Flatten(), nn.Linear(width * pixels, 4),
    )  # fmt: skip
    nn.init.constant_(model[1].weight, gamma)
    nn.init.constant_(model[6].weight, kept)
    return model


@pytest.fixture
def computed(monkeypatch):
    """How many times a signal was computed."""
    count = []
    propagate = deviations.propagate

    def counted(*arguments, **options):
        count.append(1)
        return propagate(*arguments, **options)

    monkeypatch.setattr(deviations, "propagate", counted)
    monkeypatch.setattr(deviations, "_SIGNALS", Remembered())
    return count


def stds(made):
    return [layer.std for layer in made.layers]


def test_a_model_of_equal_structure_is_planned_alike_without_computing_anew(computed):
    first, second = plan(network(), input_size=16), plan(network(), input_size=16)
    assert len(computed) == 1
    assert stds(first) == stds(second)
    assert str(first) == str(second)


OTHERS = {
    "another width": (lambda: network(width=7), {}),
    "another kernel": (lambda: network(kernel=5), {}),
    "another dilation": (lambda: network(dilation=2), {}),
    "another activation": (lambda: network(activation=nn.GELU), {}),
    "another γ": (lambda: network(gamma=0.5), {}),
    "other values of a layer that is kept": (lambda: network(kept=0.25), {}),
    "another R": (network, {"correlation": "exponential:0.4"}),
    "another scale": (network, {"rules": {"stem": {"scale": "he"}}}),
    "another recipe": (network, {"recipe": "kaiming", "scale": "natural"}),
    "one layer fewer": (network, {"exclude": "3"}),
}


@pytest.mark.parametrize("other", OTHERS)
def test_whatever_changes_the_signal_is_computed_anew(computed, other):
    make, options = OTHERS[other]
    plan(network(), input_size=16)
    alone = plan(make(), input_size=16, **options)
    assert len(computed) == 2
    deviations._SIGNALS.__init__()
    assert stds(plan(make(), input_size=16, **options)) == stds(alone)


def test_another_size_of_images_is_computed_anew(computed):
    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1))
    for size in (8, 16, 16):
        plan(model, input_size=size)
    plan(model)
    assert len(computed) == 3


class Own(nn.Module):
    """An activation that torch does not bring, with a number that its text does not show."""

    def __init__(self, slope=0.5):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        return torch.maximum(x, self.slope * x)


def test_code_that_torch_does_not_bring_is_never_taken_for_known(computed):
    made = [plan(network(activation=lambda s=s: Own(s)), input_size=16) for s in (0.1, 0.9)]
    assert len(computed) == 2
    assert stds(made[0]) != stds(made[1])


def test_what_is_kept_is_read_only_and_bounded(computed):
    signal = plan(network(), input_size=16).signal
    with pytest.raises(ValueError, match="read-only"):
        signal.layers[1].moments += np.ones(1)
    kept = Remembered()
    for number in range(MOST + 3):
        kept.keep(str(number), {}, signal)
    assert kept.get("0") is None
    assert kept.get(str(MOST + 2)) is not None
