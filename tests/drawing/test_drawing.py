"""Weights drawn in blocks: the same whatever the threads, devices, layouts, ranks and modes."""

import math
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.pinned_weights import check_pinned, differences, summary
from torch import nn

from corrinit import CorrInitError, SpatialCorrelation, kernels
from corrinit._correlation import default_correlation
from corrinit._drawing import BLOCK, Draw, block_size, blocks, draw_all
from corrinit._init import correlated_normal_
from corrinit._seeding import block_seed, layer_generator

R3 = SpatialCorrelation(kernels.exponential((3, 3), mean=0.26))
LARGE = (96, 160, 3, 3)  # three by two blocks, uneven ones at the edges


def drawn(shape=LARGE, correlation=R3, *, seed=0, name="layer", dtype=torch.float32, threads=1, **options):
    weight = torch.zeros(shape, dtype=dtype)
    draw_all([(weight, Draw(name, shape, 0.1, correlation, **options))], seed, threads)
    return weight


# Blocks


@given(st.lists(st.integers(1, 700), min_size=1, max_size=2), st.lists(st.integers(1, 9), max_size=2))
@settings(max_examples=50)
def test_blocks_tile_a_weight_and_are_numbered_in_order(channels, kernel):
    shape = (*channels, *(kernel if len(channels) == 2 else ()))
    times_covered = np.zeros((*shape, 1)[:2], int)
    for number, block in enumerate(blocks(shape)):
        assert block.number == number
        times_covered[block.rows, block.columns] += 1
    assert (times_covered == 1).all()
    assert math.prod(block_size(shape)) * math.prod(kernel) <= max(BLOCK, math.prod(kernel))


def test_a_weight_no_larger_than_a_block_is_one():
    assert [block.number for block in blocks((64, 64, 3, 3))] == [0]
    assert [block.number for block in blocks((1, 1, 300, 300))] == [0]


@pytest.mark.parametrize("shape", [(0, 3, 3, 3), (3, 0, 3, 3), (0,)])
def test_an_empty_weight_has_no_blocks(shape):
    assert not list(blocks(shape))
    draw_all([(torch.empty(shape), Draw("layer", shape, 1.0))], 0)


def test_every_block_of_every_layer_has_a_seed_of_its_own():
    seeds = {
        block_seed(seed, name, block) for seed in (0, 1) for name in ("a", "b", "a.1") for block in range(500)
    }
    assert len(seeds) == 2 * 3 * 500


# Values


@pytest.mark.parametrize(
    ("distribution", "by_torch"),
    [
        ("normal", lambda weight, g: nn.init.normal_(weight, 0, 0.1, generator=g)),
        ("uniform", lambda weight, g: weight.uniform_(-math.sqrt(3) * 0.1, math.sqrt(3) * 0.1, generator=g)),
    ],
)
@pytest.mark.parametrize("shape", [(64, 64, 3, 3), (5,), (10, 7), (2, 1, 3)])
def test_a_layer_of_one_block_has_the_values_of_torch(distribution, by_torch, shape):
    ours = drawn(shape, None, seed=3, distribution=distribution)
    assert torch.equal(ours, by_torch(torch.empty(shape), layer_generator(3, "layer")))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_layer_of_one_block_has_the_values_of_the_function_for_a_tensor(dtype):
    shape = (64, 64, 3, 3)
    by_hand = correlated_normal_(
        torch.empty(shape, dtype=dtype), R3, 0.1, generator=layer_generator(0, "layer")
    )
    assert torch.equal(drawn(shape, dtype=dtype), by_hand)


def test_the_first_block_is_that_of_the_layer_and_no_block_repeats_another():
    weight = drawn(correlation=None)
    first, *others = blocks(LARGE)
    shape = (first.rows.stop, first.columns.stop, 3, 3)
    expected = torch.empty(shape).normal_(0, 0.1, generator=layer_generator(0, "layer"))
    assert torch.equal(weight[first.rows, first.columns], expected)
    starts = {weight[block.rows.start, block.columns.start, 0, 0].item() for block in (first, *others)}
    assert len(starts) == len(others) + 1 == 6


@pytest.mark.parametrize("distribution", ["normal", "uniform", "truncated_normal"])
def test_threads_and_other_layers_change_nothing(distribution):
    correlation = R3 if distribution == "normal" else None
    expected = drawn(correlation=correlation, distribution=distribution)
    for threads in (2, 5):
        weights = {name: torch.zeros(LARGE) for name in ("before", "layer", "after")}
        tasks = [
            (weight, Draw(name, LARGE, 0.1, correlation, distribution)) for name, weight in weights.items()
        ]
        draw_all(tasks, 0, threads)
        assert torch.equal(weights["layer"], expected)
        assert not torch.equal(weights["before"], expected)


