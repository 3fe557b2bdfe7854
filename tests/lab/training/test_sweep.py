"""Sweeps: nothing is run twice, one fault costs one run, and no end is too sudden to go on from."""

import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from corrinit.errors import ConfigError, RunBusyError
from corrinit.lab.experiment.config import TWO_BY_TWO, Initialization, RunConfig
from corrinit.lab.runs import record as records
from corrinit.lab.runs.record import claimed, finished_run
from corrinit.lab.training import processes
from corrinit.lab.training.sweep import sweep

TINY = RunConfig(train_subset=64, width=0.1, epochs=3, batch_size=32, lr=0.05)
GRID = [replace(TINY, seed=seed, initialization=arm) for seed in (0, 1) for arm in TWO_BY_TWO]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def snapshot(runs):
    """Everything in the records of a folder but times and commit: by run, file and field."""
    seen = {}
    for path in sorted(runs.iterdir()):
        record = records.read_run(path)
        passing = ("seconds", "images_per_second", "finished", "commit")
        timeless = {key: value for key, value in record.result.row().items() if key not in passing}
        weights = path / records.WEIGHTS
        seen[path.name] = {
            # A lock and a checkpoint may be left by a process that is killed once its result stands.
            "files": sorted({file.name for file in path.iterdir()} - {records.LOCK, records.CHECKPOINT}),
            "config": record.config,
            "metrics": [{**row, "seconds": 0} for row in record.metrics],
            "updates": {name: values.tobytes() for name, values in record.updates().items()},
            "result": timeless,
            "weights": weights.read_bytes() if weights.exists() else b"",
        }
    return seen


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    runs = tmp_path_factory.mktemp("undisturbed")
    assert not sweep(GRID, runs).failures
    return snapshot(runs)


def test_records_come_in_the_order_of_the_configurations_each_once(tmp_path):
    configs = [
        GRID[3],
        GRID[0],
        GRID[3],
        replace(GRID[0], initialization=Initialization("kaiming_normal", "own")),
    ]
    outcome = sweep(configs, tmp_path)
    assert [record.config for record in outcome.records] == [GRID[3], configs[3]]
    assert outcome.failures == ()


@pytest.mark.parametrize("jobs", [1, 2])
def test_finished_runs_are_kept_and_the_others_made(tmp_path, jobs, undisturbed):
    sweep(GRID[:3], tmp_path)
    made = []
    outcome = sweep(
        GRID, tmp_path, jobs=jobs, on_epoch=lambda config, metrics: made.append((config, metrics["epoch"]))
    )
    assert sorted(made, key=str) == sorted(((config, e) for config in GRID[3:] for e in (1, 2, 3)), key=str)
    assert [record.config for record in outcome.records] == GRID
    assert snapshot(tmp_path) == undisturbed


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_fails_is_reported_and_the_others_go_on(tmp_path, jobs):
    faulty = replace(GRID[0], model="vgg9")
    outcome = sweep([faulty, GRID[0]], tmp_path, jobs=jobs)
    ((config, reason),) = outcome.failures
    assert config == faulty
    assert reason.startswith("model is 'vgg9'; it is one of ")
    assert [record.config for record in outcome.records] == [GRID[0]]


