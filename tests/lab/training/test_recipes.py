"""What a run can be beside the paper's protocol: schedules, optimizers, augmentation, dropout, denoising.

And how closely a run is looked at, which changes nothing in it.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.lab.handmade import handmade

from corrinit.lab.comparison.groups import compare
from corrinit.lab.data.dataset import Dataset, load
from corrinit.lab.experiment.config import TWO_BY_TWO, Initialization, RunConfig
from corrinit.lab.experiment.observation import Observation
from corrinit.lab.experiment.schedule import rate_factor
from corrinit.lab.runs import record as records
from corrinit.lab.runs.observed import endpoints_of
from corrinit.lab.runs.table import Runs
from corrinit.lab.training.augmentation import PADDING, CropFlip
from corrinit.lab.training.initialized import channel_moments
from corrinit.lab.training.loop import Training
from corrinit.lab.training.run import run
from corrinit.lab.training.tasks import Denoising

TINY = RunConfig(train_subset=100, width=0.1, epochs=4, batch_size=32, lr=0.05, seed=3)
RECIPES = {
    "augmented": {"augmentation": "crop_flip", "schedule": "cosine", "warmup": 0.2, "dropout": 0.3},
    "decayed": {"augmentation": "crop_flip", "schedule": "decay"},
    "adamw": {"optimizer": "adamw", "lr": 0.003, "momentum": 0.9, "weight_decay": 0.05, "warmup": 0.1},
    "denoising": {"model": "unet", "noise": 25.0, "augmentation": "crop_flip"},
}


@pytest.fixture(scope="module")
def digits():
    return load("digits", train_subset=100)


def pictures(size=32, count=64):
    """Images of that size with random pixels, of two classes told apart by their brightness."""
    drawn = np.random.default_rng(0).integers(0, 120, (count, 3, size, size), dtype=np.uint8)
    labels = np.arange(count) % 2
    drawn += (100 * labels[:, None, None, None]).astype(np.uint8)
    return Dataset("pictures", "pictures: random", ("dark", "bright"), drawn, labels, drawn[:20], labels[:20])


# Schedules


def test_the_rate_decays_at_half_and_three_quarters_of_the_updates():
    factors = [rate_factor("decay", update, 100) for update in (0, 49, 50, 74, 75, 99)]
    assert factors == [1, 1, 0.1, 0.1, 0.01, 0.01]


@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_the_cosine_falls_from_the_whole_rate_to_almost_nothing(warmup):
    factors = [rate_factor("cosine", update, 100, warmup=warmup) for update in range(100)]
    start = round(100 * warmup)
    assert factors[start] == 1
    assert factors[(start + 100) // 2] == pytest.approx(0.5, abs=0.02)
    assert all(a > b > 0 for a, b in zip(factors[start:], factors[start + 1 :], strict=False))
    assert factors[-1] < 0.001


@pytest.mark.parametrize("schedule", ["constant", "decay", "cosine"])
def test_the_warm_up_is_linear_and_ends_at_the_whole_rate(schedule):
    factors = [rate_factor(schedule, update, 50, warmup=0.2) for update in range(11)]
    np.testing.assert_allclose(factors, [*np.arange(1, 11) / 10, 1])


def test_each_update_is_made_at_its_rate(digits, monkeypatch):
    config = replace(TINY, schedule="decay", warmup=0.2)
    training, rates = Training(config, digits), []
    monkeypatch.setattr(
        training.optimizer, "step", lambda: rates.append(training.optimizer.param_groups[0]["lr"])
    )
    for _ in range(config.epochs):
        training.run_epoch()
    expected = [0.05 * rate_factor("decay", update, 12, warmup=0.2) for update in range(12)]
    assert rates == expected


# Optimizers


def test_adamw_decays_weights_apart_from_the_gradient(digits):
    config = replace(TINY, optimizer="adamw", lr=0.01, momentum=0.9, weight_decay=0.5)
    training = Training(config, digits, monitored=False)
    weight = next(training.model.parameters())
    before = weight.detach().clone()
    training.step(*next(training.batches()))
    # The first step of Adam is the sign of the gradient, whatever its size: wₜ = (1 − η λ) w − η sign g.
    moved = (1 - 0.01 * 0.5) * before - 0.01 * weight.grad.sign()
    torch.testing.assert_close(weight.detach(), moved, rtol=0, atol=1e-4)


# Augmentation


def test_a_crop_is_a_window_of_the_padded_image_flipped_or_not():
    images = torch.randint(1, 256, (200, 3, 8, 6), dtype=torch.uint8, generator=torch.manual_seed(0))
    changed = CropFlip(200, torch.Generator().manual_seed(1), torch.device("cpu"))(images, torch.arange(200))
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)
    seen = set()
    for image, result in zip(padded, changed, strict=True):
        windows = {
            (down, right, flip): window.flip(2) if flip else window
            for down in range(9)
            for right in range(9)
            for flip in (False, True)
            for window in [image[:, down : down + 8, right : right + 6]]
        }
        found = [where for where, window in windows.items() if torch.equal(window, result)]
        assert found
        seen.add(found[0])
    assert {down for down, _, _ in seen} == {right for _, right, _ in seen} == set(range(9))
    assert {flip for _, _, flip in seen} == {False, True}


def test_an_image_is_changed_alike_in_whatever_batch_it_is():
    images = torch.randint(0, 256, (10, 1, 8, 8), dtype=torch.uint8)
    changed = CropFlip(10, torch.Generator().manual_seed(1), torch.device("cpu"))
    together = changed(images, torch.arange(10))
    some = torch.tensor([7, 2])
    assert torch.equal(changed(images[some], some), together[some])


def test_arms_of_a_seed_see_the_same_changed_images_and_each_epoch_others(digits):
    def seen(config, epochs=0):
        training = Training(config, digits)
        for _ in range(epochs):
            training.run_epoch()
        return torch.cat([images for images, _ in training.batches()])

    def in_one_order(images):
        return torch.unique(images.flatten(1), dim=0)

    config = replace(TINY, augmentation="crop_flip", batch_size=50)  # all 100 images, in whatever order
    first = seen(config)
    for arm in TWO_BY_TWO[1:]:
        assert torch.equal(seen(replace(config, initialization=arm)), first)
    plain = replace(config, augmentation="none")
    assert torch.equal(in_one_order(seen(plain, epochs=1)), in_one_order(seen(plain)))
    assert not torch.equal(in_one_order(seen(config, epochs=1)), in_one_order(first))


# Dropout


def test_dropout_acts_in_training_alone_and_renames_no_layer(digits):
    plain, dropped = (Training(replace(TINY, dropout=p), digits) for p in (0.0, 0.5))
    assert plain.model.state_dict().keys() == dropped.model.state_dict().keys()
    assert plain.evaluate().loss == dropped.evaluate().loss
    images, _ = next(dropped.batches())
    dropped.model.train()
    assert not torch.equal(dropped.model(images), dropped.model(images))


# Denoising


def test_the_psnr_of_the_noise_itself_is_known():
    """Over 3·32·32 pixels the mean squared error varies by 2.6 %, so the PSNR of an image by 0.11 dB."""
    dataset = pictures()
    images, labels = torch.tensor(dataset.train_images), torch.tensor(dataset.train_labels)
    task = Denoising(*channel_moments(images), noise=25.0)
    noisy, clean = task.pose(images, labels, torch.Generator().manual_seed(0))
    psnr = task.judge(noisy, clean)
    assert psnr.shape == (64,)
    np.testing.assert_allclose(psnr, 10 * math.log10(255**2 / 25**2), atol=0.6)
    assert task.judge(clean, clean).isinf().all()


def test_a_denoiser_learns_and_is_recorded_by_its_psnr(tmp_path):
    config = replace(TINY, model="unet", noise=80.0, width=0.25, epochs=8, batch_size=16)
    record = run(config, tmp_path)
    noisy = 10 * math.log10(255**2 / 80**2)
    assert record.result.endpoints["test_psnr"] > noisy + 1
    assert record.endpoint("averaged_test_psnr") > noisy + 1
    assert set(record.result.endpoints) == set(endpoints_of(config))
    assert not any("accuracy" in name for name in (*record.result.row(), *record.metrics[-1]))
    assert record.correct() is None
    assert records.finished_run(tmp_path, config, needs=["averaged_test_psnr"])
    others = ["averaged_test_accuracy", "correct"]  # it has none, and would have none if it were made again
    assert records.finished_run(tmp_path, config, needs=others)


def test_no_statistic_of_accuracies_takes_a_denoiser_in(tmp_path):
    record = run(replace(TINY, **RECIPES["denoising"], epochs=1), tmp_path)
    (comparison,) = compare(Runs([record]))
    assert comparison.arms == ()
    assert comparison.left_out[0].reason == "denoises images: it has a PSNR, and no accuracy"


# All of it


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_that_goes_on_from_its_checkpoint_is_the_undisturbed_one(recipe, digits, tmp_path):
    config = replace(TINY, **RECIPES[recipe])
    whole = Training(config, digits)
    for _ in range(config.epochs):
        whole.run_epoch()
    first = Training(config, digits)
    for _ in range(2):
        first.run_epoch()
    first.save(tmp_path / "checkpoint.pt")
    second = Training(config, digits)
    second.restore(tmp_path / "checkpoint.pt")
    while second.epoch < config.epochs:
        second.run_epoch()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], tensor)
    ends = [{**training.metrics[-1], "seconds": 0} for training in (whole, second)]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("model", ["plain10", "convmixer", "convmixer-k5-p2", "convnext"])
def test_the_other_networks_learn_pictures(model):
    config = RunConfig(
        model=model,
        batch_norm=model != "plain10",
        width=0.125,
        epochs=6,
        batch_size=16,
        lr=0.01,
        initialization=Initialization("kaiming_normal"),
    )
    training = Training(config, pictures())
    losses = [training.run_epoch()["train_loss"] for _ in range(config.epochs)]
    assert losses[-1] < 0.9 * losses[0]


# How closely a run is looked at


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory):
    """A run looked at closely, and one now and then at a part of the images."""
    config = replace(TINY, epochs=6)
    part = Observation(test_images=50, test_every=2, unused_images=200)
    return [
        run(config, tmp_path_factory.mktemp("runs"), observation=observation, keep_weights=True)
        for observation in (Observation(), part)
    ]


def test_looking_less_closely_changes_no_weight_and_no_id(looked_at):
    closely, now_and_then = looked_at
    assert closely.run_id == now_and_then.run_id
    ours, theirs = (load_file(record.path / records.WEIGHTS) for record in looked_at)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_endpoints_on_test_images_are_of_all_of_them(looked_at):
    closely, now_and_then = looked_at
    for name in ("test_accuracy", "test_loss", "averaged_test_accuracy", "averaged_test_loss"):
        assert now_and_then.endpoint(name) == pytest.approx(closely.endpoint(name))
    for weights in ("last", "averaged"):
        np.testing.assert_array_equal(now_and_then.correct()[weights], closely.correct()[weights])


def test_a_record_says_what_its_numbers_are_of(looked_at):
    closely, now_and_then = looked_at
    assert (closely.result.test_images_by_epoch, closely.result.test_every) == (359, 1)
    assert (now_and_then.result.test_images_by_epoch, now_and_then.result.test_every) == (50, 2)
    assert closely.result.unused_images == 1338
    assert now_and_then.result.unused_images == 200
    assert now_and_then.endpoint("unused_accuracy") != closely.endpoint("unused_accuracy")


def test_epochs_between_the_scored_ones_lie_on_the_line_between_them(looked_at):
    _, now_and_then = looked_at
    assert [epoch["epoch"] for epoch in now_and_then.metrics if "test_loss" in epoch] == [1, 2, 4, 6]
    curve = now_and_then.curve("test_accuracy")
    assert curve.shape == (6,)
    assert curve[2] == pytest.approx((curve[1] + curve[3]) / 2)
    assert curve[3] == now_and_then.metrics[3]["test_accuracy"]
    with pytest.raises(KeyError):
        now_and_then.curve("test_psnr")


def test_a_run_that_was_not_scored_in_every_epoch_has_not_diverged(looked_at):
    (comparison,) = compare(Runs([looked_at[1]]))
    assert len(comparison.arms) == 1


def test_an_epoch_in_which_a_run_diverges_is_scored(digits):
    config = replace(TINY, lr=1e20, batch_size=100, epochs=5)  # an epoch is one update
    training = Training(config, digits, observation=Observation(test_every=4))
    while not training.diverged:
        training.run_epoch()
    assert training.epoch == 2  # which would not be scored otherwise
    assert "test_accuracy" in training.metrics[-1]


def test_a_curve_of_a_run_that_diverged_is_as_recorded():
    record = handmade(RunConfig(epochs=3), 0.1, curve=[0.2, math.nan, math.nan])
    np.testing.assert_array_equal(record.curve("test_accuracy"), [0.2, math.nan, math.nan])
