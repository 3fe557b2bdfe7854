import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy import stats
from tests.oracles import estimation as oracle
from torch import nn

from corrinit import _spd as spd
from corrinit import kernels
from corrinit._correlation import SpatialCorrelation
from corrinit._estimation import estimate, estimate_inputs, estimate_layers
from corrinit.errors import CorrelationError, DataError, WeightsError


def filters(correlation, shape, seed=0, channel_share=0.0):
    """Filters of a given correlation; `channel_share` of their variance is common to an output channel."""
    generator = torch.Generator().manual_seed(seed)
    outputs, inputs = shape
    taps = len(correlation.matrix)
    common = torch.randn(outputs, 1, taps, generator=generator)
    own = torch.randn(outputs, inputs, taps, generator=generator)
    mixed = channel_share**0.5 * common + (1 - channel_share) ** 0.5 * own
    factor = torch.tensor(correlation.factor).float()
    return (mixed @ factor.T).view(outputs, inputs, *correlation.kernel_size)


def crossed(correlation, shape, seed):
    """Filters of which each kind of channel shares 40 % of the variance."""
    one = filters(correlation, shape, seed, channel_share=0.8)
    return one + filters(correlation, shape[::-1], seed + 100, channel_share=0.8).transpose(0, 1)


def weighted(correlation, width):
    """The same correlation with centre-weighted deviations."""
    return correlation.with_deviations(kernels.centre_weighted(correlation.kernel_size, width))


@pytest.fixture
def smooth() -> SpatialCorrelation:
    return SpatialCorrelation(kernels.exponential((3, 3), mean=0.26))


@pytest.fixture
def network(smooth) -> dict[str, torch.Tensor]:
    """Three layers of different size, scale and correlation."""
    return {
        "a": filters(weighted(smooth.with_strength(0.5), 0.7), (32, 3), seed=1) * 3,
        "b": filters(smooth, (48, 32), seed=2) * 0.02,
        "c": filters(weighted(smooth.with_strength(1.2), 1.0), (64, 48), seed=3) * 0.1,
    }


