"""What is seen of networks while they train, beside their accuracy: a table for an experiment."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from corrinit.lab.document.blocks import Table
from corrinit.lab.paper.cells import Measured
from corrinit.lab.runs.endpoints import endpoint
from corrinit.lab.runs.layers import LayerHistory
from corrinit.lab.runs.record import RunRecord

Read: TypeAlias = Callable[[RunRecord], float | None]
"""A value of a run; None if its record does not tell."""


def _weight_correlation(share: float) -> Read:
    """Mean correlation of the weights when a share of the epochs is done."""

    def read(run: RunRecord) -> float | None:
        curve = run.curve("weight_correlation")
        return float(curve[max(0, round(share * len(curve)) - 1)])

    return read


def _of_layers(value: Callable[[LayerHistory], float]) -> Read:
    def read(run: RunRecord) -> float | None:
        history = run.layers()
        return None if history is None else value(history)

    return read


def _negative(history: LayerHistory) -> float:
    return float((history.pooled[-1] < 0).mean())


def _depth(history: LayerHistory) -> float:
    """Rank correlation of a layer's mean correlation with its place in the network."""
    ranks = history.mean[-1].argsort().argsort()
    return float(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) if len(ranks) > 1 else math.nan


def _blocks(history: LayerHistory) -> float:
    return float(history.block_correlation[-1].mean()) if len(history.blocks) else math.nan


OBSERVED: dict[str, tuple[Read, str]] = {
    "epochs to 95 % of its own plateau": (endpoint("epochs_to_own_plateau").read, ".1f"),
    "training accuracy (%)": (lambda run: 100 * run.metrics[-1]["train_accuracy"], ".1f"),
    "mean absolute gradient, first epochs": (endpoint("early_gradient_mean_abs").read, ".2g"),
    "gradient norm, first layer, first epoch": (_of_layers(lambda h: float(h.gradient[1, 0])), ".2g"),
    "gradient norm, last layer, first epoch": (_of_layers(lambda h: float(h.gradient[1, -1])), ".2g"),
    "sign changes (%)": (lambda run: 100 * float(run.curve("sign_changes").mean()), ".1f"),
    "the same on one batch (%)": (_of_layers(lambda h: 100 * float(h.probe_sign_changes[1:].mean())), ".1f"),
    "correlation of weights, first epoch": (_weight_correlation(0), ".3f"),
    "half-way": (_weight_correlation(0.5), ".3f"),
    "at the end": (_weight_correlation(1), ".3f"),
    "negative pairs (%)": (_of_layers(lambda h: 100 * _negative(h)), ".0f"),
    "growth with depth (rank correlation)": (_of_layers(_depth), ".2f"),
    "start that is left (%)": (
        _of_layers(lambda h: 100 * float(np.average(h.start[-1], weights=h.filters))),
        ".0f",
    ),
    "centre of mass (pixels)": (_of_layers(lambda h: float(h.centre[-1].mean())), ".2f"),
    "spread (pixels)": (_of_layers(lambda h: float(h.spread[-1].mean())), ".2f"),
    "block input with output": (_of_layers(_blocks), ".2f"),
}
"""How each column is read from a run, and how it is written."""


def watched_table(measured: Measured) -> Table:
    """A row for each cell that has runs, the mean of each quantity over them; a dash where none tells."""
    several = len(measured.experiment.learning_rates) > 1
    rows = tuple(
        (
            row.label + cell.mark,
            column.label,
            *([f"{lr:g}"] if several else []),
            str(len(cell.arm.runs)),
            *(_mean([*cell.arm.runs.values()], read, form) for read, form in OBSERVED.values()),
        )
        for (row, column, lr), cell in measured.cells.items()
        if cell.arm is not None
    )
    header = ("", "network and data", *(("lr",) if several else ()), "seeds", *OBSERVED)
    caption = (
        "Means over the seeds, described and not tested. Gradient norms are those of a layer, mean over the "
        "updates of the first epoch. On one batch: signs before and after the first update of each epoch, of "
        "the gradient on images that stay the same. Pairs of taps, pooled over the layers. Growth: rank of a "
        "layer's mean correlation against its place. Block: input, as the shortcut passes it on, against "
        "output, on that batch."
    )
    return Table("What is seen while they train", header, rows, caption)


def _mean(runs: Sequence[RunRecord], read: Read, form: str) -> str:
    values = [value for run in runs if (value := read(run)) is not None and math.isfinite(value)]
    return f"{np.mean(values):{form}}".replace("-", "−") if values else "–"
