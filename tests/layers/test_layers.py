"""What is drawn and what is left alone: names, marks, constants, memory, and classes of one's own."""

import copy
import sys
import types
import warnings

import pytest
import torch
from torch import nn

import corrinit
from corrinit import CorrInitWarning
from corrinit import _layers as layers
from corrinit._layers.unknown_layers import ConvolutionLike
from corrinit.errors import PlanError


def rows(plan):
    return {layer.name: layer for layer in plan.layers}


def pair():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))


class Student(nn.Module):
    """`module` is a name of the model's own, and no wrapper's."""

    def __init__(self):
        super().__init__()
        self.module = nn.ModuleDict({"conv": nn.Conv2d(4, 4, 3)})
        self.conv = nn.Conv2d(4, 4, 3)


def test_a_model_may_call_a_part_of_it_module():
    model = Student()
    before = copy.deepcopy(model)
    assert [layer.name for layer in corrinit.initialize(model, seed=0).layers] == ["module.conv", "conv"]
    assert not torch.equal(model.module["conv"].weight, before.module["conv"].weight)
    assert not torch.equal(model.module["conv"].weight, model.conv.weight)


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        torch.compile,
        torch.optim.swa_utils.AveragedModel,
        lambda model: nn.DataParallel(torch.compile(model)),
        lambda model: torch.compile(nn.DataParallel(model)),
    ],
)
def test_wrappers_add_nothing_to_names(wrap):
    assert list(layers.named_layers(wrap(Student()))) == ["", "module", "module.conv", "conv"]


def test_wrapped_parts_and_equal_names_keep_layers_apart():
    model = nn.Sequential(torch.compile(nn.Conv2d(3, 4, 3)))
    assert list(layers.named_layers(model)) == ["", "0"]
    clash = nn.ModuleDict(
        {"_orig_mod": nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3)}), "conv": nn.Conv2d(3, 4, 3)}
    )
    found = layers.named_layers(clash)
    assert len([module for module in found.values() if isinstance(module, nn.Conv2d)]) == 2


def test_modules_that_transformers_marks_are_drawn_and_parameters_that_it_marks_are_kept():
    model = pair()
    for module in model.modules():  # as version 5 does with every fresh model
        module._is_hf_initialized = True
    assert all(layer.is_drawn for layer in corrinit.plan(model).layers)
    model[0].weight._is_hf_initialized = True
    before = model[0].weight.clone()
    assert rows(corrinit.initialize(model))["0"].reason == "already loaded (_is_hf_initialized)"
    assert torch.equal(before, model[0].weight)


def test_transformers_4_does_not_tell_what_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(__version__="4.57.1"))
    model = pair()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corrinit.plan(model)
    model[0]._is_hf_initialized = True
    with pytest.warns(CorrInitWarning, match="before version 5 does not mark"):
        corrinit.plan(model)


def test_a_plan_that_draws_nothing_says_why():
    model = pair()
    model[0].weight._is_hf_initialized = model[1].weight._is_hf_initialized = True
    with pytest.warns(CorrInitWarning, match="0 of 2 layers with filters drawn: 2 already loaded") as said:
        corrinit.initialize(model)
    assert said[0].filename == __file__
    with pytest.warns(CorrInitWarning, match="no convolution or linear layer"):
        corrinit.plan(nn.BatchNorm2d(4))


def test_an_include_that_names_a_kept_layer_says_why():
    model = pair()
    model[0].weight.requires_grad_(False)
    with pytest.warns(CorrInitWarning, match="include: no layer of '0' is drawn: 1 frozen"):
        corrinit.plan(model, include=["0", "1"])


@pytest.mark.filterwarnings("ignore:2 of 3 weights are constant")
@pytest.mark.parametrize("value", [0.0, 0.25])
def test_deliberate_constants_are_kept(value):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 4))
    with torch.no_grad():
        model[1].weight.fill_(value)
        model[1].bias.fill_(0.5)
        model[2].weight.fill_(value)
    before = copy.deepcopy(model.state_dict())
    plan = rows(corrinit.initialize(model))
    assert [plan[name].rule for name in "012"] == ["normal", "keep", "keep"]
    assert "deliberately" in plan["1"].reason
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters() if name[0] != "0")
    assert all(layer.is_drawn for layer in corrinit.plan(model, keep_constants=False).layers)


def test_a_prior_bias_is_kept_and_an_ordinary_one_is_zeroed():
    model = nn.ModuleList([nn.Conv2d(4, 3, 3), nn.Conv2d(4, 1, 3), nn.Conv2d(4, 3, 3), nn.Conv2d(4, 1, 3)])
    with torch.no_grad():
        model[0].bias.fill_(-4.6)
        model[1].bias.fill_(-4.6)
    plan = rows(corrinit.initialize(model))
    assert "bias -4.6 kept" in plan["0"].reason
    assert [conv.bias[0].item() for conv in model] == pytest.approx([-4.6, -4.6, 0, 0])


def test_a_single_weight_is_no_evidence_of_an_intention():
    assert rows(corrinit.plan(nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))))["0"].is_drawn


