"""Recipes: which rule a layer gets, what the caller's words and rules do to it, and what stays for ever."""

import json
import math
import warnings
from dataclasses import replace

import pytest
import torch
from tests.recipe_models import FILE, MODELS, Decoder, Depthwise, weights
from torch import nn

import corrinit
from corrinit import CorrInitWarning, SpatialCorrelation, kernels
from corrinit._planning.gains import Power, gain_of
from corrinit._planning.recipes import RECIPES, Rule, score_deviation
from corrinit._signal import natural
from corrinit._tracing import TensorFunction
from corrinit.errors import ConfigError, PlanError
from corrinit.lab.networks.catalog import build
from corrinit.methods import METHODS


def images(count=64, side=32, channels=3):
    """Images of the spectrum of natural ones, standardized."""
    lags = torch.tensor(natural((side, side)))
    power = torch.fft.fft2(torch.fft.ifftshift(lags)).abs()
    noise = torch.randn(count, channels, *power.shape, generator=torch.Generator().manual_seed(1)).double()
    field = torch.fft.ifft2(torch.fft.fft2(noise) * power.sqrt()).real[..., :side, :side]
    return ((field - field.mean()) / field.std()).float()


def vgg(**options):
    return build("vgg8", classes=10, in_channels=3, image_size=32, width=0.25, **options)


def rows(plan):
    return {layer.name: layer for layer in plan.layers}


def drawn(plan):
    return [layer for layer in plan.layers if layer.is_drawn]


# What is drawn stays


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_draws_the_same_weights_for_ever(recipe, model):
    """Within 1e-6 of the deviation of a layer, on every processor."""
    stored = json.loads(FILE.read_text(encoding="utf-8"))[recipe][model]
    made = weights(recipe, model)
    assert list(made) == list(stored)
    for name, values in stored.items():
        torch.testing.assert_close(
            torch.tensor(made[name]), torch.tensor(values), rtol=0, atol=1e-6 * values[0], msg=name
        )


# The cautious recipe


def test_correlation_is_where_normalization_follows_a_dense_convolution_that_is_no_stem():
    plan = rows(corrinit.plan(vgg()))
    assert [name for name, layer in plan.items() if layer.correlation] == ["3.0", "6.0", "9.0", "12.0"]
    assert not any(layer.correlation for layer in corrinit.plan(vgg(batch_norm=False)).layers)
    assert not any(layer.correlation for layer in corrinit.plan(Decoder()).layers)
    depthwise = corrinit.plan(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Depthwise(8), nn.BatchNorm2d(8)))
    assert not any(layer.correlation for layer in depthwise.layers)


def test_every_layer_is_at_the_scale_of_the_signal_that_arrives():
    model = vgg(batch_norm=False)
    plan = corrinit.plan(model, input_size=32)
    for layer in drawn(plan):
        arriving = plan.signal.layer(layer.name)
        power = arriving.channels * arriving.mean_square * arriving.amplification * layer.std**2
        wanted = score_deviation(10) ** 2 if layer.role == "head" else 2.0  # ReLU hands on half of it
        assert power == pytest.approx(wanted, rel=1e-6), layer.name


@pytest.mark.statistical
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
def test_a_plain_network_keeps_its_signal(activation):
    """Twelve layers of 128 channels; the root mean square stays within 2, some 4 standard deviations."""
    blocks = [(nn.Conv2d(3 if i == 0 else 128, 128, 3, padding=1), activation()) for i in range(12)]
    model = nn.Sequential(*(module for block in blocks for module in block))
    corrinit.initialize(model, seed=0, input_size=32)
    x = images(16)
    for module in model:
        x = module(x)
        if isinstance(module, activation):
            assert 0.5 < x.square().mean().sqrt() < 2