class TestAgainstTheNaiveEstimator:
    @pytest.mark.parametrize("kernel_size", [(3, 3), (2,), (1, 7), (5, 5), (3, 3, 3), (16, 16)])
    @pytest.mark.parametrize("offset", [0.0, 1.0, 1000.0])
    def test_every_kernel_size_and_mean(self, kernel_size, offset):
        generator = torch.Generator().manual_seed(0)
        taps = int(np.prod(kernel_size))
        mixing = torch.randn(taps, taps, generator=generator) / taps + torch.eye(taps)
        weight = (torch.randn(64, 40, taps, generator=generator) @ mixing).view(64, 40, *kernel_size) + offset
        estimated = estimate({"w": weight})
        assert np.allclose(estimated.matrix, oracle.layer_correlation(weight), rtol=0, atol=1e-5)
        assert np.allclose(estimated.deviations, oracle.layer_deviations(weight), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    def test_every_type(self, smooth, dtype):
        weight = filters(smooth, (32, 16)).to(dtype)
        expected = oracle.layer_correlation(weight.double())
        assert np.allclose(estimate({"w": weight}).matrix, expected, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("pooling", ["filters", "layers", "raw"])
    def test_every_pooling(self, network, pooling):
        expected = oracle.pooled(network.values(), pooling)
        estimated = estimate(network, pooling=pooling)
        assert np.allclose(estimated.matrix, expected, rtol=0, atol=1e-5)
        expected = oracle.pooled_deviations(network.values(), pooling)
        assert np.allclose(estimated.deviations, expected, rtol=0, atol=1e-5)

    def test_every_layer(self, network):
        for layer in estimate_layers(network).layers:
            weight = network[layer.name]
            expected = oracle.layer_correlation(weight)
            assert np.allclose(layer.correlation.matrix, expected, rtol=0, atol=1e-5)
            expected = oracle.layer_deviations(weight)
            assert np.allclose(layer.correlation.deviations, expected, rtol=0, atol=1e-5)

    def test_layers_larger_than_a_block(self, smooth):
        weight = filters(smooth, (600, 301))
        expected = oracle.layer_correlation(weight)
        assert np.allclose(estimate({"w": weight}).matrix, expected, rtol=0, atol=1e-5)

    @given(
        rank=st.integers(1, 9),
        outputs=st.integers(1, 40),
        inputs=st.integers(10, 40),
        scale=st.floats(1e-6, 1e6),
    )
    def test_filters_of_low_rank(self, rank, outputs, inputs, scale):
        generator = torch.Generator().manual_seed(outputs * inputs)
        basis = torch.eye(rank, 9) + torch.rand(rank, 9, generator=generator) + 0.5
        weight = (torch.randn(outputs, inputs, rank, generator=generator) @ basis).view(outputs, inputs, 3, 3)
        matrix = estimate({"w": weight * scale}).matrix
        spd.validate(matrix)
        assert np.allclose(matrix, oracle.layer_correlation(weight), rtol=0, atol=1e-5)


class TestKnownFilters:
    @pytest.mark.statistical
    @pytest.mark.parametrize("size", [(3, 3), (5,), (2, 2, 2)])
    def test_both_are_recovered(self, size):
        """From N = 128 × 64 filters. Entries of R are sure to about 1/√N, deviations to d/√(2N).

        Each of the 96 numbers of the three cases is off by 5 standard errors with a probability of 6e-7: a
        false alarm in 10,000 seeds.
        """
        truth = weighted(SpatialCorrelation(kernels.exponential(size, 1.0), size), 0.9)
        estimated = estimate({"w": filters(truth, (128, 64), seed=4)})
        error = 1 / np.sqrt(128 * 64)
        assert np.abs(estimated.matrix - truth.matrix).max() < 5 * error
        assert np.abs(estimated.deviations / truth.deviations - 1).max() < 5 * error / np.sqrt(2)

    def test_deviations_do_not_move_the_correlation(self, smooth):
        plain, narrow = (filters(R, (64, 32)) for R in (smooth, weighted(smooth, 0.6)))
        one, other = estimate({"w": plain}), estimate({"w": narrow})
        assert np.allclose(one.matrix, other.matrix, rtol=0, atol=1e-5)
        assert other.deviations[4] > 1.5 > 0.7 > other.deviations[0]

    def test_what_is_estimated_can_be_drawn_and_estimated_again(self, network):
        once = estimate(network)
        again = estimate({"w": filters(once, (128, 64), seed=5)})
        assert np.allclose(again.deviations, once.deviations, rtol=0.05)
        assert again.mean == pytest.approx(once.mean, abs=0.02)


class TestSources:
    def test_all_kinds_agree(self, network, tmp_path):
        save_file(network, tmp_path / "w.safetensors")
        torch.save({"state_dict": network}, tmp_path / "w.pt")
        module = nn.ModuleDict({name: nn.Conv2d(w.shape[1], w.shape[0], 3) for name, w in network.items()})
        with torch.no_grad():
            for name, weight in network.items():
                module[name].weight.copy_(weight)  # pyright: ignore
        expected = estimate(network).matrix
        for source in (tmp_path / "w.safetensors", str(tmp_path / "w.pt"), module):
            assert np.array_equal(estimate(source).matrix, expected)

    def test_memory_format_does_not_matter(self, network):
        last = {name: weight.to(memory_format=torch.channels_last) for name, weight in network.items()}
        assert np.array_equal(estimate(last).matrix, estimate(network).matrix)

    def test_depthwise_and_grouped_kernels_count(self, smooth):
        module = nn.Sequential(nn.Conv2d(64, 64, 3, groups=64), nn.Conv2d(64, 32, 3, groups=4))
        layers = estimate_layers(module).layers
        assert [layer.filters for layer in layers] == [64, 32 * 16]

    def test_weights_are_not_changed(self, network):
        before = {name: weight.clone() for name, weight in network.items()}
        estimate_layers(network)
        assert all(torch.equal(before[name], weight) for name, weight in network.items())

    def test_source_and_pooling_are_kept_in_the_provenance(self, network, tmp_path):
        save_file(network, tmp_path / "w.safetensors")
        provenance = estimate(tmp_path / "w.safetensors", pooling="layers").provenance
        assert "w.safetensors" in provenance["source"]
        assert (provenance["pooling"], provenance["layers"]) == ("layers", "3")
        assert provenance["filters"] == str(32 * 3 + 48 * 32 + 64 * 48)


class TestKernelSize:
    def test_default_is_the_size_of_most_filters(self):
        weights = {
            "stem": torch.randn(8, 8, 7, 7),
            "a": torch.randn(8, 9, 3, 3),
            "b": torch.randn(64, 64, 1, 1),
        }
        layers = estimate_layers(weights)
        assert layers.kernel_size == (3, 3)
        assert dict(layers.skipped) == {"stem": "its kernel is 7×7", "b": "its kernel is 1×1"}

    def test_can_be_chosen(self):
        weights = {"stem": torch.randn(8, 8, 5, 5), "a": torch.randn(8, 9, 3, 3)}
        assert [layer.name for layer in estimate_layers(weights, [5, 5]).layers] == ["stem"]

    @pytest.mark.parametrize(
        ("weights", "size", "message"),
        [
            ({"a": torch.ones(3, 3)}, None, "no convolution of more than one tap: there are no convolutions"),
            (
                {"a": torch.ones(3, 3, 1, 1)},
                None,
                "no convolution of more than one tap: the kernels there are 1×1",
            ),
            ({"a": torch.ones(3, 3, 3, 3)}, (5, 5), "no 5×5 convolution: the kernels there are 3×3"),
            ({"a": torch.ones(3, 3, 3, 3)}, (1, 1), "a single tap has no correlation"),
            ({"a": torch.randn(3, 3, 3, 3)}, None, "a: 9 filters of 9 taps are too few"),
            ({"a": torch.ones(8, 8, 3, 3)}, None, "a: 0 of its taps vary"),
            (
                {"a": torch.randn(9, 1, 3, 3).repeat(8, 1, 1, 1)},
                None,
                "a: its 72 filters are 9 different ones, over and over",
            ),
        ],
    )
    def test_nothing_to_estimate_from_names_what_there_is(self, weights, size, message):
        with pytest.raises(WeightsError, match=message):
            estimate(weights, size)

    @pytest.mark.parametrize("size", [3, "3x3", (3, 2.5)])
    def test_size_of_another_type_is_named(self, network, size):
        with pytest.raises(CorrelationError, match="one positive number per axis"):
            estimate(network, size)
        with pytest.raises(CorrelationError, match="one positive number per axis"):
            estimate_inputs(torch.randn(2, 1, 8, 8), size)

    def test_impossible_size_is_named(self, network):
        with pytest.raises(CorrelationError, match="kernel size is"):
            estimate(network, (0, 3))


class TestBrokenWeights:
    @pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e200])
    def test_layer_is_named(self, network, value):
        network["b"] = network["b"].double()
        network["b"][3, 2, 1, 0] = value
        with pytest.raises(WeightsError, match="b holds NaN, infinite or absurdly large values"):
            estimate(network)

    def test_kernels_of_other_sizes_may_be_broken(self, network):
        expected = estimate(network).matrix
        broken = network | {"head": torch.full((8, 8, 1, 1), torch.nan)}
        assert np.array_equal(estimate(broken).matrix, expected)


