"""Training: the protocol against plain steps, determinism, pairing, and exact continuation."""

import errno
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.oracles import training as oracle

from corrinit.errors import ConfigError, CorrInitError, CorrInitWarning
from corrinit.lab.data.dataset import load
from corrinit.lab.experiment.arm import parse_initialization
from corrinit.lab.experiment.config import TWO_BY_TWO, Initialization, RunConfig
from corrinit.lab.runs import record as records
from corrinit.lab.runs.record import read_run
from corrinit.lab.training import initialized
from corrinit.lab.training.initialized import channel_moments, initialized_model
from corrinit.lab.training.loop import Training
from corrinit.lab.training.run import run

TINY = RunConfig(train_subset=100, width=0.1, epochs=5, batch_size=32, lr=0.05, seed=3)


@pytest.fixture(scope="module")
def digits():
    return load("digits", train_subset=100)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(TINY, tmp_path_factory.mktemp("undisturbed"), keep_weights=True)


def weights(record):
    return load_file(record.path / records.WEIGHTS)


def assert_same_training(record, other):
    """Bit for bit the same weights, metrics and updates."""
    ours, theirs = weights(record), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for one, two in zip(record.metrics, other.metrics, strict=True):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}
    for name, values in other.updates().items():
        np.testing.assert_array_equal(record.updates()[name], values)


# The protocol


