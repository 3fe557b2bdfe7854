"""The monitor against an element-by-element oracle, in the loops that people write."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles import gradients as oracle
from torch import nn

from corrinit import _monitor as monitor_module
from corrinit._correlation import default_correlation
from corrinit._init import correlated_normal_
from corrinit._monitor import GradientMonitor, weight_correlation
from corrinit.errors import CorrInitError, CorrInitWarning, WeightsError

SHAPES = ((20, 8, 3, 3), (5,), (2, 3), (1,))


def parameters():
    return [nn.Parameter(torch.zeros(shape)) for shape in SHAPES]


def watched(parameters, **options):
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    return GradientMonitor([(str(i), p) for i, p in enumerate(parameters)], optimizer, **options), optimizer


def random_gradients(updates, seed=0):
    """Gradients of which about a third of the elements are 0."""
    generator = torch.Generator().manual_seed(seed)
    return [
        [
            torch.randint(-1, 2, shape, generator=generator) * torch.rand(shape, generator=generator)
            for shape in SHAPES
        ]
        for _ in range(updates)
    ]


def step(optimizer, parameters, gradients):
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()


def flat(gradients):
    return [gradient.reshape(-1).tolist() for gradient in gradients]


@pytest.mark.parametrize("bucket", [1 << 24, 20, 1])
def test_totals_and_layers_are_those_of_the_definition(monkeypatch, bucket):
    monkeypatch.setattr(monitor_module, "_BUCKET", bucket)
    ps = parameters()
    monitor, optimizer = watched(ps)
    updates = random_gradients(6)
    for update in updates:
        step(optimizer, ps, update)
    seen = monitor.read()
    for t, now in enumerate(updates):
        assert seen.total_mean_abs[t] == pytest.approx(oracle.mean_abs(flat(now)), rel=1e-6)
        assert seen.total_l2[t] == pytest.approx(oracle.l2(flat(now)), rel=1e-6)
        for layer, gradient in enumerate(now):
            assert seen.mean_abs[t, layer] == pytest.approx(oracle.mean_abs(flat([gradient])), rel=1e-6)
            assert seen.l2[t, layer] == pytest.approx(oracle.l2(flat([gradient])), rel=1e-6)
        if t > 0:
            before = updates[t - 1]
            assert seen.total_sign_changes[t] == pytest.approx(oracle.sign_changes(flat(before), flat(now)))
            for layer, (old, new) in enumerate(zip(before, now, strict=True)):
                expected = oracle.sign_changes(flat([old]), flat([new]))
                assert seen.sign_changes[t, layer] == pytest.approx(expected)
    assert seen.names == ("0", "1", "2", "3")
    assert seen.sizes.tolist() == [1440, 5, 6, 1]


@given(
    st.lists(
        st.lists(st.sampled_from([-2.0, -0.0, 0.0, 1e-30, 3.0]), min_size=3, max_size=3),
        min_size=2,
        max_size=5,
    )
)
def test_sign_changes_count_zero_as_half_way(updates):
    parameter = nn.Parameter(torch.zeros(3))
    monitor, optimizer = watched([parameter])
    for update in updates:
        step(optimizer, [parameter], [torch.tensor(update)])
    seen = monitor.read().total_sign_changes
    assert np.isnan(seen[0])
    expected = [oracle.sign_changes([old], [new]) for old, new in pairwise(updates)]
    assert seen[1:] == pytest.approx(expected)


def test_reading_forgets_what_was_seen_but_not_the_last_signs():
    ps = parameters()
    monitor, optimizer = watched(ps)
    updates = random_gradients(4)
    for update in updates:
        step(optimizer, ps, update)
    together = monitor.read()
    assert len(monitor.read().l2) == 0
    ps = parameters()
    monitor, optimizer = watched(ps)
    apart = []
    for update in updates:
        step(optimizer, ps, update)
        apart.append(monitor.read().sign_changes)
    np.testing.assert_array_equal(np.concatenate(apart), together.sign_changes)


def test_a_parameter_without_gradient_is_left_out_of_every_mean():
    ps = parameters()
    monitor, optimizer = watched(ps)
    updates = random_gradients(5)
    updates[1][0] = updates[2][1] = updates[2][2] = None
    for update in updates:
        step(optimizer, ps, update)
    seen = monitor.read()
    assert np.isnan(seen.mean_abs[1, 0])
    assert np.isnan(seen.l2[1, 0])
    assert np.isnan(seen.sign_changes[[1, 2], 0]).all()
    assert np.isfinite(seen.sign_changes[3, 0])
    assert seen.total_mean_abs[1] == pytest.approx(oracle.mean_abs(flat(updates[1][1:])))
    assert seen.total_l2[2] == pytest.approx(oracle.l2(flat([updates[2][0], updates[2][3]])))
    both = [(flat([updates[0][i]])[0], flat([updates[1][i]])[0]) for i in (1, 2, 3)]
    assert seen.total_sign_changes[1] == pytest.approx(oracle.sign_changes(*zip(*both, strict=True)))


def test_an_update_without_any_gradient_has_no_statistics():
    ps = parameters()
    monitor, optimizer = watched(ps)
    optimizer.step()
    seen = monitor.read()
    assert np.isnan(seen.total_sign_changes).all()
    assert np.isnan(seen.total_mean_abs).all()


def test_a_monitor_goes_on_from_the_signs_of_another():
    updates = random_gradients(4)
    ps = parameters()
    monitor, optimizer = watched(ps)
    for update in updates:
        step(optimizer, ps, update)
    undisturbed = monitor.read()
    ps = parameters()
    first, optimizer = watched(ps)
    for update in updates[:2]:
        step(optimizer, ps, update)
    state = {
        key: [v.clone() if isinstance(v, torch.Tensor) else v for v in values]
        for key, values in first.state_dict().items()
    }
    first.remove()
    second, optimizer = watched(ps)
    second.load_state_dict(state)
    for update in updates[2:]:
        step(optimizer, ps, update)
    np.testing.assert_array_equal(second.read().sign_changes, undisturbed.sign_changes[2:])


def test_the_state_is_one_byte_per_parameter():
    parameter = nn.Parameter(torch.zeros(1 << 20))
    monitor, _ = watched([parameter])
    (signs,) = monitor.state_dict()["signs"]
    assert signs.numel() * signs.element_size() == parameter.numel()


def test_watching_changes_neither_weights_nor_gradients_and_ends():
    def train(monitored):
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
        for i, p in enumerate(model.parameters()):
            nn.init.normal_(p, generator=torch.Generator().manual_seed(i))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        monitor = GradientMonitor(model, optimizer)
        if not monitored:
            monitor.remove()
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()
        return model, len(monitor.read().l2)

    (model, seen), (bare, unseen) = train(True), train(False)
    assert (seen, unseen) == (3, 0)
    for one, other in zip(model.parameters(), bare.parameters(), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one.grad, other.grad)


def test_only_what_the_optimizer_updates_is_watched():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model[1].parameters())
    assert GradientMonitor(model, optimizer).read().names == ("1.weight", "1.bias")
    with pytest.raises(CorrInitError, match="updates none of the parameters"):
        GradientMonitor(nn.Linear(2, 2), optimizer)


def test_a_lazy_parameter_is_refused():
    model = nn.LazyLinear(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(CorrInitError, match="weight is lazy: run one forward pass"):
        GradientMonitor(model, optimizer)


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_are_seen_unscaled_under_a_scaler(fused):
    def magnitudes(scaled):
        model = nn.Linear(3, 1)
        nn.init.ones_(model.weight)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
        with GradientMonitor(model, optimizer) as monitor:
            for _ in range(2):
                optimizer.zero_grad()
                scaler.scale(model(torch.ones(2, 3)).sum()).backward()
                scaler.step(optimizer)
                scaler.update()
        return monitor.read()

    scaled, plain = magnitudes(True), magnitudes(False)
    np.testing.assert_allclose(scaled.total_l2, plain.total_l2, rtol=1e-6)
    np.testing.assert_allclose(scaled.mean_abs, plain.mean_abs, rtol=1e-6)


def test_memory_format_and_half_precision_do_not_matter():
    kernel = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)).half()
    seen = []
    for dtype, layout in ((torch.float32, torch.contiguous_format), (torch.float16, torch.channels_last)):
        parameter = nn.Parameter(torch.zeros(4, 3, 3, 3, dtype=dtype))
        monitor, optimizer = watched([parameter])
        for gradient in (kernel, -kernel.roll(1, 0), kernel.contiguous()):
            step(optimizer, [parameter], [gradient.to(dtype).contiguous(memory_format=layout)])
        seen.append(monitor.read())
    np.testing.assert_array_equal(seen[0].sign_changes, seen[1].sign_changes)
    np.testing.assert_allclose(seen[0].l2, seen[1].l2, rtol=1e-6)


def test_gradients_that_overflow_half_precision_sums_are_measured():
    parameter = nn.Parameter(torch.zeros(100_000, dtype=torch.float16))
    monitor, optimizer = watched([parameter])
    step(optimizer, [parameter], [torch.full_like(parameter, 8.0)])
    assert monitor.read().total_mean_abs == pytest.approx([8.0])


@pytest.mark.statistical
def test_the_weight_correlation_is_that_the_filters_were_drawn_with():
    """3 standard errors of the mean of 36 correlations of 16,384 filters: far below 0.3 % false alarms."""
    model = nn.Sequential(nn.Conv2d(128, 128, 3), nn.Conv2d(128, 8, 1))
    correlation = default_correlation((3, 3))
    correlated_normal_(model[0].weight, correlation, generator=torch.Generator().manual_seed(0))
    assert weight_correlation(model) == pytest.approx(correlation.mean, abs=3 / 16384**0.5)


def test_a_model_without_spatial_kernels_has_no_weight_correlation():
    with pytest.raises(WeightsError, match="no convolution"):
        weight_correlation(nn.Sequential(nn.Linear(3, 2), nn.Conv2d(3, 2, 1)))


# Steps as frameworks make them


@pytest.mark.parametrize("by_name", [False, True])
def test_gradients_that_a_closure_computes_are_those_the_step_used(by_name):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    used = []
    with GradientMonitor(model, optimizer) as monitor:
        for update in range(3):

            def closure(size=update + 1.0):
                optimizer.zero_grad()
                loss = model(torch.full((8, 4), size)).square().mean()
                loss.backward()
                used.append(torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item())
                return loss

            loss = optimizer.step(closure=closure) if by_name else optimizer.step(closure)
            assert loss is not None
    np.testing.assert_allclose(monitor.read().total_l2, used, rtol=1e-5)


def test_of_several_evaluations_in_a_step_the_first_is_seen():
    model = nn.Linear(4, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    norms = []

    def closure():
        optimizer.zero_grad()
        loss = (model(torch.eye(4)) - 1).square().mean()
        loss.backward()
        norms.append(torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item())
        return loss

    with GradientMonitor(model, optimizer) as monitor:
        optimizer.step(closure)
    assert len(norms) > 1
    np.testing.assert_allclose(monitor.read().total_l2, norms[:1], rtol=1e-5)


def test_sparse_gradients_count_as_dense():
    embedding = nn.Embedding(10, 4, sparse=True)
    optimizer = torch.optim.SparseAdam(embedding.parameters())
    monitor = GradientMonitor(embedding, optimizer)
    embedding(torch.tensor([1, 2, 2])).square().sum().backward()
    norm = embedding.weight.grad.to_dense().norm().item()
    optimizer.step()
    assert monitor.read().total_l2 == pytest.approx([norm])


class Wrapper(torch.optim.Optimizer):
    """An optimizer by name, as those that accelerate hands back: its constructor is never called."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    @property
    def param_groups(self):
        return self.optimizer.param_groups

    def step(self, closure=None):
        return self.optimizer.step(closure)


