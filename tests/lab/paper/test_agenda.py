"""A reproduction that has little time: what it makes first, how long that takes, and what it says."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.lab.handmade import handmade

from corrinit.cli.reproduce import duration
from corrinit.errors import ConfigError
from corrinit.lab.comparison.groups import compare
from corrinit.lab.data.dataset import load
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.observation import Observation
from corrinit.lab.paper.agenda import agenda, bearing, undecided
from corrinit.lab.paper.claims import CLAIMS, judge
from corrinit.lab.paper.experiments import CORRELATED, EXPERIMENTS, experiments
from corrinit.lab.paper.protocol import Protocol
from corrinit.lab.runs import environment
from corrinit.lab.runs.record import read_runs
from corrinit.lab.runs.table import Runs
from corrinit.lab.training.duration import SCORING, durations, images_scored, total
from corrinit.lab.training.sweep import sweep

MINI = Protocol("mini")
PLANNED = MINI.runs(EXPERIMENTS)
TINY = RunConfig(train_subset=64, width=0.1, epochs=2, batch_size=32)


# Which claims a run bears on


def test_claims_are_about_the_arms_of_their_two_by_two():
    bears_on = bearing(PLANNED, MINI.initialization(CORRELATED))
    for config, claims in bears_on.items():
        arm = config.initialization.canonical
        of_the_claims = arm.method == "kaiming_normal" or arm.method == "correlated"
        of_the_claims &= arm.strength == 1 and arm.correlation == "default"
        assert bool(claims) == of_the_claims
        assert not claims or claims >= {"(i)", "(ii)", "(iii)"}


def test_claims_between_settings_concern_the_settings_that_they_compare():
    bears_on = bearing(PLANNED, MINI.initialization(CORRELATED))
    on_rates = {(c.model, c.data) for c, claims in bears_on.items() if "(iv)" in claims}
    assert on_rates == {("vgg8", "cifar100"), ("vgg8", "cifar10"), ("resnet10", "cifar100")}
    on_penalties = {(c.model, c.width) for c, claims in bears_on.items() if "(v)" in claims}
    assert on_penalties == {("resnet10", 0.25), ("vgg8", 0.25), ("resnet34", 0.25), ("vgg19", 0.25)}


def test_a_claim_without_runs_is_undecided():
    findings = judge(compare(Runs([])), CORRELATED)
    assert undecided(findings) == {claim.number for claim in CLAIMS}


def test_a_claim_is_decided_when_no_reading_leaves_it_open():
    def accuracy(config):
        correlated = config.initialization.method == "correlated"
        return 0.6 + 0.1 * correlated + 0.001 * (config.seed % 3) * (1 + correlated)

    records = [handmade(config, accuracy(config)) for config in MINI.runs(experiments("table3"))]
    assert "(i)" not in undecided(judge(compare(Runs(records)), CORRELATED))


# The order


def test_every_cell_gets_a_seed_before_any_gets_another():
    seconds = dict.fromkeys(PLANNED, 1.0)
    ordered = agenda(PLANNED, seconds, bearing(PLANNED, CORRELATED), {"(i)"})
    assert set(ordered) == set(PLANNED)
    seeds = [config.seed for config in ordered]
    assert seeds == sorted(seeds)


def test_within_a_seed_open_claims_come_first_and_then_what_is_cheap():
    seconds = {config: 10.0 * config.width + config.epochs for config in PLANNED}
    bears_on = bearing(PLANNED, CORRELATED)
    for open_claims in ({"(iv)"}, {"(i)", "(v)"}):
        first = [c for c in agenda(PLANNED, seconds, bears_on, open_claims) if c.seed == 0]
        weights = [len(open_claims & bears_on[config]) for config in first]
        assert weights == sorted(weights, reverse=True)
        for weight in set(weights):
            costs = [seconds[c] for c, found in zip(first, weights, strict=True) if found == weight]
            assert costs == sorted(costs)


# How long it takes


def test_a_run_scores_images_by_epoch_and_at_the_end():
    dataset = load("digits", train_subset=100)
    assert len(dataset.test_images) == 359
    config = RunConfig(train_subset=100, epochs=6)
    assert images_scored(config, dataset) == 6 * 359 + 359 + 2 * 1338
    part = Observation(test_images=50, test_every=2, unused_images=200)
    assert images_scored(config, dataset, part) == 4 * 50 + 2 * 359 + 2 * 200


def test_time_is_that_of_updates_and_of_scored_images(monkeypatch):
    monkeypatch.setattr("corrinit.lab.training.duration._timed", lambda work, dataset, threads: 2.0)
    long = replace(TINY, epochs=20)
    seconds = durations([TINY, long], observation=Observation(test_images=32, test_every=100))
    scored = 359 + 359 + 2 * 1374
    for config, scores in ((TINY, 2), (long, 2)):  # the first epoch and the last one
        expected = 2 * config.epochs + SCORING * (scores * 32 + scored) / 32
        assert seconds[config] == pytest.approx(2.0 * expected)
    assert total(seconds, jobs=2) == pytest.approx(sum(seconds.values()) / 2)


def test_an_update_is_timed_once_for_all_runs_of_a_network(monkeypatch):
    timed = []
    monkeypatch.setattr(
        "corrinit.lab.training.duration._timed", lambda work, dataset, threads: timed.append(work) or 1.0
    )
    arms = [replace(TINY, initialization=CORRELATED), TINY, replace(TINY, seed=3, lr=0.5, l2=0.1, epochs=9)]
    durations([*arms, replace(TINY, width=0.2)])
    assert [work.width for work in timed] == [0.1, 0.2]


@pytest.mark.parametrize("hardware", ["here", "elsewhere"])
def test_runs_of_this_processor_tell_how_long_others_take(hardware, monkeypatch):
    monkeypatch.setattr("corrinit.lab.training.duration._timed", lambda work, dataset, threads: 7.0)
    record = handmade(TINY, 0.5)
    hardware = environment.describe()["hardware"] if hardware == "here" else "another processor"
    record = replace(record, result=replace(record.result, hardware=hardware, images_per_second=64.0))
    config = replace(TINY, seed=1)
    expected = 0.5 if hardware == environment.describe()["hardware"] else 7.0
    updates = 4 + SCORING * (3 * 359 + 2 * 1374) / 32
    assert durations([config], [record])[config] == pytest.approx(expected * updates)


def test_networks_without_runs_take_as_long_for_a_multiplication_as_those_that_have_some(monkeypatch):
    monkeypatch.setattr("corrinit.lab.training.duration._timed", lambda *_: pytest.fail("an update is timed"))
    record = handmade(TINY, 0.5)
    here = environment.describe()["hardware"]
    record = replace(record, result=replace(record.result, hardware=here, images_per_second=64.0))
    wide = replace(TINY, width=4 * TINY.width)
    seconds = durations([TINY, wide], [record])
    assert 8 < seconds[wide] / seconds[TINY] < 17  # 16, but for layers whose inputs are images


def test_an_update_takes_time_and_leaves_nothing_behind():
    assert 0 < durations([TINY])[TINY] < 60


# The command


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("90min", 5400), ("1h30min", 5400), ("0.5s", 0.5)]
)
def test_a_budget_is_a_time(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "2 hours", "h", "-1h", "2h!"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ConfigError, match="it is a time such as 2h"):
        duration(text)


def test_no_run_is_started_when_the_budget_is_spent(tmp_path):
    asked = []
    configs = [replace(TINY, seed=seed) for seed in range(4)]

    def start_another():
        asked.append(len(asked))
        return len(asked) <= 2

    outcome = sweep(configs, tmp_path, start_another=start_another)
    assert [record.config.seed for record in outcome.records] == [0, 1]
    assert outcome.failures == ()


def test_workers_start_no_run_when_the_budget_is_spent(tmp_path):
    budget = iter([True, False])
    configs = [replace(TINY, seed=seed) for seed in range(3)]
    outcome = sweep(configs, tmp_path, jobs=2, start_another=lambda: next(budget, False))
    assert len(outcome.records) == 1
    assert outcome.failures == ()


@pytest.fixture
def small_scale(monkeypatch):
    """The scale mini, on digits and in moments."""
    from corrinit.lab.paper import protocol

    observation = Observation(test_images=50, test_every=2, unused_images=100)
    small = replace(protocol.SCALES["smoke"], seeds=2, epochs=1 / 20, observation=observation)
    monkeypatch.setitem(protocol.SCALES, "mini", small)


def test_a_budget_is_kept_and_a_status_tells_what_is_left(run, small_scale):
    words = ("table3", "--scale", "mini", "--models", "vgg8")
    outcome = run("reproduce", *words, "--budget", "0s")
    assert outcome.code == 0
    assert "0 of 12 runs finished; the others take about" in outcome.err
    assert "the budget is spent; 12 runs left: the same command goes on" in outcome.err
    before = run("reproduce", "status", *words)
    assert before.out.startswith("0 of 12 runs finished")
    assert "undecided claims: (6.2, gradients), (6.2, training), (i), (ii), (iii), (iv), (v)" in before.out
    assert before.out.count("next: ") == 5
    assert "seed 0" in before.out
    assert run("reproduce", *words, "--budget", "1h").code == 0
    after = run("reproduce", "status", *words)
    assert after.out.startswith("12 of 12 runs finished\n")
    records, _ = read_runs(Path("runs"))
    assert {record.result.test_images_by_epoch for record in records} == {50}
    assert {record.result.unused_images for record in records} == {100}


def test_figure_1_has_no_status(run):
    outcome = run("reproduce", "status", "figure1")
    assert outcome.code == 2
    assert "no network is trained for figure1" in outcome.err
