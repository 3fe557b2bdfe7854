"""Run records: what is written comes back, damage is named and costs one run, and a run has one maker."""

import errno
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from corrinit.errors import CorrInitError, CorrInitWarning, RecordError, RunBusyError
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.runs import record as records
from corrinit.lab.runs.fields import METRICS
from corrinit.lab.runs.record import claimed, finished_run, read_run, read_runs
from corrinit.lab.runs.result import RunResult

UPDATES = {"sign_changes": np.array([np.nan, 0.25, 0.5]), "gradient_l2": np.arange(3.0)}


def config(seed=0, epochs=2):
    return RunConfig(epochs=epochs, seed=seed, initialization=Initialization("kaiming_normal"))


def rows(epochs=2, **values):
    measured = dict.fromkeys(METRICS, 0.5) | {"seconds": 0.1}
    return [{**measured, "epoch": epoch, "train_loss": 1 / epoch, **values} for epoch in range(1, epochs + 1)]


def write(root, config, **result):
    with claimed(root, config) as path:
        records.start(path, config)
        records.write_metrics(path, rows(config.epochs))
        records.finish(path, UPDATES, {"test_accuracy": 0.5, "data": "digits: …", **result})
    return path


def files(path):
    return sorted(file.name for file in path.iterdir())


def test_a_record_comes_back_as_it_was_written(tmp_path):
    path = write(tmp_path, config(seed=3))
    record = read_run(path)
    assert (record.run_id, record.config, record.finished) == (config(seed=3).run_id, config(seed=3), True)
    assert list(record.metrics) == rows()
    assert record.result == RunResult({"test_accuracy": 0.5}, data="digits: …")
    assert record.updates().keys() == UPDATES.keys()
    for name, values in record.updates().items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, UPDATES[name])
    assert files(path) == ["config.json", "metrics.jsonl", "result.json", "updates.npz"]


def test_a_result_is_a_value_that_knows_its_fields_and_keeps_those_of_later_versions(tmp_path):
    told = {"test_loss": None, "threads": 2, "diverged": False, "colour": "green"}
    result = read_run(write(tmp_path, config(), **told)).result
    assert result.endpoints["test_accuracy"] == 0.5
    assert math.isnan(result.endpoints["test_loss"])
    assert (result.threads, result.seconds, result.others) == (2, None, {"colour": "green"})
    assert result.row() | {"test_loss": None} == {"test_accuracy": 0.5, "data": "digits: …", **told}


@pytest.mark.parametrize("told", [{"threads": 2.5}, {"test_accuracy": "high"}, {"diverged": 0}, {"data": 3}])
def test_a_result_of_another_type_is_damaged(tmp_path, told):
    with pytest.raises(RecordError, match=rf"result.json is damaged: {next(iter(told))} is .*, no "):
        read_run(write(tmp_path, config(), **told))


def test_what_is_not_a_number_is_null_in_the_file(tmp_path):
    with claimed(tmp_path, config()) as path:
        records.start(path, config())
        records.write_metrics(path, rows(train_loss=math.nan, test_loss=math.inf))
        records.finish(path, UPDATES, {"test_accuracy": math.nan})

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    for line in (path / "metrics.jsonl").read_text().splitlines():
        assert json.loads(line, parse_constant=refuse)["train_loss"] is None
    assert json.loads((path / "result.json").read_text(), parse_constant=refuse)["test_accuracy"] is None
    assert math.isnan(read_run(path).metrics[0]["train_loss"])


def test_an_unfinished_record_can_be_read_too(tmp_path):
    with claimed(tmp_path, config(epochs=9)) as path:
        records.start(path, config(epochs=9))
        records.write_metrics(path, rows(3))
    record = read_run(path)
    assert (record.finished, len(record.metrics), record.result) == (False, 3, RunResult())
    assert finished_run(tmp_path, config(epochs=9)) is None
    with pytest.raises(RecordError, match=r"updates.npz cannot be read"):
        record.updates()


