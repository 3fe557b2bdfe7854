"""Weight standardization is told by what a class does, and by its name where it cannot be tried."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm, conv2d

from corrinit._layers.weight_standardization import is_weight_standardized


class Normalized(nn.Conv2d):
    """Standardized as in BiT, under a name that says nothing."""

    def forward(self, x):
        w = self.weight
        mean, std = w.mean((1, 2, 3), keepdim=True), w.std((1, 2, 3), keepdim=True)
        return self._conv_forward(x, (w - mean) / (std + 1e-5), self.bias)


class Scaled(nn.Conv2d):
    """Standardized by batch normalization with a gain, as in NF-ResNets."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def forward(self, x):
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = batch_norm(flat, None, None, self.gain.view(-1), training=True, eps=1e-6)
        return conv2d(x, weight.reshape_as(self.weight), self.bias, self.stride, self.padding, 1, self.groups)


class Logged(nn.Conv2d):
    """Counts its calls, and draws noise."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) + 0 * torch.randn(1)


class StdConv2d(nn.Conv2d):
    def forward(self, x, mask):
        return super().forward(x) * mask


@pytest.mark.parametrize(
    ("layer", "standardized"),
    [
        (nn.Conv2d(3, 8, 3), False),
        (nn.Linear(3, 8), False),
        (nn.BatchNorm2d(3), False),
        (Normalized(3, 8, 3), True),
        (Normalized(8, 8, 3, groups=8, dilation=2, padding=4), True),
        (Scaled(8, 16, 3, groups=2), True),
        (Scaled(3, 8, 1, device="meta"), True),
        (Logged(3, 8, 3), False),
        (StdConv2d(3, 8, 3), True),
        (type("Plain", (nn.ConvTranspose2d,), {})(3, 8, 4, 2), False),
        (type("Plain", (nn.Linear,), {})(3, 8), False),
    ],
)
def test_what_a_layer_does_decides(layer, standardized):
    assert is_weight_standardized(layer) == standardized


def test_zero_weights_and_a_bias_do_not_mislead():
    layers = Normalized(3, 8, 3), Logged(3, 8, 3)
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, 100.0)
    assert [is_weight_standardized(layer) for layer in layers] == [True, False]


def test_nothing_is_run_or_changed():
    layer = Logged(3, 8, 3)
    layer.register_forward_hook(lambda *_: pytest.fail("the hook of the user was run"))
    before, state = copy.deepcopy(layer.state_dict()), torch.get_rng_state()
    is_weight_standardized(layer)
    assert layer.calls == 0
    assert layer.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
