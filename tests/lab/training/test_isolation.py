"""Runs share nothing: random states, switches and models, in loops of one's own and in the lab's."""

import copy
import random
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import corrinit
from corrinit.cli.check import checked
from corrinit.errors import ConfigError
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.training.isolation import Lineage, isolated, seeded
from corrinit.lab.training.run import run
from corrinit.lab.training.sweep import sweep

METHODS = ["kaiming_normal", "correlated"]


def build():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3))


def sgd_step(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.ones(2, 1, 8, 8)).sum().backward()
    optimizer.step()
    return 0.5


def draws():
    return float(torch.rand(())), float(np.random.rand()), random.random()


def states():
    name, keys, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), (name, keys.tolist(), *rest), random.getstate()


class Noise(Dataset):
    """Augmentation that draws from every source."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.tensor(draws(), dtype=torch.float64)


# Random states


def test_every_source_of_randomness_is_set_by_the_seed_and_given_back():
    seen = {}

    def train(model, seed):
        seen.setdefault(seed, []).append(draws())
        return 0.5 + 0.1 * seed

    before = states()
    for _ in range(2):
        corrinit.compare(train, METHODS, 2, model=build)
    assert states() == before
    assert [len(drawn) for drawn in seen.values()] == [4, 4]
    assert [len(set(drawn)) for drawn in seen.values()] == [1, 1]
    assert all(one != other for one, other in zip(seen[0][0], seen[1][0], strict=True))


def test_a_model_built_with_numpy_is_the_same_for_all_methods():
    def noisy():
        model = build()
        model.register_buffer("shift", torch.tensor(np.random.rand() + random.random()))
        return model

    seen = []
    corrinit.compare(lambda model, seed: seen.append(float(model.shift)) or 0.5, METHODS, 2, model=noisy)
    assert seen[0] == seen[1] != seen[2] == seen[3]


def test_what_building_a_model_draws_does_not_move_the_training():
    drawn, seen = [], []

    def caching():
        if not drawn:
            drawn.append(draws())
        return build()

    corrinit.compare(lambda model, seed: seen.append(draws()) or 0.5, METHODS, 1, model=caching)
    assert seen[0] == seen[1]


def test_workers_of_a_loader_follow_the_seed():
    seen = []

    def train(model, seed):
        seen.append(torch.cat(list(DataLoader(Noise(), num_workers=1, shuffle=True))).flatten().tolist())
        return 0.5

    corrinit.compare(train, METHODS, 2, model=build)
    assert seen[0] == seen[1] != seen[2] == seen[3]
    assert len(set(seen[0])) == len(seen[0])


def test_the_states_are_given_back_when_a_loop_fails():
    def train(model, seed):
        draws()
        torch.set_default_dtype(torch.float64)
        raise RuntimeError("out of memory")

    before = states()
    with pytest.raises(RuntimeError, match="out of memory"):
        corrinit.compare(train, METHODS, 1, model=build)
    assert states() == before
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize("seed", [0, 2**32, 2**40 + 7])
def test_any_seed_of_torch_will_do(seed):
    with seeded(seed):
        one = draws()
    with seeded(seed):
        assert draws() == one


# Switches

SWITCHES = {
    "dtype": (torch.get_default_dtype, lambda: torch.set_default_dtype(torch.float64)),
    "device": (torch.get_default_device, lambda: torch.set_default_device("meta")),
    "gradients": (torch.is_grad_enabled, lambda: torch.set_grad_enabled(False)),
    "determinism": (
        torch.is_deterministic_algorithms_warn_only_enabled,
        lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    ),
    "precision": (torch.get_float32_matmul_precision, lambda: torch.set_float32_matmul_precision("medium")),
    "threads": (torch.get_num_threads, lambda: torch.set_num_threads(torch.get_num_threads() + 1)),
    "cudnn.benchmark": (
        lambda: torch.backends.cudnn.benchmark,
        lambda: setattr(torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark),
    ),
    "cudnn.deterministic": (
        lambda: torch.backends.cudnn.deterministic,
        lambda: setattr(torch.backends.cudnn, "deterministic", not torch.backends.cudnn.deterministic),
    ),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_that_a_run_turns_is_given_back(name):
    read, turn = SWITCHES[name]
    before = read()
    with isolated(0):
        turn()
        assert read() != before
    assert read() == before


def test_a_switch_that_a_factory_turns_lasts_until_the_end_of_its_run_alone():
    def double():
        assert torch.get_default_dtype() is torch.float32
        torch.set_default_dtype(torch.float64)
        return build()

    def train(model, seed):
        assert torch.zeros(()).dtype is torch.float64 is model[0].weight.dtype
        return 0.5

    corrinit.compare(train, METHODS, 2, model=double)
    assert torch.get_default_dtype() is torch.float32


# Models


def test_a_model_that_is_returned_twice_is_refused():
    model = build()
    with pytest.raises(ConfigError, match=r"shares 0\.weight with that of an earlier run.*copy\.deepcopy"):
        corrinit.compare(lambda model, seed: sgd_step(model), METHODS, 1, model=lambda: model)
    corrinit.compare(lambda m, seed: sgd_step(m), METHODS, 1, model=lambda: copy.deepcopy(model))


def test_a_part_that_models_share_is_refused():
    head = nn.Linear(144, 3)

    def shared():
        model = build()
        model[3] = head
        return model

    with pytest.raises(ConfigError, match=r"shares 3\.weight with that of an earlier run"):
        corrinit.compare(lambda model, seed: sgd_step(model), METHODS, 1, model=shared)


def test_parameters_over_one_tensor_are_refused():
    pretrained = torch.ones(3)

    def shared():
        model = build()
        model[3].bias = nn.Parameter(pretrained)
        return model

    with pytest.raises(ConfigError, match=r"shares 3\.bias with that of an earlier run"):
        corrinit.compare(lambda model, seed: sgd_step(model), METHODS, 1, model=shared)


def test_shared_running_statistics_are_refused():
    normalization = nn.BatchNorm2d(4, affine=False)

    def shared():
        model = build()
        model[1] = normalization
        return model

    with pytest.raises(ConfigError, match=r"shares 1\.running_mean with that of an earlier run"):
        corrinit.compare(lambda model, seed: sgd_step(model), METHODS, 1, model=shared)


def test_constants_and_frozen_parts_may_be_shared():
    mean, frozen = torch.full((1,), 0.5), nn.Linear(3, 3).requires_grad_(False)

    def shared():
        model = build().append(frozen)
        model.register_buffer("mean", mean)
        return model

    corrinit.compare(lambda model, seed: sgd_step(model), METHODS, 2, model=shared)


def test_an_optimizer_that_was_made_for_another_model_is_refused():
    optimizers = []

    def train(model, seed):
        if not optimizers:
            optimizers.append(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
        model(torch.ones(2, 1, 8, 8)).sum().backward()
        optimizers[0].step()
        return 0.5

    with pytest.raises(ConfigError, match=r"train_fn changed 0\.weight of the model of an earlier run"):
        corrinit.compare(train, METHODS, 1, model=build)


def test_models_that_are_kept_but_left_alone_are_no_trouble():
    kept = []

    def train(model, seed):
        kept.append(model)
        return sgd_step(model)

    corrinit.compare(train, METHODS, 2, model=build)
    assert len(kept) == 4


def test_models_of_earlier_runs_are_freed():
    lineage = Lineage()
    for _ in range(3):
        model = build()
        lineage.add(model)
        lineage.trained(model)
    assert len(lineage._storages) <= 2 * len(model.state_dict())
    assert len(lineage._trained) <= 2 * len(list(model.parameters()))


# Runs of the lab

FACTORY = """
import random