@pytest.mark.statistical
@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_first_loss_is_near_the_logarithm_of_the_number_of_classes(batch_norm):
    """Expected 2 % above; within 5 % is more than two standard deviations of the draw of ten scores."""
    model = build("resnet10", classes=10, in_channels=3, image_size=32, batch_norm=batch_norm)
    corrinit.initialize(model, seed=0, input_size=32)
    batch = images(100)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(batch), torch.arange(100) % 10).item()
    assert abs(loss / math.log(10) - 1) < 0.05


def test_residual_branches_without_normalization_share_what_the_trunk_has():
    model = build("resnet18", classes=10, in_channels=3, image_size=32, batch_norm=False)
    plan = rows(corrinit.plan(model, input_size=32))
    last, alone = plan["stages.0.residual.2.0"], plan["stages.0.residual.0.0"]
    assert last.std / alone.std == pytest.approx(
        math.sqrt(1 / 8 / 2), rel=0.1
    )  # 8 additions; no ReLU follows
    corrinit.initialize(model, seed=0, input_size=32)
    with torch.no_grad():
        x = images(16)
        for module in (model.stem, *model.stages):
            x = module(x)
            assert 0.25 < x.square().mean().sqrt() < 4


def test_standardized_weights_are_planned_as_what_they_are():
    class Standardized(nn.Conv2d):
        def forward(self, x):
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            weight = weight / weight.std((1, 2, 3), keepdim=True)
            return nn.functional.conv2d(x, weight, self.bias, self.stride, self.padding)

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Standardized(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    layer = rows(corrinit.plan(model))["2"]
    assert layer.correlation is None
    assert "standardized weights have no scale" in layer.reason


def test_the_plan_says_recipe_roles_scales_and_the_share_of_correlated_parameters():
    text = str(corrinit.initialize(vgg(), seed=3))
    assert "recipe 2026.1" in text
    assert "seed 3" in text
    assert "correlated taps in 99 % of the" in text
    assert " stem " in text
    assert "(natural)" in text
    little = str(corrinit.plan(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(7200, 10))))
    assert "correlated taps in 0 % of the" in little
    assert "most are elsewhere: head 99" in little


def test_a_model_that_cannot_be_run_is_planned_and_said_so():
    class Unrunnable(nn.Sequential):
        def forward(self, x):
            raise RuntimeError("no such input")

    plan = corrinit.plan(Unrunnable(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)))
    assert any("did not run" in note and "no such input" in note for note in plan.notes)
    assert all(0 < layer.std < 1 for layer in drawn(plan))


# What the caller names holds everywhere


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_named_scale_holds_for_stem_and_head_too(recipe):
    for layer in drawn(corrinit.plan(vgg(), recipe=recipe, scale="he")):
        assert layer.std == pytest.approx(math.sqrt(2 / math.prod(layer.shape[1:]))), layer.name


@pytest.mark.parametrize(
    ("named", "value"), [("linear", 1.0), ("gelu", gain_of(nn.GELU())), (torch.sin, gain_of(torch.sin))]
)
def test_a_named_nonlinearity_holds_for_stem_and_head_too(named, value):
    for layer in drawn(corrinit.plan(vgg(), nonlinearity=named, scale="he")):
        assert layer.std == pytest.approx(value / math.sqrt(math.prod(layer.shape[1:])), rel=1e-4), layer.name
    plan = corrinit.plan(vgg(batch_norm=False), nonlinearity=named)
    for layer in drawn(plan):
        arriving = plan.signal.layer(layer.name)
        power = arriving.channels * arriving.mean_square * arriving.amplification * layer.std**2
        assert power == pytest.approx(value**2, rel=1e-3), layer.name


def test_a_named_correlation_holds_for_every_layer_of_more_than_one_tap():
    plan = rows(corrinit.plan(vgg(batch_norm=False), correlation="exponential:0.4"))
    assert [layer.correlation and round(layer.correlation.mean, 6) for layer in plan.values()] == [
        0.4
    ] * 5 + [None]
    assert plan["16"].std < 0.05  # the head is still small


