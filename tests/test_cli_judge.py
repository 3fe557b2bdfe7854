"""`corrinit judge`: the verdict of `corrinit compare` on runs that are there already."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from tests.lab.handmade import handmade

from corrinit.lab.comparison.contrasts import standings
from corrinit.lab.comparison.findings import arm_table
from corrinit.lab.comparison.groups import compare
from corrinit.lab.comparison.judging import judge
from corrinit.lab.comparison.placebo import placebo, placebo_seeds
from corrinit.lab.comparison.rounds import Contest, panels_at, with_controls
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.runs.design import Design
from corrinit.lab.runs.export import export
from corrinit.lab.runs.results_table import read_results
from corrinit.lab.runs.table import Runs

COLUMNS = ("--group", "method", "--seed", "seed", "--metric", "accuracy")


def of_ours(methods, lost=()):
    arms = with_controls([Initialization(method) for method in methods])
    seeds = 5
    contest = Contest(
        base=RunConfig(epochs=2).setting,
        panels=panels_at((0.1,), arms),
        seeds=seeds,
        max_seeds=seeds,
        placebo=placebo_seeds(seeds),
    )
    rng = np.random.default_rng(5)
    effects = dict(zip(arms, rng.normal(0, 0.02, len(arms)), strict=True))
    records = [
        handmade(each, round(0.6 + effects[each.initialization] + rng.normal(0, 0.01), 4))
        for each in contest.opening()
    ]
    records = [
        replace(each, result=replace(each.result, diverged=True)) if (each.arm, each.seed) in lost else each
        for each in records
    ]
    design = Design(frozenset({seeds}), placebo=frozenset(contest.placebo))
    return Runs(records, {records[0].setting: design})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("methods", "lost"),
    [
        (["correlated", "orthogonal"], ()),
        (["orthogonal"], ()),
        (["orthogonal", "dirac"], [(Initialization("dirac").canonical, 2)]),
    ],
    ids=["variances borrow", "within seeds", "one diverged"],
)
def test_on_the_export_of_our_records_it_gives_the_verdict_of_compare(tmp_path, methods, lost, suffix):
    runs = of_ours(methods, lost)
    file = tmp_path / f"all.{suffix}"
    export(runs, file)
    (comparison,) = compare(runs)
    rows, copy = standings(comparison), placebo(comparison)
    found = read_results(file, group=["arm"], seed="seed", metric="test_accuracy")
    told = judge(found.values, "test_accuracy")
    by_name = {row.name: row for row in told.rows}
    assert len(by_name) == len(rows)
    for row in rows:
        own = by_name[row.arm.spec]
        assert own.sample == row.sample
        if row.gain is not None:
            assert own.gain.decision is row.gain.decision
            assert own.gain.size == row.gain.size
            for name in ("n", "mean", "sd", "low", "high", "p", "p_adjusted"):
                expected = getattr(row.gain, name)
                assert getattr(own.gain, name) == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert told.placebo.gain.p == pytest.approx(copy.gain.p, rel=1e-12)
    cells = {row[1:] for row in arm_table(rows, copy).rows}
    assert {row[1:] for row in told.section.items[-1].rows} == cells


def table(text):
    Path("runs.csv").write_text(text)
    return "runs.csv"


GOOD = "method,seed,accuracy\n" + "".join(
    f"{method},{seed},{accuracy}\n"
    for method, values in {"adam": (70.1, 70.3, 70.2, 70.0), "ours": (74.0, 74.3, 74.1, 74.2)}.items()
    for seed, accuracy in enumerate(values)
)


def test_a_table_of_any_methods_gets_a_verdict_a_figure_and_json(run):
    outcome = run("judge", table(GOOD), *COLUMNS, "-o", "page.html")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("Exploratory: 8 runs")
    assert "ours: final accuracy +4.0 points" in outcome.out
    page = Path("page.html").read_text()
    assert "Gain over the baseline" in page
    assert "Exploratory" in page
    told = json.loads(run("judge", "runs.csv", *COLUMNS, "--json").out)
    assert [each["gain"] and each["gain"]["decision"] for each in told["groups"]] == [None, "different"]
    swapped = json.loads(run("judge", "runs.csv", *COLUMNS, "--baseline", "ours", "--json").out)
    assert swapped["groups"][0]["gain"]["mean"] == pytest.approx(-told["groups"][1]["gain"]["mean"])


def test_the_unit_may_be_said(run):
    as_share = GOOD.replace("70.", ".70").replace("74.", ".74").replace("accuracy", "score")
    columns = (*COLUMNS[:-1], "score")
    assert "+0.04" in run("judge", table(as_share), *columns).out
    assert "+4.0 points" in run("judge", table(as_share), *columns, "--unit", "share").out
    refused = run("judge", table(GOOD), *COLUMNS, "--unit", "share")
    assert refused.code == 2
    assert "--unit percent" in refused.err


def test_seeds_may_be_texts_and_settings_be_chosen(run):
    lines = GOOD.splitlines()
    named = [
        lines[0] + ",lr",
        *(f"{line.replace(',', ',s', 1)},{lr}" for lr in (0.1, 1) for line in lines[1:]),
    ]
    twice = table("\n".join(named) + "\n")
    assert "--where" in run("judge", twice, *COLUMNS).err
    assert run("judge", twice, *COLUMNS, "--where", "lr=0.10").code == 0


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("", COLUMNS, "cannot be read"),
        ("method,seed,accuracy\n", COLUMNS, "has no rows"),
        (GOOD, (*COLUMNS[:-1], "acuracy"), "did you mean accuracy?"),
        (GOOD.replace("seed", "run"), COLUMNS, "has no column 'seed'"),
        (GOOD.replace("70.3", ""), COLUMNS, "has None as accuracy of 'adam' and seed 1"),
        (GOOD.replace("70.3", "nan"), COLUMNS, "as accuracy of 'adam' and seed 1"),
        (GOOD.replace("70.3", "good"), COLUMNS, "it is a number"),
        (GOOD.replace("adam,1,", "adam,0,"), COLUMNS, "two rows of 'adam' and seed 0"),
        (GOOD.replace("adam,1,", "adam,,"), COLUMNS, "a row without seed"),
        (GOOD.replace("adam,1,", ",1,"), COLUMNS, "a row without method"),
        (GOOD.replace("ours", "adam").replace("adam,0,74", "adam,9,74"), COLUMNS, "two rows"),
        ("\n".join(GOOD.splitlines()[:5]) + "\n", COLUMNS, "has one group, 'adam'"),
        (GOOD, (*COLUMNS, "--baseline", "sgd"), "there are adam, ours"),
        (GOOD, (*COLUMNS, "--where", "seed"), "write COLUMN=VALUE"),
        (GOOD, (*COLUMNS, "--where", "seed=7"), "has no rows where seed=7"),
    ],
)
def test_what_cannot_be_judged_is_one_line_with_a_code(run, text, words, said):
    outcome = run("judge", table(text), *words)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.endswith("[C409]\n")
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""


def test_files_that_are_no_tables_are_refused(run):
    Path("runs.parquet").write_bytes(b"PAR1 and nothing else")
    wrong = {"none.csv": "there is no file", "runs.txt": "ends in", "runs.parquet": "cannot be read"}
    for name, said in wrong.items():
        outcome = run("judge", name, *COLUMNS)
        assert said in outcome.err
        assert outcome.err.endswith("[C409]\n")


def test_a_run_that_diverged_is_no_missing_value(run):
    rows = [*({"method": "a", "seed": s, "accuracy": 0.5 + s / 100, "diverged": False} for s in range(3))]
    rows += [{"method": "b", "seed": s, "accuracy": 0.6 if s else None, "diverged": not s} for s in range(3)]
    parquet.write_table(pa.Table.from_pylist(rows), "runs.parquet")
    outcome = run("judge", "runs.parquet", *COLUMNS)
    assert outcome.code == 0, outcome.err
    assert "b diverged in 1 of 3 runs (seed 0)" in outcome.out
