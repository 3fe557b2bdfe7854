"""What is done on a disk that fails at each call, and after a power cut at each.

Every call of an undisturbed pass is counted; then each of them fails in turn. What may come out is a clean
end or one error of ours, and the same once more, with a sound disk, ends with the right result.
"""

import errno
import shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np
from torch import nn

import corrinit
from corrinit import SpatialCorrelation, kernels, load_correlation, presets, save_correlation
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


def a_preset(root):
    presets._read.cache_clear()
    with patch.object(presets, "_FOLDER", root / "presets"):
        layer = presets.preset_layers("resnet10-cifar10")[-1]
        found = presets.load_preset("resnet10-cifar10", layer).matrix.tolist()
        return found, [preset.name for preset in corrinit.list_presets()]


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
    a_preset: same,
}
"""The tasks, and how to look at what came out once the disk is sound again."""


def prepared(root):
    """What is there before a task begins."""
    root.mkdir(parents=True)
    (root / "x.toml").write_text(to_toml(TINY))
    (root / "source.bin").write_bytes(b"source")
    shutil.copytree(Path(presets.__file__).parent, root / "presets")


def attempt(task, root):
    """What comes out of a task, or the one error of ours that it ends with."""
    try:
        return task(root), None
    except CorrInitError as error:
        return None, str(error)


def undisturbed(task, root):
    """The calls of a task on a sound disk, and what comes out."""
    prepared(root)
    with Calls(root).counted() as calls:
        made = task(root)
    return calls, LOOKS[task](made)


def failing_calls(task, root, every=1):
    """Let each call of a task fail, or one of so many; yields the number of the call and what went wrong."""
    calls, right = undisturbed(task, root)
    for number, name in list(enumerate(calls.names))[::every]:
        shutil.rmtree(root)
        prepared(root)
        with Calls(root, number, CODES[number % len(CODES)]).counted():
            found, error = attempt(task, root)
        wrong = "\n" in error if error is not None else LOOKS[task](found) != right
        wrong = wrong or LOOKS[task](task(root)) != right
        yield number, f"call {number}, {name}, failed with: {error}" if wrong else None


def power_cuts(task, root, every=1):
    """Cut the power at each call of a task; yields the number of a state and what went wrong."""
    calls, right = undisturbed(task, root)
    for number, state in list(enumerate(crash_states(calls.log)))[::every]:
        shutil.rmtree(root)
        prepared(root)
        lay(state)
        wrong = LOOKS[task](task(root)) != right
        yield number, f"state {number}: {sorted(state)}" if wrong else None
