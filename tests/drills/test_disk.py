"""A disk that fails once at each call, and power cuts: nothing is lost, and nothing wrong is taken."""

import errno
import os

import pytest
import torch

from corrinit._atomic import replacing
from corrinit.errors import CorrInitError
from corrinit.lab.data import cache

from .disk import Calls, crash_states
from .tasks import LOOKS, a_comparison, a_correlation_file, a_run, failing_calls, power_cuts

THINNED = {a_run: 7, a_comparison: 2}
"""Of tasks that take long, every so many calls; `make fuzz` goes through all."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(cache.pooch, "os_cache", lambda name: tmp_path / "now" / "cache")


@pytest.mark.filterwarnings("ignore::corrinit.errors.CorrInitWarning")
@pytest.mark.parametrize("task", LOOKS)
def test_each_call_may_fail_once(tmp_path, task):
    outcomes = dict(failing_calls(task, tmp_path / "now", THINNED.get(task, 1)))
    assert outcomes
    assert [wrong for wrong in outcomes.values() if wrong] == []


@pytest.mark.filterwarnings("ignore::corrinit.errors.CorrInitWarning")
@pytest.mark.parametrize("task", [a_run, a_correlation_file, a_comparison])
def test_a_power_cut_may_come_at_each_call(tmp_path, task):
    outcomes = dict(power_cuts(task, tmp_path / "now", THINNED.get(task, 1)))
    assert len(outcomes) > 1
    assert [wrong for wrong in outcomes.values() if wrong] == []


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


def test_a_path_that_can_name_no_file_is_refused(tmp_path):
    with pytest.raises(CorrInitError, match="is no name of a file"), replacing(tmp_path / "a\0b"):
        pass
