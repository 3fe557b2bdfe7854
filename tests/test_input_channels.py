"""Convolutions for other numbers of input channels."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

import corrinit
from corrinit import CorrInitError, adapt_inputs, kernels
from corrinit._correlation import SpatialCorrelation

R = SpatialCorrelation(kernels.exponential((3, 3), mean=0.3)).with_deviations(
    kernels.centre_weighted((3, 3), width=0.8)
)


def stem(inputs=3, outputs=512, **options):
    """A stem whose filters have R and d."""
    conv = nn.Conv2d(inputs, outputs, 3, **options)
    corrinit.correlated_normal_(conv.weight, R, 0.2, generator=torch.Generator().manual_seed(0))
    return conv


def test_known_channels_keep_their_filters_up_to_the_common_factor():
    conv = stem()
    wider = adapt_inputs(conv, channels=5, seed=0)
    assert (wider.in_channels, wider.weight.shape) == (5, (512, 5, 3, 3))
    torch.testing.assert_close(wider.weight[:, :3], (3 / 5) ** 0.5 * conv.weight)
    assert torch.equal(wider.bias, conv.bias)
    assert conv.in_channels == 3


@pytest.mark.statistical
def test_new_channels_have_the_covariance_of_the_old_ones():
    """From 2 × 8,192 filters: one of 45 entries lies 5 standard errors away in 3e-5 of all draws."""
    conv = stem(inputs=16)
    filters = conv.weight.detach().double().reshape(-1, 9)
    drawn = adapt_inputs(conv, channels=32, seed=0).weight.detach()[:, 16:].double().reshape(-1, 9) * 2**0.5
    old, new = (each.T @ each / len(each) for each in (filters, drawn))
    spread = (torch.outer(old.diagonal(), old.diagonal()) + old**2).sqrt() / len(drawn) ** 0.5
    assert ((new - old) / spread).abs().max() < 5


@pytest.mark.statistical
def test_the_strength_of_the_output_is_kept():
    """The ratio of mean squares has a deviation of 2.3 %: it is 10 % off in 1e-5 of all draws."""
    conv = stem()
    wider = adapt_inputs(conv, channels=6, seed=0)
    images = torch.randn(4, 6, 26, 26, generator=torch.Generator().manual_seed(1))
    before, after = (
        conv2d(x, each.weight).square().mean().item() for x, each in ((images[:, :3], conv), (images, wider))
    )
    assert after == pytest.approx(before, rel=0.1)


def test_each_channel_takes_the_one_that_is_named():
    conv = stem()
    moved = adapt_inputs(conv, channels=[2, 1, 0])
    assert torch.equal(moved.weight, conv.weight[:, [2, 1, 0]])
    infrared = adapt_inputs(conv, channels=[None, 0, 2], seed=0)
    assert torch.equal(infrared.weight[:, 1:], conv.weight[:, [0, 2]])
    assert not torch.equal(infrared.weight[:, 0], conv.weight[:, 1])


def test_grey_images_have_the_output_that_they_had_in_every_channel():
    conv = stem()
    grey = torch.randn(2, 1, 9, 9)
    torch.testing.assert_close(adapt_inputs(conv, channels=1)(grey), conv(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("given", ["convolution", "weight"])
def test_a_convolution_that_is_there_is_filled(given):
    pretrained, conv = stem(), nn.Conv2d(5, 512, 3)
    bias = conv.bias.detach().clone()
    filled = adapt_inputs(conv, pretrained if given == "convolution" else pretrained.weight, seed=0)
    assert filled is conv
    assert torch.equal(conv.weight, adapt_inputs(pretrained, channels=5, seed=0).weight)
    assert torch.equal(conv.bias, pretrained.bias if given == "convolution" else bias)


def test_the_seed_decides_and_the_global_state_is_untouched():
    conv = stem()
    state = torch.random.get_rng_state()
    one, same, other = (adapt_inputs(conv, channels=4, seed=seed).weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(0)
    first = adapt_inputs(conv, channels=4).weight
    torch.manual_seed(0)
    assert torch.equal(first, adapt_inputs(conv, channels=4).weight)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv1d(2, 8, 5),
        nn.Conv3d(1, 8, 3, padding=1, bias=False),
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(3, 8, (1, 7), dtype=torch.bfloat16),
        nn.ConvTranspose2d(3, 4, 2, stride=2),
    ],
    ids=["line", "volume", "pointwise", "bfloat16", "transposed"],
)
def test_every_kind_of_convolution(conv):
    conv.weight.requires_grad_(False)
    wider = adapt_inputs(conv, channels=6, seed=0)
    assert (type(wider), wider.weight.dtype) == (type(conv), conv.weight.dtype)
    assert not wider.weight.requires_grad
    size = {3: (9,), 4: (9, 9), 5: (9, 9, 9)}[conv.weight.dim()]
    assert wider(torch.randn(1, 6, *size, dtype=conv.weight.dtype)).isfinite().all()
    assert wider.weight.std() > 0


def test_deliberate_zeros_stay_zeros_and_taps_that_never_train_too():
    conv = stem()
    with torch.no_grad():
        conv.weight[..., 0, 0] = 0
    assert not adapt_inputs(conv, channels=4, seed=0).weight[..., 0, 0].any()
    nn.init.zeros_(conv.weight)
    assert not adapt_inputs(conv, channels=4, seed=0).weight.any()


def test_few_filters_are_enough():
    conv = stem(inputs=1, outputs=2)
    drawn = adapt_inputs(conv, channels=4, seed=0).weight[:, 1:].detach().reshape(-1, 9)
    assert np.linalg.matrix_rank(drawn.numpy(), tol=1e-5) == 2  # they span what the two span


def test_a_weight_that_was_loaded_is_still_marked_so():
    conv = stem()
    conv.weight._is_hf_initialized = True
    model = nn.Sequential(adapt_inputs(conv, channels=4, seed=0), nn.Flatten(), nn.LazyLinear(3))
    model(torch.zeros(1, 4, 5, 5))
    plan = corrinit.plan(model, input_size=(4, 5, 5))
    assert plan.layers[0].reason == "already loaded (_is_hf_initialized)"


class StdConv2d(nn.Conv2d):
    def forward(self, images):
        weight = self.weight / self.weight.std((1, 2, 3), keepdim=True)
        return conv2d(images, weight * self.weight[0].numel() ** -0.5, self.bias)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: adapt_inputs(stem(), channels=2), r"there are 3 input channels and 2 are wanted.*\[0, 1\]"),
        (lambda: adapt_inputs(stem()), "neither channels nor pretrained"),
        (lambda: adapt_inputs(stem(), channels=0), "channels is 0"),
        (lambda: adapt_inputs(stem(), channels="5"), "channels is '5'"),
        (
            lambda: adapt_inputs(stem(), channels=[0, 3]),
            "channels names 3; there are the input channels 0 to 2",
        ),
        (lambda: adapt_inputs(nn.Linear(3, 4), channels=4), "is of type Linear"),
        (lambda: adapt_inputs(nn.Conv2d(4, 4, 3, groups=4), channels=8), "has 4 groups"),
        (lambda: adapt_inputs(stem(), nn.Conv2d(3, 512, 5)), r"the weight has shape \(512, 3, 5, 5\)"),
        (lambda: adapt_inputs(stem(5), stem(3), channels=4), "channels names 4, and the convolution has 5"),
        (lambda: adapt_inputs(nn.utils.parametrizations.weight_norm(stem()), channels=4), "not a plain"),
        (lambda: adapt_inputs(nn.Conv2d(3, 4, 3, device="meta"), channels=4), "holds no values"),
        (lambda: adapt_inputs(StdConv2d(3, 8, 3), channels=5), "standardizes its weight"),
    ],
)
def test_what_cannot_be_adapted_is_refused_in_one_line(call, says):
    with pytest.raises(CorrInitError, match=says) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_nothing_is_changed_by_a_refusal():
    conv = stem(5)
    before = conv.weight.detach().clone()
    broken = stem(3)
    with torch.no_grad():
        broken.weight[0] = float("nan")
    with pytest.raises(CorrInitError, match="not finite"):
        adapt_inputs(conv, broken)
    assert torch.equal(conv.weight, before)
