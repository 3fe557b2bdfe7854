"""The verdict on results that people already have: that of `corrinit compare`, without training anything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from corrinit.errors import ResultsTableError
from corrinit.lab.comparison.contrasts import Beside, gains
from corrinit.lab.comparison.findings import arm_table, gain_figure
from corrinit.lab.comparison.placebo import PLACEBO, from_itself, placebo_in_words
from corrinit.lab.comparison.verdict import divergence, unstable, unstable_in_words, verdict
from corrinit.lab.document.blocks import Section
from corrinit.lab.document.numbers import PERCENT, POINTS, Unit, unit_of
from corrinit.lab.experiment.arm import BASELINE
from corrinit.lab.runs.endpoints import DECLARED, Direction, Endpoint
from corrinit.lab.statistics.contrast import MARGIN, Inference, Sample

UnitName: TypeAlias = Literal["share", "percent", "none"]

UNITS: Mapping[UnitName, Unit] = {"share": POINTS, "percent": PERCENT, "none": Unit()}
"""Accuracies in [0, 1], accuracies in [0, 100], and anything else."""


@dataclass(frozen=True)
class Judgement:
    """What results say.

    Args:
        endpoint: what is compared.
        rows: where the conditions stand, the baseline among them.
        placebo: where the one stands that is called placebo; None without one.
        section: all of it as a part of a report.
    """

    endpoint: Endpoint
    rows: tuple[Beside, ...]
    placebo: Beside | None
    section: Section


def judge(
    values: Mapping[str, Mapping[int, float]],
    metric: str,
    *,
    baseline: str | None = None,
    unit: UnitName | None = None,
    lower_is_better: bool = False,
    margin: float | None = None,
    inference: Inference = Inference.FIXED,
) -> Judgement:
    """Compare conditions with a baseline. One that is called placebo is outside of the family.

    Args:
        values: by condition and seed; NaN where a run diverged.
        metric: what they are.
        baseline: one of the conditions; by default kaiming_normal, else the first.
        unit: of the values; by default that which `metric` and its values look like.
        lower_is_better: as of a loss.
        margin: size up to which differences count as none, in the unit of the values; by default half a
            point of an accuracy, and none of anything else.
        inference: how it is tested.

    Raises:
        ResultsTableError: if there is no such baseline, or values are larger than their unit has them.
    """
    arms = {name: Sample.of(by_seed, metric) for name, by_seed in values.items()}
    copy = arms.pop(PLACEBO, None)
    reference = baseline or next((name for name in arms if name == BASELINE.method), next(iter(arms)))
    if reference not in arms:
        raise ResultsTableError(f"no group is called {reference!r}; there are {', '.join(arms)}")
    finite = [each for by_seed in values.values() for each in by_seed.values() if math.isfinite(each)]
    endpoint = _endpoint(metric, finite, unit, lower_is_better, margin)
    found = gains(arms, reference, endpoint, inference)
    rows = tuple(Beside(name, sample, found.get(name)) for name, sample in arms.items())
    placebo = None
    if copy is not None:
        placebo = Beside(PLACEBO, copy, from_itself(arms, reference, copy, endpoint, inference))
    said = [
        verdict(row, endpoint)
        if row.gain is not None
        else f"{divergence(row.name, row.sample.diverged, row.sample.runs)}."
        for row in rows
        if row.gain is not None or row.sample.diverged
    ]
    if endpoint.unit == POINTS and (shaky := unstable(rows)):
        said.insert(0, unstable_in_words(shaky, "choose a smaller one"))
    table = arm_table(rows, placebo, endpoint, f"{endpoint.label.capitalize()} beside {reference}")
    section = Section(
        f"{endpoint.label.capitalize()}, compared with {reference}",
        (*said, *placebo_in_words(placebo, endpoint)),
        (*gain_figure(rows, placebo, endpoint), table),
    )
    return Judgement(endpoint, rows, placebo, section)


def _endpoint(
    metric: str, values: list[float], unit: UnitName | None, lower: bool, margin: float | None
) -> Endpoint:
    scale = unit_of(metric, values) if unit is None else UNITS[unit]
    largest = max(map(abs, values), default=0.0)
    if largest > scale.limit:
        raise ResultsTableError(
            f"{metric} is as large as {largest:g}, which is no {unit}; say --unit percent, or --unit none"
        )
    if margin is None:
        margin = MARGIN * scale.limit if math.isfinite(scale.limit) else 0.0
    direction = Direction.LOWER if lower else Direction.HIGHER
    if (known := DECLARED.get(metric)) is not None and unit is None and known.unit == scale:
        return replace(known, direction=Direction.LOWER if lower else known.direction, margin=margin)
    return Endpoint(
        metric, metric, f"{metric}, as the table has it", scale, direction, lambda _: None, margin=margin
    )
