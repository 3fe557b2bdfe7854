"""`corrinit.initialize` on models of timm, torchvision, segmentation-models-pytorch and MONAI."""

import warnings
from typing import NamedTuple

import monai.networks.nets as monai
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision.models as tv
from model_checks import assert_drawn_as_planned, counts, losses_of_one_step, natural_images, reasons, signal

import corrinit

CLASSES = 10


class Case(NamedTuple):
    """A model, and what is expected of it.

    Args:
        build: makes it.
        drawn: the numbers of layers drawn, by role and rule.
        kept: the numbers of layers kept, by reason.
        factor: within which the strengths of the outputs of blocks lie, in units of the images; it is wider
            where normalized branches of γ = 1 add up, whatever the weights.
        channels: of the images.
        side: of the images, in pixels.
    """

    build: object
    drawn: dict
    kept: dict
    factor: float = 2.0
    channels: int = 3
    side: int = 64


NORMAL, CORRELATED = "normal", "correlated_normal"

CASES = {
    "torchvision resnet18": Case(
        lambda: tv.resnet18(num_classes=CLASSES, zero_init_residual=True),
        {("stem", NORMAL): 1, ("dense", CORRELATED): 16, ("pointwise", NORMAL): 3, ("head", NORMAL): 1},
        {"no filters": 20},
    ),
    "torchvision mobilenet_v2": Case(
        lambda: tv.mobilenet_v2(num_classes=CLASSES),
        {("stem", NORMAL): 1, ("depthwise", NORMAL): 17, ("pointwise", NORMAL): 34, ("head", NORMAL): 1},
        {"no filters": 52},
        factor=2.5,
    ),
    "timm resnet10t": Case(
        lambda: timm.create_model("resnet10t", num_classes=CLASSES),
        {("stem", NORMAL): 1, ("dense", CORRELATED): 10, ("pointwise", NORMAL): 3, ("head", NORMAL): 1},
        {"no filters": 14},
    ),
    "timm convnext_atto": Case(
        lambda: timm.create_model("convnext_atto", num_classes=CLASSES),
        {
            ("stem", NORMAL): 1,
            ("depthwise", NORMAL): 12,
            ("pointwise", NORMAL): 24,
            ("dense", NORMAL): 3,
            ("head", NORMAL): 1,
        },
        {"no filters": 29},
    ),
    "timm nf_resnet26": Case(
        lambda: timm.create_model("nf_resnet26", num_classes=CLASSES),
        {("stem", NORMAL): 1, ("pointwise", NORMAL): 20, ("dense", NORMAL): 8, ("head", NORMAL): 1},
        {},
        factor=4.0,
    ),
    "timm vit_tiny": Case(
        lambda: timm.create_model("vit_tiny_patch16_224", num_classes=CLASSES, img_size=64),
        {("stem", NORMAL): 1, ("attention", NORMAL): 24, ("linear", NORMAL): 24, ("head", NORMAL): 1},
        {"no filters": 26},
    ),
    "smp Unet": Case(
        lambda: smp.Unet("resnet18", encoder_weights=None, classes=CLASSES),
        {("stem", NORMAL): 1, ("dense", CORRELATED): 26, ("pointwise", NORMAL): 3, ("head", NORMAL): 1},
        {"no filters": 30},
    ),
    "smp DeepLabV3Plus": Case(
        lambda: smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=CLASSES),
        {
            ("stem", NORMAL): 1,
            ("dense", CORRELATED): 16,
            ("pointwise", NORMAL): 12,
            ("depthwise", NORMAL): 5,
            ("head", NORMAL): 1,
        },
        {"no filters": 29},
    ),
    "monai SegResNet": Case(
        lambda: monai.SegResNet(spatial_dims=2, init_filters=16, in_channels=1, out_channels=CLASSES),
        {
            ("stem", NORMAL): 1,
            ("dense", CORRELATED): 13,
            ("dense", NORMAL): 14,
            ("pointwise", NORMAL): 3,
            ("head", NORMAL): 1,
        },
        {"no filters": 25},
        channels=1,
    ),
    "monai DenseNet": Case(
        lambda: monai.DenseNet(2, 1, CLASSES, init_features=16, growth_rate=8, block_config=(2, 2, 2)),
        {("stem", NORMAL): 1, ("pointwise", NORMAL): 8, ("dense", CORRELATED): 6, ("head", NORMAL): 1},
        {"no filters": 16},
        channels=1,
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture(scope="module")
def initialized(case):
    """A model, initialized without a warning, and its plan."""
    torch.manual_seed(0)  # parameters that are kept are random in some models
    model = case.build()
    with warnings.catch_warnings():
        warnings.simplefilter("error", corrinit.CorrInitWarning)
        return model, corrinit.initialize(model, seed=0, input_size=(case.channels, case.side, case.side))


def test_the_plan_knows_each_layer(case, initialized):
    _, plan = initialized
    assert counts(plan) == case.drawn
    assert reasons(plan) == case.kept
    assert plan.notes == ()  # the model was traced


def test_the_signal_keeps_its_strength_and_the_first_loss_is_that_of_chance(case, initialized):
    strengths, loss = signal(initialized[0], natural_images(10, case.side, case.channels))
    assert len(strengths) > 1
    assert min(strengths) > 1 / case.factor
    assert max(strengths) < case.factor
    assert loss == pytest.approx(1, abs=0.05)


@pytest.mark.statistical
def test_the_correlation_comes_back_from_the_weights(case, initialized):
    """Of at most 26 × 36 entries of a model, one is 5 standard errors away in 6e-4 of all draws."""
    if any(rule == CORRELATED for _, rule in case.drawn):
        assert_drawn_as_planned(*initialized)


def test_one_step_lowers_the_loss(case, initialized):
    before, after = losses_of_one_step(
        initialized[0], natural_images(10, case.side, case.channels), rate=0.003
    )
    assert after < before


def test_zero_gammas_of_residual_branches_stay():
    model = tv.resnet18(zero_init_residual=True)
    corrinit.initialize(model, seed=0)
    assert not model.layer1[0].bn2.weight.any()


def test_a_head_that_torchvision_made_zero_stays_so():
    model = tv.VisionTransformer(32, 8, 3, 4, 64, 128, num_classes=CLASSES)
    plan = corrinit.initialize(model, seed=0, input_size=32)
    assert reasons(plan)["deliberately zero"] == 1
    assert not model.heads.head.weight.any()


@pytest.mark.statistical
def test_volumes_are_drawn_with_correlated_taps_of_three_axes():
    """One of 6 × 351 entries lies 5 standard errors away in 1.2e-3 of all draws."""
    model = monai.UNet(3, 1, 2, channels=(8, 16, 32), strides=(2, 2), num_res_units=2)
    plan = corrinit.initialize(model, seed=0, input_size=(1, 24, 24, 24))
    assert counts(plan)["dense", CORRELATED] == 6
    assert_drawn_as_planned(model, plan)


def test_the_same_seed_gives_the_same_weights_whatever_the_model_held():
    models = [CASES["timm resnet10t"].build() for _ in range(2)]
    for model in models:
        corrinit.initialize(model, seed=4)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one, other)
