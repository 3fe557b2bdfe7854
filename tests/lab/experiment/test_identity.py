"""What identifies a run: ids that no change of the code moves, and the protocol by which a run was made."""

import doctest
import hashlib
import json
import re
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Literal

import pytest
from tests.lab.handmade import handmade

from corrinit.errors import RecordError
from corrinit.lab.comparison.groups import compare
from corrinit.lab.comparison.names import compared
from corrinit.lab.comparison.report import write_report
from corrinit.lab.comparison.tuning import tunings
from corrinit.lab.experiment import arm as arms
from corrinit.lab.experiment import identity
from corrinit.lab.experiment.arm import Initialization, parse_initialization
from corrinit.lab.experiment.config import RunConfig, from_dict, to_dict
from corrinit.lab.experiment.identity import (
    ALWAYS,
    ARM,
    RUN,
    Change,
    Key,
    frozen,
    protocol_of,
    run_id,
    today,
)
from corrinit.lab.paper.claims import judge
from corrinit.lab.runs.record import (
    by_protocol,
    finish,
    finished_run,
    read_run,
    read_runs,
    start,
    write_json,
    write_metrics,
)
from corrinit.lab.runs.table import Runs

ROOT = Path(__file__).parents[3]

METHODS = (
    *("kaiming_normal", "correlated", "pytorch_default", "kaiming_uniform", "xavier_normal"),
    *("xavier_uniform", "truncated_normal", "orthogonal", "delta_orthogonal", "dirac", "lsuv"),
    *("convolutional_covariance", "patch_whitening"),
)
CORRELATED, INDEPENDENT = Initialization("correlated"), Initialization("kaiming_normal")

LATER = today({})
"""The settings that the first records were made before, as they were then."""

ARMS = (INDEPENDENT, CORRELATED)
CONFIGS = {(arm, seed): RunConfig(epochs=1, initialization=arm, seed=seed) for arm in ARMS for seed in (0, 1)}
BEFORE = run_id(RunConfig())
FOUNDING = {
    "data": "digits",
    "train_subset": None,
    "tested_on": "test",
    "model": "small",
    "architecture": "",
    "width": 0.5,
    "batch_norm": True,
    "epochs": 40,
    "batch_size": 256,
    "lr": 0.1,
    "momentum": 0.8,
    "l2": 0.0,
    "precision": "float32",
    "channels_last": True,
    "seed": 0,
}
BASE = from_dict(today(FOUNDING))


def digest(ids):
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


@pytest.fixture
def second(monkeypatch):
    """A second protocol, which touches correlated taps alone."""
    change = Change(2, "how taps are drawn", lambda run: run.initialization.method == "correlated")
    monkeypatch.setattr(identity, "CHANGES", (identity.CHANGES[0], change))


# Ids that stay. A digest below may never be edited: a record whose id moves is a record lost.


def test_every_committed_record_has_the_id_it_was_made_under():
    records, faults = read_runs(ROOT / "results")
    first = [record for record in records if record.protocol == 1]
    assert (len(first), faults) == (141, [])
    assert [run_id(record.config, protocol=1) for record in first] == [record.run_id for record in first]
    assert (
        digest(record.run_id for record in first)
        == "c67ad3ddd2c54cb169756dda78454c000cf78d3bd9852c9fcb9a2f0cc1155091"
    )


def test_the_arms_of_the_first_protocol_keep_their_ids():
    arms = [
        Initialization(*parts)
        for parts in product(
            METHODS, ("own", "he", "correlated", "measured"), ("exponential:0.26", "gaussian:0.3")
        )
    ]
    ids = {run_id(replace(BASE, initialization=arm), protocol=1) for arm in arms}
    assert len(ids) == 62
    assert digest(ids) == "78cf8b14cc9bc308eb6ea0a93ed126ca71762a4977d2cb9d4ca384df5730dd0f"


def test_arms_by_role_and_recipes_keep_their_ids():
    texts = [
        "recipe=2026.1",
        "kaiming_normal:scale=paper:correlation=exponential:0.26:stem=correlated,scale=he",
        "correlated:correlation=gaussian:0.3:scale=he:stem=patch_whitening:head=scale=natural",
    ]
    ids = {run_id(replace(BASE, initialization=parse_initialization(text)), protocol=1) for text in texts}
    assert digest(ids) == "702bc12e386ddc660eac73e6e92dbc4b459ac2abe3d1952782dec98eebac7d94"


def test_each_setting_of_a_run_is_in_the_frozen_form():
    names = [setting.name for setting in RUN] + ["initialization"]
    assert sorted(names) == sorted(field.name for field in fields(RunConfig))
    assert [setting.name for setting in ARM] == [field.name for field in fields(Initialization)]