import numpy as np
import torch
from torch import nn

SHARED = nn.Linear(4 * 36, 10)


class Noise(nn.Module):
    def forward(self, x):
        if not self.training:
            return x
        return x + 0.1 * torch.rand_like(x) + 0.1 * np.random.rand() + 0.1 * random.random()


def layers(head):
    return nn.Sequential(nn.Conv2d(1, 4, 3), Noise(), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), head)


def noisy():
    return layers(nn.Linear(4 * 36, 10))


def shared():
    return layers(SHARED)


def switched():
    assert not torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    torch.set_num_threads(3)
    return noisy()
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    (tmp_path / "networks_for_isolation.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "networks_for_isolation", raising=False)

    def config(name, **settings):
        model = f"networks_for_isolation:{name}"
        return RunConfig(model=model, train_subset=64, batch_size=32, epochs=3, lr=0.05, **settings)

    return config


def outcome(record):
    return [{**epoch, "seconds": 0} for epoch in record.metrics], record.endpoint("averaged_unused_loss")


def test_a_network_that_draws_while_it_trains_gives_the_same_run_twice(tmp_path, factory):
    config = factory("noisy")
    before = states()
    one = run(config, tmp_path / "one")
    assert states() == before
    draws()
    assert outcome(run(config, tmp_path / "two")) == outcome(one)
    assert outcome(run(replace(config, seed=1), tmp_path / "one")) != outcome(one)


def test_a_network_that_draws_while_it_trains_goes_on_to_the_same_end(tmp_path, factory):
    config = factory("noisy")

    def interrupt(metrics):
        if metrics["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "one", checkpoint_every=1, on_epoch=interrupt)
    continued = run(config, tmp_path / "one")
    assert outcome(continued) == outcome(run(config, tmp_path / "two"))


def test_runs_in_one_process_are_those_in_processes_of_their_own(tmp_path, factory):
    configs = [factory("noisy", seed=seed) for seed in (0, 1)]
    together = sweep(configs, tmp_path / "together")
    for config, record in zip(configs, together.records, strict=True):
        assert outcome(run(config, tmp_path / f"alone {config.seed}")) == outcome(record)


def test_a_factory_that_shares_a_part_between_runs_is_refused(tmp_path, factory):
    found = sweep([factory("shared", seed=seed) for seed in (0, 1)], tmp_path)
    assert len(found.records) == 1
    ((config, reason),) = found.failures
    assert config.seed == 1
    assert "the model shares 5.weight with that of an earlier run" in reason


def test_looking_at_a_network_before_its_runs_leaves_no_switch_turned(factory):
    threads = torch.get_num_threads()
    assert checked(factory("switched")).architecture
    assert torch.get_num_threads() == threads


def test_switches_that_a_factory_turns_are_given_back_after_the_run(tmp_path, factory):
    threads = torch.get_num_threads()
    found = sweep([factory("switched", seed=seed) for seed in (0, 1)], tmp_path)
    assert (len(found.records), found.failures) == (2, ())
    assert torch.get_num_threads() == threads
    assert not torch.backends.cudnn.benchmark
