"""Plans and whole models: what users of model-level initialization expect."""

import copy
import re

import pytest
import torch
from torch import nn

import corrinit
from corrinit import CorrInitWarning, SpatialCorrelation, kernels
from corrinit._correlation import default_correlation
from corrinit._planning import LayerPlan, Plan
from corrinit._scale import transposed_amplification
from corrinit._seeding import layer_generator
from corrinit.errors import PlanError

R3 = SpatialCorrelation(kernels.exponential((3, 3), mean=0.26))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, bias=False)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = x + self.norm(self.pointwise(self.depthwise(x)))
        return self.head(x.mean((2, 3)))


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def rows(plan: Plan) -> dict[str, LayerPlan]:
    return {layer.name: layer for layer in plan.layers}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def test_plan_changes_nothing_and_apply_does_exactly_what_it_says():
    model = Residual()
    before = weights(model)
    plan = corrinit.plan(model, recipe="schneider", exclude="stem")
    assert same(before, weights(model))
    plan.apply(model, seed=3)
    for name, layer in rows(plan).items():
        changed = not torch.equal(before[f"{name}.weight"], model.get_submodule(name).weight)
        assert changed == (layer.rule != "keep"), name
    by_hand = torch.empty(8, 1, 3, 3)
    layer = rows(plan)["depthwise"]
    corrinit.correlated_normal_(
        by_hand, layer.correlation, layer.std, generator=layer_generator(3, "depthwise")
    )
    assert torch.equal(model.depthwise.weight, by_hand)


def test_table_has_layer_shape_rule_action_and_reason():
    text = str(corrinit.plan(Residual(), recipe="schneider", exclude=["head.*"]))
    assert re.search(
        r"stem +Conv2d +8×3×3×3 +dense +correlated_normal +draw, std 0\.1551 \(paper\) +n_in = 3, R mean",
        text,
    )
    assert re.search(r"depthwise .*zero bias +n_in = 1, depthwise", text)
    assert re.search(r"pointwise .* normal .* a single tap", text)
    assert re.search(r"norm +BatchNorm2d .* keep", text)
    assert re.search(r"head .* keep +keep +excluded", text)


def test_zero_initialized_residual_normalization_is_kept():
    model = Residual()
    corrinit.initialize(model)
    assert not model.norm.weight.any()


@pytest.mark.parametrize(
    "selector",
    ["stem", "st*", "stem.*", re.compile("stem|nothing"), lambda name, module: name == "stem"],
)
def test_layers_are_selected_by_glob_regex_or_predicate(selector):
    excluded = rows(corrinit.plan(Residual(), exclude=selector))
    included = rows(corrinit.plan(Residual(), include=[selector]))
    assert [name for name, layer in excluded.items() if layer.reason == "excluded"] == ["stem"]
    assert [name for name, layer in included.items() if layer.rule != "keep"] == ["stem"]


def test_layers_are_selected_by_type_and_by_parent():
    nested = nn.Sequential(Residual(), nn.Sequential(nn.Conv2d(4, 4, 3)))
    by_type = rows(corrinit.plan(nested, exclude=Residual))
    by_parent = rows(corrinit.plan(nested, exclude="0"))
    assert by_type == by_parent
    assert [name for name, layer in by_type.items() if layer.rule != "keep"] == ["1.0"]


@pytest.mark.parametrize("argument", ["include", "exclude", "independent"])
@pytest.mark.parametrize("selector", ["haed", re.compile("haed"), nn.LSTM, lambda name, module: False])
def test_a_selector_that_matches_nothing_is_an_error(argument, selector):
    model = Residual()
    before = weights(model)
    with pytest.raises(PlanError, match=f"{argument}: .*matches no module"):
        corrinit.initialize(model, **{argument: selector})
    assert same(before, weights(model))


def test_near_names_are_suggested():
    with pytest.raises(PlanError, match="'haed' matches no module of the model; there are head"):
        corrinit.plan(Residual(), exclude="haed")


def test_loaded_frozen_and_tied_layers_are_kept_with_a_reason():
    model = nn.ModuleList([nn.Conv2d(4, 4, 3) for _ in range(4)])
    model[0].weight.requires_grad_(False)
    model[1].weight._is_hf_initialized = True
    model[3].weight = model[2].weight
    plan = rows(corrinit.plan(model, recipe="schneider"))
    assert plan["0"].reason == "frozen (requires_grad=False)"
    assert plan["1"].reason == "already loaded (_is_hf_initialized)"
    assert plan["2"].rule == "correlated_normal"
    assert plan["3"].reason == "tied to 2"