def test_what_every_id_holds_stays():
    assert [setting.key for setting in RUN if setting.default is ALWAYS] == list(FOUNDING)
    assert {setting.key for setting in ARM if setting.default is ALWAYS} == {
        *("method", "scale", "correlation", "strength")
    }
    assert {"protocol", "initialization", *FOUNDING} <= frozen(RunConfig()).keys()


# Names


def test_a_renamed_scale_keeps_its_ids_and_its_records(monkeypatch):
    old = run_id(RunConfig(initialization=Initialization("correlated", "measured")))
    monkeypatch.setattr(arms, "Scale", Literal["own", "he", "correlated", "by images"])  # renames "measured"
    config = RunConfig(initialization=Initialization("correlated", "by images"))
    assert run_id(config) != old
    scale = Key("scale", renamed={"measured": ("by images", "by patches")})
    monkeypatch.setattr(identity, "ARM", [scale if each.key == "scale" else each for each in ARM])
    assert run_id(config) == old
    for recorded in ("measured", "by images", "by patches"):
        assert from_dict(today({"initialization": {"scale": recorded}})).initialization.scale == "by images"


def test_a_name_that_is_not_renamed_stands_for_itself():
    scale = Key("scale", renamed={"correlated": ("paper",)})
    assert [scale.frozen(name) for name in ("paper", "he")] == ["correlated", "he"]
    assert [scale.today(name) for name in ("correlated", "paper", "he")] == ["paper", "paper", "he"]


def test_a_renamed_setting_keeps_its_ids_and_its_records(monkeypatch):
    class Renamed:
        def __init__(self, config):
            self.config = config

        def __getattr__(self, name):
            return getattr(self.config, {"penalty": "l2"}.get(name, name))

    config = RunConfig(l2=0.001)
    settings = tuple(Key("l2", "penalty") if each.key == "l2" else each for each in RUN)
    monkeypatch.setattr(identity, "RUN", settings)
    assert run_id(Renamed(config), protocol=1) == "099c58bbc39055c4"
    assert today({"l2": 0.001}) == today({"penalty": 0.001}) == LATER | {"penalty": 0.001}


@dataclass(frozen=True)
class Scheduled(RunConfig):
    schedule: str = "cosine"  # the default of the code may change


def test_a_setting_added_later_enters_where_it_is_not_as_it_was(monkeypatch):
    monkeypatch.setattr(identity, "RUN", (*RUN, Key("schedule", default="constant")))
    assert run_id(Scheduled(schedule="constant")) == BEFORE
    assert run_id(Scheduled()) != BEFORE
    assert today({"lr": 0.1}) == LATER | {"schedule": "constant", "lr": 0.1}
    assert today({"schedule": "cosine"}) == LATER | {"schedule": "cosine"}


def test_an_option_added_to_arms_enters_where_it_is_not_as_it_was(monkeypatch):
    monkeypatch.setattr(Initialization, "bias", "zeros", raising=False)
    monkeypatch.setattr(identity, "ARM", (*ARM, Key("bias", default="zeros")))
    assert run_id(RunConfig()) == BEFORE
    assert today({"initialization": {}}) == LATER | {"initialization": {"rules": (), "bias": "zeros"}}
    monkeypatch.setattr(Initialization, "bias", "keep")
    assert run_id(RunConfig()) != BEFORE


# Protocol


def test_a_change_makes_new_runs_of_the_configurations_it_touches_alone(second):
    touched, untouched = RunConfig(initialization=CORRELATED), RunConfig(initialization=INDEPENDENT)
    assert (protocol_of(touched), protocol_of(untouched)) == (2, 1)
    assert (protocol_of(touched, at=1), protocol_of(untouched, at=1)) == (1, 1)
    assert run_id(touched) == run_id(touched, protocol=2) != run_id(touched, protocol=1)
    assert run_id(untouched) == run_id(untouched, protocol=1)


def test_numbers_ascend_from_one_that_touches_everything():
    numbers = [change.number for change in identity.CHANGES]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1
    assert identity.CHANGES[0].touches(RunConfig())


def recorded(folder, arm, *, seed=0, protocol=None):
    """A finished record of a run by some protocol; without one, as before there were protocols."""
    config = RunConfig(epochs=1, initialization=arm, seed=seed)
    path = folder / run_id(config, protocol=protocol or 1)
    path.mkdir(parents=True)
    write_json(path / "config.json", ({"protocol": protocol} if protocol else {}) | to_dict(config))
    write_metrics(path, [{"epoch": 1, "train_loss": 1.0, "test_loss": 1.0, "test_accuracy": 0.5}])
    finish(path, {}, {"test_accuracy": 0.5})
    return read_run(path)


def test_a_record_without_a_protocol_is_of_the_first(tmp_path, second):
    record = recorded(tmp_path, CORRELATED)
    assert (record.protocol, record.current) == (1, False)
    assert recorded(tmp_path, CORRELATED, protocol=2).current
    assert recorded(tmp_path, INDEPENDENT).current


