import numpy as np
import pytest
import torch

from corrinit._arrays import as_array
from corrinit._estimation import estimate
from corrinit._weights import named_weights, read_filters
from corrinit.errors import CorrInitWarning, WeightsError


def tensors(**shapes):
    """A state dict of random values; a double underscore stands for the point in a name."""
    generator = torch.Generator().manual_seed(0)
    return {
        name.replace("__", "."): torch.randn(shape, generator=generator) for name, shape in shapes.items()
    }


def shapes(state, **options):
    return {name: tuple(weight.shape) for name, weight in named_weights(state, **options)}


@pytest.mark.filterwarnings("error::corrinit.CorrInitWarning")
class TestSureFilters:
    @pytest.mark.parametrize(
        "shape",
        [
            (64, 3, 7, 7),
            (64, 1, 3, 3),
            (64, 64, 1, 7),
            (64, 64, 9, 1),
            (768, 3, 16, 16),
            (16, 16, 1, 1),
            (3, 3, 9, 9),
            (1, 512, 4, 4),
            (64, 32, 5),
            (8, 4, 3, 3, 3),
            (64, 32, 1, 3, 3),
            (1, 64, 1, 3, 3),
        ],
    )
    def test_weights_of_convolutions(self, shape):
        assert shapes(tensors(conv__weight=shape)) == {"conv.weight": shape}

    def test_long_kernels_with_a_bias(self):
        assert shapes(tensors(conv__weight=(64, 32, 41), conv__bias=(64,))) == {"conv.weight": (64, 32, 41)}

    def test_transposed_ones_are_told_by_their_bias(self):
        state = tensors(up__weight=(64, 32, 4, 4), up__bias=(32,), on__weight=(64, 16, 4, 4), on__bias=(32,))
        assert shapes(state) == {"up.weight": (32, 64, 4, 4), "on.weight": (16, 64, 4, 4)}

    def test_names_that_somebody_chose_need_tell_nothing(self):
        state = {"stem": torch.randn(8, 3, 7, 7), "b": torch.randn(16, 16, 16, 16)}
        assert shapes(state) == {"stem": (8, 3, 7, 7), "b": (16, 16, 16, 16)}

    @pytest.mark.parametrize(
        ("name", "stored", "filters"),
        [
            ("conv/kernel", (3, 3, 3, 64), (64, 3, 3, 3)),
            ("conv2d/kernel:0", (1, 7, 64, 32), (32, 64, 1, 7)),
            ("conv/kernel", (5, 32, 64), (64, 32, 5)),
            ("conv/kernel", (3, 3, 1, 64), (64, 1, 3, 3)),
            ("conv/depthwise_kernel", (3, 3, 32, 2), (32, 2, 3, 3)),
            ("conv.kernel", (64, 32, 3, 3), (64, 32, 3, 3)),
        ],
    )
    def test_kernels_of_other_frameworks(self, name, stored, filters):
        state = {name: torch.randn(stored)}
        assert shapes(state) == {name: filters}

    def test_taps_of_other_frameworks_keep_their_places(self):
        stored = torch.randn(3, 5, 4, 8)
        ((_, weight),) = named_weights({"conv/kernel": stored})
        assert np.array_equal(weight[6, 2], as_array(stored[:, :, 2, 6]))


