"""The rules of the committed protocols, on made-up scores."""

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from corrinit.lab.statistics.contrast import Sample

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def experiment(name):
    spec = importlib.util.spec_from_file_location(f"experiment_{name}", EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


search, best_rate = experiment("search"), experiment("best_rate")

SPACE = replace(
    search.SPACES["constant"],
    families={
        name: (text,)
        for name, text in (
            ("independent", "kaiming_normal:scale={}"),
            ("a", "correlated:scale=he"),
            ("b", "orthogonal"),
            ("c", "correlated:scale=he:stem=kaiming_normal"),
            ("d", "lsuv"),
            ("e", "dirac"),
            ("f", "xavier_normal"),
        )
    },
)
MERITS = {"independent": 0.1, "a": 0.7, "b": 0.5, "c": 0.6, "d": 0.4, "e": 0.3, "f": 0.2}


def scored(field, space=SPACE, merits=MERITS):
    """Scores by the merit of a family, and by how near the rate is to 0.1."""
    return {
        search.run_of(space, pair, seed).run_id: merits[family] - abs(math.log10(pair[1] / 0.1)) / 100
        for family, pairs in field.pairs.items()
        for pair in pairs
        for seed in field.rung.seeds
    }


def finished(space=SPACE, merits=MERITS):
    scores = {}
    for _ in search.rungs(space):
        scores |= scored(search.fields(space, scores)[-1], space, merits)
    return scores


# The search


def test_the_better_half_passes_and_the_baseline_always():
    scores = scored(search.fields(SPACE, {})[0])
    first, second = search.fields(SPACE, scores)
    assert len(list(first.runs(SPACE))) == 6 * 3 + 2 * 3
    assert list(second.pairs) == ["a", "c", "b", "d", "independent"]
    assert [rate for _, rate in second.pairs["a"]] == [0.1, 0.3]
    assert len(list(second.runs(SPACE))) == 2 * 5 * 2


def test_a_rung_starts_once_the_one_before_is_finished():
    field = search.fields(SPACE, {})[0]
    scores = scored(field)
    scores.pop(next(field.runs(SPACE)).run_id)
    assert len(search.fields(SPACE, scores)) == 1
    assert search.standings(SPACE, scores) == {}


def test_a_family_that_diverges_is_last():
    scores = scored(search.fields(SPACE, {})[0])
    lost = {search.run_of(SPACE, pair, 3_000_000).run_id: -math.inf for pair in SPACE.pairs("a")}
    assert "a" not in search.fields(SPACE, scores | lost)[1].pairs


def test_a_gain_is_of_the_seeds_of_the_last_rung_alone():
    found = search.standings(SPACE, finished())
    assert (found["a"].rung, found["f"].rung) == (2, 0)
    assert found["a"].difference.n == 6
    assert found["a"].gain == pytest.approx(0.6)
    assert list(found)[:2] == ["a", "c"]


def test_the_candidate_follows_from_the_gains():
    ours, none = (
        search.standings(SPACE, finished()),
        search.standings(SPACE, finished(merits=dict.fromkeys(MERITS, 0))),
    )
    space = {"constant": ours, "recipe": ours, "depthwise": none}
    assert search.best_of({"a": 0.01, "b": 0.02}) == "b"
    assert search.best_of({"a": 0.0, "b": -0.02}) == "independent"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "DENSE", SPACE.families)
        assert search.candidate(space) == ("a", "independent")


def test_the_budget_is_six_core_hours():
    minutes = sum(
        space.minutes * rung.size(space) for space in search.SPACES.values() for rung in search.rungs(space)
    )
    assert minutes <= 360
    for space in search.SPACES.values():
        arms = [arm for family in space.families for arm, _ in space.pairs(family)[:: len(space.rates)]]
        assert len(set(arms)) == len(arms)
        assert search.BASELINE in space.families


# Each arm at its own best rate


def gains(gain, noise):
    """Samples of 8 seeds, arms with R better by a gain."""
    scatter = np.random.default_rng(0).normal(0.6, noise, (len(best_rate.ARMS), 8))
    return {
        arm: Sample(dict(enumerate(values + gain * (arm in best_rate.CONTROLS))))
        for arm, values in zip(best_rate.ARMS.values(), scatter, strict=True)
    }


@pytest.mark.parametrize(
    ("gain", "noise", "answer"),
    [
        (0.03, 0.001, "No, the gain does not vanish"),
        (-0.01, 0.001, "Yes, the gain vanishes"),
        (0.0, 0.05, "Not decided"),
    ],
)
def test_the_sentence_follows_from_the_intervals(gain, noise, answer):
    over, _ = best_rate.families(gains(gain, noise))
    assert best_rate.answer(over).startswith(answer)


def test_every_arm_with_r_has_a_control_of_its_scale_and_stem():
    assert len(best_rate.ARMS) == 10
    assert len(best_rate.CONTROLS) == 6
    for arm, control in best_rate.CONTROLS.items():
        assert (arm.scale, control.method) == (control.scale, "kaiming_normal")
        assert ("patch_whitening" in arm.spec) == ("patch_whitening" in control.spec)


def test_the_rate_of_an_arm_is_the_best_at_which_none_diverged():
    assert best_rate.best_rates({"arm": {0.01: 0.5, 0.03: 0.6, 0.1: 0.6, 1.0: math.nan}}) == {"arm": 0.03}
