"""Where each arm stands against the baseline: the rows of a table, and a verdict on each."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from corrinit.lab.comparison.verdict import UNSTABLE, divergence, verdict
from corrinit.lab.document.numbers import PERCENT, POINTS, Unit
from corrinit.lab.experiment.arm import BASELINE, Initialization
from corrinit.lab.statistics.anytime import Sequential
from corrinit.lab.statistics.decision import Answer, adjusted, answer, estimator, is_decided
from corrinit.lab.statistics.gains import (
    BySeed,
    Curves,
    EpochsSaved,
    ScaleShare,
    default_target,
    epochs_saved,
    scale_share,
)
from corrinit.lab.statistics.paired import Difference, Estimate, Summary, holm, summary


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
        fair: whether neither the arm nor the baseline diverged: else the runs that remain are no fair sample.
        p: its p-value, Holm-adjusted over the arms, which decides; NaN where nothing is tested: for the
            baseline, for one seed, and without a fair sample.
        answer: what sequential inference decided; None where nothing is tested, or the seeds were fixed.
    """

    arm: str
    values: Summary | None
    runs: int
    diverged: tuple[int, ...]
    difference: Estimate | None
    fair: bool
    p: float
    answer: Answer | None

    @property
    def decided(self) -> bool:
        """Whether the difference is real, by the rule of `corrinit.lab.statistics.decision`."""
        return is_decided(self.p)


@dataclass(frozen=True)
class Terms:
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
        return estimator(anytime=self.anytime)

    @property
    def is_accuracy(self) -> bool:
        """Whether values are accuracies in [0, 1], for which epochs to a target are counted."""
        return self.unit == POINTS and not self.lower_is_better


def standings(values: Mapping[str, BySeed], setting: Terms) -> tuple[Standing, ...]:
    """Where the arms stand, in the order of `values`.

    Args:
        values: final values by arm and seed, seeds in the order of their runs; NaN or infinite if diverged.
        setting: how they are compared.
    """
    finite, baseline = _finite(values), setting.baseline
    step = setting.unit.resolution([each for own in finite.values() for each in own.values()] or [0.0])
    rows, tested = [], {}
    for arm, by_seed in values.items():
        own, fair = finite[arm], _all_finite(by_seed) and _all_finite(values[baseline])
        seeds = [seed for seed in finite[baseline] if seed in own] if arm != baseline else []
        pairs = [own[seed] for seed in seeds], [finite[baseline][seed] for seed in seeds]
        if seeds and fair:
            tested[arm] = np.subtract(*pairs)
        rows.append(
            Standing(
                arm,
                values=summary(list(own.values())) if own else None,
                runs=len(by_seed),
                diverged=tuple(seed for seed in by_seed if seed not in own),
                difference=setting.estimate(*pairs, step=step) if seeds else None,
                fair=fair,
                p=math.nan,
                answer=None,
            )
        )
    if not tested:
        return tuple(rows)
    p_values = adjusted(list(tested.values()), step, anytime=setting.anytime)
    decisive = dict(zip(tested, p_values.tolist(), strict=True))
    return tuple(_judged(row, decisive[row.arm], setting) if row.arm in decisive else row for row in rows)


def verdicts(
    rows: Sequence[Standing],
    values: Mapping[str, BySeed],
    curves: Mapping[str, Curves],
    setting: Terms,
    *,
    target: float | None = None,
    told: Collection[str] | None = None,
) -> str:
    """What is known of each arm, a paragraph for each.

    Args:
        rows: where the arms stand.
        values: final values by arm and seed.
        curves: accuracy by arm and seed after each epoch; empty where there are none.
        setting: what is compared, and how.
        target: accuracy to which epochs are counted; by default one that the baseline reaches.
        told: the arms to speak of; by default all.
    """
    saved = _epochs_saved(rows, curves, setting, target)
    saved_p = _family({arm: each.difference for arm, each in saved.items()})
    shares = {row.arm: _told_apart(row.arm, _fair(values), setting) for row in rows if row.fair}
    parts = _family({arm: share.against_control for arm, (share, _) in shares.items() if share is not None})
    control_p = {row.arm: row.p for row in rows}
    found = []
    for row in rows:
        if row.arm == setting.baseline:
            found += [f"{divergence(row.arm, row.diverged, row.runs)}."] if row.diverged else []
            continue
        if told is not None and row.arm not in told:
            continue
        share, missing = shares.get(row.arm, (None, None))
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
                saved=saved.get(row.arm),
                saved_p=saved_p.get(row.arm, math.nan),
                share=share,
                share_p=(control_p[share.control], parts[row.arm]) if share else (math.nan, math.nan),
                missing_control=missing,
                diverged=row.diverged,
                fair=row.fair,
                answer=row.answer,
            )
        )
    return "\n\n".join(found)


def text_table(rows: Sequence[Standing], setting: Terms) -> str:
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


def unstable(rows: Sequence[Standing], values: Mapping[str, BySeed]) -> dict[str, tuple[float, float]]:
    """Arms whose final accuracies depend on the seed more than on anything else, with their range.

    Args:
        rows: where the arms stand, of accuracies.
        values: final accuracies by arm and seed.
    """
    ends = _finite(values)
    return {
        row.arm: (min(ends[row.arm].values()), max(ends[row.arm].values()))
        for row in rows
        if row.values is not None and row.values.sd > UNSTABLE
    }


def _epochs_saved(
    rows: Sequence[Standing], curves: Mapping[str, Curves], setting: Terms, target: float | None
) -> dict[str, EpochsSaved]:
    """By how many epochs each arm with a fair sample reaches the target before the baseline."""
    learned = {row.arm: curves[row.arm] for row in rows if row.fair and row.arm in curves}
    if not (reference := curves.get(setting.baseline)) or not any(map(len, learned.values())):
        return {}
    if target is None:
        target = default_target(reference.values())
    if target <= 0:
        return {}
    return {
        arm: epochs_saved(own, reference, target, difference=setting.estimate)
        for arm, own in learned.items()
        if arm != setting.baseline
    }


def _family(differences: Mapping[str, Estimate | None]) -> dict[str, float]:
    """p-values of differences that are tested together."""
    p_values = [math.nan if each is None else each.p for each in differences.values()]
    return dict(zip(differences, holm(p_values).tolist(), strict=True))


def _judged(row: Standing, p: float, setting: Terms) -> Standing:
    settled = None
    if isinstance(row.difference, Sequential):
        settled = answer(row.difference, p, indifference=setting.indifference)
    return replace(row, p=p, answer=settled)


def _told_apart(
    arm: str, values: Mapping[str, BySeed], setting: Terms
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


def _fair(values: Mapping[str, BySeed]) -> dict[str, BySeed]:
    """The arms that never diverged."""
    return {arm: by_seed for arm, by_seed in values.items() if _all_finite(by_seed)}


def _all_finite(by_seed: BySeed) -> bool:
    return all(map(math.isfinite, by_seed.values()))


def _finite(values: Mapping[str, BySeed]) -> dict[str, dict[int, float]]:
    return {
        arm: {seed: value for seed, value in by_seed.items() if math.isfinite(value)}
        for arm, by_seed in values.items()
    }


def _cells(row: Standing, unit: Unit) -> tuple[str, ...]:
    digits = ".2f" if unit in (POINTS, PERCENT) else ".4g"
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
    if not row.fair:
        interval = "no fair sample"
    p = "" if math.isnan(row.p) else "< 0.001" if row.p < 0.001 else f"{row.p:.3f}"
    return row.arm, value, n, unit.signed(row.difference.mean, decimals), interval, p