def test_a_named_method_fills_every_convolution_and_linear_layers_are_as_in_the_paper():
    for method in ("orthogonal", "kaiming_uniform"):
        plan = drawn(corrinit.plan(vgg(), method=method))
        assert [layer.method for layer in plan] == [method] * 5 + ["kaiming_normal"]
        assert plan[-1].std == pytest.approx(math.sqrt(2 / plan[-1].shape[1]))
    natural_ = drawn(corrinit.plan(vgg(), method="orthogonal", recipe="2026.1"))
    assert {layer.scale for layer in natural_} == {"natural"}


def test_a_scale_can_be_the_moments_of_the_inputs():
    M = SpatialCorrelation(kernels.exponential((3, 3), mean=0.7))
    layer = corrinit.plan(nn.Conv2d(4, 4, 3), recipe="schneider", scale=M).layers[0]
    assert layer.std == pytest.approx(math.sqrt(2 / (4 * layer.correlation.inner(M))))


def test_the_older_name_of_the_scale_is_taken_with_the_new_line():
    with pytest.warns(DeprecationWarning, match="inputs='independent' is now written scale=\"he\"") as said:
        older = corrinit.plan(vgg(), inputs="independent")
    assert said[0].filename == __file__
    assert older == corrinit.plan(vgg(), scale="he")


# Rules


def test_rules_go_by_role_and_then_by_name():
    rules = {
        "6.*": {"scale": "he", "strength": 0.5},
        "dense": {"method": "orthogonal", "bias": "keep"},
        "stem": {"method": "keep"},
        "head": Rule(scale="he", nonlinearity="linear"),
        "9.0": {"method": "correlated", "correlation": "exponential:0.5"},
    }
    plan = rows(corrinit.plan(vgg(), rules=rules))
    assert (plan["0.0"].method, plan["0.0"].reason) == ("keep", "kept by a rule")
    assert (plan["3.0"].method, plan["3.0"].scale) == ("orthogonal", "natural")
    assert (plan["6.0"].method, plan["6.0"].scale) == ("orthogonal", "he")
    assert plan["9.0"].correlation.mean == pytest.approx(0.5)
    assert plan["16"].std == pytest.approx(1 / math.sqrt(128))


def test_rules_have_the_last_word():
    plan = rows(corrinit.plan(vgg(), method="orthogonal", scale="he", rules={"0.*": {"method": "dirac"}}))
    assert (plan["0.0"].method, plan["0.0"].scale) == ("dirac", "he")


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ({"stme.*": {"scale": "he"}}, "'stme.*' is no role and matches no layer of the model; there are"),
        ({"stem": {"sclae": "he"}}, "'stem' sets 'sclae'; a rule has scale"),
        (
            {"stem": {"scale": "small"}},
            "'stem': scale is 'small'; it is 'he', 'paper', 'measured', 'natural' or 'own'",
        ),
        ({"stem": "he"}, "'stem' has 'he'; it needs options such as"),
        ({"head": {"method": "dirac"}}, "layer 16: dirac fills convolutions, and this layer is linear"),
    ],
)
def test_a_faulty_rule_is_refused_with_a_remedy(rules, complaint):
    with pytest.raises(PlanError, match=complaint):
        corrinit.plan(vgg(), rules=rules)


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"recipe": "2026"}, PlanError, "no recipe is called '2026'; there is 2026.1"),
        ({"method": "ortogonal"}, ConfigError, "did you mean orthogonal"),
        ({"scale": "correlated"}, PlanError, "scale is 'correlated'; it is 'he'"),
        ({"nonlinearity": "swish"}, PlanError, "nonlinearity is 'swish'; it is a callable, or .*'hardswish'"),
        ({"inputs": "independent", "scale": "he"}, PlanError, "both scale and inputs"),
        ({"method": "dirac", "scale": "natural"}, ConfigError, "dirac states no correlation of its taps"),
    ],
)
def test_unknown_words_are_refused_with_the_nearest(options, error, complaint):
    with pytest.raises(error, match=complaint):
        corrinit.plan(vgg(), **options)


# Images