def test_a_wrapped_optimizer_is_watched_and_what_is_none_is_refused():
    model = nn.Linear(4, 1)
    wrapped = Wrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    with GradientMonitor(model, wrapped) as monitor:
        model(torch.ones(2, 4)).sum().backward()
        wrapped.step()
    assert monitor.read().total_l2 == pytest.approx([20**0.5])
    with pytest.raises(CorrInitError, match="Linear takes no hooks on its steps"):
        GradientMonitor(model, model)


def test_parameters_that_join_the_optimizer_are_watched_from_then_on():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1)
    monitor = GradientMonitor(model, optimizer)
    for update in range(3):
        if update == 1:
            optimizer.add_param_group({"params": list(model[0].parameters())})
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    seen = monitor.read()
    assert seen.names == ("1.weight", "1.bias", "0.weight", "0.bias")
    assert np.isnan(seen.mean_abs[0, 2:]).all()
    np.testing.assert_array_equal(seen.mean_abs[1:], 1.0)
    assert np.isnan(seen.sign_changes[1, 2:]).all()
    np.testing.assert_array_equal(seen.sign_changes[2], 0.0)
    np.testing.assert_allclose(seen.total_l2, [5**0.5, 21**0.5, 21**0.5])


def test_complex_parameters_are_left_out_with_a_word():
    model = nn.ParameterDict({"real": nn.Parameter(torch.ones(3)), "complex": torch.ones(2) * 1j})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(CorrInitWarning, match="complex or sharded parameters are not watched: complex"):
        monitor = GradientMonitor(model, optimizer)
    assert monitor.read().names == ("real",)


def test_an_observer_that_fails_warns_once_and_training_goes_on(monkeypatch):
    ps = parameters()
    monitor, optimizer = watched(ps)

    def fail(*_):
        raise RuntimeError("no such\nkernel")

    monkeypatch.setattr(monitor_module._Bucket, "observe", fail)
    first, *later = random_gradients(3)
    with pytest.warns(CorrInitWarning, match="no longer watched: RuntimeError: no such kernel"):
        step(optimizer, ps, first)
    for update in later:
        step(optimizer, ps, update)
    assert len(monitor.read().l2) == 0
