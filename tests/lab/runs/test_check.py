"""The check of a folder of records: it names what is wrong and the remedy, and what is sound is not named."""

import os

import numpy as np
import pytest

from corrinit.lab.experiment import identity
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.experiment.identity import Change
from corrinit.lab.runs import record as records
from corrinit.lab.runs.check import check_records
from corrinit.lab.runs.fields import METRICS
from corrinit.lab.runs.record import claimed


def write(root, seed=0, *, finish=True):
    config = RunConfig(epochs=1, seed=seed, initialization=Initialization("kaiming_normal"))
    with claimed(root, config) as path:
        records.start(path, config)
        records.write_metrics(path, [dict.fromkeys(METRICS, 0.5) | {"epoch": 1}])
        if finish:
            records.finish(path, {"gradient_l2": np.ones(2)}, {"test_accuracy": 0.5})
    return path


def found(root):
    return [(str(each.path.relative_to(root)), each.kind) for each in check_records(root)]


def test_sound_records_finished_or_not_are_not_named(tmp_path, run):
    write(tmp_path / "runs")
    write(tmp_path / "runs", 1, finish=False)
    assert found(tmp_path / "runs") == []
    outcome = run("runs", "--check")
    assert (outcome.code, outcome.out) == (0, "0 findings; 0 records not as it should be\n")


def test_damage_in_any_file_is_named_with_the_remedy(tmp_path, run):
    paths = [write(tmp_path / "runs", seed) for seed in range(4)]
    for path, name in zip(paths, ("config.json", "metrics.jsonl", "result.json", "updates.npz"), strict=True):
        (path / name).write_text("{")
    outcome = run("runs", "--check")
    assert outcome.code == 1
    *lines, last = outcome.out.splitlines()
    assert len(lines) == 4
    assert all("damaged" in line and "repeat the command that made it" in line for line in lines)
    assert last == "4 findings; 4 records not as it should be"


def test_a_record_under_another_name_is_named(tmp_path):
    path = write(tmp_path)
    path.rename(tmp_path / "mine")
    (finding,) = check_records(tmp_path)
    assert (finding.kind, finding.remedy) == ("misnamed", f"rename it to {path.name}")


def test_files_without_a_configuration_are_orphans(tmp_path):
    path = write(tmp_path)
    (path / "config.json").unlink()
    assert found(tmp_path) == [(path.name, "orphaned")]


def test_the_lock_of_a_run_that_never_began_is_harmless(tmp_path):
    """A process that is killed between its claim and the configuration leaves no more."""
    (tmp_path / "f90e891c927f69dd").mkdir()
    (tmp_path / "f90e891c927f69dd" / records.LOCK).touch()
    (finding,) = check_records(tmp_path)
    assert (finding.kind, finding.harmless) == ("left over", True)


def test_what_killed_processes_left_is_harmless(tmp_path, run):
    path = write(tmp_path / "runs")
    for name in (records.LOCK, records.CHECKPOINT, ".result.json.x1y2", records.ERROR):
        (path / name).touch()
    (path / ".ipynb_checkpoints").mkdir()
    unfinished = write(tmp_path / "runs", 1, finish=False)
    (unfinished / records.CHECKPOINT).write_bytes(b"PK of an earlier version, without a digest")
    kinds = [kind for _, kind in found(tmp_path / "runs")]
    assert sorted(kinds) == ["failed"] + 4 * ["left over"]
    assert run("runs", "--check").code == 0


def test_a_record_of_an_older_protocol_is_named(tmp_path, monkeypatch):
    path = write(tmp_path)
    newest = Change(identity.CHANGES[-1].number + 1, "everything", lambda config: True)
    changes = (*identity.CHANGES, newest)
    monkeypatch.setattr(identity, "CHANGES", changes)
    assert found(tmp_path) == [(path.name, "replaced")]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_what_may_not_be_read_is_named(tmp_path):
    path = write(tmp_path)
    path.chmod(0)
    assert [kind for _, kind in found(tmp_path)] == ["unreadable"]
    path.chmod(0o700)
