"""Methods that look at training images, and the scale that is measured on them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import corrinit
from corrinit import SpatialCorrelation, estimate_inputs, kernels
from corrinit.errors import ConfigError, CorrInitWarning
from corrinit.methods import Convolution
from corrinit.methods.measured import input_correlation, scale_to_images
from corrinit.methods.patch_whitening import EPSILON

R = SpatialCorrelation(kernels.exponential((3, 3), mean=0.4))


def images(channels=3, size=14, count=96):
    """Blurred noise, of mean 0 and variance 1 in each channel."""
    noise = torch.randn(count, channels, size + 2, size + 2, generator=torch.Generator().manual_seed(3))
    blurred = nn.functional.avg_pool2d(noise, 3, stride=1)
    return (blurred - blurred.mean((0, 2, 3), keepdim=True)) / blurred.std((0, 2, 3), keepdim=True)


def network(batch_norm=True):
    def block(inputs, outputs, **options):
        normalized = [nn.BatchNorm2d(outputs)] if batch_norm else []
        return [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=not batch_norm, **options),
            *normalized,
            nn.ReLU(),
        ]

    layers = [*block(3, 48), *block(48, 24, stride=2), nn.Dropout(0.5), *block(24, 24, groups=4)]
    return nn.Sequential(*layers, nn.Conv2d(24, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def convolutions(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}


def outputs_of_convolutions(model, batch):
    """As in training, but for dropout."""
    seen = {}
    for name, module in convolutions(model).items():
        module.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out.detach()))
    for module in model.modules():
        module.train(not isinstance(module, nn.Dropout))
    with torch.no_grad():
        model(batch)
    return seen


# LSUV


@pytest.mark.parametrize("batch_norm", [True, False])
def test_lsuv_gives_every_convolution_outputs_of_variance_one(batch_norm):
    model = network(batch_norm)
    corrinit.initialize(model, method="lsuv", seed=0, images=images())
    for name, out in outputs_of_convolutions(model, images()).items():
        assert out.var().item() == pytest.approx(1, rel=1e-3), name


def test_lsuv_is_orthonormal_up_to_scale():
    model, plain = network(), network()
    corrinit.initialize(model, method="lsuv", seed=0, images=images())
    corrinit.initialize(plain, method="orthogonal", seed=0)
    for name, module in convolutions(model).items():
        ratio = module.weight / convolutions(plain)[name].weight
        torch.testing.assert_close(ratio, ratio.flatten()[0].expand_as(ratio), rtol=1e-4, atol=0)


def test_lsuv_works_in_the_order_of_execution():
    class Reversed(nn.Module):
        def __init__(self):
            super().__init__()
            self.second = nn.Conv2d(8, 8, 3)
            self.first = nn.Conv2d(3, 8, 3)

        def forward(self, x):
            return self.second(torch.relu(self.first(x)))

    model = Reversed()
    corrinit.initialize(model, method="lsuv", seed=0, images=images())
    for out in outputs_of_convolutions(model, images()).values():
        assert out.var().item() == pytest.approx(1, rel=1e-3)


def test_a_layer_that_no_image_reaches_is_named():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    model.add_module("idle", nn.Module())
    model.idle.conv = nn.Conv2d(3, 4, 3)
    model.idle.forward = lambda x: x
    with pytest.warns(CorrInitWarning, match=r"no image came through idle.conv"):
        corrinit.initialize(model, method="lsuv", seed=0, images=images())


def test_images_without_variance_or_of_another_shape_are_refused():
    with pytest.raises(ConfigError, match=r"layer 0: its outputs on 4 images have variance 0.0"):
        corrinit.initialize(network(), method="lsuv", seed=0, images=torch.zeros(4, 3, 14, 14))
    with pytest.raises(ConfigError, match=r"images of shape \(96, 1, 14, 14\) do not run"):
        corrinit.initialize(network(), method="lsuv", seed=0, images=images(1))


# Patch whitening


@pytest.mark.parametrize(
    ("outputs", "options"),
    [(96, {}), (20, {}), (96, {"dilation": 2}), (48, {"groups": 3, "padding": 1})],
)
def test_whitening_filters_respond_with_identity_covariance(outputs, options):
    """Up to λ / (λ + ε), with eigenvalues well above ε, and without padding."""
    batch = images()
    first = nn.Conv2d(3, outputs, (3, 3), **options)
    corrinit.initialize(nn.Sequential(first), method="patch_whitening", seed=0, images=batch)
    first.padding = (0, 0)
    responses = first(batch).detach().double().transpose(0, 1).flatten(1)
    groups, dimension = first.groups, 9 * 3 // first.groups
    for group in responses.chunk(groups):
        for block in group.split(dimension):
            sample = torch.cov(block)
            torch.testing.assert_close(sample, torch.eye(len(block)).double(), rtol=0, atol=0.05)


def test_filters_come_as_eigenvectors_then_their_negatives_then_rotations():
    first = nn.Conv2d(3, 81, 3)
    corrinit.initialize(nn.Sequential(first), method="patch_whitening", seed=0, images=images())
    basis, negatives, rotated = first.weight.detach().flatten(1).double().split(27)
    assert torch.equal(negatives, -basis)
    directions = basis / basis.norm(dim=1, keepdim=True)
    torch.testing.assert_close(directions @ directions.T, torch.eye(27).double(), rtol=0, atol=1e-5)
    assert (basis.norm(dim=1).diff() > -1e-6).all()  # variances descend
    rotation = rotated @ torch.linalg.inv(basis)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(27).double(), rtol=0, atol=1e-4)
    assert (rotation - torch.eye(27)).abs().max() > 0.3


def test_directions_without_variance_are_not_blown_up():
    gray = images(1).expand(-1, 3, -1, -1)  # 18 of 27 directions have no variance
    first = nn.Conv2d(3, 27, 3)
    corrinit.initialize(nn.Sequential(first), method="patch_whitening", seed=0, images=gray)
    assert first.weight.abs().max() <= EPSILON**-0.5


def test_layers_after_the_first_are_kaiming_normal():
    model, plain = network(), network()
    corrinit.initialize(model, method="patch_whitening", seed=0, images=images())
    corrinit.initialize(plain, method="kaiming_normal", seed=0)
    for name, module in convolutions(model).items():
        assert torch.equal(module.weight, convolutions(plain)[name].weight) == (name != "0")


@pytest.mark.parametrize(
    ("first", "batch", "complaint"),
    [
        (nn.ConvTranspose2d(3, 8, 3), images(), "layer 0: .*not transposed"),
        (nn.Conv2d(4, 8, 3), images(), "layer 0: .*of the 3 channels of the images"),
        (nn.Conv2d(3, 8, 5, dilation=4), images(), "smaller than its kernel"),
    ],
)
def test_a_first_layer_that_cannot_whiten_is_named(first, batch, complaint):
    with pytest.raises(ConfigError, match=complaint):
        corrinit.initialize(nn.Sequential(first), method="patch_whitening", seed=0, images=batch)


# The measured scale


def test_the_measured_scale_is_the_formula_with_m_of_the_inputs():
    model = nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), nn.ReLU(), nn.Conv2d(16, 16, 3, bias=False))
    corrinit.initialize(model, method="correlated", seed=0, correlation=R, scale="measured", images=images())
    he = nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), nn.ReLU(), nn.Conv2d(16, 16, 3, bias=False))
    corrinit.initialize(he, method="correlated", seed=0, correlation=R, scale="he")
    with torch.no_grad():
        for layer, inputs in ((0, images()), (2, model[:2](images()))):
            expected = math.sqrt(9 / R.inner(estimate_inputs(inputs, (3, 3))))
            torch.testing.assert_close(model[layer].weight, he[layer].weight * expected, rtol=1e-4, atol=0)


@pytest.mark.statistical
def test_the_measured_scale_keeps_the_variance_where_the_others_do_not():
    """E[y²] = 2 E[x²] over 1,024 filters: the standard error is 2.1 %, so 10 % has p < 1e-5."""
    power = {}
    for scale in ("he", "paper", "measured"):
        layer = nn.Conv2d(3, 1024, 3, bias=False)
        corrinit.initialize(
            nn.Sequential(layer), method="correlated", seed=0, correlation=R, scale=scale, images=images()
        )
        power[scale] = (layer(images()).square().mean() / images().square().mean()).item()
    assert power["measured"] == pytest.approx(2, rel=0.1)
    assert power["he"] > 3
    assert power["paper"] < 1.5


def test_for_independent_taps_the_measured_scale_is_that_of_he():
    measured, he = network(), network()
    corrinit.initialize(measured, method="kaiming_normal", seed=0, scale="measured", images=images())
    corrinit.initialize(he, method="kaiming_normal", seed=0, scale="he")
    assert all(map(torch.equal, measured.parameters(), he.parameters()))


def test_independent_inputs_give_the_scale_of_he():
    noise = torch.randn(256, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    layer, he = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
    corrinit.initialize(nn.Sequential(layer), method="correlated", seed=0, scale="measured", images=noise)
    corrinit.initialize(nn.Sequential(he), method="correlated", seed=0, scale="he")
    torch.testing.assert_close(layer.weight, he.weight, rtol=0.02, atol=0)


def fact(module):
    return Convolution("0", module, tuple(module.weight.shape), correlation=R)


@pytest.mark.parametrize(
    "options", [{"padding": 1}, {"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}]
)
def test_padding_counts_as_the_convolution_pads(options):
    module = nn.Conv2d(3, 4, 3, **options)
    mode = {"zeros": "constant"}.get(module.padding_mode, module.padding_mode)
    padded = nn.functional.pad(images(), (1, 1, 1, 1), mode=mode)
    measured = input_correlation(fact(module), images())
    np.testing.assert_allclose(measured.matrix, estimate_inputs(padded, (3, 3)).matrix, atol=1e-9)


def test_dilated_taps_meet_pixels_further_apart():
    module = nn.Conv2d(3, 4, 3, dilation=2)
    patches = images().unfold(2, 5, 1).unfold(3, 5, 1)[..., ::2, ::2].reshape(-1, 9).double().numpy()
    moments = patches.T @ patches
    power = np.sqrt(moments.diagonal())
    np.testing.assert_allclose(
        input_correlation(fact(module), images()).matrix, moments / np.outer(power, power), atol=1e-6
    )


def test_taps_that_meet_padding_alone_count_as_uncorrelated():
    measured = input_correlation(fact(nn.Conv2d(3, 4, 3, padding=1)), torch.ones(2, 3, 1, 1))
    np.testing.assert_array_equal(measured.matrix, np.eye(9))


def test_transposed_convolutions_are_measured_too():
    def build():
        return nn.Sequential(nn.ConvTranspose2d(3, 256, 4, stride=2, padding=1, bias=False))

    model = build()
    corrinit.initialize(model, method="correlated", seed=0, scale="measured", images=images())
    power = model(images()).square().mean() / images().square().mean()
    assert power.item() == pytest.approx(2, rel=0.25)


def test_filters_that_cancel_the_inputs_are_named():
    opposed = SpatialCorrelation([[1, -1], [-1, 1]], (1, 2))
    flat = torch.randn(8, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(8, 3, 6, 6)
    model = nn.Sequential(nn.Conv2d(3, 4, (1, 2)))
    convolution = Convolution("0", model[0], (4, 3, 1, 2), correlation=opposed)
    with pytest.raises(ConfigError, match=r"layer 0: ⟨R, M⟩ is .*cancel.*\"he\""):
        scale_to_images(model, [convolution], flat)