def test_a_linear_layer_tied_to_an_embedding_is_kept():
    model = nn.ModuleDict({"embed": nn.Embedding(5, 4), "head": nn.Linear(4, 5, bias=False)})
    model["head"].weight = model["embed"].weight
    with pytest.warns(CorrInitWarning, match="0 of 1 layers with filters drawn: 1 tied to embed"):
        assert rows(corrinit.plan(model))["head"].reason == "tied to embed"


def test_one_correlation_per_kernel_size_and_the_remedies_for_a_missing_one():
    model = nn.Sequential(nn.Conv2d(3, 4, 5), nn.Conv2d(4, 4, 3), nn.Conv1d(4, 4, 3))
    with pytest.raises(
        PlanError, match=r"layer 0 \(Conv2d, 4×3×5×5\): no correlation of a 5×5 kernel.*resize"
    ):
        corrinit.plan(model, correlation=R3)
    resized = rows(corrinit.plan(nn.Sequential(*model[:2]), correlation=R3, missing="resize"))
    assert resized["0"].correlation.provenance["resized_from"] == "3×3"
    fallback = rows(corrinit.plan(model, correlation=R3, missing="independent"))
    assert [layer.rule for layer in fallback.values()] == ["normal", "correlated_normal", "normal"]
    assert "independent taps" in fallback["0"].reason
    both = rows(corrinit.plan(model[:2], correlation=[R3, default_correlation((5, 5))]))
    assert both["0"].correlation.kernel_size == (5, 5)


@pytest.mark.parametrize(
    ("layer", "channels"),
    [
        (nn.Conv1d(6, 8, 3), 6),
        (nn.Conv2d(6, 8, (1, 5)), 6),
        (nn.Conv2d(6, 8, 3, dilation=2), 6),
        (nn.Conv3d(6, 8, 3), 6),
        (nn.Conv2d(6, 8, 3, groups=2), 3),
        (nn.Conv2d(6, 12, 3, groups=6), 1),
        (nn.ConvTranspose2d(6, 8, 3), 6),
        (nn.ConvTranspose2d(6, 8, 3, groups=2), 3),
        (nn.ConvTranspose3d(6, 8, 2), 6),
    ],
)
def test_every_kind_of_convolution_counts_the_channels_each_output_sums(layer, channels):
    planned = corrinit.plan(layer, recipe="schneider").layers[0]
    expected = corrinit.signal_scale(planned.correlation, channels, gain=2**0.5)
    assert planned.std == pytest.approx(expected)
    assert f"n_in = {channels}" in planned.reason


@pytest.mark.parametrize(("groups", "channels"), [(1, 12), (2, 6), (6, 2)])
def test_fan_out_counts_groups(groups, channels):
    layer = nn.Conv2d(6, 12, 3, groups=groups)
    planned = corrinit.plan(layer, recipe="schneider", mode="fan_out").layers[0]
    assert planned.std == pytest.approx(corrinit.signal_scale(planned.correlation, channels, gain=2**0.5))


