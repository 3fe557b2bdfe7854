"""Run records as tables: chosen by their settings, exported without loss."""

import pytest
from pyarrow import csv, parquet
from tests.lab.handmade import handmade

from corrinit.errors import ConfigError
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.runs.export import export, table
from corrinit.lab.runs.result import RunResult
from corrinit.lab.runs.table import Runs, settings

HE = Initialization("kaiming_normal", "he")
RECORDS = [
    handmade(RunConfig(initialization=HE, epochs=2), 0.9),
    handmade(RunConfig(lr=0.005, batch_norm=False, seed=1, epochs=2), 0.8),
    handmade(RunConfig(model="vgg8", data="parquet:some/where", train_subset=100, epochs=2), 0.7),
]


@pytest.mark.parametrize(
    ("conditions", "chosen"),
    [
        ([], [0, 1, 2]),
        (["model=vgg8"], [2]),
        (["model=small"], [0, 1]),
        (["lr=5e-3"], [1]),
        (["lr=0.10"], [0, 2]),
        (["batch_norm=false"], [1]),
        (["train_subset=none"], [0, 1]),
        (["train_subset=100"], [2]),
        (["data=parquet:some/where"], [2]),
        (["scale=he"], [0]),
        (["initialization.method=correlated", "seed=1"], [1]),
        (["method=kaiming_normal", "seed=1"], []),
        (["lr=fast"], []),
    ],
)
def test_records_are_chosen_by_all_conditions(conditions, chosen):
    assert list(Runs(RECORDS).meeting(conditions)) == [RECORDS[index] for index in chosen]


def test_a_condition_on_nothing_known_is_refused():
    with pytest.raises(ConfigError, match="no setting 'modle'; did you mean model"):
        list(Runs(RECORDS).meeting(["modle=vgg8"]))
    with pytest.raises(ConfigError, match="no setting 'zzz'; there are data, train_subset"):
        list(Runs([]).meeting(["zzz=1"]))
    with pytest.raises(ConfigError, match="'vgg8' is no condition; write name=value"):
        list(Runs(RECORDS).meeting(["vgg8"]))


def test_the_table_has_a_row_per_run_with_settings_and_result():
    rows = table(RECORDS).to_pylist()
    for row, record in zip(rows, RECORDS, strict=True):
        assert row["run_id"] == record.run_id
        assert {name: row[name] for name in settings(record.config)} == settings(record.config)
        assert row["test_accuracy"] == record.result.endpoints["test_accuracy"]
        assert row["provenance"] == record.result.data


def test_the_table_by_epoch_has_a_row_per_epoch_with_settings_and_metrics():
    rows = table(RECORDS, by_epoch=True).to_pylist()
    assert [(row["run_id"], row["epoch"]) for row in rows] == [
        (record.run_id, epoch) for record in RECORDS for epoch in (1, 2)
    ]
    assert rows[2]["test_accuracy"] == RECORDS[1].metrics[0]["test_accuracy"]
    assert rows[2]["lr"] == 0.005


def test_runs_without_a_result_have_empty_cells():
    unfinished = handmade(RunConfig(epochs=1), 0.5)
    object.__setattr__(unfinished, "result", RunResult())
    rows = table([RECORDS[0], unfinished]).to_pylist()
    assert rows[1]["test_accuracy"] is None
    assert table([]).num_rows == 0


@pytest.mark.parametrize("by_epoch", [False, True])
def test_exports_hold_the_table(tmp_path, by_epoch):
    expected = table(RECORDS, by_epoch=by_epoch).to_pylist()
    for suffix, read in ((".csv", csv.read_csv), (".parquet", parquet.read_table)):
        path = tmp_path / f"export{suffix}"
        export(RECORDS, path, by_epoch=by_epoch)
        assert [row["test_accuracy"] for row in read(path).to_pylist()] == [
            row["test_accuracy"] for row in expected
        ]
        assert read(path).column_names == list(expected[0])
    assert parquet.read_table(tmp_path / "export.parquet").to_pylist() == expected


def test_an_export_of_another_format_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"its name ends in .csv or .parquet"):
        export(RECORDS, tmp_path / "export.xlsx")