def test_a_diverged_run_is_finished_with_fewer_epochs(tmp_path):
    with claimed(tmp_path, config(epochs=9)) as path:
        records.start(path, config(epochs=9))
        records.write_metrics(path, rows(3))
        records.finish(path, UPDATES, {"test_accuracy": 0.1, "diverged": True})
    assert finished_run(tmp_path, config(epochs=9)).finished


def truncate(file):
    file.write_bytes(file.read_bytes()[:-20])


def fill_with_zeros(file):
    file.write_bytes(bytes(file.stat().st_size))


def replace_by_a_list(file):
    file.write_text("[1, 2]\n")


def make_unknown(file):
    file.write_text('{"epochz": 3}\n')


def drop_the_last_line(file):
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


DAMAGE = [
    (name, damage)
    for name in ("config.json", "metrics.jsonl", "result.json", "updates.npz")
    for damage in (truncate, fill_with_zeros, replace_by_a_list, os.unlink)
    if (name, damage) != ("result.json", os.unlink)
] + [("config.json", make_unknown), ("metrics.jsonl", drop_the_last_line)]


@pytest.mark.parametrize(("name", "damage"), DAMAGE)
def test_a_damaged_record_is_named_and_made_again_and_the_others_are_kept(tmp_path, name, damage):
    path, other = write(tmp_path, config()), write(tmp_path, config(seed=1))
    damage(path / name)
    with pytest.warns(CorrInitWarning, match=rf"{path.name}/.*{name}.*; the run is made again"):
        assert finished_run(tmp_path, config()) is None
    assert finished_run(tmp_path, config(seed=1)).path == other
    write(tmp_path, config())
    assert finished_run(tmp_path, config()).finished
    assert files(path) == files(other)


def test_reading_many_records_tells_which_are_damaged(tmp_path):
    paths = [write(tmp_path / "a", config(seed)) for seed in range(3)]
    truncate(paths[1] / "result.json")
    found, faults = read_runs(tmp_path)
    assert sorted(record.config.seed for record in found) == [0, 2]
    assert [str(paths[1] / "result.json") in str(fault) for fault in faults] == [True]
    assert read_runs(tmp_path / "nowhere") == ([], [])


def test_what_a_killed_process_left_is_cleared_away_but_the_checkpoint(tmp_path):
    with claimed(tmp_path, config()) as path:
        records.start(path, config())
        for name in (records.CHECKPOINT, ".result.json.k3j4", "updates.npz", "metrics.jsonl"):
            (path / name).touch()
    with claimed(tmp_path, config()) as path:
        records.start(path, config())
    assert files(path) == [".lock", "checkpoint.pt", "config.json", "metrics.jsonl"]


def test_a_full_disk_is_named_and_leaves_every_record_as_it_was(tmp_path, monkeypatch):
    path = write(tmp_path, config())
    before = {name: (path / name).read_bytes() for name in files(path)}

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CorrInitError, match="No space left on device; free some space"):
        write(tmp_path, config(seed=1))
    with pytest.raises(CorrInitError, match="No space left on device"):
        records.finish(path, UPDATES, {"test_accuracy": 0.9})
    assert {name: (path / name).read_bytes() for name in files(path)} == before
    assert finished_run(tmp_path, config(seed=1)) is None


def test_a_run_has_one_maker_at_a_time(tmp_path):
    with claimed(tmp_path, config()):
        with pytest.raises(RunBusyError, match=f"run {config().run_id} is being made by another process"):
            claimed(tmp_path, config()).__enter__()
        with claimed(tmp_path, config(seed=1)):
            pass
    with claimed(tmp_path, config()):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CorrInitError, match=r"file/.* cannot be written: Not a directory"):
        claimed(tmp_path / "file", config()).__enter__()


def test_records_are_read_without_torch(tmp_path):
    write(tmp_path, config())
    code = (
        "import sys; from pathlib import Path; from corrinit.lab.runs.record import read_runs;"
        f"records, faults = read_runs(Path({str(tmp_path)!r}));"
        "records[0].updates(); assert len(records) == 1 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