def test_methods_that_look_at_images_are_planned_without_them_and_refused_when_applied():
    model = vgg()
    plan = corrinit.plan(model, method="lsuv")
    assert {layer.method for layer in drawn(plan)} == {"lsuv", "kaiming_normal"}
    before = model[0][0].weight.clone()
    with pytest.raises(ConfigError, match="'lsuv' looks at training images; give a batch of them"):
        plan.apply(model, seed=0)
    assert torch.equal(before, model[0][0].weight)
    plan.apply(model, seed=0, images=images(8))
    with pytest.raises(PlanError, match="looks at images, which needs the whole model"):
        plan.param_init_fn(model)


@pytest.mark.parametrize("options", [{"method": "lsuv"}, {"recipe": "schneider", "scale": "measured"}])
def test_a_model_is_as_it_was_where_its_images_do_not_run(options):
    model = vgg()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ConfigError, match="do not run through the model"):
        corrinit.initialize(model, seed=0, images=images(4)[..., :8, :8], **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_model_is_as_it_was_where_a_method_of_another_package_fails(monkeypatch):
    def fail(weight, convolution, std, generator):
        if convolution.name == "6.0":
            raise RuntimeError("no such filter")
        weight.fill_(std)

    monkeypatch.setitem(METHODS, "failing", replace(METHODS["dirac"], name="failing", draw=fail))
    model = vgg()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="no such filter"):
        corrinit.initialize(model, method="failing", seed=0, others="reset")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# Short types


def test_the_plan_says_where_rounding_moves_the_correlation():
    model = nn.Sequential(nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        layer = corrinit.plan(model.to(dtype), recipe="schneider").layers[0]
        assert "rounded" not in layer.reason
    for dtype, channels in ((torch.float8_e4m3fn, 4096), (torch.float8_e5m2, 1 << 28)):
        with torch.device("meta"):
            model = nn.Sequential(nn.Conv2d(channels, 8, 3, dtype=dtype))
        layer = corrinit.plan(model, recipe="schneider").layers[0]
        assert f"once rounded to {str(dtype).removeprefix('torch.')}" in layer.reason


def test_looking_for_the_signal_leaves_no_trace():
    model = vgg()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error", CorrInitWarning)
        corrinit.plan(model)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("scale", ["he", "paper", "measured"])
def test_a_scale_that_is_named_leaves_the_gain_to_the_activation_that_follows(scale):
    def made(activation):
        model = nn.Sequential(nn.Conv2d(3, 8, 3), activation, nn.Conv2d(8, 8, 3))
        return corrinit.plan(model, scale=scale, images=torch.randn(2, 3, 8, 8)).layers[0]

    relu, gelu = made(nn.ReLU()), made(nn.GELU())
    assert relu.gain == pytest.approx(2**0.5)
    assert gelu.gain == pytest.approx(Power(TensorFunction(nn.GELU())).before(1.0) ** 0.5)
    assert gelu.std / relu.std == pytest.approx(gelu.gain / relu.gain)


def test_activations_of_the_same_text_are_told_apart():
    class Leaky(nn.Module):
        def __init__(self, slope):
            super().__init__()
            self.slope = slope

        def forward(self, x):
            return torch.maximum(x, self.slope * x)

    slopes = (0.0, 0.9)
    layers = [each for slope in slopes for each in (nn.Conv2d(4, 4, 1), Leaky(slope))]
    made = corrinit.plan(nn.Sequential(*layers, nn.Conv2d(4, 4, 1)))
    drawn = [layer for layer in made.layers if layer.is_drawn][:2]
    for layer, slope in zip(drawn, slopes, strict=True):
        assert layer.std == pytest.approx((2 / (1 + slope**2) / 4) ** 0.5, rel=0.01)


def test_what_is_tied_is_counted_once():
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False))
    model[2].weight = model[0].weight
    model[0].weight.requires_grad = False
    with pytest.warns(CorrInitWarning, match="0 of 2"):
        assert "most are elsewhere: kept 100 %" in str(corrinit.plan(model))
