"""The networks: parameters counted by hand, layers counted from the paper, and sizes that cannot work."""

import pytest
import torch
from torch import nn

from corrinit.errors import ConfigError
from corrinit.lab.networks.catalog import NAMES, PLAIN, build


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def convolutions(model):
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def conv(i, o):
    """A 3×3 convolution without bias, and batch norm: a scale and a shift per channel."""
    return 9 * i * o + 2 * o


# c is the number of channels of the first stage, k of classes; 3-channel images of 32×32 pixels.
# VGG ends in 1×1 maps of 8c channels.
COUNTS = {
    "vgg8": lambda c, k: (
        conv(3, c)
        + conv(c, 2 * c)
        + conv(2 * c, 4 * c)
        + conv(4 * c, 8 * c)
        + conv(8 * c, 8 * c)
        + 8 * c * k
        + k
    ),
    "vgg16": lambda c, k: (
        (conv(3, c) + conv(c, c))
        + (conv(c, 2 * c) + conv(2 * c, 2 * c))
        + (conv(2 * c, 4 * c) + 2 * conv(4 * c, 4 * c))
        + (conv(4 * c, 8 * c) + 5 * conv(8 * c, 8 * c))
        + (8 * c * k + k)
    ),
    "vgg19": lambda c, k: (
        (conv(3, c) + conv(c, c))
        + (conv(c, 2 * c) + conv(2 * c, 2 * c))
        + (conv(2 * c, 4 * c) + 3 * conv(4 * c, 4 * c))
        + (conv(4 * c, 8 * c) + 7 * conv(8 * c, 8 * c))
        + (8 * c * k + k)
    ),
    # A 1×1 projection from c to 2c channels with batch norm has 2c² + 4c parameters; there are three,
    # with c, 2c and 4c: 42 c² + 28 c. A stage of d blocks at c channels has 2d convolutions of 9 c² + 2 c.
    "resnet10": lambda c, k: (
        conv(3, c)
        + 2 * (9 * c * c + 2 * c)
        + (conv(c, 2 * c) + 1 * conv(2 * c, 2 * c))
        + (conv(2 * c, 4 * c) + 1 * conv(4 * c, 4 * c))
        + (conv(4 * c, 8 * c) + 1 * conv(8 * c, 8 * c))
        + (42 * c * c + 28 * c)
        + (8 * c * k + k)
    ),
    "resnet18": lambda c, k: (
        conv(3, c)
        + 4 * (9 * c * c + 2 * c)
        + (conv(c, 2 * c) + 3 * conv(2 * c, 2 * c))
        + (conv(2 * c, 4 * c) + 3 * conv(4 * c, 4 * c))
        + (conv(4 * c, 8 * c) + 3 * conv(8 * c, 8 * c))
        + (42 * c * c + 28 * c)
        + (8 * c * k + k)
    ),
    "resnet34": lambda c, k: (
        conv(3, c)
        + 6 * (9 * c * c + 2 * c)
        + (conv(c, 2 * c) + 7 * conv(2 * c, 2 * c))
        + (conv(2 * c, 4 * c) + 11 * conv(4 * c, 4 * c))
        + (conv(4 * c, 8 * c) + 5 * conv(8 * c, 8 * c))
        + (42 * c * c + 28 * c)
        + (8 * c * k + k)
    ),
}


@pytest.mark.parametrize("width", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_those_counted_by_hand(name, width):
    with torch.device("meta"):
        model = build(name, classes=100, in_channels=3, image_size=32, width=width)
    assert parameters(model) == COUNTS[name](int(64 * width), 100)


def test_resnet18_at_full_width_has_its_well_known_size():
    with torch.device("meta"):
        model = build("resnet18", classes=10, in_channels=3, image_size=32, width=1.0)
    assert parameters(model) == 11_173_962


@pytest.mark.parametrize(
    ("name", "layers"),
    [("vgg8", 5), ("vgg16", 13), ("vgg19", 16), ("resnet10", 9), ("resnet18", 17), ("resnet34", 33)],
)
def test_3x3_convolutions_are_as_many_as_in_the_papers_tables(name, layers):
    with torch.device("meta"):
        model = build(name, classes=10, in_channels=3, image_size=32)
    assert sum(m.kernel_size == (3, 3) for m in convolutions(model)) == layers


@pytest.mark.parametrize(
    ("name", "batch_norm"),
    [(name, norm) for name in NAMES for norm in (True, False) if not (name in PLAIN and norm)],
)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_every_network_maps_images_to_what_its_task_asks_for_and_trains(name, batch_norm, dropout):
    torch.manual_seed(0)
    size, denoises = 8 if name in ("small", "plain20", "plain10-gelu") else 32, name == "unet"
    options = {"width": 0.125, "batch_norm": batch_norm, "dropout": 0.0 if denoises else dropout}
    model = build(name, classes=7, in_channels=1, image_size=size, denoises=denoises, **options)
    scores = model(torch.randn(2, 1, size, size))
    assert scores.shape == ((2, 1, size, size) if denoises else (2, 7))
    assert any(isinstance(m, nn.Dropout) for m in model.modules()) == (options["dropout"] > 0)
    scores.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("name", ["vgg8", "resnet10"])
def test_images_need_not_be_square(name):
    model = build(name, classes=3, in_channels=1, image_size=(64, 33), width=0.1)
    assert model(torch.zeros(2, 1, 64, 33)).shape == (2, 3)


def test_convolutions_have_a_bias_only_without_batch_norm():
    for batch_norm in (True, False):
        model = build("resnet10", classes=2, in_channels=3, image_size=32, width=0.1, batch_norm=batch_norm)
        assert all((m.bias is None) == batch_norm for m in convolutions(model))
        assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == batch_norm


def test_a_block_without_its_residual_is_its_shortcut():
    model = build("resnet10", classes=2, in_channels=3, image_size=8, width=0.125, batch_norm=False)
    block = model.stages[0]
    with torch.no_grad():
        for m in convolutions(block):
            m.weight.zero_()
            m.bias.zero_()
    x = torch.rand(1, 8, 4, 4)
    assert torch.equal(block(x), x)


def test_the_small_network_has_several_3x3_convolutions():
    model = build("small", classes=10, in_channels=1, image_size=8)
    assert sum(m.kernel_size == (3, 3) for m in convolutions(model)) == 4


@pytest.mark.parametrize(("name", "least"), [("vgg8", 32), ("vgg16", 32), ("vgg19", 32), ("small", 4)])
def test_images_too_small_for_a_network_are_refused(name, least):
    build(name, classes=2, in_channels=1, image_size=least, width=0.1)
    small = least - 1
    message = f"{name} halves its images .* {small}×{small} pixels are too small.* at least {least} pixels"
    with pytest.raises(ConfigError, match=message):
        build(name, classes=2, in_channels=1, image_size=small)


@pytest.mark.parametrize("width", [0, -1, float("nan"), float("inf")])
def test_a_width_that_cannot_be_is_refused(width):
    with pytest.raises(ConfigError, match="width is"):
        build("vgg8", classes=2, in_channels=3, image_size=32, width=width)


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="model is 'alexnet'; it is one of vgg8, vgg16"):
        build("alexnet", classes=2, in_channels=3, image_size=32)