class TestFlaggedTaps:
    @pytest.fixture
    def padded(self, network):
        """A layer on a map of height 1, whose outer rows only ever saw padding."""
        late = network["c"].clone()
        late[:, :, 0] *= 1e-4
        late[:, :, 2] = 0.3
        return late

    def test_are_flagged_and_uncorrelated(self, padded):
        (layer,) = estimate_layers({"late": padded}).layers
        assert layer.flagged == (0, 1, 2, 6, 7, 8)
        live = np.ix_([3, 4, 5], [3, 4, 5])
        expected = np.eye(9)
        expected[live] = oracle.layer_correlation(padded[:, :, 1])
        assert np.allclose(layer.correlation.matrix, expected, rtol=0, atol=1e-5)
        assert layer.mean == pytest.approx(oracle.mean_off_diagonal(expected[live]), abs=1e-5)

    def test_have_the_deviation_that_they_have(self, padded):
        (layer,) = estimate_layers({"late": padded}).layers
        assert np.allclose(layer.correlation.deviations, oracle.layer_deviations(padded), rtol=0, atol=1e-4)
        assert layer.correlation.deviations[6:].max() < 1e-3

    def test_leave_their_variance_to_the_other_layers(self, network, padded):
        pooled = estimate(network | {"c": padded}, pooling="layers").deviations ** 2
        others = [oracle.layer_deviations(network[name]) ** 2 for name in ("a", "b")]
        alive = oracle.layer_deviations(padded[:, :, 1]) ** 2
        middle = np.mean([*(other[3:6] for other in others), alive], axis=0)
        expected = np.concatenate([np.mean(others, axis=0)[:3], middle, np.mean(others, axis=0)[6:]])
        assert np.allclose(pooled, expected / expected.mean(), rtol=1e-3)

    def test_leave_their_pairs_to_the_other_layers(self, network, padded):
        pooled = estimate(network | {"c": padded}, pooling="layers").matrix
        others = oracle.pooled([network["a"], network["b"]], "layers")
        assert pooled[0, 1] == pytest.approx(others[0, 1], abs=1e-3)
        all_three = oracle.pooled(network.values(), "layers")
        assert pooled[3, 4] == pytest.approx(all_three[3, 4], abs=1e-3)

    def test_are_named_in_the_provenance(self, network, padded):
        assert estimate(network | {"late": padded}).provenance["taps that hardly vary in"] == "late"

    def test_flagged_everywhere_is_a_clear_error(self, padded):
        with pytest.raises(
            WeightsError, match=r"in no layer of a state dict do the taps \(0, 0\) and \(0, 0\) both vary"
        ):
            estimate({"late": padded})

    def test_raw_pooling_needs_every_tap_to_vary(self):
        weight = torch.randn(16, 16, 3, 3)
        weight[:, :, 1, 2] = 0
        with pytest.raises(WeightsError, match=r"the tap \(1, 2\) never varies"):
            estimate({"w": weight}, pooling="raw")

    def test_weakly_trained_taps_are_not_flagged(self, network):
        network["c"][:, :, 0] *= 0.05
        assert estimate_layers(network).layers[2].flagged == ()