def test_another_seed_draws_other_weights():
    assert not torch.equal(drawn(seed=1), drawn())


def test_type_and_memory_format_change_nothing():
    expected = drawn()
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(drawn(dtype=dtype), expected.to(dtype))
    last = torch.zeros(LARGE).to(memory_format=torch.channels_last)
    draw_all([(last, Draw("layer", LARGE, 0.1, R3))], 0)
    assert torch.equal(last, expected)
    strided = torch.zeros(2 * LARGE[0], *LARGE[1:])
    draw_all([(strided[::2], Draw("layer", LARGE, 0.1, R3))], 0)
    assert torch.equal(strided[::2], expected)
    assert not strided[1::2].any()


def test_float64_is_drawn_in_float64():
    weight = drawn(dtype=torch.float64)
    assert not torch.equal(weight, weight.float().double())


def test_the_global_random_state_is_untouched():
    before = torch.get_rng_state()
    drawn(threads=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.statistical
def test_the_weights_of_many_blocks_have_the_correlation_and_deviation_asked_for():
    """36 correlations and one variance of 15,360 filters beyond 4.5 standard errors: p = 0.0003 in all."""
    filters = drawn().reshape(-1, 9).double().numpy()
    correlation = np.corrcoef(filters, rowvar=False)
    error = (1 - R3.matrix**2) / math.sqrt(len(filters))
    assert (np.abs(correlation - R3.matrix) <= 4.5 * error + 1e-9).all()
    tap = float(np.square(filters[:, 4] / 0.1).sum())
    assert 7e-6 < stats.chi2.cdf(tap, len(filters)) < 1 - 7e-6


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("distribution", "cumulative"), [("uniform", stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)).cdf)]
)
def test_independent_weights_have_the_distribution_asked_for(distribution, cumulative):
    """Kolmogorov and Smirnov's test; false alarms: 1 in 10,000."""
    weight = drawn(correlation=None, distribution=distribution).ravel().double().numpy()
    assert stats.kstest(weight / 0.1, cumulative).pvalue > 1e-4


@pytest.mark.statistical
def test_truncated_weights_are_normal_within_the_bounds():
    """As above; of N(0, 2²) 32 % lies beyond ± 2."""
    weight = torch.empty(LARGE)
    draw_all([(weight, Draw("layer", LARGE, 2.0, distribution="truncated_normal"))], 0)
    assert weight.abs().max() <= 2
    assert stats.kstest(weight.ravel().double().numpy(), stats.truncnorm(-1, 1, scale=2).cdf).pvalue > 1e-4


# Modes and settings of the caller


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_made_in_inference_mode_and_out_of_it_are_drawn_in_and_out_of_it(dtype):
    draw, expected = Draw("layer", LARGE, 0.1, R3), drawn(dtype=dtype)
    outside = torch.zeros(LARGE, dtype=dtype)
    with torch.inference_mode():
        inside = torch.zeros(LARGE, dtype=dtype)
        draw_all([(inside, draw), (outside, draw)], 0, 2)
        assert torch.equal(inside, expected)
        assert torch.equal(outside, expected)
        inside.zero_()
    draw_all([(inside, draw)], 0, 2)
    assert torch.equal(inside, expected)


def test_a_parameter_stays_one_that_learns_and_is_seen_as_changed():
    weight = nn.Parameter(torch.zeros(LARGE))
    version = weight._version
    draw_all([(weight, Draw("layer", LARGE, 0.1, R3))], 0)
    assert weight.requires_grad
    assert weight.grad_fn is None
    assert weight._version > version
    weight.square().sum().backward()


def test_fake_and_meta_weights_are_passed_over_and_real_ones_drawn():
    from torch._subclasses.fake_tensor import FakeTensorMode

    real, meta = torch.zeros(LARGE), torch.empty(LARGE, device="meta")
    with FakeTensorMode():
        fake = torch.empty(LARGE)
        draw_all([(weight, Draw("layer", LARGE, 0.1, R3)) for weight in (fake, meta, real)], 0, 2)
        correlated_normal_(fake, R3)
    assert torch.equal(real, drawn())


def test_a_default_device_and_type_change_nothing():
    expected = drawn()
    weight = torch.zeros(LARGE)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            draw_all([(weight, Draw("layer", LARGE, 0.1, R3))], 0, 2)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(weight, expected)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_a_lower_precision_of_products_changes_no_weight(precision):
    """On processors with bfloat16 units, torch rounds the factors of products to it under "medium"."""
    expected = drawn()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        assert torch.equal(drawn(), expected)
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_number_of_threads_in_torch_changes_no_weight():
    expected, before = drawn(), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        weight = torch.zeros(LARGE)
        draw_all([(weight, Draw("layer", LARGE, 0.1, R3))], 0)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(weight, expected)


