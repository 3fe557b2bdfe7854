"""The report that lays our runs beside the paper: claims, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from corrinit._correlation import default_correlation
from corrinit.lab.comparison.coverage import coverages
from corrinit.lab.comparison.groups import compare, shortfall
from corrinit.lab.comparison.verdict import how_tested
from corrinit.lab.document.blocks import Section, Table
from corrinit.lab.document.html import write_page
from corrinit.lab.document.markdown import write_markdown
from corrinit.lab.document.numbers import count, interval, p_value, points
from corrinit.lab.experiment.config import Initialization
from corrinit.lab.experiment.identity import changes_since
from corrinit.lab.experiment.observation import EVERYTHING, Observation
from corrinit.lab.paper.cells import OLDER, Cell, Measured, measure
from corrinit.lab.paper.claims import Finding, Verdict, judge, verdicts
from corrinit.lab.paper.experiments import (
    CORRELATED,
    FIGURE_1,
    MEAN_CORRELATIONS,
    RESNET_10,
    Printed,
)
from corrinit.lab.paper.figures import preset_figure, training_figures
from corrinit.lab.paper.measures import READINGS
from corrinit.lab.paper.protocol import SCALES, Protocol
from corrinit.lab.paper.watched import watched_table
from corrinit.lab.paper.words import planned, watches_layers
from corrinit.lab.runs.provenance import distinct, provenance
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.runs.table import Runs
from corrinit.lab.statistics.contrast import ALPHA, Contrast
from corrinit.presets import load_preset, preset_names

KERNEL = (3, 3)
"""The kernel of all layers of the networks that R applies to."""


def write_paper_report(
    name: str,
    protocol: Protocol,
    runs: Runs,
    path: Path,
    *,
    command: str,
    markdown: Path | None = None,
) -> Path:
    """Write our numbers beside the paper's as one HTML file; the same records and command, the same bytes.

    Args:
        name: a figure or table, as in `corrinit.lab.paper.experiments`, or `all`; or as in
            `corrinit.lab.paper.words`.
        protocol: which runs stand behind a cell.
        runs: any; those that belong to no cell are ignored, cells without records are shown as not run.
        path: the HTML file.
        command: what the user typed to get it.
        markdown: write text and tables to this file as well.

    Returns:
        The path of the HTML file.

    Raises:
        ConfigError: if the paper has no such figure or table.
        CorrInitError: if a file cannot be written.
    """
    labelled = protocol.labelled(planned(name))
    measured = [measure(experiment, protocol, runs) for experiment in labelled]
    used = list({record.path: record for part in measured for record in part.records}.values())
    recorded = {record.path: record for part in measured for record in (*part.records, *part.left_out)}
    findings = judge(compare(Runs([*recorded.values()], runs.designs)), protocol.initialization(CORRELATED))
    sections = [
        _scope(protocol, measured, used),
        *([_answers(findings), _claims(findings)] if measured else []),
        *([_figure_1()] if name in (FIGURE_1, "all") else []),
        *(_results(part) for part in measured),
        *_evidence(findings),
        *_left_out(measured),
    ]
    title = f"The paper beside our runs: {'all figures and tables' if name == 'all' else name}"
    foot = provenance(used, command)
    if markdown is not None:
        write_markdown(markdown, title, sections, provenance=foot)
    return write_page(path, title, sections, provenance=foot)


def _scope(protocol: Protocol, measured: Sequence[Measured], used: Sequence[RunRecord]) -> Section:
    scale = SCALES[protocol.scale]
    planned = len(protocol.runs(part.experiment for part in measured))
    finished = sum(record.current for record in used)
    subset = f"{scale.train_subset:,} training images" if scale.train_subset else "all training images"
    notes = [
        f"Scale “{protocol.scale}”: {count(scale.seeds, 'seed')}, {100 * scale.epochs:g} % of the paper's "
        f"epochs, {100 * scale.width:g} % of its channels, {subset}, batches of {scale.batch_size}, "
        f"{scale.precision}. {finished} of {count(planned, 'planned run')} finished. Otherwise the protocol "
        "is the paper's: SGD with momentum 0.8, a constant learning rate, no augmentation. The computations "
        "of Figures 2 and 3 and Table 1 train no network: “corrinit theory” makes them.",
    ]
    if scale.observation != EVERYTHING:
        notes.append(_observation_in_words(scale.observation))
    if stand_ins := protocol.stand_ins():
        told = ", ".join(f"{ours} for {theirs}" for theirs, ours in stand_ins.items())
        notes.append(f"What is run in place of the paper's networks and data: {told}.")
    if protocol.scale == "smoke":
        notes.append(
            "This scale shows that everything runs. Its numbers say nothing about the paper's, which are "
            "printed beside them all the same."
        )
    if measured:
        notes.append(_correlation_in_words(protocol.initialization(CORRELATED)))
    if finished < len(used):
        notes.append(_older_in_words([record for record in used if not record.current]))
    if used:
        notes.append(f"Data: {' / '.join(distinct(used, 'data'))}.")
    return Section("What was run", (*notes, *coverages(used)))


def _observation_in_words(observation: Observation) -> str:
    """What numbers by epoch and at the end are of."""
    images = "all" if observation.test_images is None else f"{observation.test_images:,}"
    often = "" if observation.test_every == 1 else f", every {observation.test_every} epochs"
    unused = "all" if observation.unused_images is None else f"up to {observation.unused_images:,}"
    return (
        f"Test accuracies by epoch are of {images} test images{often}, and between these epochs lie on the "
        f"line between them; those at the end are of all test images, and of {unused} unused ones."
    )


def _older_in_words(runs: Sequence[RunRecord]) -> str:
    changes = changes_since(min(run.protocol for run in runs))
    return (
        f"{OLDER} marks numbers of {count(len(runs), 'run')} made before a change of the code ({changes}), "
        "after which the same settings come out otherwise. They stand here until they are made again, and "
        "are compared with runs from before that change alone."
    )


def _correlation_in_words(correlated: Initialization) -> str:
    """How strong the R of the correlated rows is, beside the paper's."""
    correlation = correlated.load_correlation() or default_correlation(KERNEL)
    independent, total = len(correlation.deviations), correlation.total
    return (
        f"R is “{correlated.correlation}”, with a mean off-diagonal correlation of {correlation.mean:.3f}, "
        f"and {MEAN_CORRELATIONS[RESNET_10]:.2f} in the paper. Its small scale is "
        f"{(independent / total) ** 0.5:.3f} times He's."
    )


