import numpy as np
import pytest
import torch
from torch import nn

from corrinit._arrays import as_array
from corrinit._estimation import estimate_layers
from corrinit._weights import named_weights, read_filters
from corrinit.errors import CorrInitWarning, WeightsError


def state(seed, prefix="", layers=3):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{prefix}layer{i}.conv.weight": torch.randn(16, 12 + i, 3, 3, generator=generator)
        for i in range(layers)
    }


def names(source, **options):
    return [name for name, _ in named_weights(source, **options)]


class TestSeveralSets:
    @pytest.mark.parametrize("average", ["state_dict_ema", "model_ema", "ema", "swa_state_dict", "teacher"])
    def test_of_the_same_layers_are_one_network_and_said(self, average):
        trained = state(0)
        copies = {f"module.{name}": 0.9 * value for name, value in trained.items()}
        for checkpoint in (
            {"state_dict": trained, average: copies},
            {average: copies, "state_dict": trained},
        ):
            with pytest.warns(CorrInitWarning, match=rf"several sets of weights: .*{average}.*is taken"):
                found = dict(named_weights(checkpoint))
            assert all(np.array_equal(found[name], as_array(value)) for name, value in trained.items())

    def test_can_be_chosen(self, recwarn):
        checkpoint = {"state_dict": state(0), "state_dict_ema": state(1)}
        found = dict(named_weights(checkpoint, weights="state_dict_ema"))
        assert all(np.array_equal(found[name], as_array(value)) for name, value in state(1).items())
        assert not recwarn

    def test_of_different_networks_are_listed(self):
        checkpoint = {"generator": state(0), "discriminator": state(1, layers=2), "epoch": 3}
        with pytest.raises(
            WeightsError, match=r"generator \(3 tensors\), discriminator \(2.*--weights generator"
        ):
            names(checkpoint)
        assert len(names(checkpoint, weights="discriminator")) == 2

    def test_unknown_one_is_an_error_with_near_names(self):
        with pytest.raises(WeightsError, match="no set of weights 'genrator'; there are generator"):
            names({"generator": state(0), "discriminator": state(1, layers=2)}, weights="genrator")
        with pytest.raises(WeightsError, match="a module has one set of weights only"):
            names(nn.Conv2d(3, 3, 3), weights="ema")
        with pytest.raises(WeightsError, match="weights is 3"):
            names(state(0), weights=3)

    def test_other_arrays_beside_the_weights_are_no_sets(self, recwarn):
        checkpoint = {
            "mean": torch.randn(1, 3, 1, 1),
            "confusion": torch.ones(4, 9, 9),
            "state_dict": state(0),
        }
        assert names(checkpoint) == list(state(0))
        assert not recwarn

    def test_optimizers_and_numbers_are_no_sets(self, recwarn):
        checkpoint = {
            "model": state(0),
            "optimizer": {"state": {0: {"exp_avg": torch.randn(16, 12, 3, 3)}}},
            "optimizer_states": {"momentum": state(3)},
            "epoch": torch.tensor(3),
            "history": {"confusion": torch.ones(4, 10, 10)},
        }
        assert names(checkpoint) == list(state(0))
        assert not recwarn

    def test_endless_and_entangled_mappings_end(self):
        entangled: dict = {"a.weight": torch.randn(8, 8, 3, 3)}
        for _ in range(40):
            entangled = {f"k{i}": entangled for i in range(50)} | {"model": entangled}
        with pytest.raises(WeightsError, match="holds no tensors"):
            names(entangled)


class TestAveragesAmongTheWeights:
    @pytest.mark.parametrize(
        ("trained", "average"),
        [
            ("model.", "model_ema."),
            ("", "ema."),
            ("unet.", "ema_unet."),
            ("student.backbone.", "teacher.backbone."),
            ("module.encoder_q.", "module.encoder_k."),
            ("online_network.", "target_network."),
            ("net.", "ema_model.module."),
        ],
    )
    def test_are_left_out_and_said(self, trained, average):
        double = state(0, trained) | state(1, average)
        with pytest.warns(CorrInitWarning, match="layers occur twice.*--weights"):
            found = read_filters(double)
        assert [each.name for each in found.filters] == list(state(0, trained))
        assert {each.reason for each in found.left_out} == {"it is an average of other weights"}

    def test_without_points_in_their_names_are_known(self):
        double = state(0, "model.") | {f"model_ema.{n.replace('.', '')}": v for n, v in state(1).items()}
        with pytest.warns(CorrInitWarning, match=r"model_ema\.layer0convweight beside model\.layer0\.conv"):
            assert names(double) == list(state(0, "model."))

    def test_can_be_chosen(self, recwarn):
        double = state(0, "model.") | state(1, "model_ema.")
        assert names(double, weights="model_ema") == list(state(1, "model_ema."))
        assert not recwarn

    def test_interval_is_that_of_the_filters_there_are(self):
        single = state(0, "model.")
        double = single | {name.replace("model", "model_ema"): v.clone() for name, v in single.items()}
        with pytest.warns(CorrInitWarning):
            assert estimate_layers(double).mean_interval() == estimate_layers(single).mean_interval()

    def test_blocks_of_equal_shapes_are_no_copies(self, recwarn):
        weights = {f"blocks.{i}.conv.weight": torch.randn(16, 16, 3, 3) for i in range(4)}
        weights |= {"avg_pool.conv.weight": torch.randn(16, 16, 3, 3)}
        assert names(weights) == list(weights)
        assert not recwarn


class TestCopies:
    def test_tied_weights_and_views_come_once(self, recwarn):
        tied = torch.randn(16, 16, 3, 3)
        found = read_filters(
            {"a.weight": tied, "b.weight": tied.view(16, 16, 3, 3), "c.weight": tied.clone()[:8]}
        )
        assert [each.name for each in found.filters] == ["a.weight", "c.weight"]
        assert found.left_out == [("b.weight", "it is stored as a.weight too")]
        assert not recwarn

    @pytest.mark.parametrize("noise", [0.0, 0.02])
    def test_equal_and_nearly_equal_filters_come_once_and_it_is_said(self, noise):
        weight = torch.randn(16, 16, 3, 3)
        copy = 0.5 * weight + noise * torch.randn(16, 16, 3, 3)
        with pytest.warns(CorrInitWarning, match=r"layers occur twice: b\.weight"):
            assert names({"a.weight": weight, "b.weight": copy}) == ["a.weight"]

    def test_of_a_module(self):
        module = nn.ModuleList([nn.Conv2d(8, 16, 3), nn.Conv2d(8, 16, 3)])
        assert len(names(module)) == 2
        module[1].load_state_dict(module[0].state_dict())
        with pytest.warns(CorrInitWarning, match=r"ModuleList: layers occur twice: 1\.weight"):
            assert names(module) == ["0.weight"]

    def test_filters_that_all_have_one_shape_are_no_copies(self, recwarn):
        blur = torch.tensor([1.0, 2.0, 1.0])[:, None] * torch.tensor([1.0, 2.0, 1.0])
        weights = {f"{i}.weight": 5 * blur + torch.randn(256, 1, 3, 3) for i in range(3)}
        assert names(weights) == list(weights)
        assert not recwarn