@pytest.mark.parametrize(
    ("values", "constant"),
    [
        (torch.zeros(4, 4, 3, 3), 0),
        (torch.full((4, 2), 2.0).bfloat16(), 2),
        (torch.full((4, 2), torch.nan), None),
        (torch.zeros(4, 4, device="meta"), None),
        (torch.zeros(0, 4), None),
        (torch.zeros(2, 3).index_fill(0, torch.tensor(1), 1.0), None),
    ],
)
def test_constant_value(values, constant):
    assert layers.constant_value(values) == constant


def expanded():
    return nn.Parameter(torch.randn(1, 1, 3, 3).expand(8, 8, 3, 3))


def overlapping():
    return nn.Parameter(torch.randn(8 * 8 * 9).as_strided((8, 8, 3, 3), (8, 8, 3, 1)))


def sparse():
    return nn.Parameter(torch.randn(8, 8, 3, 3).to_sparse())


def made_in_inference_mode():
    with torch.inference_mode():
        return nn.Parameter(torch.randn(8, 8, 3, 3))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("weight", expanded),
        ("weight", overlapping),
        ("weight", sparse),
        ("weight", made_in_inference_mode),
        ("bias", lambda: nn.Parameter(torch.zeros(1).expand(8))),
    ],
)
def test_a_tensor_that_cannot_be_written_is_refused_before_any_draw(name, make):
    model = pair()
    setattr(model[1], name, make())
    before, state = model[0].weight.clone(), torch.get_rng_state()
    with pytest.raises(PlanError, match=r"layer 1: .*(clone it|dense|inference)"):
        corrinit.initialize(model)
    assert torch.equal(before, model[0].weight)
    assert torch.equal(state, torch.get_rng_state())


def test_a_model_of_inference_mode_is_drawn_inside_it():
    with torch.inference_mode():
        model = pair()
        corrinit.initialize(model, seed=1)
    plain = pair()
    corrinit.initialize(plain, seed=1)
    assert torch.equal(model[1].weight, plain[1].weight)


def test_a_convolution_with_a_weight_of_other_axes_is_named():
    model = pair()
    model[1].weight = nn.Parameter(torch.randn(2, 8, 8, 3, 3))
    with pytest.warns(CorrInitWarning, match="its weight has 5 axes, that of Conv2d has 4"):
        assert not rows(corrinit.plan(model))["1"].is_drawn


def test_weights_on_one_memory_are_drawn_once():
    model = pair()
    model.append(nn.Conv2d(8, 8, 3))
    model[2].weight.data = model[1].weight.data
    drawn = {corrinit.initialize(model, seed=0) and model[2].weight.sum().item() for _ in range(5)}
    assert len(drawn) == 1
    assert rows(corrinit.plan(model))["2"].reason == "shares memory with 1"
    separate = pair()
    separate.append(nn.Conv2d(8, 8, 3))
    with pytest.raises(PlanError, match="shares memory with 1; plan this model itself"):
        corrinit.plan(separate).apply(model)


def test_views_of_one_buffer_that_do_not_overlap_are_all_drawn():
    buffer = torch.randn(2, 8, 8, 3, 3)
    model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))
    model[0].weight.data, model[1].weight.data = buffer[1], buffer[0]
    assert all(layer.is_drawn for layer in corrinit.plan(model).layers)


class Modulated(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 64, 32, 3, 3))
        self.affine = nn.Linear(16, 32)


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(1, 16, 8))
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.gamma = nn.Parameter(torch.ones(8, 1, 1))
        self.learned_input = nn.Parameter(torch.randn(1, 512, 4, 4))
        self.conv = nn.Conv2d(3, 8, 3)


