"""From run records to one HTML report: what the runs say, and everything that went into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path

from corrinit._correlation import SpatialCorrelation, default_correlation, format_size
from corrinit.errors import CorrInitError, NoRunsError
from corrinit.lab.comparison.card import stamp
from corrinit.lab.comparison.conclusions import conclusions
from corrinit.lab.comparison.coverage import coverages
from corrinit.lab.comparison.curves import CURVES, at_the_end, over_training
from corrinit.lab.comparison.findings import INTRODUCTION, effect_tables
from corrinit.lab.comparison.groups import Arm, Comparison
from corrinit.lab.comparison.names import Compared
from corrinit.lab.comparison.placebo import PLACEBO
from corrinit.lab.comparison.two_by_two import two_by_twos
from corrinit.lab.document import figures
from corrinit.lab.document.blocks import Figure, Section, Table
from corrinit.lab.document.html import write_page
from corrinit.lab.document.markdown import write_markdown
from corrinit.lab.document.numbers import count
from corrinit.lab.experiment.arm import label
from corrinit.lab.experiment.identity import changes_since
from corrinit.lab.runs.provenance import distinct, provenance

KERNEL = (3, 3)
"""The kernel whose correlation is shown: that of nearly all layers of the networks."""


def write_report(
    found: Compared,
    path: str | PathLike[str],
    *,
    command: str,
    target: float | None = None,
    markdown: Path | None = None,
    answers: Sequence[Section] | None = None,
    first_line: str | None = None,
) -> Path:
    """Write the report of a set of runs; the same records and command give the same bytes.

    Args:
        found: what is compared.
        path: the HTML file; missing folders are created.
        command: what the user typed to get it.
        target: accuracy to which the time is measured; by default one that the baseline reaches.
        markdown: write its conclusions to this file as well.
        answers: what `conclusions` says of them, where it has been asked already.
        first_line: what kind of study it reports; by default an exploratory one.

    Returns:
        The path of the report.

    Raises:
        CorrInitError: if there are no records, or the file cannot be written.
    """
    records, named = found.runs.records, found.comparisons
    if not records:
        raise NoRunsError("there are no runs to report; make some first, with `corrinit demo`")
    comparisons = list(named.values())
    if answers is None:
        answers = conclusions(found, target=target, command=command)
    summary = [
        *(section for section in answers if not section.folded),
        *(section for section in answers if section.folded),
        Section("What was compared", (*coverages(records), INTRODUCTION), folded=True),
    ]
    sections = [
        *summary,
        *(_results(comparison, name) for name, comparison in named.items()),
        *_correlations(comparisons),
        *_left_out(comparisons),
        *_configuration(named),
        _runs(named),
    ]
    counted = list(
        {record.run_id: record for c in comparisons for record in (*c.records, *c.placebo)}.values()
    )
    names = list(named)
    title = f"Correlated initialization: {names[0] if len(names) == 1 else f'{len(names)} settings'}"
    if not named:  # a comparison that was stopped while its learning rates were chosen
        title = "Correlated initialization: the choice of learning rates"
        counted = [record for record in records if record.finished]
    foot = provenance(counted, command)
    if markdown is not None:
        write_markdown(markdown, title, summary, provenance=foot)
    return write_page(path, title, sections, provenance=foot, stamp=first_line or stamp(comparisons))


def _results(comparison: Comparison, name: str) -> Section:
    if not comparison.arms:
        return Section(name, ("No run of this setting is finished.",))
    data = " / ".join(distinct(comparison.records, "data"))
    notes = (
        f"Data: {data}.",
        *(
            f"{arm} lacks {count(len(seeds), 'seed')} that other arms have ({', '.join(map(str, seeds))}); "
            "differences use only the seeds that both sides have."
            for arm, seeds in comparison.missing.items()
        ),
    )
    if comparison.protocol is not None:
        notes += (
            f"These runs were made before a change of the code ({changes_since(comparison.protocol)}), after "
            "which the same settings come out otherwise. They are not compared with any made after it.",
        )
    items = [table for design in two_by_twos(comparison) for table in effect_tables(design)]
    return Section(f"{name}: over training", notes, (*items, *_figures(comparison.arms)), folded=True)


def _figures(arms: Sequence[Arm]) -> list[Figure]:
    drawn = [over_training(arms, metric, title, axis, log=log) for metric, title, axis, log in CURVES[1:]]
    return [*drawn, at_the_end(arms)]


def _correlations(comparisons: Sequence[Comparison]) -> list[Section]:
    used = {
        (arm.initialization.correlation, arm.initialization.strength): arm.initialization
        for comparison in comparisons
        for arm in comparison.arms
        if arm.initialization.depends_on_correlation
    }
    if not used:
        return []
    notes, items = [], []
    for (_, strength), initialization in sorted(used.items(), key=lambda entry: entry[0]):
        name = initialization.correlation_name + ("" if strength == 1 else f", α = {strength:g}")
        try:
            correlation = initialization.load_correlation() or default_correlation(KERNEL)
            correlation = correlation.with_strength(strength)
        except CorrInitError as error:
            notes.append(f"The correlation {name} cannot be shown: {error.message}.")
            continue
        notes.append(_correlation_in_words(name, correlation))
        items.append(figures.heat_map(f"R: {name}", correlation, caption="Taps are numbered row by row."))
        items.append(figures.distance_profile(f"Correlation by distance: {name}", correlation))
    return [Section("The correlation of the taps", tuple(notes), tuple(items), folded=True)]


def _correlation_in_words(name: str, correlation: SpatialCorrelation) -> str:
    ratio = (len(correlation.deviations) / correlation.total) ** 0.5
    source = correlation.provenance.get("source", "a correlation file")
    low, high = correlation.deviations.min(), correlation.deviations.max()
    spread = "" if correlation.is_flat else f", with taps of {low:.2f} to {high:.2f} times the mean deviation"
    return (
        f"R “{name}” ({source}) has a mean off-diagonal correlation of {correlation.mean:.2f} on a "
        f"{format_size(correlation.kernel_size)} kernel{spread}. Its small scale, g / √(n ΣR) for n input "
        f"channels and gain g, is {ratio:.3f} times He's."
    )


def _left_out(comparisons: Sequence[Comparison]) -> list[Section]:
    rows = tuple(
        (
            label(out.record.arm),
            str(out.record.seed),
            out.reason,
            out.record.run_id,
        )
        for comparison in comparisons
        for out in comparison.left_out
    )
    if not rows:
        return []
    note = (
        f"{count(len(rows), 'run')} took no part in the statistics above. Means over the runs that remain "
        "can flatter an initialization whose other runs diverged."
    )
    return [
        Section(
            "Runs left out",
            (note,),
            (Table("Reasons", ("initialization", "seed", "reason", "run"), rows),),
            folded=True,
        )
    ]


def _configuration(named: Mapping[str, Comparison]) -> list[Section]:
    """What the runs of a setting share, a column per setting."""
    if not named:
        return []
    configs = [asdict(comparison.setting) for comparison in named.values()]
    rows = tuple(
        (field, *("–" if config[field] is None else str(config[field]) for config in configs))
        for field in configs[0]
    )
    return [Section("Configuration", items=(Table("What runs share", ("", *named), rows),), folded=True)]


def _runs(named: Mapping[str, Comparison]) -> Section:
    tables = tuple(_run_table(comparison, name) for name, comparison in named.items() if comparison.arms)
    return Section("Runs", () if tables else ("No run is finished.",), tables, folded=True)


def _run_table(comparison: Comparison, name: str) -> Table:
    named = [(arm.label, record) for arm in comparison.arms for record in arm.records]
    rows = tuple(
        (
            name,
            str(record.seed),
            f"{100 * record.result.endpoints['test_accuracy']:.2f}",
            _fact(record.result.seconds, ".1f"),
            _fact(record.result.images_per_second, ",.0f"),
            record.run_id,
        )
        for name, record in [*named, *((PLACEBO, record) for record in comparison.placebo)]
    )
    return Table(name, ("initialization", "seed", "accuracy (%)", "seconds", "images/s", "run"), rows)


def _fact(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
