"""Where each arm stands against the baseline: the rows of a table, and a verdict on each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from corrinit.lab.arms import Initialization
from corrinit.lab.comparison import BASELINE
from corrinit.lab.gains import (
    BySeed,
    Curves,
    Difference,
    Estimate,
    ScaleShare,
    default_target,
    epochs_saved,
    scale_share,
)
from corrinit.lab.sequential import Answer, Sequential, answer, sequential
from corrinit.lab.stats import Summary, holm, paired_difference, summary
from corrinit.lab.verdict import POINTS, Unit, divergence, verdict


@dataclass(frozen=True)
class Standing:
    """One arm beside the baseline.

    Args:
        arm: what it is called.
        values: final values of the runs that did not diverge; None if all did.
        runs: seeds on which it was run.
        diverged: seeds for which it diverged.
        difference: from the baseline, over the seeds that both finished; None for the baseline itself, and
            if there are none.
        p: its p-value, Holm-adjusted over the arms; NaN where nothing is tested: for the baseline, for one
            seed, and for an arm that diverged, whose other runs are no fair sample.
        answer: what sequential inference decided; None where nothing is tested, or the seeds were fixed.
    """

    arm: str
    values: Summary | None
    runs: int
    diverged: tuple[int, ...]
    difference: Estimate | None
    p: float
    answer: Answer | None


@dataclass(frozen=True)
class Setting:
    """What is compared, and how.

    Args:
        arms: initializations by the name of the arm.
        baseline: the arm that the others are compared with.
        metric: what the values are.
        unit: of their differences.
        lower_is_better: for a loss or an error.
        anytime: whether the number of seeds depends on what they showed.
        indifference: differences up to this size count as none in practice.
    """

    arms: Mapping[str, Initialization]
    baseline: str
    metric: str
    unit: Unit
    lower_is_better: bool
    anytime: bool
    indifference: float

    @property
    def estimate(self) -> Difference:
        """How mean differences are estimated."""
        return sequential if self.anytime else paired_difference

    @property
    def is_accuracy(self) -> bool:
        """Whether values are accuracies in [0, 1], for which epochs to a target are counted."""
        return self.unit == POINTS and not self.lower_is_better


def standings(values: Mapping[str, BySeed], setting: Setting) -> tuple[Standing, ...]:
    """Where the arms stand, in the order of `values`.

    Args:
        values: final values by arm and seed, seeds in the order of their runs; NaN or infinite if diverged.
        setting: how they are compared.
    """
    finite = _finite(values)
    reference = finite[setting.baseline]
    rows = []
    for arm, by_seed in values.items():
        own = finite[arm]
        seeds = [seed for seed in reference if seed in own] if arm != setting.baseline else []
        pairs = [own[seed] for seed in seeds], [reference[seed] for seed in seeds]
        rows.append(
            Standing(
                arm,
                values=summary(list(own.values())) if own else None,
                runs=len(by_seed),
                diverged=tuple(seed for seed in by_seed if seed not in own),
                difference=setting.estimate(*pairs) if seeds else None,
                p=math.nan,
                answer=None,
            )
        )
    tested = [row for row in rows if row.difference is not None and not row.diverged]
    adjusted = holm([row.difference.p for row in tested if row.difference is not None])
    p_values = {row.arm: p for row, p in zip(tested, adjusted, strict=True)}
    return tuple(_judged(row, p_values[row.arm], setting) if row.arm in p_values else row for row in rows)


def verdicts(
    rows: Sequence[Standing],
    values: Mapping[str, BySeed],
    curves: Mapping[str, Curves],
    setting: Setting,
    *,
    target: float | None = None,
) -> str:
    """What is known of each arm, a paragraph for each.

    Args:
        rows: where the arms stand.
        values: final values by arm and seed.
        curves: accuracy by arm and seed after each epoch; empty where there are none.
        setting: what is compared, and how.
        target: accuracy to which epochs are counted; by default one that the baseline reaches.
    """
    finite = _finite(values)
    learned = {
        arm: {seed: curve for seed, curve in by_seed.items() if seed in finite[arm]}
        for arm, by_seed in curves.items()
    }
    reference = learned.get(setting.baseline, {})
    if target is None:
        target = default_target(reference.values()) if reference else 0.0
    found = []
    for row in rows:
        if row.arm == setting.baseline:
            found += [f"{divergence(row.arm, row.diverged, row.runs)}."] if row.diverged else []
            continue
        share, missing = _told_apart(row.arm, finite, setting)
        saved = None
        if target > 0:
            saved = epochs_saved(learned[row.arm], reference, target, difference=setting.estimate)
        found.append(
            verdict(
                row.arm,
                row.difference,
                runs=row.runs,
                p=row.p,
                metric=setting.metric,
                unit=setting.unit,
                lower_is_better=setting.lower_is_better,
                indifference=setting.indifference,
                saved=saved,
                share=share,
                missing_control=missing,
                diverged=row.diverged,
                answer=row.answer,
            )
        )
    return "\n\n".join(found)


def text_table(rows: Sequence[Standing], setting: Setting) -> str:
    """The rows as plain text: mean ± standard deviation, and the paired difference with its interval."""
    unit = setting.unit
    name = f"{setting.metric} (%)" if setting.is_accuracy else setting.metric
    header = ("method", name, "n", "difference", "95 % interval", "anytime p" if setting.anytime else "p")
    cells = [header, *(_cells(row, unit) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _judged(row: Standing, p: float, setting: Setting) -> Standing:
    settled = None
    if isinstance(row.difference, Sequential):
        settled = answer(row.difference, p, indifference=setting.indifference)
    return replace(row, p=p, answer=settled)


def _told_apart(
    arm: str, values: Mapping[str, BySeed], setting: Setting
) -> tuple[ScaleShare | None, str | None]:
    """The share of the scale in the gain of an arm; without a control for it, the one to add."""
    own = setting.arms[arm].canonical
    against = setting.arms[setting.baseline].canonical
    if against != BASELINE or own.scale == "he" or own.method == BASELINE.method:
        return None, None
    at_he = replace(own, scale="he").canonical
    # Independent taps have no scale but He's in common with a method whose scale is its own, or measured.
    same_scale = replace(own, method=BASELINE.method).canonical
    names = {initialization.canonical: name for name, initialization in setting.arms.items()}
    share = scale_share(
        values,
        arm,
        setting.baseline,
        same_scale=None if same_scale == BASELINE else names.get(same_scale),
        he_scale=names.get(at_he),
        difference=setting.estimate,
    )
    return share, (at_he if same_scale == BASELINE else same_scale).spec


def _finite(values: Mapping[str, BySeed]) -> dict[str, dict[int, float]]:
    return {
        arm: {seed: value for seed, value in by_seed.items() if math.isfinite(value)}
        for arm, by_seed in values.items()
    }


def _cells(row: Standing, unit: Unit) -> tuple[str, ...]:
    digits = ".2f" if unit == POINTS else ".4g"
    value = "diverged"
    if row.values is not None:
        value = f"{unit.factor * row.values.mean:{digits}}"
        if row.values.n > 1:
            value += f" ± {unit.factor * row.values.sd:{digits}}"
    n = f"{row.values.n if row.values else 0}" + (f" of {row.runs}" if row.diverged else "")
    if row.difference is None:
        return row.arm, value, n, "", "", ""
    decimals = unit.decimals(row.difference)
    bounded = math.isfinite(row.difference.low)
    interval = unit.interval(row.difference, decimals) if bounded else "none yet"
    p = "" if math.isnan(row.p) else "< 0.001" if row.p < 0.001 else f"{row.p:.3f}"
    return row.arm, value, n, unit.signed(row.difference.mean, decimals), interval, p
