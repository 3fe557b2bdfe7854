"""A sweep while it runs: the tally, what a terminal shows, TensorBoard, and how long it will take."""

import io
import math
import sys
from dataclasses import replace

import pytest
from rich.console import Console
from tests.lab.handmade import handmade

from corrinit.cli.live import LINES, shown, view
from corrinit.cli.tally import Tally
from corrinit.cli.tensorboard import TensorBoard, run_folder
from corrinit.lab.experiment.arm import BASELINE, Initialization
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.training.sweep import sweep

CORRELATED = Initialization("correlated").canonical
FAST = ("--epochs", "1", "--jobs", "1", "--width", "0.1", "--train-subset", "100")


def configurations(seeds=3, epochs=4, arms=(BASELINE, CORRELATED)):
    return [RunConfig(initialization=a, seed=s, epochs=epochs) for s in range(seeds) for a in arms]


def metrics(epoch, accuracy=0.5, loss=1.0):
    return {"epoch": epoch, "train_loss": loss, "test_accuracy": accuracy}


def on_screen(tally, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(view(tally))
    return console.file.getvalue()


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_the_time_left_is_that_of_all_epochs_at_the_pace_so_far_those_of_later_sweeps_too():
    clock, configs = Clock(), configurations()
    tally = Tally(configs, later=24, clock=clock)
    assert tally.seconds_left is None
    clock.now = 10.0
    for config in configs[:2]:
        tally.add(config, metrics(1))
    assert tally.seconds_left == pytest.approx((24 - 2 + 24) * 10 / 2)


def test_epochs_that_were_finished_before_are_no_measure_of_the_pace():
    clock, configs = Clock(), configurations(epochs=2)
    tally = Tally(configs, [handmade(configs[0], 0.6)], clock=clock)
    assert tally.ended == 1
    assert tally.seconds_left is None
    clock.now = 6.0
    tally.add(configs[1], metrics(1))
    assert tally.seconds_left == pytest.approx(9 * 6.0)


def test_arms_are_ranked_over_the_seeds_that_all_of_them_have_and_marked_as_interim():
    configs = configurations()
    tally = Tally(configs)
    for config, accuracy in zip(configs[:3], (0.5, 0.6, 0.99), strict=True):
        tally.add(config, metrics(4, accuracy))  # the baseline alone has its second seed
    assert list(tally.ranking.items()) == [("correlated", (0.6, 1)), ("kaiming_normal", (0.5, 1))]
    screen = on_screen(tally)
    assert screen.index("1. ") < screen.index("correlated") < screen.index("2. ")
    assert "2/3" in screen
    assert "interim ranking, over the one seed that all have: it decides nothing" in screen


def test_arms_of_several_settings_are_not_ranked():
    configs = [replace(c, lr=lr) for lr in (0.1, 0.01) for c in configurations(1)]
    tally = Tally(configs)
    for config in configs:
        tally.add(config, metrics(4))
    assert tally.ranking == {}
    assert "lr 0.01, correlated" in on_screen(tally)
    assert "interim ranking" not in on_screen(tally)


def test_runs_that_diverged_or_failed_are_counted_and_told_with_their_reasons():
    configs = configurations()
    tally = Tally(configs)
    assert tally.add(configs[0], metrics(2, loss=math.nan))
    tally.fail(configs[1], "the disk is full")
    screen = on_screen(tally)
    assert "1 diverged" in screen
    assert "1 failed" in screen
    assert "failed: correlated, seed 0: the disk is full" in screen
    assert "2 of 6 runs" in screen


def test_of_very_many_arms_those_under_way_are_shown_and_a_line_fits_80_columns():
    arms = [Initialization("correlated", strength=i / 100) for i in range(1, LINES + 10)]
    configs = configurations(1, arms=arms)
    tally = Tally(configs)
    tally.add(configs[3], metrics(1))
    screen = on_screen(tally)
    assert screen.count("correlated") == 1
    assert all(len(line) <= 80 for line in screen.splitlines())


def test_a_terminal_keeps_the_last_state():
    tally = Tally(configurations(1))
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    with shown(tally, terminal):
        for config in tally.names:
            tally.add(config, metrics(4))
    assert "2 of 2 runs" in terminal.file.getvalue()


def test_a_failure_is_told_as_it_happens(tmp_path):
    broken = RunConfig(model="vgg9")
    told = []
    outcome = sweep([broken], tmp_path, on_failure=lambda *failure: told.append(failure))
    assert told == list(outcome.failures)
    assert "vgg9" in told[0][1]


def test_without_a_terminal_a_line_for_each_run_says_how_far_the_whole_is(run):
    outcome = run("compare", "--methods", "orthogonal", "--seeds", "1", *FAST, "--no-placebo")
    assert "(1 of 2 runs, about " in outcome.err
    assert "(2 of 2 runs)" in outcome.err


def test_a_dry_run_says_how_many_runs_and_how_long_and_trains_nothing(run, tmp_path):
    words = ("compare", "--methods", "correlated", "--seeds", "3", "--max-seeds", "5", *FAST, "--no-placebo")
    outcome = run(*words, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "12 runs compare 4 arms from 3 seeds each." in outcome.out
    assert "up to 8 more runs" in outcome.out
    assert "The 12 runs that are certain take about " in outcome.out
    assert not list(tmp_path.glob("runs/*/config.json"))
    assert not list(tmp_path.glob("report.html"))


def test_a_dry_run_counts_the_runs_that_look_for_rates_and_leaves_out_finished_ones(run):
    run("compare", "--methods", "orthogonal", "--seeds", "1", *FAST, "--no-placebo")
    outcome = run("compare", "--methods", "orthogonal", "--seeds", "1", *FAST, "--no-placebo", "--dry-run")
    assert "2 runs of these are finished already." in outcome.out
    assert "Nothing is left to run." in outcome.out
    outcome = run("compare", "--methods", "orthogonal", "--lr", "auto", *FAST, "--no-placebo", "--dry-run")
    assert "30 runs choose the learning rate of each of 2 arms.\nThen 10 runs" in outcome.out


class Writer:
    """What TensorBoard's writer is asked to do."""

    def __init__(self, folder):
        self.folder, self.scalars, self.closed = folder, [], False
        WRITERS.append(self)

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def flush(self):
        pass

    def close(self):
        self.closed = True


WRITERS = []


def test_every_run_has_curves_for_tensorboard_and_its_file_is_closed(tmp_path, monkeypatch):
    WRITERS.clear()
    module = type(sys)("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    board, (config, _) = TensorBoard(tmp_path), configurations(1, epochs=2)
    board.epoch(config, metrics(1, 0.25))
    (writer,) = WRITERS
    assert not writer.closed
    board.epoch(config, metrics(2, 0.5))
    assert writer.closed
    assert writer.folder == str(tmp_path / run_folder(config))
    assert [s for s in writer.scalars if s[0] == "test/accuracy"] == [
        ("test/accuracy", 0.25, 1),
        ("test/accuracy", 0.5, 2),
    ]


def test_curves_are_what_tensorboard_itself_reads(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board, (config, _) = TensorBoard(tmp_path), configurations(1, epochs=1)
    board.epoch(config, metrics(1, 0.25))
    events = EventAccumulator(str(tmp_path / run_folder(config))).Reload()
    assert [(event.step, event.value) for event in events.Scalars("test/accuracy")] == [(1, 0.25)]


def test_without_tensorboard_the_remedy_is_named_before_anything_runs(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    outcome = run("compare", "--tensorboard", "curves", *FAST)
    assert outcome.code == 2
    assert "--tensorboard needs TensorBoard: pip install 'corrinit[tensorboard]'" in outcome.err
    assert not any(", seed " in line for line in outcome.err.splitlines())
