"""Algorithm 1 in torch.nn.init's grammar: what users of its in-place functions expect."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import corrinit
from corrinit import CorrInitError, SpatialCorrelation, kernels
from corrinit._correlation import default_correlation
from corrinit.errors import CorrelationError

R3 = SpatialCorrelation(kernels.exponential((3, 3), mean=0.26))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def initializers():
    return [
        corrinit.correlated_normal_,
        corrinit.correlated_kaiming_normal_,
        corrinit.correlated_xavier_normal_,
    ]


@pytest.mark.parametrize("initialize_", initializers())
def test_fills_in_place_without_grad_and_returns_the_tensor(initialize_):
    weight = torch.nn.Parameter(torch.zeros(8, 4, 3, 3))
    assert initialize_(weight, R3, generator=generator()) is weight
    assert weight.grad_fn is None
    assert weight.requires_grad
    assert weight.detach().abs().min() > 0


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (2, 1, 3, 3), (64, 16, 5), (4, 4, 3, 3, 3), (6, 2, 1, 7)])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize(
    ("nonlinearity", "a"), [("relu", 0), ("leaky_relu", 0.2), ("linear", 0), ("selu", 0)]
)
def test_identity_is_kaiming_normal_value_for_value(shape, mode, nonlinearity, a):
    ours, theirs = torch.empty(shape), torch.empty(shape)
    identity = SpatialCorrelation.identity(shape[2:])
    corrinit.correlated_kaiming_normal_(ours, identity, a, mode, nonlinearity, generator=generator(1))
    torch.nn.init.kaiming_normal_(theirs, a, mode, nonlinearity, generator=generator(1))
    torch.testing.assert_close(ours, theirs, rtol=2e-7, atol=0)


@pytest.mark.parametrize("scale", ["paper", "he"])
def test_identity_is_xavier_normal_value_for_value(scale):
    ours, theirs = torch.empty(8, 4, 3, 3), torch.empty(8, 4, 3, 3)
    identity = SpatialCorrelation.identity((3, 3))
    corrinit.correlated_xavier_normal_(ours, identity, 1.5, scale=scale, generator=generator(2))
    torch.nn.init.xavier_normal_(theirs, 1.5, generator=generator(2))
    torch.testing.assert_close(ours, theirs, rtol=2e-7, atol=0)


@pytest.mark.statistical
def test_sample_correlation_of_200000_filters_is_r():
    """99 % of the entries within 3 standard errors; each is so with probability 0.9973.

    300 entries, each outside with p = 0.0027 if independent: more than 3 outside has probability 0.01.
    """
    correlation = default_correlation((5, 5))
    weight = corrinit.correlated_normal_(torch.empty(400, 500, 5, 5), correlation, generator=generator(0))
    sample = np.corrcoef(weight.reshape(-1, 25).double().numpy(), rowvar=False)
    error = (1 - correlation.matrix**2) / math.sqrt(200_000)
    upper = np.triu_indices(25, k=1)
    within = np.abs(sample - correlation.matrix)[upper] < 3 * error[upper]
    assert within.mean() >= 0.99


@pytest.mark.statistical
@pytest.mark.parametrize(("scale", "expected"), [("he", 9.0), ("paper", R3.matrix.sum())])
def test_scale_follows_the_formula(scale, expected):
    """χ² test of the pooled variance of one tap over 200,000 filters; false alarms: 1 in 10,000."""
    weight = torch.empty(400, 500, 3, 3)
    corrinit.correlated_kaiming_normal_(weight, R3, nonlinearity="relu", scale=scale, generator=generator(3))
    statistic = float(weight[:, :, 1, 1].double().square().sum() * 500 * expected / 2)
    assert 5e-5 < stats.chi2.cdf(statistic, 200_000) < 1 - 5e-5


def test_signal_scale_of_a_measured_input_lies_between_independent_and_identical():
    measured = SpatialCorrelation(kernels.gaussian((3, 3), 1.0))
    scale = {key: corrinit.signal_scale(R3, 16, scale=key) for key in ("he", "paper", measured)}
    assert scale["paper"] < scale[measured] < scale["he"]
    assert scale[measured] == pytest.approx(1 / math.sqrt(16 * (R3.matrix * measured.matrix).sum()))


@settings(max_examples=25, deadline=None)
@given(
    size=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    length=st.floats(0.1, 20),
    seed=st.integers(0, 2**32),
)
def test_any_kernel_size_draws_finite_weights(size, length, seed):
    correlation = SpatialCorrelation(kernels.exponential(size, length), size)
    weight = corrinit.correlated_normal_(torch.empty(2, 3, *size), correlation, generator=generator(seed))
    assert torch.isfinite(weight).all()


def test_singular_correlation_makes_all_taps_equal():
    ones = SpatialCorrelation(kernels.constant((3, 3), 1.0))
    weight = corrinit.correlated_normal_(torch.empty(4, 4, 3, 3), ones, generator=generator())
    torch.testing.assert_close(weight, weight[..., :1, :1].expand_as(weight))
    assert weight.std() > 0.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_the_float32_draw_cast_last(dtype):
    single = corrinit.correlated_normal_(torch.empty(8, 4, 3, 3), R3, generator=generator())
    half = corrinit.correlated_normal_(torch.empty(8, 4, 3, 3, dtype=dtype), R3, generator=generator())
    assert torch.equal(half, single.to(dtype))


def test_channels_last_holds_the_same_logical_weights():
    plain = corrinit.correlated_normal_(torch.empty(8, 4, 3, 3), R3, generator=generator())
    last = torch.empty(8, 4, 3, 3).to(memory_format=torch.channels_last)
    corrinit.correlated_normal_(last, R3, generator=generator())
    assert torch.equal(plain, last)
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_global_random_state_is_untouched_with_a_generator():
    before = torch.get_rng_state()
    corrinit.correlated_normal_(torch.empty(8, 4, 3, 3), R3, generator=generator())
    assert torch.equal(before, torch.get_rng_state())


def test_without_a_generator_the_global_one_is_used_as_in_torch():
    draws = []
    for _ in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            draws.append(corrinit.correlated_normal_(torch.empty(2, 2, 3, 3), R3))
    assert torch.equal(*draws)


@pytest.mark.parametrize("initialize_", initializers())
def test_meta_device_is_a_no_op(initialize_):
    weight = torch.empty(8, 4, 3, 3, device="meta")
    assert initialize_(weight, R3) is weight


def test_dtensor_holds_its_shard_of_the_plain_draw(single_process_mesh):
    from torch.distributed.tensor import Shard, distribute_tensor

    sharded = distribute_tensor(torch.zeros(8, 4, 3, 3), single_process_mesh, [Shard(0)])
    corrinit.correlated_normal_(sharded, R3, generator=generator())
    plain = corrinit.correlated_normal_(torch.empty(8, 4, 3, 3), R3, generator=generator())
    assert torch.equal(sharded.full_tensor(), plain)


def test_wrong_kernel_size_names_both_and_the_remedy():
    four = SpatialCorrelation.identity((2, 2))
    with pytest.raises(CorrelationError, match=r"4×4.*3×3 kernel needs 9×9.*\.resize\(\(3, 3\)\)"):
        corrinit.correlated_normal_(torch.empty(2, 2, 3, 3), four)


def test_resized_correlation_fits():
    weight = torch.empty(4, 4, 5, 5)
    corrinit.correlated_normal_(weight, R3.resize((5, 5)), generator=generator())
    assert torch.isfinite(weight).all()


@pytest.mark.parametrize("std", [-1.0, math.nan, math.inf])
def test_impossible_std_is_refused(std):
    weight = torch.zeros(2, 2, 3, 3)
    with pytest.raises(CorrelationError, match="std is"):
        corrinit.correlated_normal_(weight, R3, std)
    assert not weight.any()


@pytest.mark.parametrize("initialize_", initializers())
def test_linear_weight_is_refused(initialize_):
    with pytest.raises(CorrelationError, match=r"shape \(3, 4\)"):
        initialize_(torch.empty(3, 4), R3)


def test_lazy_parameter_is_refused():
    with pytest.raises(CorrInitError, match="forward pass"):
        corrinit.correlated_normal_(torch.nn.LazyConv2d(4, 3).weight, R3)


def test_unknown_mode_and_scale_are_refused():
    weight = torch.zeros(2, 2, 3, 3)
    with pytest.raises(CorrelationError, match="mode is 'fan_avg'"):
        corrinit.correlated_kaiming_normal_(weight, R3, mode="fan_avg")
    with pytest.raises(CorrelationError, match="nonlinearity is 'swish'"):
        corrinit.correlated_kaiming_normal_(weight, R3, nonlinearity="swish")
    with pytest.raises(CorrelationError, match="scale is 'whatever'"):
        corrinit.correlated_kaiming_normal_(weight, R3, scale="whatever")
    with pytest.raises(CorrelationError, match=r"'natural' is one of a model.*use corrinit\.initialize"):
        corrinit.correlated_xavier_normal_(weight, R3, scale="natural")
    assert not weight.any()


@pytest.mark.parametrize("initialize_", initializers()[1:])
@pytest.mark.parametrize(("older", "scale"), [("independent", "he"), ("identical", "paper"), (R3, R3)])
def test_the_older_name_of_the_scale_draws_the_same_and_warns_at_the_line_that_has_it(
    initialize_, older, scale
):
    ours, theirs = torch.empty(8, 4, 3, 3), torch.empty(8, 4, 3, 3)
    initialize_(ours, R3, scale=scale, generator=generator())
    with pytest.warns(DeprecationWarning, match="is now written scale=") as caught:
        initialize_(theirs, R3, inputs=older, generator=generator())
    assert caught[0].filename == __file__
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("initialize_", initializers())
@pytest.mark.parametrize("loaded", [True, False])
def test_a_tensor_that_transformers_has_loaded_is_left_as_it_is(initialize_, loaded):
    weight = torch.nn.Parameter(torch.zeros(8, 4, 3, 3))
    weight._is_hf_initialized = loaded
    assert initialize_(weight, R3, generator=generator()) is weight
    assert bool((weight == 0).all()) is loaded


def test_taps_of_unequal_deviations_keep_the_draw_and_its_scale():
    """W = s D C z: beside equal deviations at the same std, each tap times its own."""
    deviations = kernels.centre_weighted((3, 3), width=0.8)
    flat, weighted = torch.empty(8, 4, 3, 3), torch.empty(8, 4, 3, 3)
    corrinit.correlated_normal_(flat, R3, 0.5, generator=generator())
    corrinit.correlated_normal_(weighted, R3.with_deviations(deviations), 0.5, generator=generator())
    each = torch.tensor(deviations, dtype=torch.float32).reshape(3, 3)
    torch.testing.assert_close(weighted, flat * each, rtol=3e-7, atol=0)


def test_filters_that_cancel_identical_inputs_have_no_signal_scale():
    opposite = SpatialCorrelation([[1.0, -1.0], [-1.0, 1.0]], (2,))
    with pytest.raises(CorrelationError, match="no scale"):
        corrinit.correlated_kaiming_normal_(torch.empty(2, 2, 2), opposite)
    corrinit.correlated_kaiming_normal_(torch.empty(2, 2, 2), opposite, scale="he")


def test_draws_commute_with_flips_of_a_symmetric_correlation():
    """The symmetric root, unlike a Cholesky factor, singles out no corner of the kernel."""
    flipped = np.arange(9).reshape(3, 3)[::-1].ravel()
    assert np.allclose(R3.root[np.ix_(flipped, flipped)], R3.root)


@pytest.mark.statistical
@pytest.mark.parametrize("inputs", ["identical", "measured"])
def test_signal_survives_ten_layers_for_the_matching_inputs(inputs):
    """E[y²] through 10 conv + ReLU layers stays within 10 %, over 1,000 networks of 64 channels.

    The networks are the groups of one wide convolution. 10 % is at least 2.5 standard errors of their mean,
    which is checked: false alarms below 2 in 100, for seeds that are fixed.
    """
    networks, channels = 1000, 64
    random = generator(0)
    x = torch.randn(1, networks * channels, 4, 4, generator=random)
    if inputs == "identical":
        x = x[..., :1, :1].expand_as(x)
    weight = torch.empty(networks * channels, channels, 3, 3)
    for _ in range(10):
        seen = torch.nn.functional.pad(torch.relu(x), (1, 1, 1, 1), mode="circular")
        matching = "paper" if inputs == "identical" else corrinit.estimate_inputs(seen, (3, 3))
        corrinit.correlated_kaiming_normal_(weight, R3, nonlinearity="relu", scale=matching, generator=random)
        x = torch.nn.functional.conv2d(seen, weight, groups=networks)
    power = x.square().reshape(networks, -1).mean(1)
    assert power.std() / math.sqrt(networks) < 0.1 / 2.5
    assert power.mean().item() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_only_real_numbers_are_drawn(dtype):
    weight = torch.ones(4, 3, 3, 3, dtype=dtype)
    with pytest.raises(CorrelationError, match=f"of type {dtype}"):
        corrinit.correlated_normal_(weight, SpatialCorrelation.identity((3, 3)))
    assert weight.eq(1).all()


@pytest.mark.parametrize(("channels", "gain"), [(float("nan"), 1.0), (8, float("nan")), (8, float("inf"))])
def test_a_scale_is_finite(channels, gain):
    with pytest.raises(CorrelationError, match="no finite scale"):
        corrinit.signal_scale(SpatialCorrelation.identity((3, 3)), channels, gain=gain)
