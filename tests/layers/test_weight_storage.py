"""Weights that are computed from other parameters: written through, and read without a trace."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import corrinit
from corrinit import CorrInitWarning
from corrinit._layers.weight_storage import stored_weight
from corrinit._monitor import weight_correlation


def old_style(name):
    def wrap(module):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return getattr(nn.utils, name)(module)

    wrap.__name__ = f"old_{name}"
    return wrap


def pruned(module):
    return prune.RandomUnstructured.apply(module, "weight", amount=0.5) and module


WEIGHT_NORMS = [old_style("weight_norm"), parametrizations.weight_norm]
SPECTRAL_NORMS = [old_style("spectral_norm"), parametrizations.spectral_norm]
LAYERS = [lambda: nn.Conv2d(4, 6, 3, padding=1), lambda: nn.ConvTranspose2d(4, 6, 3, padding=1)]


def drawn_plainly(make, seed=3):
    plain = nn.Sequential(make())
    corrinit.initialize(plain, seed=seed)
    return plain


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("wrap", WEIGHT_NORMS)
def test_weight_norm_of_either_style_gives_the_plain_weights(wrap, make):
    model = nn.Sequential(wrap(make()))
    with torch.no_grad():  # where derived weights carry no gradient
        corrinit.initialize(model, seed=3)
    x, plain = torch.randn(2, 4, 5, 5), drawn_plainly(make)
    torch.testing.assert_close(model[0].weight, plain[0].weight)  # before any forward pass
    torch.testing.assert_close(model(x), plain(x))
    model(x).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("wrap", SPECTRAL_NORMS)
def test_spectral_norm_keeps_the_drawn_filters_up_to_a_factor(wrap, make):
    model, plain = nn.Sequential(wrap(make())), drawn_plainly(make)
    plan = corrinit.initialize(model, seed=3)
    assert "spectral norm" in plan.layers[0].reason
    model.eval()
    model(torch.randn(2, 4, 5, 5))
    factor = (model[0].weight / plain[0].weight).detach()
    torch.testing.assert_close(factor, torch.full_like(factor, factor.mean().item()))
    matrix = model[0].weight.detach().movedim(1 if model[0].transposed else 0, 0).flatten(1)
    assert 0.99 < torch.linalg.matrix_norm(matrix, 2) < 1.05  # the power iteration knows the new weight


def test_pruned_weights_are_drawn_and_stay_pruned():
    model, plain = nn.Sequential(pruned(nn.Conv2d(4, 6, 3))), drawn_plainly(lambda: nn.Conv2d(4, 6, 3))
    mask = model[0].weight_mask.clone()
    corrinit.initialize(model, seed=3)
    assert torch.equal(model[0].weight_mask, mask)
    assert torch.equal(model[0].weight, plain[0].weight * mask)


def test_a_frozen_length_of_weight_norm_stays():
    layer = parametrizations.weight_norm(nn.Linear(8, 4, bias=False))
    layer.parametrizations.weight.original0.data.fill_(1)
    layer.parametrizations.weight.original0.requires_grad_(False)
    corrinit.initialize(layer, seed=0)
    torch.testing.assert_close(layer.weight.norm(dim=1), torch.ones(4))


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def hooked(module):
    weight = module._parameters.pop("weight")
    module.register_parameter("weight_raw", weight)
    module.weight = 2 * weight
    module.register_forward_pre_hook(lambda m, _: setattr(m, "weight", 2 * m.weight_raw))
    return module


@pytest.mark.parametrize(
    "wrap",
    [
        parametrizations.orthogonal,
        lambda m: parametrize.register_parametrization(m, "weight", Doubled()),
        hooked,
    ],
)
def test_what_cannot_be_written_through_is_kept_with_a_warning_that_names_the_layer(wrap):
    model = nn.Sequential(wrap(nn.Conv2d(4, 4, 3)), nn.Conv2d(4, 4, 3))
    before = copy.deepcopy(dict(model.named_parameters()))
    with pytest.warns(CorrInitWarning, match=r"filters left alone: 0 \(.*cannot be written through\)"):
        plan = corrinit.initialize(model, seed=0)
    assert [layer.is_drawn for layer in plan.layers] == [False, True]
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters() if name[0] == "0")


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, weight):
        self.calls += 1
        return weight + torch.randn_like(weight)


@pytest.mark.parametrize(
    "wrap",
    [
        *WEIGHT_NORMS,
        *SPECTRAL_NORMS,
        pruned,
        parametrizations.orthogonal,
        lambda m: parametrize.register_parametrization(m, "weight", Noisy()),
    ],
)
@pytest.mark.filterwarnings("ignore::corrinit.CorrInitWarning")
def test_looking_changes_nothing(wrap):
    model = nn.Sequential(wrap(nn.Conv2d(8, 64, 3)), nn.ReLU(), nn.Conv2d(64, 32, 3)).train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    hooks = [len(module._forward_pre_hooks) for module in model.modules()]
    corrinit.plan(model)
    corrinit.estimate(model)
    weight_correlation(model)
    corrinit.GradientMonitor(model, torch.optim.SGD(model.parameters(), lr=0.1)).remove()
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in model.modules())
    assert hooks == [len(module._forward_pre_hooks) for module in model.modules()]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("wrap", [*WEIGHT_NORMS, *SPECTRAL_NORMS, pruned, parametrizations.orthogonal])
def test_the_value_read_is_what_the_layer_computes_with(wrap):
    layer = wrap(nn.Conv2d(4, 6, 3)).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1.5)
    value = stored_weight(layer).value()
    layer(torch.zeros(1, 4, 3, 3))
    torch.testing.assert_close(value, layer.weight.detach())


class Dropped(nn.Module):
    def forward(self, weight):
        return 0 * weight if self.training else weight


def test_a_weight_is_read_as_outside_of_training():
    layer = parametrize.register_parametrization(nn.Conv2d(4, 6, 3), "weight", Dropped())
    assert torch.equal(stored_weight(layer.train()).value(), layer.parametrizations.weight.original)