@pytest.mark.parametrize("protocol", [3, "2", None])
def test_a_protocol_that_no_such_run_has_is_refused(tmp_path, second, protocol):
    path = recorded(tmp_path, CORRELATED).path
    config = {"protocol": protocol, **to_dict(RunConfig(epochs=1))}
    write_json(path / "config.json", config)
    with pytest.raises(RecordError, match=r"has the protocol .*, which .* does not have .*newest is 2"):
        read_run(path)


def test_a_run_that_starts_says_by_which_protocol(tmp_path, second):
    start(tmp_path, RunConfig(epochs=1, initialization=CORRELATED))
    assert json.loads((tmp_path / "config.json").read_text())["protocol"] == 2
    assert read_run(tmp_path).protocol == 2


def test_an_older_record_is_not_taken_for_a_run_of_today(tmp_path, second):
    old = recorded(tmp_path, CORRELATED)
    assert finished_run(tmp_path, old.config) is None
    new = recorded(tmp_path, CORRELATED, protocol=2)
    assert finished_run(tmp_path, old.config).path == new.path != old.path


def test_records_are_together_with_those_that_held_beside_them(tmp_path, second):
    untouched, old = recorded(tmp_path, INDEPENDENT), recorded(tmp_path, CORRELATED)
    assert by_protocol([untouched]) == [(None, [untouched])]
    assert by_protocol([untouched, old]) == [(1, [untouched, old])]  # today's would be the first alone
    new = recorded(tmp_path, CORRELATED, protocol=2)
    assert by_protocol([untouched, old, new]) == [(None, [untouched, new]), (1, [untouched, old])]
    assert by_protocol([]) == []


def test_no_comparison_mixes_protocols(second, tmp_path):
    old = [handmade(CONFIGS[arm, seed], 0.5, protocol=1) for arm in ARMS for seed in (0, 1)]
    new = [handmade(CONFIGS[CORRELATED, seed], 0.6) for seed in (0, 1)]
    today, before = compare(Runs([*old, *new]))
    assert (today.protocol, before.protocol) == (None, 1)
    assert [record.protocol for record in today.records] == [1, 1, 2, 2]  # independent taps were not touched
    assert [record.protocol for record in before.records] == [1, 1, 1, 1]
    assert list(compared(Runs([*old, *new])).comparisons) == ["digits, small", "digits, small, protocol 1"]
    page = write_report(compared(Runs([*old, *new])), tmp_path / "r.html", command="c").read_text()
    assert page.count("made before a change of the code (how taps are drawn)") == 1


def test_no_choice_of_a_learning_rate_mixes_protocols(second):
    def tried(protocol, best):
        return [
            handmade(
                replace(CONFIGS[CORRELATED, 0], lr=lr, tested_on="held_out"), lr == best, protocol=protocol
            )
            for lr in (0.01, 0.1)
        ]

    found = {tuning.protocol: tuning.best for tuning in tunings(tried(1, 0.01) + tried(2, 0.1))}
    arm = CORRELATED.canonical
    assert found == {None: {arm: 0.1}, 1: {arm: 0.01}}


def test_no_claim_is_measured_across_protocols(second):
    low, high = replace(CONFIGS[CORRELATED, 0], lr=0.005), CONFIGS[CORRELATED, 0]
    baseline = [replace(config, initialization=INDEPENDENT) for config in (low, high)]
    records = [handmade(low, 0.6, protocol=1), handmade(high, 0.6), *(handmade(c, 0.5) for c in baseline)]
    findings = judge(compare(Runs(records)), CORRELATED)
    names = [name for finding in findings for name, _ in finding.contrasts]
    assert "small, digits, lr 0.005, λ 0, protocol 1" in names
    assert "small, digits, lr 0.1, λ 0" in names
    assert not any("minus lr" in name for name in names)


def test_runs_are_listed_and_chosen_by_protocol(tmp_path, run, second):
    for protocol in (1, 2):
        recorded(tmp_path / "runs", CORRELATED, protocol=protocol)
    recorded(tmp_path / "runs", INDEPENDENT)
    listed = {line.split()[0]: line for line in run("runs").out.splitlines()[1:]}
    config = RunConfig(epochs=1, initialization=CORRELATED)
    assert listed[run_id(config, protocol=1)].endswith("1, replaced")
    assert listed[run_id(config)].rstrip().endswith(" 2")
    assert listed[run_id(replace(config, initialization=INDEPENDENT))].rstrip().endswith(" 1")
    assert len(run("runs", "protocol=2").out.splitlines()) == 2


def test_the_examples_of_the_page_hold():
    page = (ROOT / "docs" / "run-identity.md").read_text(encoding="utf-8")
    examples = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(examples, {"__name__": __name__}, "run-identity.md", None, 0)
    result = doctest.DocTestRunner().run(test)
    assert result.attempted > 10
    assert result.failed == 0
