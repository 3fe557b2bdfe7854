"""The report that lays our runs beside the paper: claims, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from corrinit._correlation import default_correlation
from corrinit.lab.comparison.coverage import coverages
from corrinit.lab.comparison.groups import compare
from corrinit.lab.document.blocks import Section
from corrinit.lab.document.html import write_page
from corrinit.lab.document.markdown import write_markdown
from corrinit.lab.document.numbers import count
from corrinit.lab.experiment.config import Initialization
from corrinit.lab.experiment.identity import changes_since
from corrinit.lab.experiment.observation import EVERYTHING, Observation
from corrinit.lab.paper.cells import OLDER, Measured, measure
from corrinit.lab.paper.claims import judge
from corrinit.lab.paper.claims_section import answers_section, claims_section, evidence_sections
from corrinit.lab.paper.experiments import (
    CORRELATED,
    FIGURE_1,
    MEAN_CORRELATIONS,
    RESNET_10,
)
from corrinit.lab.paper.protocol import SCALES, Protocol
from corrinit.lab.paper.results_section import figure_1_section, left_out_sections, results_section
from corrinit.lab.paper.words import is_of_the_paper, planned
from corrinit.lab.runs.provenance import distinct, provenance
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.runs.table import Runs

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
    claimed = bool(measured) and is_of_the_paper(name)
    sections = [
        *([answers_section(findings, name)] if claimed else []),
        _scope(protocol, measured, used),
        *([claims_section(findings)] if claimed else []),
        *([figure_1_section()] if name in (FIGURE_1, "all") else []),
        *(results_section(part) for part in measured),
        *(evidence_sections(findings) if claimed else []),
        *left_out_sections(measured),
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