class TestPooling:
    def test_standardized_layers_count_by_their_filters_whatever_their_scale(self, network):
        scaled = {name: weight * 10.0**i for i, (name, weight) in enumerate(network.items())}
        for pooling in ("filters", "layers"):
            one, other = estimate(network, pooling=pooling), estimate(scaled, pooling=pooling)
            assert np.allclose(one.matrix, other.matrix, rtol=0, atol=1e-6)
            assert np.allclose(one.deviations, other.deviations, rtol=0, atol=1e-6)

    def test_raw_pooling_is_dominated_by_large_weights(self, smooth):
        negative = SpatialCorrelation(kernels.constant((3, 3), -0.1))
        weights = {"stem": filters(negative, (64, 16)) * 10, "deep": filters(smooth, (64, 64))}
        assert estimate(weights).mean > 0.1
        assert estimate(weights, pooling="raw").mean < 0

    def test_unknown_pooling_is_named(self, network):
        with pytest.raises(WeightsError, match="pooling is 'max'; it is 'filters', 'layers' or 'raw'"):
            estimate(network, pooling="max")  # pyright: ignore


class TestInterval:
    def test_is_as_wide_as_that_of_the_naive_bootstrap(self, smooth):
        """v_out + v_in − v_iid of re-estimation. A spread of 400 is known to 4 %, so 15 % is far off.

        The wider of the two would be 25 % too narrow here.
        """
        weights = {
            "a": crossed(smooth, (32, 32), seed=7),
            "b": crossed(smooth.with_strength(0.3), (32, 32), seed=8),
        }
        single = [weight.flatten(0, 1)[:, None] for weight in weights.values()]
        by_output, by_input = (
            oracle.bootstrap_deviation(list(weights.values()), axis, 400, 0) for axis in (0, 1)
        )
        expected = by_output**2 + by_input**2 - oracle.bootstrap_deviation(single, 0, 400, 0) ** 2
        assert max(by_output, by_input) < 0.8 * expected**0.5
        low, high = estimate_layers(weights).mean_interval(level=0.6827, resamples=4000)
        assert (high - low) / 2 == pytest.approx(expected**0.5, rel=0.15)

    @pytest.mark.statistical
    def test_covers_the_truth_where_filters_of_a_channel_are_alike(self, smooth):
        """95 % intervals of 100 networks: if they hold, fewer than 88 hits have a probability of 0.15 %."""
        hits = 0
        for seed in range(100):
            layers = estimate_layers({"w": filters(smooth, (64, 16), seed=seed, channel_share=0.6)})
            low, high = layers.mean_interval(resamples=400)
            hits += low <= smooth.mean <= high
        assert hits >= 88

    def test_is_wider_than_if_filters_were_independent(self, smooth):
        alike = estimate_layers({"w": filters(smooth, (64, 64), channel_share=0.6)}).mean_interval()
        independent = estimate_layers({"w": filters(smooth, (64, 64))}).mean_interval()
        assert alike.high - alike.low > 2 * (independent.high - independent.low)

    def test_sees_likeness_over_either_kind_of_channel(self, smooth):
        weight = filters(smooth, (64, 48), channel_share=0.6)
        one = estimate_layers({"w": weight}).mean_interval()
        other = estimate_layers({"w": weight.transpose(0, 1)}).mean_interval()
        assert one.high - one.low == pytest.approx(other.high - other.low, rel=0.2)

    def test_contains_the_pooled_mean(self, network):
        layers = estimate_layers(network)
        for pooling in ("filters", "layers"):
            low, high = layers.mean_interval(pooling=pooling)
            assert low < layers.pooled(pooling).mean < high

    def test_is_decided_by_the_seed(self, network):
        layers = estimate_layers(network)
        assert layers.mean_interval() == layers.mean_interval(seed=0) != layers.mean_interval(seed=1)

    def test_higher_level_is_wider(self, network):
        layers = estimate_layers(network)
        narrow, wide = layers.mean_interval(level=0.5), layers.mean_interval(level=0.99)
        assert wide.low < narrow.low < narrow.high < wide.high

    def test_depthwise_layers_are_resampled_over_their_outputs(self, smooth):
        low, high = estimate_layers({"w": filters(smooth, (128, 1))}).mean_interval()
        assert 0.05 < high - low < 0.5

    def test_few_channels_have_the_quantiles_of_student(self, smooth):
        """Of 16 channels those of 15 degrees of freedom, on the scale of log 1ᵀR1."""
        layers = estimate_layers({"w": filters(smooth, (16, 1), seed=1)})
        influence = layers.layers[0].influence
        assert influence is not None
        low, high = np.log1p(8 * np.array(layers.mean_interval(resamples=50_000)))
        error = np.sqrt(np.mean(influence.by_output**2) / 15) * 16 / 15
        expected = stats.t.ppf(0.975, 15) * 8 * error / (1 + 8 * layers.pooled().mean)
        assert (high - low) / 2 == pytest.approx(expected, rel=0.05)

    @pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
    def test_impossible_level_is_named(self, network, level):
        with pytest.raises(WeightsError, match=f"level is {level}"):
            estimate_layers(network).mean_interval(level)

    def test_raw_pooling_has_none(self, network):
        with pytest.raises(WeightsError, match="the interval is for 'filters' and 'layers'"):
            estimate_layers(network).mean_interval(pooling="raw")  # pyright: ignore