# Refusals


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.zeros(1, 4, 3, 3).expand(8, 4, 3, 3), "layer b: its weight is expanded"),
        (torch.zeros(8, 4, 3, 3).to_sparse(), "layer b: its weight has the layout torch.sparse_coo"),
        (torch.zeros(8, 4, 3, 3, dtype=torch.int8), "layer b: its weight is of the type torch.int8"),
        (torch.zeros(8, 4, 3), r"layer b: its draw has shape \(8, 4, 3, 3\), its weight \(8, 4, 3\)"),
    ],
)
def test_a_weight_that_cannot_be_drawn_is_refused_before_any_is(weight, message):
    shape = (8, 4, 3, 3)
    first = torch.zeros(shape)
    with pytest.raises(CorrInitError, match=message):
        draw_all([(first, Draw("a", shape, 1.0)), (weight, Draw("b", shape, 1.0))], 0)
    assert not first.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"std": -1.0}, "layer a: std is -1.0"),
        ({"std": math.nan}, "layer a: std is nan"),
        ({"distribution": "cauchy"}, "layer a: distribution is 'cauchy'; it is one of 'normal', 'uniform'"),
        ({"distribution": "uniform", "correlation": R3}, "layer a: uniform weights cannot be correlated"),
        ({"correlation": SpatialCorrelation.identity((2, 2))}, "layer a: the correlation is 4×4"),
    ],
)
def test_an_impossible_draw_is_refused(options, message):
    with pytest.raises(CorrInitError, match=message):
        Draw(**{"name": "a", "shape": (8, 4, 3, 3), "std": 1.0, **options})


def test_a_failure_in_a_thread_is_raised_and_ends_the_others(monkeypatch):
    from corrinit import _drawing as drawing

    def fail(*_):
        raise MemoryError("no more")

    monkeypatch.setattr(drawing, "_draw_flat", fail)
    with pytest.raises(MemoryError, match="no more"):
        drawn(threads=3)
    assert threading.active_count() == 1 or not any("ThreadPool" in t.name for t in threading.enumerate())


def test_a_seed_that_is_none_is_refused():
    with pytest.raises(CorrInitError, match="seed is 'a'"):
        drawn(seed="a")


def test_the_default_correlation_of_a_large_kernel_is_drawn_without_its_matrix():
    correlation = default_correlation((31, 31))
    weight = drawn((4, 1, 31, 31), correlation)
    assert weight.std().item() == pytest.approx(0.1, rel=0.3)
    assert not {"matrix", "root", "factor"} & set(vars(correlation))


# Values for ever


def pinned_draws() -> dict[str, torch.Tensor]:
    centre = R3.with_deviations(kernels.centre_weighted((3, 3), width=0.8))
    lines = [kernels.exponential((19,), 2.0), kernels.exponential((17,), 2.0)]
    cases = [
        Draw("one block", (16, 8, 3, 3), 0.1, R3),
        Draw("blocks", LARGE, 0.1, R3),
        Draw("deviations", LARGE, 0.1, centre),
        Draw("independent", (300, 700), 0.05),
        Draw("narrow", (3, 70_000), 0.05),
        Draw("one axis", (70_000,), 0.05),
        Draw("three axes", (40, 40, 5, 5, 5), 0.05, default_correlation((5, 5, 5))),
        Draw("depthwise", (300, 1, 19, 17), 0.1, SpatialCorrelation.separable(lines)),
        Draw("uniform", (300, 300), 0.1, distribution="uniform"),
        Draw("truncated", (300, 300), 2.0, distribution="truncated_normal"),
    ]
    weights = {draw.name: torch.empty(draw.shape) for draw in cases}
    weights["double"] = torch.empty(LARGE, dtype=torch.float64)
    cases.append(Draw("double", LARGE, 0.1, R3))
    draw_all([(weights[draw.name], draw) for draw in cases], seed=2026)
    return weights


def test_what_a_seed_draws_never_changes():
    check_pinned("draws", pinned_draws())


def test_a_changed_weight_does_not_pass_for_a_pinned_one():
    weight = drawn()
    pinned = {"layer": summary(weight)}
    nearly = weight + 1e-8 * weight.std()
    assert differences(pinned, {"layer": summary(nearly)}) == []
    weight.view(-1)[12_345] *= -1
    assert "layer: weights differ by 0, checksums by" in differences(pinned, {"layer": summary(weight)})[0]
    assert differences(pinned, {"layer": summary(drawn(seed=1))})
    assert differences(pinned, {}) == ["layer: only pinned"]
