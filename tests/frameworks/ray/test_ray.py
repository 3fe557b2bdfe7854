"""Runs on a real Ray cluster on this machine: the records of local runs, whatever becomes of the workers."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import ray
import torch

from corrinit.errors import ClusterError, ConfigError, WriteError
from corrinit.lab.experiment.config import TWO_BY_TWO, RunConfig
from corrinit.lab.runs import record as records
from corrinit.lab.training import ray_task
from corrinit.lab.training.on_ray import OnRay
from corrinit.lab.training.sweep import sweep

TINY = RunConfig(train_subset=64, width=0.1, epochs=3, batch_size=32, lr=0.05)
GRID = [replace(TINY, seed=seed, initialization=arm) for seed in (0, 1) for arm in TWO_BY_TWO[:2]]
LONG = replace(TINY, epochs=150)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    torch.set_num_threads(1)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def snapshot(runs):
    """Everything in the records of a folder but times and commit."""
    seen = {}
    for path in sorted(path for path in runs.iterdir() if path.is_dir()):
        record = records.read_run(path)
        passing = ("seconds", "images_per_second", "finished", "commit")
        seen[path.name] = (
            record.config,
            [{**row, "seconds": 0} for row in record.metrics],
            {name: values.tobytes() for name, values in record.updates().items()},
            {name: value for name, value in record.result.row().items() if name not in passing},
        )
    return seen


def test_records_are_those_of_this_process_and_each_epoch_is_told(tmp_path):
    told = []
    outcome = sweep(
        GRID,
        tmp_path / "ray",
        engine=OnRay(),
        on_epoch=lambda config, row: told.append((config, row["epoch"])),
    )
    assert outcome.failures == ()
    assert sorted(told, key=lambda each: (GRID.index(each[0]), each[1])) == [
        (config, epoch) for config in GRID for epoch in (1, 2, 3)
    ]
    sweep(GRID, tmp_path / "here")
    assert snapshot(tmp_path / "ray") == snapshot(tmp_path / "here")
    assert sorted(path.name for path in (tmp_path / "ray").iterdir()) == sorted(c.run_id for c in GRID)


def makers():
    """The processes of this machine that run a task of ours."""
    found = subprocess.run(["pgrep", "-f", "ray::make_run"], capture_output=True, text=True).stdout.split()
    return [int(process) for process in found]


def test_a_run_whose_worker_is_killed_goes_on_in_another(tmp_path):
    epochs, killed = [], []

    def kill_once(config, row):
        epochs.append(row["epoch"])
        if row["epoch"] >= 20 and not killed:
            killed.extend(makers())
            for process in killed:
                os.kill(process, signal.SIGKILL)

    outcome = sweep([LONG], tmp_path / "killed", engine=OnRay(), on_epoch=kill_once, checkpoint_every=1)
    assert killed
    assert outcome.failures == ()
    again = [later for later, before in zip(epochs[1:], epochs, strict=False) if later != before + 1]
    assert all(epoch > 1 for epoch in again)  # it did not start anew
    sweep([LONG], tmp_path / "undisturbed")
    assert snapshot(tmp_path / "killed") == snapshot(tmp_path / "undisturbed")


def test_a_fault_in_a_run_costs_that_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("def broken():\n    raise ValueError('no such thing')\n")
    told = []
    broken = replace(TINY, model="net.py:broken", width=1.0, architecture="")
    outcome = sweep(
        [broken, TINY], tmp_path / "runs", engine=OnRay(), on_failure=lambda *each: told.append(each)
    )
    assert [record.config for record in outcome.records] == [TINY]
    ((config, reason),) = outcome.failures
    assert config == broken
    assert "no such thing" in reason
    assert told == [(config, reason)]


def test_a_model_file_is_shipped_to_the_workers(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # where the workers, which are there already, do not look
    source = "from torch import nn\ndef net():\n    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), "
    (tmp_path / "elsewhere" / "own.py").write_text(source + "nn.Linear(144, 10))\n")
    outcome = sweep([replace(TINY, model="own.py:net")], tmp_path / "runs", engine=OnRay())
    assert outcome.failures == ()


def test_an_error_of_the_caller_stops_the_runs(tmp_path):
    def fail(config, row):
        raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        sweep([replace(LONG, epochs=100_000)], tmp_path, engine=OnRay(), on_epoch=fail)
    deadline = time.monotonic() + 60
    while makers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert makers() == []


def test_no_run_is_begun_once_the_answer_is_no(tmp_path):
    for number in (0, 1):
        answers = iter([True] * number)
        outcome = sweep(GRID, tmp_path, engine=OnRay(), start_another=lambda: next(answers, False))  # noqa: B023
        assert (len(outcome.records), outcome.failures) == (number, ())


def test_a_run_that_another_process_makes_is_waited_for(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        with records.claimed(tmp_path, TINY) as path:
            waiting = pool.submit(sweep, [TINY, GRID[2]], tmp_path, engine=OnRay())
            while not (tmp_path / GRID[2].run_id / "result.json").exists():
                time.sleep(0.1)
            assert not waiting.done()
            assert [file.name for file in path.iterdir()] == [records.LOCK]
        assert not waiting.result().failures


def test_other_versions_and_other_folders_are_refused_and_named(tmp_path):
    same = ray_task.versions()
    (tmp_path / "mark").touch()
    ray_task.require_same(ray_task.Job(tmp_path, "mark", {}, {}, same))
    with pytest.raises(ClusterError, match=r"has torch .*, and the sweep 1\.0; install one version"):
        ray_task.require_same(ray_task.Job(tmp_path, "mark", {}, {}, same | {"torch": "1.0"}))
    with pytest.raises(ClusterError, match="does not see the folder"):
        ray_task.require_same(ray_task.Job(tmp_path, "other", {}, {}, same))


@pytest.mark.parametrize("gpus", [-1, 1.5, float("nan")])
def test_a_part_of_a_gpu_that_cannot_be_is_refused(gpus):
    with pytest.raises(ConfigError, match="gpus_per_run"):
        OnRay(gpus_per_run=gpus)


def test_a_place_that_cannot_be_written_is_told_in_a_line(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        sweep([TINY], tmp_path / "runs", engine=OnRay())


def test_a_cluster_that_does_not_answer_is_told_in_a_line(tmp_path):
    command = [sys.executable, "-m", "corrinit", "compare", "--engine", "ray", "--address", "127.0.0.1:1"]
    ended = subprocess.run([*command, "--epochs", "1"], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 2
    assert "the Ray cluster at 127.0.0.1:1 does not answer" in ended.stderr.splitlines()[-1]
