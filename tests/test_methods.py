"""What all initialization methods share: layers, draws, scales, the registry, and what they leave alone."""

import importlib.metadata
from dataclasses import replace

import pytest
import torch
from torch import nn

import corrinit
from corrinit import SpatialCorrelation, kernels, methods
from corrinit.errors import ConfigError, PlanError
from corrinit.methods import METHODS, Method, find, kaiming_normal

LOOKING_AT_IMAGES = ("lsuv", "patch_whitening")
GAUSSIAN = ("kaiming_normal", "correlated", "xavier_normal", "convolutional_covariance", "centre_weighted")


def images(channels=3, size=12, count=32):
    generator = torch.Generator().manual_seed(7)
    smooth = (
        torch.randn(count, channels, size + 2, size + 2, generator=generator).unfold(2, 3, 1).unfold(3, 3, 1)
    )
    smooth = smooth.mean((-1, -2))
    return (smooth - smooth.mean()) / smooth.std()


class Residual(nn.Module):
    """Ordinary, 1×1, grouped, depthwise and transposed convolutions, with normalization and a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU())
        self.grouped = nn.Conv2d(24, 24, 3, padding=1, groups=4)
        self.depthwise = nn.Conv2d(24, 24, 5, padding=4, dilation=2, groups=24)
        self.pointwise = nn.Conv2d(24, 16, 1, bias=False)
        self.up = nn.ConvTranspose2d(16, 12, 4, stride=2, padding=1, groups=2)
        self.head = nn.Sequential(nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5))

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(x + self.grouped(x))
        x = torch.relu(self.pointwise(self.depthwise(x)))
        return self.head(torch.relu(self.up(x)))


CONVOLUTIONS = ("stem.0", "grouped", "depthwise", "pointwise", "up")


def initialized(method, model=None, *, seed=0, **options):
    model = model or Residual()
    needed = images() if method in LOOKING_AT_IMAGES or options.get("scale") == "measured" else None
    corrinit.initialize(model, method=method, seed=seed, **{"images": needed, "missing": "resize", **options})
    return model


def rms(weight):
    return weight.detach().double().square().mean().sqrt().item()


# The protocol


@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_convolution_is_filled_and_the_rest_is_alike(method):
    model, reference = initialized(method), initialized("kaiming_normal")
    for name in CONVOLUTIONS:
        assert torch.isfinite(model.get_submodule(name).weight).all()
        assert rms(model.get_submodule(name).weight) > 0
    weights = {f"{name}.weight" for name in CONVOLUTIONS}
    for name, tensor in reference.state_dict().items():
        assert name in weights or torch.equal(model.state_dict()[name], tensor)
    assert not any(model.get_submodule(name).bias.any() for name in CONVOLUTIONS if name != "pointwise")


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_decides_the_weights(method):
    one, same, other = (initialized(method, seed=seed).grouped.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert torch.equal(one, other) == (method == "dirac")


@pytest.mark.parametrize("method", METHODS)
def test_memory_format_precision_and_wrappers_change_nothing(method):
    plain = initialized(method)
    last = initialized(method, Residual().to(memory_format=torch.channels_last))
    for one, other in zip(plain.parameters(), last.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    if method not in LOOKING_AT_IMAGES:
        assert all(map(torch.equal, plain.parameters(), last.parameters()))
        half = initialized(method, Residual().to(torch.bfloat16))
        assert torch.equal(half.grouped.weight, plain.grouped.weight.bfloat16())
    wrapped = nn.DataParallel(Residual())
    initialized(method, wrapped)
    assert torch.equal(wrapped.module.stem[0].weight, plain.stem[0].weight)


def test_methods_that_start_from_gaussian_draws_share_them():
    identity = SpatialCorrelation.identity((3, 3))
    stems = {m: initialized(m, correlation=identity, scale="he").stem[0].weight for m in GAUSSIAN[:3]}
    for weight in stems.values():
        torch.testing.assert_close(weight, stems["kaiming_normal"])
    central = [initialized(m).stem[0].weight[..., 1, 1].flatten() for m in GAUSSIAN if m not in GAUSSIAN[1:3]]
    assert torch.corrcoef(torch.stack(central))[0, 1:].min() > 0.7


@pytest.mark.parametrize(("method", "scale"), [*((m, None) for m in METHODS), ("correlated", "measured")])
def test_nothing_but_the_weights_is_touched(method, scale):
    model = Residual()
    model.stem[1].running_mean.fill_(3)
    model.eval()
    model.head.train()
    model.pointwise.requires_grad_(False)
    kept = model.pointwise.weight.clone()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    initialized(method, model, scale=scale)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(model.pointwise.weight, kept)
    needs_grad = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert needs_grad == {name for name, _ in model.named_parameters()} - {"pointwise.weight"}
    assert all(parameter.grad is None for parameter in model.parameters())


def test_weight_norm_is_written_through():
    model = Residual()
    nn.utils.parametrizations.weight_norm(model.grouped)
    initialized("lsuv", model)
    torch.testing.assert_close(model.grouped.weight, initialized("lsuv").grouped.weight)


@pytest.mark.parametrize("method", METHODS)
def test_one_and_three_dimensional_kernels(method):
    for convolution, size in ((nn.Conv1d(3, 8, 3), (9,)), (nn.Conv3d(3, 8, (3, 3, 1)), (5, 5, 5))):
        model = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
        batch = torch.randn(64, 3, *size, generator=torch.Generator().manual_seed(0))
        model(batch)
        corrinit.initialize(model, method=method, seed=0, images=batch)
        assert rms(convolution.weight) > 0


def test_a_model_without_convolutions_is_initialized_too():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 4))
    corrinit.initialize(model, method="lsuv", seed=0, images=images())
    reference = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 4))
    corrinit.initialize(reference, recipe="kaiming", seed=0)
    assert torch.equal(model[1].weight, reference[1].weight)


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"method": "corelated"}, ConfigError, "'corelated'; did you mean correlated"),
        ({"method": "zzz"}, ConfigError, "there are kaiming_normal, correlated, pytorch_default"),
        ({"scale": "small"}, PlanError, "scale is 'small'; it is 'he', 'paper', 'measured' or 'natural'"),
        ({"method": "lsuv"}, ConfigError, "'lsuv' looks at training images; give a batch"),
        ({"scale": "measured"}, ConfigError, "scale 'measured' looks at training images"),
        ({"method": "dirac", "scale": "measured"}, ConfigError, "dirac states no correlation"),
        ({"correlation": ()}, PlanError, "correlation: it is empty"),
        ({"strength": -1}, PlanError, "strength"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_changed(options, error, complaint):
    model = Residual()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    options = {"method": "correlated", **options}
    with pytest.raises(error, match=complaint):
        corrinit.initialize(model, seed=0, **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# Scale


@pytest.mark.parametrize("scale", ["he", "paper"])
@pytest.mark.parametrize("method", METHODS)
def test_any_method_runs_at_the_scale_of_another(method, scale):
    """Weights of 216 to 1152 entries: the root mean square within 15 %, four standard errors of the least."""
    wide = initialized(method, scale=scale)
    plan = {
        layer.name: layer.std
        for layer in corrinit.plan(wide, recipe="schneider", scale=scale, missing="resize").layers
    }
    for name in CONVOLUTIONS:
        tolerance = (
            1e-4 if method in ("orthogonal", "delta_orthogonal", "dirac", *LOOKING_AT_IMAGES) else 0.15
        )
        assert rms(wide.get_submodule(name).weight) == pytest.approx(plan[name], rel=tolerance), name


@pytest.mark.parametrize("method", [m for m in METHODS if m not in LOOKING_AT_IMAGES])
def test_the_own_scale_is_what_the_method_states(method):
    model = initialized(method)
    facts = {c.name: c for c in _facts(Residual())}
    for name in CONVOLUTIONS:
        expected = find(method).std(facts[name])
        assert rms(model.get_submodule(name).weight) == pytest.approx(expected, rel=0.15), name


def _facts(model):
    found = []
    spy = replace(METHODS["correlated"], adapt=lambda _, convolutions, __: found.extend(convolutions))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "spy", spy)
        initialized("spy", model, images=images())
    return found


# Correlation by depth


def test_each_layer_takes_the_correlation_of_its_relative_depth():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)
    )
    given_ = [SpatialCorrelation(kernels.exponential((3, 3), mean=mean)) for mean in (0.1, 0.2, 0.6)]
    taken = []
    spy = replace(METHODS["correlated"], adapt=lambda _, convolutions, __: taken.extend(convolutions))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "spy", spy)
        corrinit.initialize(model, method="spy", seed=0, correlation=given_, images=images())
    assert [c.depth for c in taken] == pytest.approx([0, 0, 1 / 3, 2 / 3, 1])
    assert [c.correlation and round(c.correlation.mean, 6) for c in taken] == [0.1, None, 0.2, 0.2, 0.6]
    for c in taken:
        if c.correlation:
            assert c.paper_std == pytest.approx(c.he_std * 3 / c.correlation.matrix.sum() ** 0.5)


def test_one_correlation_is_the_same_as_a_sequence_of_one():
    correlation = SpatialCorrelation(kernels.gaussian((3, 3), mean=0.4))
    one = initialized("correlated", correlation=correlation)
    assert all(
        map(torch.equal, one.parameters(), initialized("correlated", correlation=[correlation]).parameters())
    )


# Entry points


class Entry:
    def __init__(self, name, value):
        self.name, self.value, self._loaded = name, "package:METHOD", value

    def load(self):
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


@pytest.fixture
def entry_points(monkeypatch):
    added = []
    monkeypatch.setattr(methods, "entry_points", lambda group: added if group == "corrinit.methods" else [])
    return added


def test_an_entry_point_adds_a_method(entry_points):
    ones = Method("ones", "nowhere", lambda _: 1.0, lambda weight, _, std, __: weight.fill_(std))
    entry_points.append(Entry("ones", ones))
    model = initialized("ones")
    assert (model.grouped.weight == 1).all()
    with pytest.raises(ConfigError, match="did you mean ones"):
        find("one")


def test_a_broken_entry_point_is_an_error_only_when_it_is_used(entry_points):
    entry_points += [Entry("broken", ImportError("no module named gone")), Entry("number", 3)]
    initialized("kaiming_normal")
    with pytest.raises(ConfigError, match=r"'broken' cannot be loaded.*package:METHOD.*no module named gone"):
        find("broken")
    with pytest.raises(ConfigError, match=r"'number' gives int; it needs a corrinit.methods.Method"):
        find("number")


def test_no_entry_point_replaces_a_method_of_ours(entry_points):
    entry_points.append(Entry("correlated", replace(kaiming_normal.METHOD, name="correlated")))
    assert find("correlated") is METHODS["correlated"]


def test_entry_points_are_those_of_installed_packages():
    assert methods.entry_points is importlib.metadata.entry_points


def test_every_method_names_itself_and_its_source():
    for name, method in METHODS.items():
        assert method.name == name
        assert len(method.source) > 15
