"""What is observed when a run ends: averaged weights, unused images, each test image, and records without."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.lab.handmade import handmade
from torch import nn
from torch.nn.functional import cross_entropy

from corrinit.errors import ConfigError, CorrInitWarning, RecordError
from corrinit.lab.data.dataset import hold_out, load, set_apart
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.runs import record as records
from corrinit.lab.runs.endpoints import DECLARED, endpoint
from corrinit.lab.runs.observed import ENDPOINTS, FILE, read_correct, write_correct
from corrinit.lab.runs.record import finished_run, read_run
from corrinit.lab.training.averaging import WeightAverage, averaging_window
from corrinit.lab.training.checkpoint import read_checkpoint
from corrinit.lab.training.loop import Training
from corrinit.lab.training.run import run
from corrinit.lab.training.sweep import sweep

TINY = RunConfig(train_subset=100, width=0.1, epochs=4, batch_size=10, lr=0.05, seed=3)
POOL = 1438
OBSERVED = ("averaged_test_loss", "unused_accuracy", "averaged_unused_accuracy")


@pytest.fixture(scope="module")
def digits():
    return load("digits", train_subset=100)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(TINY, tmp_path_factory.mktemp("undisturbed"))


def averages_by_hand(config, dataset):
    """The weights after each update, averaged term by term in float64, and the model they belong to."""
    training = Training(config, dataset)
    step, seen = training.step, [{k: v.double().clone() for k, v in training.model.state_dict().items()}]

    def watched(images, labels):
        result = step(images, labels)
        seen.append({k: v.double().clone() for k, v in training.model.state_dict().items()})
        return result

    training.step = watched
    for _ in range(config.epochs):
        training.run_epoch()
    decay = 1 - 1 / averaging_window(len(seen) - 1)
    shares = [(1 - decay) * decay**age for age in range(len(seen) - 1)] + [decay ** (len(seen) - 1)]
    averages = {
        name: sum(share * state[name] for share, state in zip(shares, reversed(seen), strict=True))
        for name, tensor in seen[0].items()
        if "num_batches" not in name
    }
    return training, averages


def scored(training, images, labels):
    """Loss, and which images are right, in one pass over all of them."""
    training.model.eval()
    with torch.no_grad():
        inputs, _ = training.task.pose(torch.tensor(images), torch.tensor(labels), torch.Generator())
        scores = training.model(inputs)
    labels = torch.tensor(labels)
    return cross_entropy(scores, labels).item(), (scores.argmax(1) == labels).numpy()


# The average


def test_the_average_is_that_of_the_weights_and_statistics_after_each_update(digits):
    training, expected = averages_by_hand(TINY, digits)
    averages = training.average.state_dict()
    assert averages.keys() == expected.keys()
    assert any("running_var" in name for name in averages)
    for name, average in averages.items():
        torch.testing.assert_close(average.double(), expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("updates", [1, 5, 7, 40, 349, 350, 7800])
def test_a_run_never_averages_its_start(updates):
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    average = WeightAverage(model, averaging_window(updates))
    nn.init.zeros_(model.weight)
    for _ in range(updates):
        average.update()
    assert average.state_dict()["weight"].item() < 1e-3
    assert averaging_window(updates) <= max(1, min(50, updates / 7))


def test_a_long_run_has_a_decay_of_98_percent(digits):
    assert 1 - 1 / averaging_window(780) == pytest.approx(0.98)
    assert Training(TINY, digits).window == pytest.approx(40 / 7)


def test_averaging_does_not_change_the_training(digits, monkeypatch):
    averaged, plain = Training(TINY, digits), Training(TINY, digits)
    monkeypatch.setattr(plain.average, "update", lambda: None)
    for training in (averaged, plain):
        training.run_epoch()
    for one, other in zip(
        averaged.model.state_dict().values(), plain.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)
    before = {name: tensor.clone() for name, tensor in averaged.model.state_dict().items()}
    averaged.endpoints()
    assert all(torch.equal(before[name], tensor) for name, tensor in averaged.model.state_dict().items())


def test_masks_counters_and_replaced_buffers_are_averaged_right():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.tensor([0.0, -math.inf]))
            self.register_buffer("count", torch.tensor(0))
            self.register_buffer("mean", torch.tensor(0.0))

    model = Model()
    average = WeightAverage(model, 2.0)
    model.mean, model.count = torch.tensor(1.0), torch.tensor(1)
    average.update()
    assert average.state_dict() == {"mean": torch.tensor(0.5)}
    with average.applied():
        assert (model.mean.item(), model.count.item(), model.mask.tolist()) == (0.5, 1, [0.0, -math.inf])
    assert model.mean.item() == 1.0


# What is recorded


def test_endpoints_are_those_of_both_weights_on_both_kinds_of_images(digits, undisturbed):
    training, averages = averages_by_hand(TINY, digits)
    unused, test = digits.unused, (digits.test_images, digits.test_labels)
    assert unused is not None
    rest = unused.images[unused.chosen], unused.labels[unused.chosen]
    for prefix in ("", "averaged_"):
        if prefix:
            training.model.load_state_dict({k: v.float() for k, v in averages.items()}, strict=False)
        for name, images in (("test", test), ("unused", rest)):
            loss, right = scored(training, *images)
            assert undisturbed.endpoint(f"{prefix}{name}_loss") == pytest.approx(loss, rel=1e-3)
            accuracy = undisturbed.endpoint(f"{prefix}{name}_accuracy")
            assert accuracy == pytest.approx(right.mean(), abs=2 / len(right))
    assert undisturbed.endpoint("test_accuracy") == undisturbed.result.endpoints["test_accuracy"]
    assert undisturbed.endpoint("averaged_test_loss") != undisturbed.endpoint("test_loss")
    for prefix in ("", "averaged_"):  # the best temperature is better than none, and than knowing nothing
        scaled = undisturbed.endpoint(f"{prefix}test_scaled_loss")
        assert scaled <= min(undisturbed.endpoint(f"{prefix}test_loss"), math.log(10))


def test_each_test_image_is_told_right_or_wrong(digits, undisturbed):
    correct = undisturbed.correct()
    assert correct is not None
    shapes = {name: right.shape for name, right in correct.items()}
    assert shapes == dict.fromkeys(("last", "averaged"), digits.test_labels.shape)
    assert correct["last"].mean() == pytest.approx(undisturbed.result.endpoints["test_accuracy"])
    assert correct["averaged"].mean() == pytest.approx(undisturbed.result.endpoints["averaged_test_accuracy"])
    training, _ = averages_by_hand(TINY, digits)
    _, right = scored(training, digits.test_images, digits.test_labels)
    assert (correct["last"] != right).sum() <= 2


def test_ten_thousand_images_take_little_room(tmp_path):
    right = np.random.default_rng(0).random(10_000) < 0.6
    write_correct(tmp_path, {"last": right, "averaged": ~right})
    assert (tmp_path / FILE).stat().st_size < 2 * 1_250 + 1_000
    found = read_correct(tmp_path)
    assert found is not None
    np.testing.assert_array_equal(found["last"], right)
    np.testing.assert_array_equal(found["averaged"], ~right)


def test_the_unused_images_are_the_rest_of_the_training_images(digits, undisturbed):
    assert undisturbed.result.unused_images == POOL - 100
    assert undisturbed.result.available_images == POOL
    used = {image.tobytes() for image in digits.train_images}
    assert digits.unused is not None
    batches = list(digits.unused.batches(500))
    assert [len(labels) for _, labels in batches] == [500, 500, 338]
    assert used.isdisjoint(image.tobytes() for images, _ in batches for image in images)


def test_images_held_out_to_be_tested_on_are_not_among_the_unused(digits):
    held = hold_out(digits)
    assert held.unused is digits.unused
    assert len(held.train_images) + len(held.test_images) == 100


def test_a_reserve_is_looked_at_by_nothing(digits, tmp_path):
    assert digits.unused is not None
    reserve = [int(number) for number in digits.unused.chosen[::2]]
    left = set_apart(digits, reserve).unused
    assert left is not None
    assert set(left.chosen) == set(digits.unused.chosen) - set(reserve)
    record = run(replace(TINY, epochs=1), tmp_path, reserve=reserve)
    assert record.result.unused_images == len(left)
    with pytest.raises(ConfigError, match="the reserve has images 3 to 9999; the 1,438 training images"):
        set_apart(digits, [3, 9999])


def test_where_nothing_is_unused_nothing_is_recorded_and_nothing_repeated(tmp_path):
    config = replace(TINY, train_subset=None, batch_size=256, epochs=1)
    record = run(config, tmp_path)
    assert record.result.unused_images == 0
    assert record.endpoint("unused_accuracy") is None
    assert record.endpoint("averaged_test_accuracy") is not None
    seen = []
    run(config, tmp_path, needs=OBSERVED, on_epoch=seen.append)
    assert seen == []


def test_a_run_that_diverged_has_no_endpoints_and_is_not_repeated(tmp_path):
    config = replace(TINY, lr=1e8, batch_norm=False)
    record = run(config, tmp_path)
    assert record.result.diverged
    assert all(math.isnan(record.endpoint(name)) for name in ENDPOINTS)
    assert math.isnan(record.result.endpoints["averaged_test_accuracy"])
    assert record.correct() is None
    seen = []
    run(config, tmp_path, needs=(*OBSERVED, "correct"), on_epoch=seen.append)
    assert seen == []


# Continuation


class Interruption(Exception):
    pass


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_run_that_goes_on_ends_with_the_same_endpoints(tmp_path, undisturbed, epoch):
    def interrupt(metrics):
        if metrics["epoch"] == epoch:
            raise Interruption

    with pytest.raises(Interruption):
        run(TINY, tmp_path, checkpoint_every=1, on_epoch=interrupt)
    seen = []
    record = run(TINY, tmp_path, on_epoch=seen.append)
    assert len(seen) == TINY.epochs - epoch
    assert [record.endpoint(name) for name in ENDPOINTS] == [undisturbed.endpoint(name) for name in ENDPOINTS]
    ours, theirs = record.correct(), undisturbed.correct()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ("last", "averaged"))


def test_a_checkpoint_without_an_average_is_refused_and_the_run_starts_anew(tmp_path, undisturbed):
    def interrupt(metrics):
        if metrics["epoch"] == 2:
            raise Interruption

    with pytest.raises(Interruption):
        run(TINY, tmp_path, checkpoint_every=1, on_epoch=interrupt)
    checkpoint = tmp_path / TINY.run_id / records.CHECKPOINT
    state = read_checkpoint(checkpoint, torch.device("cpu"))
    del state["average"], state["correct"]
    torch.save(state, checkpoint)  # as earlier versions did
    with pytest.warns(CorrInitWarning, match="or of an earlier version.*; the run starts anew"):
        record = run(TINY, tmp_path)
    assert [record.endpoint(name) for name in ENDPOINTS] == [undisturbed.endpoint(name) for name in ENDPOINTS]


# Records without


def forget(path):
    """Make a record look as those did that were made before there were endpoints."""
    result = json.loads((path / "result.json").read_text())
    known = ("test_accuracy", "diverged", "epochs", "seconds", "data")
    (path / "result.json").write_text(json.dumps({name: result[name] for name in known}))
    (path / FILE).unlink()


def test_a_record_from_before_says_so_and_is_made_again_where_it_is_needed(tmp_path):
    config = replace(TINY, epochs=1)
    path = run(config, tmp_path).path
    forget(path)
    record = read_run(path)
    assert record.endpoint("test_loss") == record.metrics[-1]["test_loss"]
    assert record.endpoint("averaged_test_accuracy") is None
    assert record.correct() is None
    assert finished_run(tmp_path, config, needs=["test_loss", "test_accuracy"]) is not None
    assert sweep([config], tmp_path).records[0].correct() is None
    for needs in (["averaged_test_accuracy"], ["correct"], ["unused_loss"]):
        if (path / FILE).exists():
            forget(path)
        assert finished_run(tmp_path, config, needs=needs) is None
        assert len(sweep([config], tmp_path, needs=needs).records) == 1
        assert finished_run(tmp_path, config, needs=[*ENDPOINTS, "correct"]) is not None


def test_unused_images_with_another_reserve_are_looked_at_again(tmp_path):
    config = replace(TINY, epochs=1)
    run(config, tmp_path, reserve=[5, 3])
    assert finished_run(tmp_path, config, needs=OBSERVED, reserve=(3, 5)) is not None
    assert finished_run(tmp_path, config, needs=OBSERVED) is None
    assert finished_run(tmp_path, config, needs=["averaged_test_loss"]) is not None


def test_damage_is_named_and_costs_one_run(tmp_path):
    config = replace(TINY, epochs=1)
    path = run(config, tmp_path).path
    (path / FILE).write_bytes(b"PK nonsense")
    with pytest.raises(RecordError, match=r"correct\.npz is damaged"):
        read_run(path).correct()
    assert finished_run(tmp_path, config) is not None
    with pytest.warns(CorrInitWarning, match=r"correct\.npz is damaged.*made again"):
        assert run(config, tmp_path, needs=["correct"]).correct() is not None


def test_an_endpoint_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'accuracy' is no endpoint; there are test_accuracy"):
        run(TINY, tmp_path, needs=["accuracy"])
    with pytest.raises(ConfigError, match="'loss' is no endpoint"):
        sweep([TINY], tmp_path, needs=["loss"])
    assert list(tmp_path.iterdir()) == []


# Declared endpoints


def test_every_endpoint_that_classifiers_have_can_be_read_from_a_record(undisturbed):
    declared = {name: each.given([undisturbed]) for name, each in DECLARED.items() if "psnr" not in name}
    read = {name: each.read(undisturbed) for name, each in declared.items()}
    assert all(value is not None and math.isfinite(value) for value in read.values())
    curve = undisturbed.curve("test_accuracy")
    assert read["mean_test_accuracy"] == pytest.approx(curve[-5:].mean())
    assert read["train_accuracy"] == undisturbed.metrics[-1]["train_accuracy"]
    test, unused = read["averaged_test_accuracy"], read["averaged_unused_accuracy"]
    assert read["averaged_unlooked_accuracy"] == pytest.approx((359 * test + 1338 * unused) / (359 + 1338))
    assert all(each.definition and each.name == name for name, each in DECLARED.items())


def test_what_an_old_record_does_not_tell_is_none_and_a_diverged_run_nan(tmp_path):
    old = handmade(replace(TINY, epochs=10), 0.5)
    assert endpoint("averaged_unlooked_accuracy").read(old) is None
    assert endpoint("test_scaled_loss").read(old) is None
    assert endpoint("train_accuracy").read(old) is None
    assert endpoint("test_accuracy").read(old) == 0.5
    diverged = run(replace(TINY, lr=1e8, batch_norm=False), tmp_path)
    for name in ("averaged_unlooked_accuracy", "mean_test_accuracy", "epochs_to_own_plateau", "sign_changes"):
        assert math.isnan(endpoint(name).read(diverged))


def test_time_to_accuracy_is_to_a_fixed_share_of_a_plateau():
    config = replace(TINY, epochs=10)
    slow = handmade(config, 0.5, curve=[0.1, 0.2, 0.3, 0.4, 0.46, 0.5, 0.5, 0.5, 0.5, 0.5])
    high = handmade(config, 0.8, curve=[0.1, 0.2, 0.3, 0.4, 0.5, 0.8, 0.8, 0.8, 0.8, 0.8])
    low = handmade(config, 0.2, curve=[0.1] * 10)
    declared = endpoint("epochs_to_plateau")
    shared = declared.given([slow])
    assert [shared.read(slow), shared.read(high)] == pytest.approx([5 + 0.015 / 0.04, 4.75])  # to 0.475
    assert shared.read(low) == 11  # never: one more than all epochs
    own = endpoint("epochs_to_own_plateau")  # a higher plateau is no faster way to it
    assert [own.read(slow), own.read(high), own.read(low)] == pytest.approx([5.375, 5 + 0.26 / 0.3, 1])
    assert declared.given([]).read(slow) is None


def test_an_endpoint_that_is_not_declared_is_refused_with_those_like_it():
    with pytest.raises(ConfigError, match="'averaged_accuracy' is no endpoint; did you mean averaged_"):
        endpoint("averaged_accuracy")


def test_correlations_are_shown_in_hundredths():
    unit = endpoint("weight_correlation").unit
    assert (unit.factor, unit.name, unit.limit) == (100, "hundredths", 1)


def test_accuracies_are_told_from_other_endpoints():
    names = ("test_accuracy", "unused_accuracy", "averaged_test_loss")
    assert [endpoint(name).is_accuracy for name in names] == [True, True, False]
