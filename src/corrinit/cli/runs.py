"""`corrinit runs`: list, choose and export run records."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from corrinit.cli.json_output import AsJson, print_json
from corrinit.errors import NoRunsError, one_line
from corrinit.lab.document.numbers import count
from corrinit.lab.experiment.arm import Initialization, label
from corrinit.lab.experiment.config import to_toml
from corrinit.lab.runs.check import check_records
from corrinit.lab.runs.design import designs
from corrinit.lab.runs.export import export, table
from corrinit.lab.runs.index import list_runs, without_collections
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.runs.table import Runs

COLUMNS = ("run", "data", "model", "initialization", "seed", "lr", "L2", "epochs", "accuracy", "protocol")
OBSERVED = {
    "averaged_test_accuracy": "averaged",
    "unused_accuracy": "unused",
    "averaged_unused_accuracy": "averaged, unused",
}
"""Accuracies that later versions observe as well, and what their columns are called."""


def runs(
    *conditions: str,
    folder: Path = Path("runs"),
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    by_epoch: bool = False,
    toml: bool = False,
    check: bool = False,
    as_json: AsJson = False,
) -> None:
    """List recorded runs.

    Beside the accuracy after the last update stand those of the averaged weights, on the test images, and of
    both on the labelled images that were not used; “not recorded” where the run does not tell.

    Args:
        conditions: Only runs with these settings, such as model=vgg8 lr=0.1 scale=he, or made by this
            protocol, such as protocol=1; one is listed as replaced if the run would come out otherwise today.
        folder: Where the records are, at any depth.
        output: Write all settings and results to this .csv or .parquet file, instead of listing.
        by_epoch: In that file, or as JSON, a row for each epoch instead of one for each run.
        toml: Print the runs as experiment files, instead of listing.
        check: Instead of listing, name what is damaged, misnamed, orphaned, left over or of an older
            protocol, and how to mend it. Nothing is changed. Exit code 1: a record is not as it should be.
        as_json: Print JSON instead of tables: all settings and results of each run, or what was found.
    """
    if not folder.is_dir():
        raise NoRunsError(f"there is no folder {folder}; name that of the records with --folder")
    if check:
        _check(folder, as_json)
        return
    records, faults = list_runs(folder)
    planned = designs([folder]) if output is not None or as_json else {}
    chosen = Runs(records, planned).meeting(conditions)
    for fault in faults:
        sys.stderr.write(f"warning: {fault}\n")
    if output is not None:
        export(chosen, output, by_epoch=by_epoch)
        sys.stdout.write(f"{output}\n")
    elif toml:
        sys.stdout.write("\n".join(to_toml(record.config) for record in chosen))
    elif as_json:
        print_json(table(chosen, by_epoch=by_epoch).to_pylist())
    else:
        _list(chosen.records)


def _check(folder: Path, as_json: bool) -> None:
    found = check_records(folder)
    wrong = sum(not finding.harmless for finding in found)
    if as_json:
        print_json([{**vars(each), "harmless": each.harmless} for each in found])
    else:
        for finding in found:
            sys.stdout.write(f"{one_line(finding)}\n")
        sys.stdout.write(f"{count(len(found), 'finding')}; {count(wrong, 'record')} not as it should be\n")
    if wrong:
        raise SystemExit(1)


@without_collections()
def _list(records: Sequence[RunRecord]) -> None:
    """Write a line for each run, its cells below each other; there may be 10⁵ of them."""
    observed = {
        name: column
        for name, column in OBSERVED.items()
        if any(record.endpoint(name) is not None for record in records)
    }

    @cache
    def name_of(arm: Initialization) -> str:
        return one_line(label(arm))

    rows: list[tuple[str, ...]] = [(*COLUMNS, *observed.values())]
    for record in records:
        config = record.config
        rows.append(
            (
                record.run_id,
                one_line(config.data),  # names of files, of which a terminal takes some as commands
                one_line(config.model),
                name_of(config.initialization),
                str(config.seed),
                f"{config.lr:g}",
                f"{config.l2:g}",
                f"{len(record.metrics)}/{config.epochs}",
                _outcome(record),
                f"{record.protocol}{'' if record.current else ', replaced'}",
                *(_observed(record, name) for name in observed),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    line = "  ".join(f"{{:{width}}}" for width in widths)
    sys.stdout.write("".join(f"{line.format(*row).rstrip()}\n" for row in rows))


def _observed(record: RunRecord, endpoint: str) -> str:
    value = record.endpoint(endpoint)
    if value is None:
        return "not recorded"
    return "–" if math.isnan(value) else f"{100 * value:.2f} %"


def _outcome(record: RunRecord) -> str:
    if not record.finished:
        return "unfinished"
    diverged = ", diverged" if record.result.diverged else ""
    if record.config.noise:
        return f"{record.result.endpoints['test_psnr']:.2f} dB{diverged}"
    return f"{100 * record.result.endpoints['test_accuracy']:.2f} %{diverged}"