@pytest.mark.filterwarnings("error::corrinit.CorrInitWarning")
class TestNoFilters:
    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("input.input", (1, 512, 4, 4)),
            ("synthesis.b4.const", (512, 4, 4)),
            ("pos_embed", (1, 96, 7, 7)),
            ("net.position_embedding", (1, 49, 9)),
            ("layers.0.attn_mask", (64, 49, 49)),
            ("block.relative_position_bias_table", (1, 16, 13, 13)),
            ("block.gamma", (64, 1, 1)),
            ("grn.beta", (1, 1, 1, 64)),
            ("head.anchors", (3, 3, 2)),
            ("head.anchor_grid", (3, 1, 3, 3, 3)),
            ("bn.running_mean", (1, 64, 3, 3)),
            ("attention.temperature", (8, 1, 1)),
            ("experts.weight", (8, 64, 32)),
            ("dynamic.weight", (4, 64, 32, 3, 3)),
            ("net.theta", (16, 16, 4, 4)),
            ("net.thing", (1, 16, 3, 3)),
            ("conv2.weight.exp_avg", (8, 8, 3, 3)),
            ("conv2.weight_exp_avg_sq", (8, 8, 3, 3)),
            ("optimizer.state.exp_avg.conv2.weight", (8, 8, 3, 3)),
            ("grad.conv2.weight", (8, 8, 3, 3)),
            ("conv2.weight.grad", (8, 8, 3, 3)),
            ("conv2.scores", (8, 8, 3, 3)),
            ("block/attention/out/kernel", (12, 64, 768)),
            ("einsum_dense/kernel:0", (64, 8, 7)),
            ("fisher/conv2/weight", (8, 8, 3, 3)),
            ("net.long.weight", (6, 8, 64, 65)),
        ],
    )
    def test_are_left_out_and_listed(self, name, shape):
        state = {name: torch.randn(shape), "conv2.weight": torch.randn(8, 8, 3, 3)}
        found = read_filters(state)
        assert [each.name for each in found.filters] == ["conv2.weight"]
        assert [each.name for each in found.left_out] == [name]

    @pytest.mark.parametrize("shape", [(64, 16, 16), (64, 1, 1)])
    def test_scale_of_a_normalization_over_an_image(self, shape):
        state = tensors(norm__weight=shape, norm__bias=shape, conv__weight=(8, 8, 3, 3))
        assert list(shapes(state)) == ["conv.weight"]

    def test_the_error_says_what_was_left_out(self):
        with pytest.raises(WeightsError, match=r"left out are b\.pos_embed: its name"):
            estimate(tensors(b__pos_embed=(1, 96, 7, 7)))