def test_training_follows_the_protocol_step_by_step(digits):
    config = replace(TINY, epochs=3, l2=0.01)
    training = Training(config, digits)
    for _ in range(config.epochs):
        training.run_epoch()
    plain = initialized_model(config, digits)
    images, labels = torch.tensor(digits.train_images), torch.tensor(digits.train_labels)
    oracle.train(plain, images, labels, config)
    for ours, theirs in zip(training.model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    expected = oracle.accuracy(
        plain, torch.tensor(digits.test_images), torch.tensor(digits.test_labels), images
    )
    assert training.metrics[-1]["test_accuracy"] == pytest.approx(expected, abs=2 / len(digits.test_labels))


def test_images_are_standardized_by_channel():
    images = torch.randint(0, 200, (50, 3, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images[:, 2] = 7
    mean, std = channel_moments(images)
    floats = images.numpy().astype(np.float64)
    np.testing.assert_allclose(mean.ravel(), floats.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std.ravel()[:2], floats.std((0, 2, 3))[:2], rtol=1e-6)
    assert std.ravel()[2] == 1  # a constant channel is centred, not divided by 0


def test_an_epoch_sees_full_batches_of_different_images(digits):
    batches = list(Training(TINY, digits).batches())
    assert [len(labels) for _, labels in batches] == [32, 32, 32]
    seen = torch.cat([images for images, _ in batches]).reshape(96, -1)
    assert len(torch.unique(seen, dim=0)) == 96


def test_a_set_smaller_than_a_batch_is_one_batch(digits):
    batches = list(Training(replace(TINY, batch_size=256), digits).batches())
    assert [len(labels) for _, labels in batches] == [100]


def test_arms_of_a_seed_see_the_same_images_in_the_same_order(digits):
    def order(config, epochs=0):
        training = Training(config, digits)
        for _ in range(epochs):
            training.run_epoch()
        return torch.cat([images for images, _ in training.batches()])

    first = order(replace(TINY, initialization=TWO_BY_TWO[0]))
    for arm in TWO_BY_TWO[1:]:
        assert torch.equal(order(replace(TINY, initialization=arm)), first)
    assert not torch.equal(order(replace(TINY, seed=4)), first)
    assert not torch.equal(order(TINY, epochs=1), first)


def test_arms_of_a_seed_share_everything_but_the_convolutions(digits):
    models = [initialized_model(replace(TINY, initialization=arm), digits) for arm in TWO_BY_TWO]
    for name, tensor in models[0].state_dict().items():
        same = [torch.equal(model.state_dict()[name], tensor) for model in models[1:]]
        assert all(same) or (tensor.dim() == 4 and not any(same))


@pytest.mark.parametrize(
    "arm",
    [
        Initialization("lsuv"),
        Initialization("patch_whitening", "he"),
        Initialization("correlated", "measured"),
        Initialization("correlated", "own", "vgg8-cifar10:layers"),
    ],
)
def test_arms_that_look_at_images_differ_in_the_convolutions_alone(digits, arm):
    config = replace(TINY, initialization=arm)
    model, again = initialized_model(config, digits), initialized_model(config, digits)
    other = initialized_model(replace(TINY, initialization=Initialization("kaiming_normal")), digits)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
        assert tensor.dim() == 4 or torch.equal(other.state_dict()[name], tensor)


def test_methods_see_standardized_training_images_chosen_by_the_seed(digits, monkeypatch):
    seen = []
    monkeypatch.setattr(initialized, "initialize", lambda *_, images, **__: seen.append(images))
    monkeypatch.setattr(initialized, "INITIALIZATION_IMAGES", 40)
    for seed in (3, 3, 4):
        initialized_model(replace(TINY, initialization=Initialization("lsuv"), seed=seed), digits)
    initialized_model(TINY, digits)
    mean, std = channel_moments(torch.tensor(digits.train_images))
    every = (torch.tensor(digits.train_images).float() - mean) / std
    assert seen[0].shape == (40, *every.shape[1:])
    assert all((every == image).flatten(1).all(1).any() for image in seen[0])
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert seen[3] is None


def test_metrics_are_those_of_the_updates(undisturbed):
    updates = undisturbed.updates()
    assert [len(values) for values in updates.values()] == [15, 15, 15]
    assert np.isnan(updates["sign_changes"][0])
    for epoch, metrics in enumerate(undisturbed.metrics):
        assert metrics["epoch"] == epoch + 1
        for name, values in updates.items():
            of_epoch = values[3 * epoch : 3 * epoch + 3]
            assert metrics[name] == pytest.approx(np.nanmean(of_epoch), rel=1e-5)
    assert undisturbed.metrics[-1].keys() == {
        *("epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds"),
        *("sign_changes", "gradient_mean_abs", "gradient_l2", "weight_correlation", "test_scaled_loss"),
    }


def test_the_result_says_what_came_out_and_what_made_it(undisturbed):
    result = undisturbed.result
    assert result["test_accuracy"] == undisturbed.metrics[-1]["test_accuracy"]
    assert result["parameters"] == sum(
        tensor.numel()
        for name, tensor in weights(undisturbed).items()
        if "running" not in name and tensor.dim()
    )
    assert result["seconds"] == pytest.approx(sum(m["seconds"] for m in undisturbed.metrics))
    assert result["images_per_second"] == pytest.approx(5 * 96 / result["seconds"])
    assert "digits" in result["data"]
    assert not result["diverged"]
    for name in ("version", "commit", "python", "torch", "hardware", "device", "finished"):
        assert isinstance(result[name], str)
        assert result[name]


def test_the_default_network_learns_the_digits(tmp_path):
    record = run(RunConfig(epochs=6, initialization=Initialization("kaiming_normal")), tmp_path)
    assert record.result["test_accuracy"] > 0.9
    assert record.metrics[-1]["train_loss"] < record.metrics[0]["train_loss"] / 4


def test_watching_does_not_change_the_training(digits):
    watched, bare = Training(TINY, digits), Training(TINY, digits, monitored=False)
    for training in (watched, bare):
        training.run_epoch()
    for one, other in zip(watched.model.parameters(), bare.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert "sign_changes" not in bare.metrics[0]


@pytest.mark.parametrize("settings", [{"precision": "bfloat16"}, {"channels_last": False}])
def test_precision_and_layout_stay_close_to_the_plain_run(digits, settings):
    plain, other = Training(TINY, digits), Training(replace(TINY, **settings), digits)
    losses = [training.run_epoch()["train_loss"] for training in (plain, other)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    kernel = next(p for p in other.model.parameters() if p.dim() == 4 and p.shape[1] > 1)
    assert kernel.is_contiguous(memory_format=torch.channels_last) == other.config.channels_last


def test_a_run_that_diverges_is_a_result(tmp_path):
    config = replace(TINY, lr=1e8, batch_norm=False, epochs=9)
    record = run(config, tmp_path)
    assert record.result["diverged"]
    assert len(record.metrics) < 9
    assert math.isnan(record.metrics[-1]["train_loss"])
    assert 0 <= record.result["test_accuracy"] <= 1
    assert run(config, tmp_path).result == record.result


# Determinism and continuation


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path, undisturbed):
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = run(TINY, tmp_path, keep_weights=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_training(again, undisturbed)
    other = run(replace(TINY, seed=4), tmp_path, keep_weights=True)
    assert not torch.equal(weights(other)["0.0.weight"], weights(undisturbed)["0.0.weight"])


class Interruption(Exception):
    pass


@pytest.mark.parametrize("epoch", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("checkpoint_every", [1, 2])
def test_an_interrupted_run_goes_on_to_the_same_end(tmp_path, undisturbed, epoch, checkpoint_every):
    def interrupt(metrics):
        if metrics["epoch"] == epoch:
            raise Interruption

    with pytest.raises(Interruption):
        run(TINY, tmp_path, checkpoint_every=checkpoint_every, on_epoch=interrupt)
    seen = []
    record = run(TINY, tmp_path, keep_weights=True, on_epoch=lambda metrics: seen.append(metrics["epoch"]))
    assert seen == list(range(epoch - epoch % checkpoint_every + 1, 6))
    assert_same_training(record, undisturbed)


def test_a_finished_run_is_not_repeated(tmp_path, undisturbed):
    seen = []
    again = run(TINY, undisturbed.path.parent, keep_weights=True, on_epoch=seen.append)
    assert seen == []
    assert again.result == undisturbed.result


def test_a_finished_run_is_repeated_if_its_weights_are_wanted_and_were_not_kept(tmp_path, undisturbed):
    assert not (run(TINY, tmp_path).path / records.WEIGHTS).exists()
    assert_same_training(run(TINY, tmp_path, keep_weights=True), undisturbed)


@pytest.mark.parametrize("damage", [b"", b"nonsense", "half", "other"])
def test_a_damaged_checkpoint_is_warned_of_and_the_run_starts_anew(tmp_path, undisturbed, damage):
    def interrupt(metrics):
        if metrics["epoch"] == 3:
            raise Interruption

    with pytest.raises(Interruption):
        run(TINY, tmp_path, checkpoint_every=2, on_epoch=interrupt)
    checkpoint = tmp_path / TINY.run_id / records.CHECKPOINT
    if damage == "other":
        torch.save({"model": {}}, checkpoint)
    else:
        content = checkpoint.read_bytes()
        checkpoint.write_bytes(content[: len(content) // 2] if damage == "half" else damage)
    with pytest.warns(CorrInitWarning, match=r"checkpoint.pt is .*; the run starts anew"):
        record = run(TINY, tmp_path, keep_weights=True)
    assert_same_training(record, undisturbed)


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(tmp_path, undisturbed, monkeypatch):
    earlier = run(replace(TINY, epochs=1), tmp_path)
    before = (earlier.path / "result.json").read_bytes()
    fsync, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CorrInitError, match="No space left on device; free some space"):
        run(TINY, tmp_path, checkpoint_every=1)
    monkeypatch.setattr(os, "fsync", fsync)
    assert (earlier.path / "result.json").read_bytes() == before
    assert not read_run(tmp_path / TINY.run_id).finished
    assert_same_training(run(TINY, tmp_path, keep_weights=True), undisturbed)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"model": "vgg9"}, "model is 'vgg9'"),
        ({"model": "vgg8"}, "8×8 pixels are too small"),
        ({"data": "mnist"}, "data is 'mnist'"),
        ({"train_subset": 10**6}, "train_subset is 1000000"),
        ({"initialization": Initialization("corelated")}, "did you mean correlated"),
    ],
)
def test_an_impossible_run_is_refused_and_leaves_nothing(tmp_path, settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        run(replace(TINY, **settings), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_come_every_positive_number_of_epochs(tmp_path):
    with pytest.raises(ConfigError, match="checkpoint_every is 0"):
        run(TINY, tmp_path, checkpoint_every=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_weights_twice(tmp_path):
    config = RunConfig(epochs=3)
    one, two = (run(config, tmp_path / name, keep_weights=True) for name in "ab")
    assert_same_training(one, two)


def test_an_arm_by_role_draws_each_role_as_the_arm_that_has_it_everywhere(digits):
    """The stem as Kaiming normal at the paper's scale, the others as the correlated arm."""
    mixed, whole, independent = (
        initialized_model(replace(TINY, initialization=parse_initialization(text)), digits)
        for text in ("correlated:stem=kaiming_normal", "correlated", "kaiming_normal:scale=paper")
    )
    weights, stems = mixed.state_dict(), independent.state_dict()
    changed = [name for name, tensor in whole.state_dict().items() if not torch.equal(tensor, weights[name])]
    assert len(changed) == 1
    assert torch.equal(weights[changed[0]], stems[changed[0]])


def test_a_recipe_is_an_arm(digits):
    model = initialized_model(replace(TINY, initialization=parse_initialization("recipe=kaiming")), digits)
    plain = initialized_model(replace(TINY, initialization=Initialization("kaiming_normal")), digits)
    assert all(map(torch.equal, model.parameters(), plain.parameters()))


def test_the_natural_scale_is_for_images_of_the_size_of_the_data(digits, monkeypatch):
    asked = []
    monkeypatch.setattr(initialized, "initialize", lambda *_, input_size, **__: asked.append(input_size))
    initialized_model(replace(TINY, initialization=parse_initialization("recipe=2026.1")), digits)
    assert asked == [(1, 8, 8)]