# Beside the paper's networks; d is the number of blocks.
BESIDE = {
    "plain10": lambda k: (
        sum(
            9 * i * o + o
            for i, o in [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *[(256, 256)] * 5]
        )
        + (256 * 2 * 2 * k + k)
    ),
    "plain20": lambda k: (
        sum(9 * i * o + o for i, o in [(3, 32), *[(32, 32)] * 9, (32, 64), *[(64, 64)] * 9])
        + (64 * 8 * 8 * k + k)
    ),
    "plain10-gelu": lambda k: (
        sum(9 * i * o + o for i, o in [(3, 32), *[(32, 32)] * 4, (32, 64), *[(64, 64)] * 4])
        + (64 * 16 * 16 * k + k)
    ),
    # Patches of 4×4 pixels in 96 channels; five blocks of a 7×7 depthwise and a 1×1 convolution, with biases.
    "convmixer": lambda k: (
        (3 * 16 * 96 + 96 + 2 * 96) + 5 * ((49 * 96 + 96 + 192) + (96 * 96 + 96 + 192)) + (96 * k + k)
    ),
    "convmixer-k5-p2": lambda k: (
        (3 * 4 * 64 + 64 + 2 * 64) + 4 * ((25 * 64 + 64 + 128) + (64 * 64 + 64 + 128)) + (64 * k + k)
    ),
    # Four blocks of a depthwise convolution, a layer norm, and 1×1 convolutions from 64 to 256 and back.
    "convnext": lambda k: (
        (3 * 16 * 64 + 64 + 128)
        + 4 * ((49 * 64 + 64) + 128 + (64 * 256 + 256) + (256 * 64 + 64))
        + (128 + 64 * k + k)
    ),
}


@pytest.mark.parametrize("name", BESIDE)
def test_parameters_of_the_other_networks_are_those_counted_by_hand(name):
    with torch.device("meta"):
        norm = name not in PLAIN
        model = build(name, classes=10, in_channels=3, image_size=32, width=1.0, batch_norm=norm)
    assert parameters(model) == BESIDE[name](10)


def test_layer_norm_is_over_the_channels_at_each_position():
    model = build("convnext", classes=10, in_channels=3, image_size=32, width=1.0)
    seen = model.stem(torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(seen.mean(1), torch.zeros(2, 8, 8), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.var(1, correction=0), torch.ones(2, 8, 8), atol=1e-2, rtol=0)


def test_a_denoiser_takes_what_it_sees_from_images_of_any_size():
    model = build("unet", classes=0, in_channels=3, image_size=(30, 17), width=0.25, denoises=True)
    with torch.no_grad():
        model.noise.weight.zero_()
        model.noise.bias.zero_()
    images = torch.randn(2, 3, 30, 17)
    assert torch.equal(model(images), images)


def test_pooling_before_the_relu_changes_no_bit():
    """Of the outputs and the gradients, beside the same layers in the order of Simonyan & Zisserman."""
    torch.manual_seed(0)
    layers = list(build("vgg8", classes=10, in_channels=3, image_size=32, width=0.1))
    usual = list(layers)
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            usual[i : i + 2] = [nn.ReLU(), layer]
    found = []
    for order in (layers, usual):
        model = nn.Sequential(*order)
        model.zero_grad()
        scores = model(torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
        scores.square().sum().backward()
        found.append([scores.detach(), *(p.grad.clone() for p in model.parameters())])
    assert isinstance(layers[1], nn.MaxPool2d)
    assert isinstance(usual[1], nn.ReLU)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("plain10", {}, "plain10 is a network without normalization: set batch_norm = false"),
        ("unet", {}, "unet takes noise away: set noise"),
        ("unet", {"denoises": True, "dropout": 0.1}, "dropout is 0.1; unet has no classifier"),
        ("vgg8", {"denoises": True}, "vgg8 names classes: for noise, take unet"),
        ("convmixer", {"image_size": 3}, "convmixer cuts images into patches of 4 pixels; 3×3 have none"),
    ],
)
def test_what_a_network_is_not_made_for_is_refused(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build(name, **{"classes": 10, "in_channels": 3, "image_size": 32, **options})
