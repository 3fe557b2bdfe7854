"""Training images drawn by the seed: who draws which, when, and what a report says its intervals cover."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.lab.handmade import handmade

from corrinit.errors import ConfigError
from corrinit.lab.comparison.coverage import CHOSEN_RATES, coverage, coverages
from corrinit.lab.comparison.names import compared
from corrinit.lab.comparison.report import write_report
from corrinit.lab.comparison.tuning import tuning_runs
from corrinit.lab.data.dataset import hold_out, load
from corrinit.lab.experiment.config import TWO_BY_TWO, RunConfig
from corrinit.lab.paper.experiments import experiments
from corrinit.lab.paper.protocol import Protocol
from corrinit.lab.runs.record import read_runs
from corrinit.lab.runs.table import Runs
from corrinit.lab.training.loop import Training
from corrinit.lab.training.run import run as make

TINY = RunConfig(train_subset=60, width=0.1, epochs=1, batch_size=32, lr=0.05)
FAST = ("--epochs", "1", "--jobs", "1", "--width", "0.1", "--seeds", "1")


@pytest.fixture
def trained_on(monkeypatch, tmp_path):
    """Make a run; the images that it was trained and tested on."""
    seen = []
    start = Training.__init__

    def watched(training, config, dataset, **options):
        seen.append(dataset)
        start(training, config, dataset, **options)

    monkeypatch.setattr(Training, "__init__", watched)

    def images(config):
        make(config, tmp_path)
        return seen[-1].train_images, seen[-1].test_images

    return images


# The draw


def test_each_seed_draws_its_own_images_which_all_arms_share(trained_on):
    resampled = [
        [trained_on(replace(TINY, resample=True, seed=seed, initialization=arm))[0] for arm in TWO_BY_TWO[:2]]
        for seed in (1, 2)
    ]
    for arms in resampled:
        np.testing.assert_array_equal(*arms)
    assert not np.array_equal(resampled[0][0], resampled[1][0])


def test_without_it_one_draw_is_for_all_seeds(trained_on):
    one, other = (trained_on(replace(TINY, seed=seed))[0] for seed in (1, 2))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, load("digits", train_subset=60, seed=0).train_images)


def test_test_images_are_the_same_for_every_draw(trained_on):
    one, other = (trained_on(replace(TINY, resample=True, seed=seed))[1] for seed in (1, 2))
    np.testing.assert_array_equal(one, other)


def test_arms_are_tuned_on_one_draw_and_one_split_of_it(trained_on):
    base = replace(TINY, resample=True)
    tuning = [config for config in tuning_runs(base, TWO_BY_TWO[:2]) if config.lr == 0.1][:2]
    (train, held), (same_train, same_held) = map(trained_on, tuning)
    np.testing.assert_array_equal(train, same_train)
    np.testing.assert_array_equal(held, same_held)
    expected = hold_out(load("digits", train_subset=60, seed=tuning[0].seed))
    np.testing.assert_array_equal(held, expected.test_images)
    assert (len(train), len(held)) == (48, 12)


def test_the_unused_images_are_those_that_the_draw_leaves(tmp_path):
    config = replace(TINY, resample=True, seed=5)
    record = make(config, tmp_path)
    dataset = load("digits", train_subset=60, seed=5)
    assert dataset.unused is not None
    images = np.concatenate([images for images, _ in dataset.unused.batches(1000)])
    assert record.result.unused_images == len(images) == 1438 - 60
    training = Training(config, dataset)
    training.run_epoch()
    with torch.no_grad():
        scores = training.model.eval()(
            training.task.pose(torch.tensor(images), torch.zeros(len(images)), torch.Generator())[0]
        )
    right = scores.argmax(1).numpy() == dataset.unused.labels[dataset.unused.chosen]
    assert record.endpoint("unused_accuracy") == pytest.approx(right.mean(), abs=2 / len(images))


# The commands


@pytest.mark.parametrize(
    ("words", "resampled"),
    [
        (("--train-subset", "719"), True),  # half of the 1,438
        (("--train-subset", "720"), False),
        (("--train-subset", "720", "--resample"), True),
        (("--train-subset", "100", "--no-resample"), False),
        ((), False),
    ],
)
def test_compare_resamples_where_enough_is_left_unless_told(run, words, resampled):
    outcome = run("compare", "--methods", "orthogonal", *words, *FAST)
    assert outcome.code == 0, outcome.err
    records, _ = read_runs(Path("runs"))
    assert {record.config.resample for record in records} == {resampled}
    told = "every seed draws its own training images; --no-resample" in outcome.err
    assert told == (resampled and "--resample" not in words)
    sentence = coverages(records)[0]
    assert sentence in outcome.out
    assert sentence in Path("report.html").read_text()


def test_demo_and_reproduce_keep_one_draw_unless_told(run):
    for words, resampled in (((), {False}), (("--resample",), {False, True})):
        assert run("demo", "--train-subset", "64", *words, *FAST).code == 0
        records, _ = read_runs(Path("runs"))
        assert {record.config.resample for record in records} == resampled
    table = experiments("table3")
    assert not any(config.resample for config in Protocol("cpu").runs(table))
    resampled = Protocol("cpu", resample=True).runs(table)
    assert all(config.resample for config in resampled)
    assert len(resampled) == len(Protocol("cpu").runs(table))


def test_there_must_be_something_to_draw(run):
    with pytest.raises(ConfigError, match="the scale 'paper' trains on all images"):
        Protocol("paper", resample=True)
    outcome = run("demo", "--resample", *FAST)
    assert outcome.code != 0
    assert "resample is True; it draws a part of the training images" in outcome.err


# What is said


def test_what_seeds_vary_is_covered_and_the_rest_is_a_condition():
    assert coverage(RunConfig(train_subset=5000, resample=True), 50_000) == (
        "Intervals cover the draw of the weights, the order of the images and the draw of 5,000 of 50,000 "
        "training images. They are conditional on the test images, which are the same for every seed."
    )
    fixed = coverage(RunConfig(train_subset=5000), 50_000)
    assert "conditional on one fixed draw of 5,000 of 50,000 training images, and on the test images" in fixed
    assert "conditional on the training images and the test images" in coverage(RunConfig())


def test_all_that_is_drawn_in_training_is_covered():
    recipe = RunConfig(augmentation="crop_flip", dropout=0.1, train_subset=5000, resample=True)
    assert coverage(recipe).startswith(
        "Intervals cover the draw of the weights, the order of the images, their augmentation, what dropout "
        "leaves out and the draw of 5,000 training images. They"
    )


def test_a_report_says_so(tmp_path):
    config = RunConfig(train_subset=5000, epochs=1)
    records = [handmade(replace(config, initialization=arm), 0.5) for arm in TWO_BY_TWO]
    records = [replace(each, result=replace(each.result, available_images=50_000)) for each in records]
    write_report(compared(Runs(records)), tmp_path / "r.html", command="", markdown=tmp_path / "r.md")
    assert coverage(config, 50_000) in (tmp_path / "r.md").read_text().splitlines()


def test_chosen_learning_rates_are_a_condition_too():
    config = RunConfig(epochs=1)
    records = [handmade(config, 0.5), handmade(replace(config, tested_on="held_out"), 0.5)]
    assert coverages(records[:1]) == (coverage(config),)
    assert coverages(records) == (coverage(config), CHOSEN_RATES)


def test_a_record_that_does_not_tell_how_many_images_there_were_is_no_trouble():
    assert "one fixed draw of 10,000 training images" in coverage(RunConfig(train_subset=10_000))


def test_reports_of_several_kinds_tell_which_is_which():
    records = [
        handmade(replace(TINY, resample=resample, model=model), 0.5)
        for resample, model in ((True, "small"), (False, "vgg8"), (False, "small"))
    ]
    held_out = handmade(replace(TINY, train_subset=None, tested_on="held_out"), 0.5)
    told = coverages(records)
    assert coverages([*records, held_out]) == (*told, CHOSEN_RATES)
    assert [sentence.partition(": ")[0] for sentence in told] == [
        "digits, small; digits, vgg8",
        "digits, small",
    ]
    assert coverages(reversed(records)) == told
