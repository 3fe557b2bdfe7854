"""Whole models: resetting what is not drawn, the meta device, and memory that nobody has filled."""

import copy
import warnings

import pytest
import torch
from torch import nn

import corrinit
from corrinit import CorrInitWarning
from corrinit.errors import PlanError


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.PReLU(),
        nn.Conv2d(8, 8, 3, bias=False),
        nn.GroupNorm(2, 8),
        nn.Flatten(),
        nn.Linear(32, 6),
        nn.Embedding(5, 4),
        nn.MultiheadAttention(4, 2),
        nn.LSTM(4, 4),
    )


def on_meta(make=network):
    with torch.device("meta"):
        return make()


def filled_with_garbage(model, value=float("nan")):
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.fill_(value if tensor.is_floating_point() else 7)
    return model


@pytest.mark.parametrize("value", [float("nan"), 1e30, 0.0])
def test_after_to_empty_a_reset_leaves_no_memory_unset(value):
    model, plain = filled_with_garbage(on_meta(), value), network()
    corrinit.initialize(model, seed=1, others="reset")
    corrinit.initialize(plain, seed=1, others="reset")
    assert model[1].running_var.eq(1).all()
    assert model[1].weight.eq(1).all()
    assert model[1].num_batches_tracked == 0
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_the_remedy_that_the_error_names_is_complete():
    with pytest.raises(PlanError, match="meta device") as error:
        corrinit.initialize(on_meta())
    assert 'corrinit.initialize(model.to_empty(device=...), others="reset")' in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, -3e9])
def test_garbage_that_is_kept_is_warned_of(value):
    model = filled_with_garbage(on_meta(), value)
    with pytest.warns(CorrInitWarning, match=r'1.weight, 2.weight.*others="reset"'):
        corrinit.initialize(model)


def test_zeros_of_fresh_memory_are_warned_of():
    model = filled_with_garbage(on_meta(), 0.0)
    with pytest.warns(CorrInitWarning) as said:
        corrinit.initialize(model)
    messages = [str(each.message) for each in said]
    assert any("1.running_var" in message and 'others="reset"' in message for message in messages)
    assert any("4 of 4 weights are constant" in message for message in messages)


def test_a_sound_model_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corrinit.initialize(network())


def test_a_fresh_fold_starts_as_the_first_one_did():
    first = network()
    corrinit.initialize(first, seed=1, others="reset")
    trained = copy.deepcopy(first)
    with torch.no_grad():
        for tensor in [*trained.parameters(), *trained.buffers()]:
            tensor.add_(1)
    before = torch.get_rng_state()
    plan = corrinit.initialize(trained, seed=1, others="reset")
    assert torch.equal(before, torch.get_rng_state())
    assert {layer.rule for layer in plan.layers} == {"correlated_normal", "normal", "reset"}
    assert all(torch.equal(value, first.state_dict()[name]) for name, value in trained.state_dict().items())
    corrinit.initialize(trained, seed=2, others="reset")
    assert not torch.equal(trained[7].weight, first[7].weight)


def test_excluded_frozen_and_loaded_layers_are_not_reset():
    model = nn.Sequential(*(nn.Embedding(3, 2) for _ in range(3)), nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))
    model[1].weight.requires_grad_(False)
    model[4].running_mean.fill_(3)
    before = copy.deepcopy(model.state_dict())
    corrinit.initialize(model, others="reset", exclude=["0", "4"])
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"2.weight", "3.weight", "3.bias"}


class Scaled(nn.Conv2d):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.gain = nn.Parameter(torch.ones(1))


class Encoding(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.arange(4.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Encoding, "layer 1: Encoding has no reset_parameters.* that gives table a value"),
        (lambda: Scaled(3, 3, 3), "layer 1: Scaled has no reset_parameters.* that gives gain a value"),
    ],
)
def test_what_cannot_be_reset_is_named_before_anything_is_done(make, message):
    model = nn.Sequential(nn.Conv2d(3, 3, 3), make())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PlanError, match=message + ".*exclude it"):
        corrinit.initialize(model, others="reset")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    corrinit.initialize(model, others="reset", exclude="1")
    meta = on_meta(lambda: nn.Sequential(nn.Conv2d(3, 3, 3), make()))
    plan = corrinit.plan(meta)
    with pytest.raises(PlanError, match=message):
        plan.param_init_fn(meta, device="cpu")
    assert all(parameter.is_meta for parameter in meta.parameters())


class ResetsItsChildren(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((3,), 5.0))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.conv = nn.Conv2d(3, 3, 3)

    def reset_parameters(self):
        nn.init.ones_(self.scale)
        self.frozen.reset_parameters()


def test_a_reset_reaches_no_other_module():
    model = ResetsItsChildren()
    before = model.frozen.weight.clone()
    corrinit.initialize(model, others="reset")
    assert model.scale.eq(1).all()
    assert torch.equal(model.frozen.weight, before)


