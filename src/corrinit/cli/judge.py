"""`corrinit judge`: is the difference real, between runs that were made elsewhere?"""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from corrinit.cli.json_output import AsJson, print_json, section_record
from corrinit.lab.comparison.contrasts import Beside
from corrinit.lab.comparison.judging import UnitName, judge
from corrinit.lab.document.html import write_page
from corrinit.lab.document.numbers import count
from corrinit.lab.document.terminal import show
from corrinit.lab.runs.results_table import read_results
from corrinit.lab.statistics.contrast import Inference


def judge_table(
    table: Path,
    /,
    *,
    group: Annotated[tuple[str, ...], Parameter(negative="")],
    seed: str,
    metric: str,
    baseline: str | None = None,
    where: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    diverged: str | None = None,
    unit: UnitName | None = None,
    lower_is_better: Annotated[bool, Parameter(negative="")] = False,
    margin: float | None = None,
    anytime: Annotated[bool, Parameter(negative="")] = False,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge runs that you already have; nothing is trained.

    The table has a row for each finished run. Methods are compared by the tests, the correction and the words
    of `corrinit compare`: within seeds, or from four methods of three seeds on with variances that borrow
    from all. A group that is called placebo, a second copy of the baseline, is outside of the family.

    Args:
        table: CSV or Parquet file, such as the export of an experiment tracker.
        group: Column that says which method a run is of; several, given one by one, name it together.
        seed: Column of the seed.
        metric: Column of what is compared: the final value of a run.
        baseline: Group that the others are compared with; by default kaiming_normal, else the first one.
        where: COLUMN=VALUE: only such rows; may be given several times.
        diverged: Column that is true where a run diverged; by default the one of that name, if there is one.
        unit: share for accuracies up to 1, percent for those up to 100, none for anything else; by default
            what the column looks like.
        lower_is_better: As of a loss.
        margin: Size up to which a difference counts as none, in the unit of the column; by default half a
            percentage point of an accuracy.
        anytime: The number of seeds depended on what they showed: ask for more evidence.
        output: Write a report with the figure as well, one HTML file.
        as_json: Print JSON instead of tables.
    """
    results = read_results(table, group=group, seed=seed, metric=metric, where=where, diverged=diverged)
    found = judge(
        results.values,
        metric,
        baseline=baseline,
        unit=unit,
        lower_is_better=lower_is_better,
        margin=margin,
        inference=Inference.ANYTIME if anytime else Inference.FIXED,
    )
    stamp = (
        f"Exploratory: {count(results.rows, 'run')} that were made elsewhere; whether seeds and question "
        "were fixed beforehand is not known."
    )
    command = shlex.join(["corrinit", *sys.argv[1:]])
    if output is not None:
        title = f"{found.endpoint.label.capitalize()} in {table.name}"
        write_page(output, title, [found.section], provenance={"command": command}, stamp=stamp)
    if as_json:
        rows = [_record(row) for row in (*found.rows, *([found.placebo] if found.placebo else []))]
        print_json(
            {"stamp": stamp, "groups": rows, "section": section_record(found.section), "report": output}
        )
    else:
        sys.stdout.write(f"{stamp}\n\n")
        show([found.section])
        if output is not None:
            sys.stdout.write(f"{output}\n")


def _record(row: Beside) -> dict[str, object]:
    gain = (
        None
        if row.gain is None
        else asdict(row.gain)
        | {
            "decision": row.gain.decision.value,
            "inference": row.gain.inference.value,
        }
    )
    own = row.sample.summary
    return {
        "group": row.name,
        "n": len(row.sample.values),
        "mean": None if own is None else own.mean,
        "sd": None if own is None else own.sd,
        "diverged": row.sample.diverged,
        "gain": gain,
    }
