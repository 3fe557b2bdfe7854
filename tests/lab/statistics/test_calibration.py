"""The short form of `benchmarks/bench_calibration.py`: copies are seldom called different; mutants are seen.

Each rate is held against 5 % with 2,000 comparisons; a right one is called too high with a chance of 1e-6.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student

from corrinit.lab.statistics import paired
from corrinit.lab.statistics.paired import t_test

COMPARISONS = 2000
MOST = binom.isf(1e-6, COMPARISONS, 0.05)

_spec = importlib.util.spec_from_file_location(
    "bench_calibration", Path(__file__).parents[3] / "benchmarks" / "bench_calibration.py"
)
assert _spec is not None
assert _spec.loader is not None
bench = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)  # where dataclasses look
_spec.loader.exec_module(bench)


def wrong(noise, seeds, images, *, anytime, checked=2):
    rates = bench.cell(noise, seeds, images, anytime=anytime, replications=COMPARISONS, checked=checked)
    return rates.wrong


@pytest.mark.statistical
@pytest.mark.parametrize("anytime", [False, True])
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("noise", list(bench.NOISE))
def test_copies_are_seldom_called_different(noise, seeds, anytime):
    """Family error at most 5 % at 50, 360 and 10,000 images: false alarm 1e-6 each, 9e-5 in all."""
    for images in bench.IMAGES:
        assert wrong(noise, seeds, images, anytime=anytime) <= MOST


@pytest.mark.statistical
@pytest.mark.parametrize("images", [50, 360])
def test_taking_equal_differences_for_certain_is_seen(monkeypatch, images):
    """With p = 0 for differences that are all equal, the same check fails; it errs in 19 % and more."""

    def certain(differences, step):
        low, high, p = t_test(differences, step)
        equal = differences.max(-1) == differences.min(-1)
        return low, high, np.where(equal & (differences[..., 0] != 0), 0.0, p)

    monkeypatch.setattr(paired, "t_test", certain)
    assert wrong("normal", 2, images, anytime=False, checked=0) > MOST


@pytest.mark.statistical
@pytest.mark.filterwarnings("ignore:Degrees of freedom", "ignore:Mean of empty")
def test_comparing_with_the_survivors_of_the_baseline_is_seen(monkeypatch):
    """Without its worst third, a baseline of ten seeds beats its copies far more often than in 5 %."""

    def survivors(differences, step):
        n = np.isfinite(differences).sum(-1)
        with np.errstate(all="ignore"):
            error = np.sqrt(np.nanvar(differences, -1) / (n - 1))
            return None, None, 2 * student.sf(np.abs(np.nanmean(differences, -1)) / error, n - 1)

    monkeypatch.setattr(paired, "t_test", survivors)
    monkeypatch.setattr(bench, "LEAST_SEEDS", 11)  # so that differences are taken within seeds
    assert wrong("diverging baseline", 10, 10_000, anytime=False, checked=0) > MOST


@pytest.mark.statistical
def test_nothing_is_refused_where_the_t_test_is_right():
    """No test is missing with three seeds and 360 images; no chance is involved."""
    for seeds in (3, 5):
        assert bench.cell("normal", seeds, 360, anytime=False, replications=COMPARISONS).refused == 0


@pytest.mark.statistical
def test_power_is_more_than_that_of_the_t_test():
    """Of effects of two deviations, five seeds find 48 %, and 16 % within seeds: 25 points are 18 sigma."""
    rng = np.random.default_rng(5)
    values = bench.accuracies(rng, COMPARISONS, bench.NOISE["normal"], 5, 360, effect=2.0)
    found, plain = (p[:, 0] <= 0.05 for p in (bench.fixed(values, 360), bench.plain_t_tests(values)))
    assert found.mean() >= plain.mean() + 0.25