@pytest.mark.parametrize(
    "wrap", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm]
)
def test_parametrized_layers_are_reset_whole(wrap):
    def make():
        return nn.Sequential(wrap(nn.Conv2d(3, 8, 3)))

    def materialized(value):
        model = make()
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                tensor.fill_(value)
        return model

    one, other = materialized(float("nan")), materialized(0.0)
    for model in (one, other):
        corrinit.initialize(model, seed=0, others="reset")
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
    meta = on_meta(make)
    initialize_module = corrinit.plan(meta).param_init_fn(meta, seed=0, device="cpu")
    for module in meta.modules():
        initialize_module(module)
    assert all(map(torch.equal, one.state_dict().values(), meta.state_dict().values()))


@pytest.mark.filterwarnings("ignore::corrinit.CorrInitWarning")
def test_what_is_parametrized_and_not_drawn_cannot_be_reset():
    model = nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)), nn.Linear(4, 4))
    with pytest.raises(PlanError, match=r"layer 0: .*parametriz.*exclude it"):
        corrinit.initialize(model, others="reset")


def test_a_meta_model_is_planned_and_initialized_module_by_module():
    model, plain = on_meta(), network()
    plan = corrinit.plan(model)
    assert "on the meta device" in str(plan)
    assert plan.layers == corrinit.plan(plain).layers
    initialize_module = plan.param_init_fn(model, seed=4, device="cpu")
    for module in reversed(list(model.modules())):
        initialize_module(module)
    corrinit.initialize(plain, seed=4, others="reset")
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_tied_parameters_stay_tied():
    def make():
        model = nn.ModuleDict(
            {"embed": nn.Embedding(5, 4), "conv": nn.Conv2d(3, 3, 3), "head": nn.Linear(4, 5)}
        )
        model["head"].weight = model["embed"].weight
        return model

    model, plain = on_meta(make), make()
    initialize_module = corrinit.plan(model).param_init_fn(model, seed=0, device="cpu")
    for module in model.modules():
        initialize_module(module)
    corrinit.initialize(plain, seed=0, others="reset")
    assert model["head"].weight is model["embed"].weight
    assert torch.equal(model["embed"].weight, plain["embed"].weight)
    assert torch.equal(model["head"].bias, plain["head"].bias)


def test_frozen_and_excluded_layers_of_a_meta_model_are_reset_as_they_have_no_values():
    model = on_meta()
    model[3].weight.requires_grad_(False)
    initialize_module = corrinit.plan(model, exclude="0").param_init_fn(model, seed=0, device="cpu")
    for module in model.modules():
        initialize_module(module)
    assert all(
        torch.isfinite(tensor).all() and tensor.abs().max() < 10 for tensor in model.state_dict().values()
    )
    assert not model[3].weight.requires_grad


def test_a_fully_sharded_meta_model_holds_the_plain_weights(single_process_mesh):
    from torch.distributed.fsdp import fully_shard

    def make():
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Embedding(4, 4), nn.Linear(8, 4))

    model, plain = on_meta(make), make()
    plan = corrinit.plan(model)
    fully_shard(model[0], mesh=single_process_mesh)
    fully_shard(model, mesh=single_process_mesh)
    initialize_module = plan.param_init_fn(model, seed=1, device="cpu")
    for module in model.modules():
        initialize_module(module)
    corrinit.initialize(plain, seed=1, others="reset")
    for name, tensor in plain.state_dict().items():
        other = model.state_dict()[name]
        assert torch.equal(tensor, other.full_tensor() if hasattr(other, "full_tensor") else other), name


def test_a_model_of_seven_billion_parameters_is_planned_from_its_shapes():
    def block(width=4096, inner=11008):
        attention = [nn.Linear(width, width, bias=False) for _ in range(4)]
        return nn.Sequential(
            *attention, *(nn.Linear(width, inner, bias=False) for _ in range(3)), nn.LayerNorm(width)
        )

    model = on_meta(lambda: nn.Sequential(nn.Embedding(32000, 4096), *(block() for _ in range(32))))
    assert sum(parameter.numel() for parameter in model.parameters()) > 6e9
    plan = corrinit.plan(model, include=nn.Sequential, exclude=nn.Embedding)
    assert sum(layer.is_drawn for layer in plan.layers) == 32 * 7


def test_a_data_parallel_model_takes_the_seed_of_the_first_rank(single_process_mesh, monkeypatch):
    sent = []
    monkeypatch.setattr(
        torch.distributed,
        "broadcast_object_list",
        lambda values, src: sent.append(src) or values.__setitem__(0, 5),
    )
    replicated = nn.parallel.DistributedDataParallel(nn.Conv2d(3, 8, 3))
    assert corrinit.initialize(replicated).seed == 5
    assert corrinit.initialize(nn.Conv2d(3, 8, 3)).seed != 5
    assert corrinit.initialize(replicated, seed=1).seed == 1
    assert sent == [0]
