"""Other endpoints beside the one that decides, and the two parts of the noise."""

from dataclasses import replace

import numpy as np
import pytest
from tests.lab.handmade import handmade

from corrinit.lab.comparison.endpoints_beside import noise, other_endpoints
from corrinit.lab.comparison.groups import compare
from corrinit.lab.experiment.arm import BASELINE
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.runs.observed import write_correct
from corrinit.lab.runs.table import Runs
from corrinit.lab.statistics.noise import split_noise

OTHER = Initialization("orthogonal")
BASE = RunConfig(epochs=2)


def runs(averaged=True):
    found = []
    for arm, gain in ((BASELINE, 0.0), (OTHER, 0.02)):
        for seed in range(3):
            run = handmade(
                replace(BASE, initialization=arm, seed=seed), 0.6 + gain + 0.001 * seed**2 * (gain > 0)
            )
            told = {**run.result.endpoints, "averaged_test_accuracy": 0.7 + 2 * gain + 0.001 * (seed == 1)}
            result = replace(run.result, endpoints=told) if averaged else run.result
            found.append(replace(run, result=result))
    return found


def test_gains_by_other_endpoints_stand_beside_and_decide_nothing():
    (comparison,) = compare(Runs(runs()))
    (table,) = other_endpoints(comparison)
    assert table.header == (
        "initialization",
        "accuracy of averaged weights (points)",
        "mean accuracy of the last 5 epochs (points)",
        "mean loss (nats)",
    )
    ((name, averaged, *_),) = table.rows
    assert (name, averaged.partition(" ")[0]) == ("orthogonal", "+4.0")
    assert "decide nothing" in table.caption


def test_what_not_all_runs_tell_is_left_out():
    (comparison,) = compare(Runs([*runs(averaged=False)[:1], *runs()[1:]]))
    (table,) = other_endpoints(comparison)
    assert not any("averaged" in each for each in table.header)


def test_noise_is_split_for_arms_that_kept_what_they_were_right_about(tmp_path):
    right = np.random.default_rng(0).random((3, 400)) < 0.6
    kept = []
    for run in runs():
        path = tmp_path / run.path
        path.mkdir()
        if run.arm == BASELINE:
            write_correct(path, {"last": right[run.seed], "averaged": right[run.seed]})
        kept.append(replace(run, path=path))
    (comparison,) = compare(Runs(kept))
    ((name, count, *parts),) = next(noise(comparison)).rows
    expected = split_noise(right)
    assert (name, count) == ("kaiming_normal", "3")
    assert [float(part) for part in parts] == pytest.approx(
        [100 * expected.total**0.5, 100 * expected.images_sd, 100 * expected.network_sd], abs=0.006
    )
    assert not list(noise(next(iter(compare(Runs(runs()))))))
