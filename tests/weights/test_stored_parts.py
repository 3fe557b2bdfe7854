import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from corrinit._arrays import as_array
from corrinit._estimation import estimate
from corrinit._weights import named_weights, read_filters
from corrinit.errors import CorrInitWarning, WeightsError

STORED = {
    "plain": lambda layer: layer,
    "weight norm, old": nn.utils.weight_norm,
    "weight norm, old, of all axes": lambda layer: nn.utils.weight_norm(layer, dim=None),  # pyright: ignore
    "weight norm, old, of inputs": lambda layer: nn.utils.weight_norm(layer, dim=1),
    "weight norm": parametrizations.weight_norm,
    "weight norm of all axes": lambda layer: parametrizations.weight_norm(layer, dim=None),  # pyright: ignore
    "weight norm of inputs": lambda layer: parametrizations.weight_norm(layer, dim=1),
    "spectral norm, old": nn.utils.spectral_norm,
    "spectral norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "orthogonal, Cayley": lambda layer: parametrizations.orthogonal(layer, orthogonal_map="cayley"),
    "orthogonal, no base": lambda layer: parametrizations.orthogonal(layer, use_trivialization=False),
    "pruned": lambda layer: prune.random_unstructured(layer, "weight", 0.4),
    "channels pruned": lambda layer: prune.ln_structured(layer, "weight", 0.3, n=2, dim=0),
    "pruned twice": lambda layer: prune.l1_unstructured(
        prune.random_unstructured(layer, "weight", 0.2), "weight", 0.2
    ),
    "an own one": lambda layer: _with_own(layer),
}
REFUSED = {"orthogonal", "orthogonal, Cayley", "orthogonal, no base", "an own one"}
LAYERS = [
    lambda: nn.Conv1d(16, 32, 3),
    lambda: nn.Conv2d(16, 32, 3),
    lambda: nn.Conv2d(64, 64, 3, groups=64),
    lambda: nn.ConvTranspose2d(24, 24, 3),
    lambda: nn.ConvTranspose2d(16, 24, 3, groups=2, bias=False),
    lambda: nn.Conv3d(8, 16, 3),
]


class _Squared(nn.Module):
    def forward(self, weight):
        return weight * weight.abs()


def _with_own(layer):
    parametrize.register_parametrization(layer, "weight", _Squared())
    return layer


def network(make, store, seed):
    """One layer, its output channels of different deviations, whose stored parts are out of balance."""
    torch.manual_seed(seed)
    layer = make()
    with torch.no_grad():
        layer.weight.mul_(torch.rand(len(layer.weight)).view(-1, *[1] * (layer.weight.dim() - 1)) + 0.1)
        model = nn.Sequential(STORED[store](layer))
        for name, parameter in model.named_parameters():
            if name.endswith(("_g", "original0")):
                parameter.mul_(torch.rand_like(parameter) + 0.5)
        model.train()(torch.randn(2, layer.in_channels, *[9] * (layer.weight.dim() - 2)))
    return model.eval()


@pytest.mark.parametrize("store", STORED)
@settings(max_examples=6, deadline=None)
@given(make=st.sampled_from(LAYERS), seed=st.integers(0, 99))
def test_state_dict_gives_the_correlation_of_the_module_or_is_refused(store, make, seed):
    try:
        model = network(make, store, seed)
    except ValueError:  # this layer has too few inputs to be orthogonal
        return
    expected = estimate(model, pooling="raw")
    if store in REFUSED:
        with pytest.raises(WeightsError, match="parametrized in a way that a state dict does not tell"):
            estimate(model.state_dict(), pooling="raw")
        return
    found = estimate(model.state_dict(), pooling="raw")
    assert abs(found.matrix - expected.matrix).max() < 1e-5
    assert abs(found.deviations - expected.deviations).max() < 1e-5