def _answers(findings: Sequence[Finding]) -> Section:
    """One answer per claim from all settings."""
    rows = tuple(
        (
            f"{verdict.claim.number} {verdict.claim.text}",
            verdict.reading,
            verdict.answer.value,
            *_effect(verdict),
        )
        for verdict in verdicts(findings)
    )
    text = (
        "By its first measure below, each claim gets one answer from all settings that were run: they are "
        "taken as drawn from those that there are, with effects that differ (random effects; interval of "
        "Hartung and Knapp). Effects are positive where they are as claimed. A claim is supported or "
        f"contradicted if the mean effect is not 0 (p ≤ {ALPHA:g}, Holm-corrected over the claims in a "
        "reading), negligible if its interval lies within the margin (± 0.5 points), else undecided; from "
        "one setting nothing follows for others. τ is the deviation of effects between settings, I² their "
        "share of all variation. Numbers of seeds are taken as fixed."
    )
    header = ("claim", "reading", "answer", "settings", "mean effect", "95 % interval", "p", "τ", "I²")
    return Section("The paper's claims, answered", (text,), (Table("Answers", header, rows),))


def _effect(verdict: Verdict) -> tuple[str, ...]:
    """Settings, mean effect, interval, p, τ and I² of an answer."""
    effect, unit = verdict.effect, verdict.claim.measures[0].unit
    if effect is None:
        return ("0", "–", "–", "–", "–", "–")
    mean = f"{_signed(unit.factor * effect.mean)} {unit.name}"
    if effect.settings == 1:
        return ("1", mean, "one setting", "–", "–", "–")
    low, high = (unit.factor * min(max(end, -unit.limit), unit.limit) for end in (effect.low, effect.high))
    return (
        str(effect.settings),
        mean,
        f"{_signed(low)} to {_signed(high)}",
        p_value(effect.p),
        f"{unit.factor * effect.tau:.2f}",
        f"{100 * effect.i_squared:.0f} %",
    )