class OwnConvolution(nn.Module):
    def __init__(self, groups=1, size=3):
        super().__init__()
        self.groups = groups
        self.kernel = nn.Parameter(torch.randn(16, 16 // groups, size, size))

    def forward(self, x):
        return nn.functional.conv2d(x, self.kernel, padding="same", groups=self.groups)


def test_filters_of_an_unknown_class_have_the_role_of_a_convolution():
    own = [OwnConvolution(), OwnConvolution(16), OwnConvolution(4), OwnConvolution(size=1)]
    normed = [part for each in own for part in (each, nn.BatchNorm2d(16), nn.ReLU())]
    model = nn.Sequential(nn.Conv2d(3, 16, 3), *normed, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    like = {OwnConvolution: ConvolutionLike("kernel", groups="groups")}
    drawn = [layer for layer in corrinit.plan(model, modules=like).layers if layer.like is not None]
    assert [layer.role for layer in drawn] == ["dense", "depthwise", "grouped", "pointwise"]
    assert [layer.rule for layer in drawn] == ["correlated_normal", "normal", "normal", "normal"]


class Transposed(nn.Module):
    """A linear layer with its weight the other way round, as `Conv1D` of transformers."""

    def __init__(self, taken, given):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(taken, given))

    def forward(self, x):
        return x @ self.weight


def test_a_matrix_in_an_unknown_class_is_named_and_can_be_drawn():
    model = nn.Sequential(Transposed(64, 32), nn.ReLU(), nn.Linear(32, 8))
    with pytest.warns(CorrInitWarning, match="filters left alone: 0 .a matrix in weight of Transposed"):
        corrinit.plan(model)
    plan = corrinit.initialize(
        model, method="dirac", seed=0, modules={Transposed: ConvolutionLike(axes="io")}
    )
    assert rows(plan)["0"].role == "linear"
    assert rows(plan)["0"].std == pytest.approx((2 / 64) ** 0.5)
    assert model[0].weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.1)


def test_filters_of_an_unknown_class_are_named():
    with pytest.warns(CorrInitWarning, match="filters left alone: 0 .filters in weight of Modulated"):
        plan = corrinit.initialize(nn.Sequential(Modulated()))
    assert "not known" in rows(plan)["0"].reason
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan = corrinit.plan(nn.Sequential(Positions(), nn.LayerNorm((4, 6, 6)), nn.Bilinear(3, 3, 3)))
    assert {layer.reason for layer in plan.layers if not layer.is_drawn} == {
        "no filters",
        "a bilinear form is kept",
    }


@pytest.mark.parametrize("key", [Modulated, "*.mod"])
def test_filters_of_an_unknown_class_are_drawn_as_described(key):
    model = nn.ModuleDict({"a": nn.ModuleDict({"mod": Modulated()})})
    rule = {"recipe": "schneider", "seed": 2}
    plan = corrinit.initialize(model, modules={key: ConvolutionLike(axes="1oikk")}, **rule)
    layer = rows(plan)["a.mod"]
    assert layer.shape == (64, 32, 3, 3)
    like = nn.ModuleDict({"a": nn.ModuleDict({"mod": nn.Conv2d(32, 64, 3, bias=False)})})
    assert rows(corrinit.initialize(like, **rule))["a.mod"].std == layer.std
    assert torch.equal(model["a"]["mod"].weight[0], like["a"]["mod"].weight)


def test_axes_are_read_in_the_order_they_are_named():
    class Channels(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(3, 3, 5, 7))

    model, like = nn.Sequential(Channels()), nn.Sequential(nn.Conv2d(5, 7, 3, bias=False))
    corrinit.initialize(like, recipe="schneider", seed=0)
    corrinit.initialize(
        model, recipe="schneider", seed=0, modules={Channels: ConvolutionLike("kernel", "kkio")}
    )
    assert torch.equal(model[0].kernel.permute(3, 2, 0, 1), like[0].weight)
    sets = corrinit.plan(
        model, recipe="schneider", mode="fan_out", modules={Channels: ConvolutionLike("kernel", "kxoi")}
    )
    assert "n_out = 5" in sets.layers[0].reason
    assert sets.layers[0].shape == (15, 7, 3)
    equalized = corrinit.plan(model, modules={Channels: ConvolutionLike("kernel", "kkio", std=1.0)})
    assert equalized.layers[0].std == 1.0


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({nn.LSTM: ConvolutionLike()}, "modules: .*LSTM.* matches no module"),
        ({Modulated: ConvolutionLike("kernel")}, "layer 0: Modulated has no parameter 'kernel'"),
        ({Modulated: ConvolutionLike(axes="oikk")}, "layer 0: axes='oikk' names 4 axes"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(modules, message):
    with pytest.raises(PlanError, match=message):
        corrinit.plan(nn.Sequential(Modulated()), modules=modules)


def test_seeds_follow_the_global_generator_unless_given():
    drawn = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        model = pair()
        plan = corrinit.initialize(model)
        again = pair()
        corrinit.initialize(again, seed=plan.seed)
        assert torch.equal(model[1].weight, again[1].weight)
        assert str(plan).endswith(f"seed {plan.seed}")
        drawn.append(model[1].weight)
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    torch.manual_seed(0)
    torch.randint(1 << 32, ())
    state = torch.get_rng_state()
    torch.manual_seed(0)
    corrinit.initialize(model)
    assert torch.equal(state, torch.get_rng_state())  # one number


def test_mostly_constant_weights_are_told_from_fresh_memory():
    model = nn.Sequential(*(nn.Conv2d(4, 4, 3) for _ in range(3)))
    for layer in model[:2]:
        nn.init.zeros_(layer.weight)
    with pytest.warns(CorrInitWarning, match=r'2 of 3 weights are constant .*others="reset"'):
        corrinit.plan(model)


def test_adapters_with_a_zero_half_are_nothing_to_warn_of():
    model = nn.Sequential(
        nn.Linear(8, 8).requires_grad_(False), nn.Linear(8, 2, False), nn.Linear(2, 8, False)
    )
    nn.init.zeros_(model[2].weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan = corrinit.initialize(model)
    assert [layer.rule for layer in plan.layers] == ["keep", "normal", "keep"]


class Flat(nn.Module):
    """Experts whose filters lie flat."""

    def __init__(self):
        super().__init__()
        self.kernel_size = (3, 3)
        self.weight = nn.Parameter(torch.randn(4, 8 * 8 * 9))


def test_flat_filters_are_told_by_the_kernel_size_beside_them():
    with pytest.warns(CorrInitWarning, match="weight of Flat"):
        corrinit.plan(nn.Sequential(Flat(), nn.Conv2d(3, 8, 3)))