@pytest.mark.statistical
@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("recipe", ["2026.1", "schneider"])
@pytest.mark.parametrize("scale", ["paper", "he"])
def test_transposed_convolution_keeps_the_signal_at_any_stride(kernel, stride, scale, recipe):
    """Mean of y² over 64 independent draws within 5 standard errors: false alarms below 1 in 10⁵."""
    torch.manual_seed(0)
    ratios = []
    shape = (4, 16, 12, 12)
    for seed in range(64):
        layer = nn.ConvTranspose2d(16, 16, kernel, stride=stride, bias=False)
        corrinit.initialize(layer, seed=seed, recipe=recipe, scale=scale, nonlinearity="linear")
        draw = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        x = draw if scale == "he" else draw[..., :1, :1].expand(shape)
        border = kernel  # outputs near the border meet fewer inputs
        y = layer(x)[..., border:-border, border:-border]
        y = y[..., : y.shape[-2] // stride * stride, : y.shape[-1] // stride * stride]
        ratios.append((y.square().mean() / x.square().mean()).item())
    ratios = torch.tensor(ratios)
    assert abs(ratios.mean() - 1) < 5 * ratios.std() / 8


def test_transposed_amplification_reads_measured_inputs_by_displacement():
    measured = SpatialCorrelation(kernels.exponential((4, 4), 2.0))
    taps = default_correlation((4, 4))
    unit = transposed_amplification(taps, measured, stride=(1, 1), dilation=(1, 1))
    assert unit == pytest.approx(taps.inner(measured))
    with pytest.raises(corrinit.CorrInitError, match="further apart"):
        transposed_amplification(taps, measured, stride=(1, 1), dilation=(2, 2))


def test_names_alone_decide_the_draws():
    one = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    more = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    corrinit.initialize(one, recipe="schneider", seed=1)
    corrinit.initialize(more, recipe="schneider", seed=1)
    assert torch.equal(one[1].weight, more[1].weight)
    corrinit.initialize(more, seed=2)
    assert not torch.equal(one[1].weight, more[1].weight)


def test_wrappers_and_memory_format_change_nothing():
    plain, compiled, last = Residual(), Residual(), Residual().to(memory_format=torch.channels_last)
    expected = str(corrinit.initialize(plain, seed=7))
    assert str(corrinit.initialize(torch.compile(compiled), seed=7)) == expected
    corrinit.initialize(nn.DataParallel(last), seed=7)
    for name, tensor in plain.named_parameters():
        assert torch.equal(tensor, compiled.get_parameter(name)), name
        assert torch.equal(tensor, last.get_parameter(name)), name


def test_fully_sharded_model_holds_the_plain_weights(single_process_mesh):
    from torch.distributed.fsdp import fully_shard

    plain, sharded = Residual(), Residual()
    fully_shard(sharded, mesh=single_process_mesh)
    corrinit.initialize(plain, seed=1)
    corrinit.initialize(sharded, seed=1)
    for name, tensor in plain.named_parameters():
        assert torch.equal(tensor, sharded.get_parameter(name).full_tensor()) or "norm" in name, name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_are_drawn(dtype):
    model = Residual().to(dtype)
    corrinit.initialize(model)
    assert model.stem.weight.dtype == dtype
    assert torch.isfinite(model.stem.weight).all()


def test_with_a_seed_the_global_random_state_is_untouched():
    model = Residual()
    before = torch.get_rng_state()
    corrinit.initialize(model, seed=0, others="reset")
    assert torch.equal(before, torch.get_rng_state())


def test_lazy_and_meta_models_are_refused_with_the_remedy():
    with pytest.raises(PlanError, match="layer 1: weight is lazy; run one forward pass"):
        corrinit.initialize(nn.Sequential(nn.Conv2d(3, 4, 3), nn.LazyConv2d(4, 3)))
    with torch.device("meta"):
        model = Residual()
    with pytest.raises(PlanError, match="layer stem: weight is on the meta device; materialize"):
        corrinit.initialize(model)


def test_initialized_model_compiles_copies_and_saves_as_before():
    model = Residual()
    keys = list(model.state_dict())
    corrinit.initialize(model)
    assert list(model.state_dict()) == keys
    assert same(weights(copy.deepcopy(model)), weights(model))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))


def test_a_late_mistake_leaves_the_model_untouched():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 5))
    before = weights(model)
    with pytest.raises(PlanError, match="layer 1"):
        corrinit.initialize(model, correlation=R3)
    plan = corrinit.plan(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 5)))
    with pytest.raises(PlanError, match=r"layer 1: planned for shape .* shape \(4, 4, 5, 5\)"):
        plan.apply(model)
    assert same(before, weights(model))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "fan_avg"}, "mode is 'fan_avg'"),
        ({"missing": "guess"}, "missing is 'guess'"),
        ({"bias": "ones"}, "bias is 'ones'"),
        ({"nonlinearity": "swish"}, "nonlinearity is 'swish'"),
        ({"inputs": "white"}, "inputs is 'white'"),
        ({"scale": torch.eye(9)}, "the scale is of type Tensor"),
        ({"exclude": 5}, "exclude: 5 is no name pattern"),
        ({"rules": ["stem"]}, "rules is of type list"),
        ({"strength": -1}, "strength is -1"),
        ({"correlation": []}, "correlation: it is empty"),
        ({"correlation": "resnet1"}, "no correlation is called so; did you mean resnet10-cifar10"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(PlanError, match=message):
        corrinit.plan(Residual(), **options)


def test_seed_must_be_an_integer():
    with pytest.raises(corrinit.CorrInitError, match="seed is 'zero'"):
        corrinit.initialize(Residual(), seed="zero")


def test_a_repaired_correlation_is_warned_of_and_named_in_the_plan():
    with pytest.warns(CorrInitWarning, match="nearest one is"):
        plan = corrinit.plan(nn.Conv2d(3, 4, 3), correlation=R3, strength=4.0)
    assert "Frobenius distance" in plan.layers[0].reason


def test_biases_are_zeroed_or_kept():
    model = Residual()
    corrinit.initialize(model, bias="keep")
    assert model.depthwise.bias.any()
    corrinit.initialize(model)
    assert not model.depthwise.bias.any()


def test_control_has_the_scale_but_not_the_correlation():
    planned = corrinit.plan(Residual(), correlation=R3)
    control = planned.independent()
    assert [layer.std for layer in control.layers] == [layer.std for layer in planned.layers]
    assert all(layer.correlation is None for layer in control.layers)
