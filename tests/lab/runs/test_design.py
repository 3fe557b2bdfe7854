"""How many seeds were planned: kept beside the runs, merged, and obeyed by every report."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from corrinit.errors import CorrInitError, WriteError
from corrinit.lab.experiment.arm import BASELINE
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.runs.design import FILE, Design, designs, entries, note, plan

BASE = RunConfig(epochs=1)
OTHER = replace(BASE, lr=0.005)


def of(folder, config=BASE):
    return designs([folder]).get(config.setting)


def test_runs_of_all_arms_and_seeds_share_a_setting(tmp_path):
    arms = (BASELINE, Initialization("orthogonal"))
    plan(tmp_path, [replace(BASE, initialization=arm, seed=seed) for arm in arms for seed in (0, 1)], seeds=2)
    assert designs([tmp_path]) == {BASE.setting: Design(frozenset({2}))}


def test_without_a_file_nothing_is_planned(tmp_path):
    assert designs([tmp_path]) == {}


@pytest.mark.parametrize(
    ("looks", "present", "anytime"),
    [
        ([(5, None)], 5, False),
        ([(5, None), (5, None)], 5, False),
        ([(5, 5)], 5, False),
        ([(5, None)], 4, True),  # looked at before its end
        ([(5, None)], 6, True),  # runs that were never planned
        ([(3, None), (4, None)], 4, True),  # more seeds since the first were not enough
        ([(4, None), (3, None)], 3, True),
        ([(2, 9)], 9, True),
        ([(2, 9)], 2, True),
        ([(2, 9), (9, None)], 9, True),  # for ever
    ],
)
def test_only_seeds_that_were_planned_once_and_are_all_there_count_as_fixed(
    tmp_path, looks, present, anytime
):
    for seeds, max_seeds in looks:
        plan(tmp_path, [BASE], seeds=seeds, max_seeds=max_seeds)
    assert of(tmp_path).anytime(present) == anytime


def test_settings_are_told_apart_and_kept_together(tmp_path):
    plan(tmp_path, [BASE, OTHER], seeds=3)
    plan(tmp_path, [OTHER], seeds=3, max_seeds=8)
    assert (of(tmp_path).sequential, of(tmp_path, OTHER).sequential) == (False, True)


def test_folders_below_are_read_and_put_together(tmp_path):
    plan(tmp_path / "a", [BASE], seeds=3)
    plan(tmp_path / "b" / "runs", [BASE], seeds=5)
    assert of(tmp_path) == Design(frozenset({3, 5}))


def test_a_field_that_came_later_has_its_default(tmp_path):
    plan(tmp_path, [BASE], seeds=3)
    document = json.loads((tmp_path / FILE).read_text())
    del document["comparisons"][0]["setting"]["channels_last"], document["digest"]
    (tmp_path / FILE).write_text(json.dumps(document))
    plan(tmp_path, [BASE], seeds=4)
    assert of(tmp_path) == Design(frozenset({3, 4}))


def test_a_number_of_seeds_that_changes_is_noticed(tmp_path):
    plan(tmp_path, [BASE], seeds=3)
    (tmp_path / FILE).write_text((tmp_path / FILE).read_text().replace("3\n", "2\n"))
    with pytest.raises(CorrInitError, match="its digest is not that of the values in design"):
        of(tmp_path)


def test_comparisons_that_start_at_once_are_all_kept(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seeds: note(tmp_path, [{"model": "m"}], seeds=seeds), range(1, 33)))
    assert entries(tmp_path)[0][1].seeds == set(range(1, 33))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        "[" * 100_000,
        '{"comparisons": ' + "[" * 5_000 + "]" * 5_000 + "}",
        '{"comparisons": [{"setting": {}}]}',
        '{"comparisons": [{"setting": {}, "seeds": ["3"], "sequential": false}]}',
        '{"comparisons": [{"setting": {}, "seeds": [3], "sequential": 0}]}',
        '{"comparisons": [{"setting": {"epochs": -1}, "seeds": [3], "sequential": true}]}',
    ],
)
def test_a_damaged_file_is_an_error_with_a_remedy(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(
        CorrInitError, match=r"design\.json is damaged .*; restore it, or delete it and repeat"
    ):
        designs([tmp_path])


def test_a_damaged_file_is_not_written_over(tmp_path):
    (tmp_path / FILE).write_text("{")
    with pytest.raises(CorrInitError, match="damaged"):
        plan(tmp_path, [BASE], seeds=3)
    assert (tmp_path / FILE).read_text() == "{"


def test_the_words_for_it():
    assert str(Design(frozenset({3}))) == "3 seeds"
    assert str(Design(frozenset({4, 3}))) == "3, then 4 seeds"
    assert str(Design(frozenset({2}), sequential=True)) == "2 seeds, and more until the answer was clear"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    place = tmp_path / "file"
    place.write_text("in the way")
    with pytest.raises(WriteError, match="file cannot be written: File exists"):
        note(place, [{}], seeds=2)