@pytest.mark.parametrize("store", sorted(set(STORED) - REFUSED))
def test_weights_are_those_of_the_module(store):
    model = network(LAYERS[1], store, 0)
    ((name, weight),) = named_weights(model.state_dict())
    assert name == "0.weight"
    np.testing.assert_allclose(weight, as_array(model[0].weight), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("mask", ["c.mask", "c.weight_mask", "c.weight.mask", "masks.c.weight"])
@pytest.mark.parametrize("shape", [(8, 8, 3, 3), (8, 1, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_masks_of_other_libraries(mask, shape, dtype):
    weight, kept = torch.randn(8, 8, 3, 3), (torch.rand(shape) > 0.5).to(dtype)
    ((name, found),) = named_weights({"c.weight": weight, mask: kept})
    assert name == "c.weight"
    assert np.array_equal(found, as_array(weight * kept))


def test_pruning_of_a_part_of_a_weight():
    layer = nn.utils.weight_norm(nn.Conv2d(8, 16, 3))
    prune.random_unstructured(layer, "weight_v", 0.3)
    layer(torch.randn(1, 8, 5, 5))
    ((_, weight),) = named_weights({f"c.{name}": value for name, value in layer.state_dict().items()})
    np.testing.assert_allclose(weight, as_array(layer.weight), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1, 1)])
def test_one_magnitude_of_any_shape_is_that_of_the_whole_weight(shape):
    direction = torch.randn(16, 8, 3, 3)
    ((_, weight),) = named_weights({"c.weight_v": direction, "c.weight_g": torch.full(shape, 2.0)})
    np.testing.assert_allclose(weight, as_array(2 * direction / direction.norm()), rtol=1e-5)


def test_a_layer_that_is_called_original_is_no_parametrization():
    with pytest.warns(CorrInitWarning, match="its name is not"):
        assert [name for name, _ in named_weights({"c.original": torch.randn(8, 4, 3, 3)})] == ["c.original"]


class TestScales:
    def scaled(self, dtype, shape, most):
        weight = torch.randn(32, 16, 3, 3, generator=torch.Generator().manual_seed(0))
        weight *= torch.rand(32, 1, 1, 1, generator=torch.Generator().manual_seed(1)) + 0.05
        scale = weight.abs().amax((1, 2, 3), keepdim=True) / most
        scale = scale.view(shape) if shape != () else weight.abs().amax() / most
        stored = weight / (scale.view(-1, 1, 1, 1) if scale.dim() else scale)
        return weight, (stored.round() if dtype == torch.int8 else stored).to(dtype), scale

    @pytest.mark.parametrize("name", ["weight_scale", "scale_weight", "weight_scale_inv"])
    @pytest.mark.parametrize("shape", [(32, 1, 1, 1), (32,), ()])
    @pytest.mark.parametrize(("dtype", "most"), [(torch.float8_e4m3fn, 448), (torch.int8, 127)])
    def test_are_multiplied_in(self, name, shape, dtype, most, recwarn):
        weight, stored, scale = self.scaled(dtype, shape, most)
        ((_, found),) = named_weights({"c.weight": stored, f"c.{name}": scale})
        step = weight.abs().amax((1, 2, 3), keepdim=True) if shape else weight.abs().amax()
        assert (abs(found - as_array(weight)) <= as_array(step) / 16).all()
        assert not recwarn

    def test_of_blocks_are_not_understood(self):
        state = {
            "c.weight": torch.randn(32, 16, 3, 3).to(torch.float8_e4m3fn),
            "c.weight_scale": torch.ones(7),
        }
        (left,) = read_filters(state).left_out
        assert left == (
            "c.weight",
            "its parts do not fit together: c.weight (32, 16, 3, 3), c.weight_scale (7,)",
        )

    def test_that_are_missing_are_said(self):
        with pytest.warns(CorrInitWarning, match=r"c\.weight: 8-bit floats without scales"):
            list(named_weights({"c.weight": torch.randn(32, 16, 3, 3).to(torch.float8_e4m3fn)}))
        integers = {"c.weight": torch.ones(32, 16, 3, 3, dtype=torch.int8)}
        assert read_filters(integers).left_out == [
            ("c.weight", "it is of type int8 with no scales beside it")
        ]

    def test_with_zero_points_are_left_out(self):
        state = {
            "c.weight": torch.ones(8, 8, 3, 3, dtype=torch.int8),
            "c.weight_scale": torch.ones(8),
            "c.zero_point": torch.ones(8),
        }
        assert "zero point" in read_filters(state).left_out[0].reason


def test_low_rank_updates_are_left_out():
    state = {
        "c.weight": torch.randn(16, 16, 3, 3),
        "c.lora_A.default.weight": torch.randn(4, 16, 3, 3),
        "c.lora_B.default.weight": torch.randn(16, 4, 1, 1),
        "lora_unet_down.lora_down.weight": torch.randn(4, 16, 3, 3),
    }
    found = read_filters(state)
    assert [each.name for each in found.filters] == ["c.weight"]
    assert {each.reason for each in found.left_out} == {
        "it is a low-rank update beside the weights; merge it into them first"
    }


def test_half_of_a_weight_is_left_out():
    found = read_filters({"c.weight_v": torch.randn(16, 8, 3), "c.bias": torch.randn(16)})
    assert found.left_out == [("c.weight_v", "the other parts of this weight are missing")]