class TestInputs:
    @pytest.mark.parametrize(
        ("shape", "kernel_size"),
        [((5, 3, 8, 9), (3, 3)), ((4, 2, 7), (5,)), ((3, 1, 4, 5, 6), (2, 2, 3)), ((9, 1, 6, 6), (5, 5))],
    )
    def test_equal_the_naive_second_moments(self, shape, kernel_size):
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(shape, generator=generator).cumsum(-1) + 0.5
        expected = oracle.input_correlation(images, kernel_size)
        measured = estimate_inputs(images, kernel_size)
        assert measured.kernel_size == kernel_size
        assert np.allclose(measured.matrix, expected, rtol=0, atol=1e-5)

    def test_images_of_bytes(self):
        images = torch.randint(0, 256, (20, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
        expected = oracle.input_correlation(images.numpy(), (3, 3))
        assert np.allclose(estimate_inputs(images, (3, 3)).matrix, expected, rtol=0, atol=1e-5)

    def test_means_are_not_taken_away(self):
        images = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 3
        assert estimate_inputs(images, (3, 3)).mean == pytest.approx(0.9, abs=0.01)

    def test_very_smooth_images_give_a_correlation(self):
        ramp = torch.linspace(0, 1, 32)
        phases = torch.rand(100, 3, 1, 1, generator=torch.Generator().manual_seed(0))
        images = torch.sin(ramp[None, :] + 2 * ramp[:, None] + 6 * phases)
        for k in (3, 7, 11):
            assert estimate_inputs(images, (k, k)).mean > 0.8

    def test_images_larger_than_a_block(self):
        image = torch.randn(1, 1, 400, 600, generator=torch.Generator().manual_seed(0))
        expected = oracle.input_correlation(image, (3, 3))
        assert np.allclose(estimate_inputs(image, (3, 3)).matrix, expected, rtol=0, atol=1e-5)

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (torch.ones(4, 3, 2, 8), r"shape \(4, 3, 2, 8\); a 3×3 patch needs"),
            (torch.ones(4, 8, 8), r"shape \(4, 8, 8\)"),
            (torch.ones(0, 3, 8, 8), r"shape \(0, 3, 8, 8\)"),
            ([1.0], "of type list; give an array of real numbers"),
            (torch.ones(4, 3, 8, 8) * 1j, "of type torch.complex64"),
            (torch.zeros(4, 3, 8, 8), "all pixels of all images are equal"),
            (torch.full((4, 3, 8, 8), 0.5), "all pixels of all images are equal"),
            (torch.randn(4, 3, 8, 8) * torch.nan, "NaN or infinite"),
            (nn.functional.pad(torch.ones(4, 3, 1, 1), (1, 1, 1, 1)), "one pixel of the patch is zero"),
        ],
    )
    def test_bad_images_are_named(self, images, message):
        with pytest.raises(DataError, match=message):
            estimate_inputs(images, (3, 3))