def _claims(findings: Sequence[Finding]) -> Section:
    families = len({(f.claim.number, f.reading) for f in findings if f.contrasts})
    criterion = (
        "Claims are read in four ways: as the paper compares, correlated taps at their small scale "
        "against independent taps at He's scale; and at equal scale, by the main effect of correlated taps, "
        "averaged over both scales, and by their simple effects at He's and at the small scale. Reported "
        "is in how many settings (network, data, learning rate, λ) a difference is decided, "
        f"p ≤ {ALPHA:g}, as claimed or the other way. p is Holm-corrected "
        "over the differences of a claim in one reading, not over claims and readings: if no initialization "
        f"made any difference, each of the {families} families that are tested here would show one all the "
        f"same with a chance of up to {100 * ALPHA:g} %, all together up to "
        f"{min(100, 100 * ALPHA * families):g} %. Settings in which a run diverged on either side are not "
        "tested."
    )
    by_measure: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        by_measure.setdefault((finding.claim.number, finding.measure.name), []).append(finding)
    rows = tuple(
        (f"{number} {readings[0].claim.text}", name, *(finding.outcome for finding in readings))
        for (number, name), readings in by_measure.items()
    )
    return Section(
        "The claims, setting by setting",
        (criterion, *(_in_words(readings) for readings in by_measure.values())),
        (Table("Settings in which a difference is decided", ("claim", "measured by", *READINGS), rows),),
    )


def _evidence(findings: Sequence[Finding]) -> list[Section]:
    """Every difference behind the counts."""
    rows = tuple(
        (finding.claim.number, finding.measure.name, finding.reading, *_contrast(finding, *each))
        for finding in findings
        for each in finding.contrasts
    )
    if not rows:
        return []
    header = ("claim", "difference in", "reading", "setting", "difference", "95 % interval", "seeds", "p")
    return [Section("Evidence for the claims", (), (Table("Differences by setting", header, rows),))]


def _in_words(readings: Sequence[Finding]) -> str:
    """A paragraph on one measure of a claim."""
    first = readings[0]
    told = "; ".join(f"{finding.reading}, {finding.outcome}{_numbers(finding)}" for finding in readings)
    return f"{first.claim.number} {first.claim.text} By {first.measure.name}: {told}."


def _numbers(finding: Finding) -> str:
    if not finding.contrasts:
        return ""
    unit = finding.measure.unit
    if len(finding.contrasts) == 1:
        setting, difference, low_to_high, seeds, p = _contrast(finding, *finding.contrasts[0])
        return f" ({setting}: {difference}, 95 % interval {low_to_high}, {seeds} seeds, p {p})"
    means = [unit.factor * each.mean for _, each in finding.contrasts]
    return f" (mean differences from {_signed(min(means))} to {_signed(max(means))} {unit.name})"


def _contrast(finding: Finding, setting: str, difference: Contrast) -> tuple[str, str, str, str, str]:
    """Setting, difference, interval, number of seeds and p of a contrast."""
    unit = finding.measure.unit
    return (
        setting,
        f"{_signed(unit.factor * difference.mean)} {unit.name}",
        interval(difference, unit.limit, unit.factor),
        str(difference.n),
        p_value(difference.p_adjusted),
    )


def _signed(value: float) -> str:
    return points(value / 100)


def _figure_1() -> Section:
    present = [name for name in MEAN_CORRELATIONS if name in preset_names()]
    rows = tuple(
        (name, f"{load_preset(name).mean:.3f}" if name in present else "not packaged", f"{printed:.2f}")
        for name, printed in MEAN_CORRELATIONS.items()
    )
    sources = tuple(_preset_in_words(name) for name in present)
    reading = (
        "The paper's 0.26 and 0.18 are read as means over all pairs of taps. It also says that half of the "
        "pairs of VGG-8 are negative, of size 0.05: then the positive half had a mean of 0.41, so 0.18 may "
        "be a mean over positive pairs alone, and both numbers may overstate R."
    )
    return Section(
        "Figure 1: correlation of taps in trained networks",
        (reading, *sources),
        (
            Table("Mean off-diagonal correlation", ("preset", "ours", "paper"), rows),
            *(preset_figure(name, f"Correlation in {name}, by distance and layer") for name in present),
        ),
    )