class TestGuesses:
    @pytest.mark.parametrize(
        ("name", "stored", "filters"),
        [
            ("convs.0.conv.weight", (1, 128, 256, 3, 3), (128, 256, 3, 3)),
            ("block.conv.kernel", (27, 32, 16), (16, 32, 3, 3, 3)),
            ("block.conv.weight", (27, 32, 16), (16, 32, 3, 3, 3)),
            ("conv.weight", (3, 3, 3, 16, 32), (32, 16, 3, 3, 3)),
            ("conv.weight", (32, 3, 3, 3, 16), (32, 16, 3, 3, 3)),
            ("conv.weight", (3, 3, 64, 64), (64, 64, 3, 3)),
            ("net.theta", (16, 16, 3, 3), (16, 16, 3, 3)),
            ("norm.weight", (64, 7, 7), (64, 7, 7)),
            ("norm.weight", (64, 16, 8), (64, 16, 8)),
            ("layer.spline_weight", (32, 16, 8), (32, 16, 8)),
            ("experts.weight", (8, 64, 8), (8, 64, 8)),
            ("rel_pos.weight", (1, 64, 7, 7), (1, 64, 7, 7)),
            ("spectral.weight", (32, 32, 8, 8, 2), (32, 32, 8, 8, 2)),
            ("convs.weight", (5, 16, 8, 3), (5, 16, 8, 3)),
            ("stem.weight", (16, 7, 7, 3), (16, 3, 7, 7)),
            ("stem.weight", (5, 5, 3, 8), (8, 3, 5, 5)),
            ("conv.kernel", (9, 32, 16), (16, 32, 9)),
            ("out/kernel", (7, 64, 768), (768, 64, 7)),
        ],
    )
    def test_are_said(self, name, stored, filters):
        with pytest.warns(CorrInitWarning, match=rf"a guess: {name}"):
            assert shapes({name: torch.randn(stored)}) == {name: filters}

    def test_biases_of_point_cloud_kernels_have_an_axis_more(self):
        with pytest.warns(CorrInitWarning, match="its 27 taps"):
            assert shapes(tensors(c__kernel=(27, 32, 16), c__bias=(1, 16))) == {"c.kernel": (16, 32, 3, 3, 3)}

    @pytest.mark.parametrize("taps", [5, 30])
    def test_bilinear_layers_look_like_filters(self, taps):
        with pytest.warns(CorrInitWarning, match="nothing names a convolution"):
            shapes(tensors(head__weight=(32, 20, taps), head__bias=(32,)))

    @pytest.mark.filterwarnings("error::corrinit.CorrInitWarning")
    def test_numbers_in_a_sequence_are_layers_of_one_input(self):
        assert shapes({"0.weight": torch.randn(16, 8, 4)}) == {"0.weight": (16, 8, 4)}

    def test_the_other_tensors_tell_the_order_of_axes(self):
        state = tensors(
            stem__weight=(64, 7, 7, 3),
            deep__weight=(64, 3, 3, 64),
            wide__weight=(32, 3, 3, 3),
            one__w=(8, 5, 5, 1),
        )
        with pytest.warns(CorrInitWarning, match="another order of axes"):
            assert shapes(state) == {
                "stem.weight": (64, 3, 7, 7),
                "deep.weight": (64, 64, 3, 3),
                "wide.weight": (32, 3, 3, 3),
                "one.w": (8, 1, 5, 5),
            }
        with pytest.warns(CorrInitWarning, match="another order of axes"):
            ((_, weight),) = named_weights(state, include="wide")
        assert np.array_equal(weight[:, :, 2, 0], as_array(state["wide.weight"][:, 2, 0, :]))

    def test_several_networks_in_one_tensor(self):
        state = tensors(c0__weight=(32, 3, 3, 3), c1__weight=(4, 64, 3, 3, 3), c2__weight=(4, 32, 16, 3, 3))
        with pytest.warns(CorrInitWarning, match=r"c1\.weight: c2\.weight of shape .* is no filters"):
            read_filters(state)

    @pytest.mark.parametrize("other", ["rho_weight", "delta_weight", "init_weight"])
    def test_several_tensors_of_a_layer_of_the_same_shape(self, other):
        state = {"c.weight": torch.randn(8, 8, 3, 3), f"c.{other}": torch.randn(8, 8, 3, 3)}
        with pytest.warns(CorrInitWarning, match="2 tensors of its layer have the shape"):
            read_filters(state)

    def test_biases_of_haiku(self):
        with pytest.warns(CorrInitWarning, match="another order of axes"):
            assert shapes({"a/w": torch.randn(5, 5, 3, 8), "a/b": torch.randn(8)}) == {"a/w": (8, 3, 5, 5)}

    def test_excluded_ones_are_not(self, recwarn):
        state = tensors(net__theta=(16, 16, 3, 3), net__weight=(8, 8, 3, 3))
        assert list(shapes(state, exclude="net.theta")) == ["net.weight"]
        assert not recwarn

    def test_tensors_named_in_full_need_no_evidence(self, recwarn):
        state = tensors(net__pos_embed=(4, 16, 3, 3), net__weight=(8, 8, 3, 3))
        assert shapes(state, include="net.pos_embed") == {"net.pos_embed": (4, 16, 3, 3)}
        assert shapes(state, include="net.*") == {"net.weight": (8, 8, 3, 3)}
        assert not recwarn


class TestPatterns:
    STATE = tensors(layer1__0__weight=(8, 8, 3, 3), layer1__1__weight=(8, 4, 3, 3), head__weight=(4, 4, 3, 3))

    @pytest.mark.parametrize(
        ("options", "names"),
        [
            ({"include": "layer1.*"}, ["layer1.0.weight", "layer1.1.weight"]),
            ({"include": "head"}, ["head.weight"]),
            ({"include": ["head", "*.0.weight"]}, ["layer1.0.weight", "head.weight"]),
            ({"exclude": "layer1.*"}, ["head.weight"]),
            ({"include": "layer1.*", "exclude": ["layer1.0"]}, ["layer1.1.weight"]),
        ],
    )
    def test_choose_by_name_of_weight_or_layer(self, options, names):
        assert list(shapes(self.STATE, **options)) == names

    def test_of_a_module(self):
        module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3))
        assert list(shapes(module, exclude="0")) == ["1.weight"]

    @pytest.mark.parametrize("argument", ["include", "exclude"])
    def test_without_a_match_are_an_error_with_near_names(self, argument):
        with pytest.raises(WeightsError, match=rf"{argument}: 'haed' matches no weight.*head\.weight"):
            shapes(self.STATE, **{argument: "haed"})

    def test_of_another_type_are_an_error(self):
        with pytest.raises(WeightsError, match="include is 5; give globs"):
            shapes(self.STATE, include=5)
