"""Our numbers beside the paper's, table by table and figure by figure."""

from __future__ import annotations

from collections.abc import Sequence

from corrinit.lab.comparison.groups import shortfall
from corrinit.lab.comparison.verdict import how_tested
from corrinit.lab.document.blocks import Section, Table
from corrinit.lab.document.numbers import count, interval, p_value, points
from corrinit.lab.paper.cells import Cell, Measured
from corrinit.lab.paper.experiments import MEAN_CORRELATIONS, Printed
from corrinit.lab.paper.figures import preset_figure, training_figures
from corrinit.lab.paper.watched import watched_table
from corrinit.lab.paper.words import watches_layers
from corrinit.lab.statistics.contrast import Contrast
from corrinit.lab.statistics.planning import MOST, seeds_to_settle
from corrinit.presets import load_preset, preset_names


def figure_1_section() -> Section:
    """Mean correlation of our presets beside the paper's numbers, and by distance and layer."""
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


def results_section(measured: Measured) -> Section:
    """Accuracies and differences of a table or figure, beside the paper's."""
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
        ("", "network and data", *rate, "points", "95 % interval", "seeds", "p", "decision", "paper"),
        rows,
        f"In percentage points, {how_tested(differences) or 'untested'}; p is Holm-corrected over the "
        f"{count(tests, 'test')} of this table. A row is not tested if it or the uncorrelated one diverged. "
        "Seeds that would decide are all that it would take, if the difference stayed as it is.",
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
        return ("not run", "–", "–", "–", "–", paper)
    mean = points(difference.mean) + cell.difference_mark
    known = interval(difference) if difference.fair else "no fair sample"
    return (mean, known, str(difference.n), p_value(difference.p_adjusted), _decision(difference), paper)


def _decision(difference: Contrast) -> str:
    """Whether a difference is decided, or how many seeds would."""
    if difference.decided:
        return "decided"
    if not difference.fair:
        return "not tested"
    if difference.n < 2:
        return "undecided"
    total = seeds_to_settle(difference.mean, difference.sd, difference.n, family=max(1, difference.size))
    return f"undecided ({f'more than {MOST}' if total is None else total} seeds would decide)"


def left_out_sections(measured: Sequence[Measured]) -> list[Section]:
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