FAULTY_MODEL = """
from torch import nn

class Faulty(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head, self.calls = nn.Conv2d(1, 4, 3), nn.Linear(4, 10), 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 1:
            raise RuntimeError("the second batch\\nis too much")
        return self.head(self.conv(x).mean((2, 3)))
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_fault_of_the_users_code_is_told_in_a_line_that_names_its_place(tmp_path, jobs):
    code = tmp_path / "faulty.py"
    code.write_text(FAULTY_MODEL)
    faulty = replace(TINY, model=f"{code}:Faulty")
    outcome = sweep([faulty, TINY], tmp_path / "runs", jobs=jobs)
    assert [record.config for record in outcome.records] == [TINY]
    ((config, reason),) = outcome.failures
    file = tmp_path / "runs" / config.run_id / records.ERROR
    assert reason == f"RuntimeError: the second batch is too much ({code}:12); the traceback is in {file}"
    assert "Traceback (most recent call last)" in file.read_text()
    with claimed(tmp_path / "runs", config) as path:
        records.start(path, config)  # the next attempt
    assert not file.exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_model_that_ends_the_program_costs_its_run(tmp_path, jobs):
    code = tmp_path / "leaving.py"
    code.write_text(
        FAULTY_MODEL.replace('raise RuntimeError("the second batch\\nis too much")', "raise SystemExit(3)")
    )
    leaving = replace(TINY, model=f"{code}:Faulty")
    outcome = sweep([leaving, TINY], tmp_path / "runs", jobs=jobs)
    assert [record.config for record in outcome.records] == [TINY]
    assert outcome.failures[0][1].startswith(f"SystemExit: 3 ({code}:12)")


def test_a_worker_does_not_wait_for_threads_that_a_model_leaves(tmp_path):
    code = tmp_path / "threads.py"
    start = "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()"
    code.write_text(FAULTY_MODEL.replace('raise RuntimeError("the second batch\\nis too much")', start))
    model = replace(TINY, model=f"{code}:Faulty")
    begun = time.monotonic()
    assert not sweep([model], tmp_path / "runs", jobs=2).failures
    assert time.monotonic() - begun < 300


def test_an_error_of_who_listens_is_not_taken_for_one_of_a_run(tmp_path):
    def fails(config, metrics):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        sweep([TINY], tmp_path, on_epoch=fails)


def test_a_fault_of_the_program_in_a_worker_is_told_in_a_line_too(tmp_path):
    outcome = sweep(GRID[:1], tmp_path, jobs=2, checkpoint_every="x")  # pyright: ignore[reportArgumentType]
    ((_, reason),) = outcome.failures
    assert reason.startswith("TypeError: '<' not supported")
    assert "\n" not in reason


def test_a_worker_that_is_killed_takes_nothing_along(tmp_path):
    long = replace(TINY, epochs=100_000)

    def kill_the_long_one(config, metrics):
        if config == long and metrics["epoch"] == 3:
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)

    outcome = sweep([long], tmp_path, jobs=2, on_epoch=kill_the_long_one)
    assert outcome.failures == ((long, "its process was killed (SIGKILL); repeat the command to go on"),)
    assert not sweep(GRID[:2], tmp_path, jobs=2).failures
    with claimed(tmp_path, long):  # the claim of the dead is void
        pass


def test_a_damaged_record_is_warned_of_and_made_again(tmp_path, undisturbed):
    sweep(GRID, tmp_path)
    (tmp_path / GRID[2].run_id / "metrics.jsonl").write_text("{")
    made = []
    with pytest.warns(match=rf"{GRID[2].run_id}/metrics.jsonl is damaged.*; the run is made again"):
        sweep(GRID, tmp_path, jobs=2, on_epoch=lambda config, _: made.append(config))
    assert set(made) == {GRID[2]}
    assert snapshot(tmp_path) == undisturbed


def test_warnings_of_workers_reach_the_one_who_asked(tmp_path):
    strong = replace(TINY, initialization=Initialization(strength=3.0))
    with pytest.warns(match="the nearest one is"):
        sweep([strong], tmp_path, jobs=2)


@pytest.mark.parametrize("jobs", [1, 2])
def test_after_an_interruption_the_same_sweep_goes_on(tmp_path, jobs, undisturbed):
    def interrupt(config, metrics):
        if config == GRID[4] and metrics["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(GRID, tmp_path, jobs=jobs, on_epoch=interrupt)
    assert multiprocessing.active_children() == []
    assert sum(finished_run(tmp_path, config) is not None for config in GRID) >= 3
    assert not sweep(GRID, tmp_path, jobs=jobs).failures
    assert snapshot(tmp_path) == undisturbed


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_another_process_makes_is_left_for_last_and_waited_for(tmp_path, jobs):
    order = []
    other = claimed(tmp_path, GRID[0])
    other.__enter__()

    def release_after_the_last(config, metrics):
        order.append(config)
        if config == GRID[1] and metrics["epoch"] == TINY.epochs:
            time.sleep(0.3)  # the sweep is waiting for the other process by now
            other.__exit__(None, None, None)

    outcome = sweep(GRID[:2], tmp_path, jobs=jobs, on_epoch=release_after_the_last)
    assert [record.config for record in outcome.records] == GRID[:2]
    assert order == [GRID[1]] * 3 + [GRID[0]] * 3


def test_jobs_is_a_positive_number(tmp_path):
    with pytest.raises(ConfigError, match="jobs is 0"):
        sweep(GRID, tmp_path, jobs=0)


# Sudden ends: processes that are really killed

LONG = [replace(config, epochs=12) for config in GRID]


def sweep_in_a_process(runs, epochs):
    """What a killed process was doing: one sweep, with a checkpoint after every epoch."""
    torch.set_num_threads(1)
    sweep(LONG, runs, checkpoint_every=1, keep_weights=True, on_epoch=lambda *_: epochs.release())


def kill_after(epochs, seconds, runs):
    """Run the sweep in a process of its own and kill it; returns how it ended."""
    context = processes._context()
    done = context.Semaphore(0)
    process = context.Process(target=sweep_in_a_process, args=(runs, done))
    process.start()
    assert all(done.acquire(timeout=60) for _ in range(epochs))
    time.sleep(seconds)
    process.kill()
    process.join()
    return process.exitcode


def test_a_sweep_killed_at_random_moments_ends_with_the_records_of_an_undisturbed_one(tmp_path):
    chance = random.Random(0)
    for _ in range(20):
        ended = kill_after(chance.randint(1, 4), chance.uniform(0, 0.01), tmp_path / "killed")
        assert ended == -signal.SIGKILL
    assert not sweep(LONG, tmp_path / "killed", keep_weights=True).failures
    assert not sweep(LONG, tmp_path / "undisturbed", keep_weights=True).failures
    assert snapshot(tmp_path / "killed") == snapshot(tmp_path / "undisturbed")


def die_at_replacement(number, runs):
    """Make a run in a process that is killed when it is about to put its n-th file in place."""
    replace_file, calls = Path.replace, []

    def deadly(self, target):
        calls.append(target)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace_file(self, target)

    Path.replace = deadly
    torch.set_num_threads(1)
    sweep([GRID[0]], runs, checkpoint_every=2)


def test_a_process_killed_while_it_writes_leaves_no_half_file_behind(tmp_path, undisturbed):
    number, exit_code = 0, -signal.SIGKILL
    while exit_code == -signal.SIGKILL:
        number += 1
        runs = tmp_path / str(number)
        process = processes._context().Process(target=die_at_replacement, args=(number, runs))
        process.start()
        process.join()
        exit_code = process.exitcode
        sweep([GRID[0]], runs)
        assert snapshot(runs) == {GRID[0].run_id: undisturbed[GRID[0].run_id]}
    assert (number, exit_code) == (8, 0)  # config, metrics, checkpoint, correct, metrics, updates, result


def work_for_a_parent_that_dies(runs, started):
    """Stand between the test and a worker, as the process of the sweep does."""
    messages, end = multiprocessing.Pipe(duplex=False)
    worker = multiprocessing.get_context("fork").Process(
        target=processes._work, args=(replace(TINY, epochs=100_000), runs, 1, False, {}, end)
    )
    worker.start()
    messages.recv()
    started.set()
    time.sleep(60)


def test_a_worker_ends_with_the_process_that_started_it_and_frees_its_run(tmp_path):
    context = processes._context()
    started = context.Event()
    process = context.Process(target=work_for_a_parent_that_dies, args=(tmp_path, started))
    process.start()
    assert started.wait(60)
    with pytest.raises(RunBusyError):
        claimed(tmp_path, replace(TINY, epochs=100_000)).__enter__()
    process.kill()
    with claimed(tmp_path, replace(TINY, epochs=100_000), wait=True):
        pass
