"""Processes that are killed at moments drawn from a seed, while they make the runs of a comparison.

After every kill all records are sound or are not there yet, and what was finished is what it was. In the end
they are those of an undisturbed comparison, each once.
"""

import os
import random
import signal
import time
from collections import Counter
from dataclasses import replace

import torch
from torch import nn

import corrinit
from corrinit.lab.experiment.config import TWO_BY_TWO, RunConfig
from corrinit.lab.runs import record as records
from corrinit.lab.runs.check import check_records
from corrinit.lab.training.sweep import sweep

PASSING = ("seconds", "images_per_second", "finished", "commit")
TINY = RunConfig(train_subset=64, width=0.1, epochs=12, batch_size=32, lr=0.05)
GRID = [replace(TINY, seed=seed, initialization=arm) for seed in (0, 1) for arm in TWO_BY_TWO]
SECONDS_MOST = 120
"""What a comparison is allowed to take, kills left out, before it counts as hung."""


def a_sweep(runs):
    """Runs of our own trainer, with a checkpoint after every epoch."""
    torch.set_num_threads(1)
    assert not sweep(GRID, runs, checkpoint_every=1, keep_weights=True).failures


def a_sweep_of_two_jobs(runs):
    """The same by two workers at a time, which are killed along with it."""
    torch.set_num_threads(1)
    assert not sweep(GRID, runs, jobs=2, checkpoint_every=1, keep_weights=True).failures


def a_comparison(runs):
    """Runs of a training loop of the user's own."""

    def train(model, seed):
        time.sleep(0.02)
        return [float(model.weight.detach().sum()), seed]

    methods = ["kaiming_normal", "orthogonal", "xavier_normal"]
    corrinit.compare(train, methods, 4, model=lambda: nn.Conv2d(2, 2, 3), folder=runs)


COMPARISONS = (a_sweep, a_sweep_of_two_jobs, a_comparison)


def snapshot(runs):
    """All that the records of a folder hold but times, by run; unfinished ones are left out."""
    seen = {}
    for record in records.read_runs(runs)[0]:
        if record.finished:
            weights = record.path / records.WEIGHTS
            seen[record.path.name] = (
                [{**row, "seconds": 0} for row in record.metrics],
                {name: value for name, value in record.result.row().items() if name not in PASSING},
                {name: values.tobytes() for name, values in record.updates().items()},
                weights.read_bytes() if weights.exists() else b"",
            )
    return seen


def _forked(comparison, runs):
    """A process, with a group of its own for the workers that it starts, that makes a comparison."""
    process = os.fork()
    if process:
        os.setpgid(process, process)
        return process
    code = 1
    try:
        os.setpgid(0, 0)
        comparison(runs)
        code = 0
    finally:
        os._exit(code)


def _whole(comparison, runs):
    """Make a comparison to its end, in a process of its own; the seconds that it took."""
    begun = time.monotonic()
    _, status = os.waitpid(_forked(comparison, runs), 0)
    if status:
        raise AssertionError(f"{comparison.__name__} ended with status {status}")
    return time.monotonic() - begun


def kill(number, seed, root):
    """Outcomes of a number of kills, over comparisons that are begun anew when they end."""
    chance, found, right = random.Random(f"{seed} kills"), Counter(), {}
    for comparison in COMPARISONS:
        seconds = _whole(comparison, root / comparison.__name__)
        right[comparison] = snapshot(root / comparison.__name__), seconds
    done, begun = 0, 0
    while done < number:
        comparison = chance.choice(COMPARISONS)
        expected, seconds = right[comparison]
        begun += 1
        runs, before, spent = root / str(begun), {}, 0.0
        while done < number and spent < SECONDS_MOST:
            wait = chance.uniform(0, seconds)
            ended = _killed(comparison, runs, wait)
            spent += wait
            if ended is not None:  # the machine has become faster, or most was done before
                right[comparison] = expected, max(1.0, 0.8 * seconds)
                break
            done += 1
            found[_lost(runs, before, expected)] += 1
            before = snapshot(runs)
        _whole(comparison, runs)
        if snapshot(runs) != expected:
            found[f"{comparison.__name__}: other records than undisturbed"] += 1
    return found


def _killed(comparison, runs, seconds):
    """Kill a comparison after so long; the seconds that it took, if it came to its end before."""
    process, begun = _forked(comparison, runs), time.monotonic()
    while (spent := time.monotonic() - begun) < seconds:
        if os.waitpid(process, os.WNOHANG)[0]:
            return spent
        time.sleep(min(0.01, seconds - spent))
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def _lost(runs, before, expected):
    """What a kill has cost beyond what it may cost."""
    now = snapshot(runs)
    wrong = [str(each) for each in check_records(runs) if not each.harmless] if runs.exists() else []
    if wrong:
        return f"not sound: {wrong[0]}"
    if any(now.get(name) != values for name, values in before.items()):
        return "a finished record was lost or changed"
    if not now.keys() <= expected.keys():
        return "a record of no run"
    return "nothing lost"
