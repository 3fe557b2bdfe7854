"""A disk that fails once at each call, and power cuts at each: nothing is lost, and nothing wrong is taken.

Every call of an undisturbed pass is counted; then each of them fails in turn. What may come out is a clean
end or one error of ours, and the same once more, with a sound disk, ends with the right result.
"""

import errno
import os
import shutil

import numpy as np
import pytest
import torch
from torch import nn

import corrinit
from corrinit import SpatialCorrelation, kernels, load_correlation, save_correlation
from corrinit._atomic import replacing
from corrinit.errors import CorrInitError
from corrinit.lab.data import cache
from corrinit.lab.data.source import Splits
from corrinit.lab.document.blocks import Section
from corrinit.lab.document.html import write_page
from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.experiment.config import RunConfig, read_experiment, to_toml
from corrinit.lab.runs.export import export
from corrinit.lab.runs.record import read_runs
from corrinit.lab.training.sweep import sweep

from .disk import Calls, crash_states, lay

CODES = (errno.ENOSPC, errno.EIO, errno.EACCES)
TINY = RunConfig(
    train_subset=32,
    width=0.05,
    epochs=2,
    batch_size=32,
    lr=0.05,
    initialization=Initialization("kaiming_normal"),
)
R = SpatialCorrelation(kernels.exponential((3, 3), mean=0.3), provenance={"source": "a drill"})


def a_run(root):
    """A run with its checkpoints, then a look at all records."""
    outcome = sweep([TINY], root / "runs", checkpoint_every=1, keep_weights=True)
    if outcome.failures:
        raise CorrInitError(outcome.failures[0][1])
    found, faults = read_runs(root / "runs")
    for fault in faults:
        raise fault
    return found[0]


def training(record):
    """All that a record holds but times."""
    passing = ("seconds", "images_per_second", "finished", "commit")
    return (
        [{**row, "seconds": 0} for row in record.metrics],
        {name: value for name, value in record.result.row().items() if name not in passing},
        {name: values.tolist() for name, values in record.updates().items() if "sign" not in name},
        {name: bits.tolist() for name, bits in (record.correct() or {}).items()},
        (record.path / "weights.safetensors").read_bytes(),
    )


def a_correlation_file(root):
    save_correlation(root / "R.safetensors", R)
    return load_correlation(root / "R.safetensors").matrix.tolist()


def a_report(root):
    section = Section("A section", ("text",))
    return write_page(root / "new" / "page.html", "title", [section], provenance={})


def an_export(root):
    export([], root / "all.csv")
    return True


def an_experiment_file(root):
    return read_experiment(root / "x.toml")


def a_comparison(root):
    def train(model, seed):
        return float(model.weight.detach().sum())

    result = corrinit.compare(
        train, ["kaiming_normal", "orthogonal"], 2, model=lambda: nn.Conv2d(2, 2, 3), folder=root / "kept"
    )
    return result.values


class Source:
    name = "drill"

    def __init__(self, root):
        self.files = (root / "source.bin",)

    def read(self, progress=None):
        images, labels = np.arange(64, dtype=np.uint8).reshape(4, 1, 4, 4), np.array([0, 1, 0, 1])
        fields = {name: images if "images" in name else labels for name in cache.ARRAYS}
        return Splits(("a", "b"), "a drill", **fields)


def a_cache(root):
    splits = cache.cached(Source(root))
    return {name: np.array(getattr(splits, name)).tolist() for name in cache.ARRAYS}


def same(value):
    return value


LOOKS = {
    a_run: training,
    a_correlation_file: same,
    a_report: lambda page: page.read_bytes(),
    an_export: same,
    an_experiment_file: same,
    a_comparison: same,
    a_cache: same,
}
"""The tasks, and how to look at what came out once the disk is sound again."""


THINNED = {} if os.environ.get("CORRINIT_DRILLS") == "all" else {a_run: 7, a_comparison: 2}
"""Of tasks that take long, every so many calls; `make fuzz` goes through all."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(cache.pooch, "os_cache", lambda name: tmp_path / "now" / "cache")


def prepared(root):
    """What is there before a task begins."""
    root.mkdir()
    (root / "x.toml").write_text(to_toml(TINY))
    (root / "source.bin").write_bytes(b"source")


def attempt(task, root):
    """What comes out of a task, or the one error of ours that it ends with."""
    try:
        return task(root), None
    except CorrInitError as error:
        return None, str(error)


@pytest.mark.filterwarnings("ignore::corrinit.errors.CorrInitWarning")
@pytest.mark.parametrize("task", LOOKS)
def test_each_call_may_fail_once(tmp_path, task):
    root = tmp_path / "now"
    prepared(root)
    with Calls(root).counted() as undisturbed:
        made = task(root)
    right = LOOKS[task](made)
    for number, name in list(enumerate(undisturbed.names))[:: THINNED.get(task, 1)]:
        shutil.rmtree(root)
        prepared(root)
        with Calls(root, number, CODES[number % len(CODES)]).counted():
            found, error = attempt(task, root)
        assert LOOKS[task](found) == right if error is None else "\n" not in error, f"call {number}, {name}"
        assert LOOKS[task](task(root)) == right, f"after call {number}, {name}, failed with: {error}"


@pytest.mark.filterwarnings("ignore::corrinit.errors.CorrInitWarning")
@pytest.mark.parametrize("task", [a_run, a_correlation_file, a_comparison])
def test_a_power_cut_may_come_at_each_call(tmp_path, task):
    root = tmp_path / "now"
    prepared(root)
    with Calls(root).counted() as undisturbed:
        made = task(root)
    right = LOOKS[task](made)
    states = list(crash_states(undisturbed.log))
    assert len(states) > 3
    for number, state in list(enumerate(states))[:: THINNED.get(task, 1)]:
        shutil.rmtree(root)
        prepared(root)
        lay(state)
        assert LOOKS[task](task(root)) == right, f"state {number} of {len(states)}: {sorted(state)}"


def test_after_a_power_cut_a_file_that_is_replaced_is_the_old_one_or_the_new_one(tmp_path):
    file, calls = tmp_path / "file", Calls(tmp_path)
    with calls.counted():
        with replacing(file) as opened:
            opened.write(b"the old one")
        first = len(calls.log)
        with replacing(file) as opened:
            opened.write(b"the new one")
    since = [state.get(str(file)) for state in crash_states(calls.log, since=first)]
    assert {b"the old one", b"the new one"} == set(since)


def test_a_disk_that_lets_nothing_be_removed_either_is_one_error(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(os, "unlink", full)
    with pytest.raises(CorrInitError, match="No space left on device"), replacing(tmp_path / "file") as file:
        file.write(b"x")