def _preset_in_words(name: str) -> str:
    facts = load_preset(name).provenance
    told = "; ".join(facts[key] for key in ("network", "training", "data") if key in facts)
    return f"{name}: {told}; test accuracy {facts.get('test accuracy', 'unknown')}."


def _results(measured: Measured) -> Section:
    experiment = measured.experiment
    accuracies = tuple(
        _accuracy_table(measured, lr, f"Test accuracy (%), learning rate {lr:g}")
        for lr in experiment.learning_rates
    )
    drawn = training_figures(measured) if experiment.name.startswith("figure") else ()
    notes = (experiment.note,) if experiment.note else ()
    seen = (watched_table(measured),) if watches_layers(experiment.name) else ()
    return Section(experiment.title, notes, (*accuracies, _difference_table(measured), *seen, *drawn))


def _accuracy_table(measured: Measured, lr: float, title: str) -> Table:
    columns = measured.experiment.columns
    header = ("", *(text for column in columns for text in (column.label, "paper")))
    rows = []
    for row in measured.experiment.rows:
        cells = [measured.cells[row, column, lr] for column in columns]
        rows.append((row.label, *(text for cell in cells for text in (_ours(cell), _printed(cell.printed)))))
    caption = (
        "Mean ± standard deviation (number of seeds). Rows without a value of the paper are ours: controls "
        "of the scale, and what comparisons need."
    )
    return Table(title, header, tuple(rows), caption)


def _difference_table(measured: Measured) -> Table:
    experiment = measured.experiment
    several = len(experiment.learning_rates) > 1
    rows = tuple(
        (row.label, column.label, *([f"{lr:g}"] if several else []), *_difference(cell))
        for (row, column, lr), cell in measured.cells.items()
        if row != experiment.reference(row)
    )
    rate = ("lr",) if several else ()
    differences = [cell.difference for cell in measured.cells.values() if cell.difference is not None]
    tests = max((each.size for each in differences), default=0)
    return Table(
        "Differences from the uncorrelated row",
        ("", "network and data", *rate, "points", "95 % interval", "seeds", "p", "paper"),
        rows,
        f"In percentage points, {how_tested(differences) or 'untested'}; p is Holm-corrected over the "
        f"{count(tests, 'test')} of this table. A row is not tested if it or the uncorrelated one diverged.",
    )


def _ours(cell: Cell) -> str:
    if cell.arm is None:
        return "none finished" if cell.left_out else "not run"
    described = cell.sample.summary
    assert described is not None
    sd = f" ± {100 * described.sd:.2f}" if described.n > 1 else ""
    return f"{100 * described.mean:.2f}{sd} ({described.n}){cell.mark}"


def _printed(value: Printed | None) -> str:
    return "–" if value is None else f"{100 * value.mean:.1f} ± {100 * value.sd:.1f}"


def _difference(cell: Cell) -> tuple[str, ...]:
    paper = "–" if cell.printed_difference is None else f"{100 * cell.printed_difference:+.1f}"
    paper = paper.replace("-", "−")
    difference = cell.difference
    if difference is None:
        return ("not run", "–", "–", "–", paper)
    mean = points(difference.mean) + cell.difference_mark
    known = interval(difference) if difference.fair else "no fair sample"
    return (mean, known, str(difference.n), p_value(difference.p_adjusted), paper)


def _left_out(measured: Sequence[Measured]) -> list[Section]:
    """Runs that are recorded but take no part, once each."""
    found = {
        record.path: (row.label, column.label, str(record.config.seed), shortfall(record), record.run_id)
        for part in measured
        for (row, column, _), cell in part.cells.items()
        for record in cell.left_out
    }
    if not found:
        return []
    header = ("initialization", "network and data", "seed", "reason", "run")
    note = "Means over the runs that remain can flatter an initialization whose other runs diverged."
    return [Section("Runs left out", (note,), (Table("Reasons", header, tuple(found.values())),))]
