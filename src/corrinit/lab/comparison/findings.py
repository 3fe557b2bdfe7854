"""What correlation does and what the scale does, in sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from corrinit.lab.comparison.contrasts import Beside, Standing
from corrinit.lab.comparison.groups import Comparison
from corrinit.lab.comparison.placebo import PLACEBO_NOTE
from corrinit.lab.comparison.two_by_two import (
    AT_HE,
    AT_SMALL,
    CORRELATION,
    INTERACTION,
    OF_CORRELATED,
    OF_INDEPENDENT,
    SCALE,
    TOGETHER,
    TwoByTwo,
    two_by_twos,
)
from corrinit.lab.comparison.verdict import corrected, how_tested
from corrinit.lab.document import figures
from corrinit.lab.document.blocks import Figure, Table
from corrinit.lab.document.figures import Range
from corrinit.lab.document.numbers import PERCENT, POINTS, Unit, count, interval, p_value, points
from corrinit.lab.experiment.arm import correlation_suffix
from corrinit.lab.runs.endpoints import TEST_ACCURACY, Endpoint
from corrinit.lab.statistics.contrast import Contrast

INTRODUCTION = (
    "Runs differ in how the filters are drawn, and in nothing else: runs of one seed start from the same "
    "draws and see the same batches. A correlated initialization changes two things at once, the correlation "
    "between the taps of a filter and their standard deviation. The 2×2 design separates them: independent "
    "or correlated taps, each at He's scale and at the small scale, the one that the correlated method calls "
    "for. Accuracy is that on the test images after the last epoch."
)

EFFECTS = {
    CORRELATION: "correlation (correlated − independent taps)",
    SCALE: "scale (small − He's)",
    INTERACTION: "interaction (correlation at the small scale − at He's)",
    AT_HE: "correlation, at He's scale",
    AT_SMALL: "correlation, at the small scale",
    OF_INDEPENDENT: "small scale, with independent taps",
    OF_CORRELATED: "small scale, with correlated taps",
    TOGETHER: "both together",
}


GROUP = "initialization"
COMPARED = ("difference", "95 % interval", "seeds", "p")
"""Columns of a table of arms."""


def findings(
    comparison: Comparison, name: str, rows: Sequence[Standing], endpoint: Endpoint = TEST_ACCURACY
) -> list[str]:
    """What the runs of a setting say about test accuracy, a paragraph per 2×2.

    Args:
        comparison: the runs.
        name: what the setting is called.
        rows: where its arms stand.
        endpoint: the accuracy that decides.
    """
    gains = {row.arm: row.gain for row in rows}
    found = []
    for design in two_by_twos(comparison, endpoint):
        gain = gains[design.correlated]
        assert gain is not None  # it is not the baseline
        together = design.simple[TOGETHER].judged(gain.p_adjusted, gain.family, gain.size)
        found.append(_finding(design, name, together))
    for copy, original in comparison.copies.items():
        found.append(
            f"{name}: every run of {copy} came out as that of {original} did in every epoch, so no layer was "
            "drawn differently, and nothing is found about it."
        )
    if not found and any(arm.initialization.method == "correlated" for arm in comparison.arms):
        found = [
            f"{name}: the four arms of the 2×2 have no finished seed in common, or one of them diverged, so "
            "what correlation does cannot be separated from what the scale does."
        ]
    if comparison.left_out:
        found.append(
            f"{name}: {count(len(comparison.left_out), 'run')} left out; the reasons are given below."
        )
    return found


def arm_table(
    rows: Sequence[Beside], placebo: Beside | None = None, endpoint: Endpoint = TEST_ACCURACY, title: str = ""
) -> Table:
    """The values of each arm, and its difference from the baseline.

    Args:
        rows: where the arms stand.
        placebo: where the placebo stands; None without one.
        endpoint: what is compared.
        title: what the table is called.
    """
    unit, cells = endpoint.unit, []
    decimals = 2 if unit in (POINTS, PERCENT) else 4
    for row in [*rows, *([placebo] if placebo is not None else [])]:
        mean, known, gain = "–", row.sample.summary, row.gain
        if known is not None:
            mean, sd = (f"{unit.factor * each:.{decimals}f}" for each in (known.mean, known.sd))
            mean += f" ± {sd}" if known.n > 1 else ""
        compared = ("–", "–", "–", "–")
        if gain is not None and gain.n:
            ends = _ends(gain, unit, decimals) if gain.fair else "no fair sample"
            compared = _signed(gain.mean, unit, decimals), ends, str(gain.n), p_value(gain.p_adjusted)
        cells.append((row.name, mean, str(len(row.sample.values)), *compared))
    how = how_tested(row.gain for row in rows if row.gain is not None)
    tests = max((row.gain.size for row in rows if row.gain is not None), default=0)
    baseline = next(row.name for row in rows if row.gain is None)
    measure, of = endpoint.label, "" if unit.name != POINTS.name else "percentage "
    counted = f"in {of}{unit.name}, " if unit.name else ""
    return Table(
        title or f"Test {measure} by initialization",
        (GROUP, f"{measure}{' (%)' if unit.name == POINTS.name else ''}", "n", *COMPARED),
        tuple(cells),
        f"Mean ± standard deviation over n seeds. Differences from “{baseline}” are {counted}"
        f"{how or 'untested'}; p is Holm-corrected over the {count(tests, 'test')} of arms. "
        "An arm is not tested if it or the baseline diverged: the runs that remain are no fair sample."
        + ("" if placebo is None else f" {PLACEBO_NOTE}"),
    )


def gain_figure(
    rows: Sequence[Beside], placebo: Beside | None = None, endpoint: Endpoint = TEST_ACCURACY
) -> list[Figure]:
    """The differences from the baseline as a forest, the largest on top, the placebo below."""
    baseline = next(row.name for row in rows if row.gain is None)
    ordered = sorted(rows, key=lambda row: -math.inf if row.gain is None else row.gain.mean, reverse=True)
    unit = endpoint.unit
    drawn = [
        Range(
            row.name,
            unit.factor * row.gain.mean,
            unit.factor * max(row.gain.low, -unit.limit),
            unit.factor * min(row.gain.high, unit.limit),
            decided=row.gain.decided and row is not placebo,
        )
        for row in [*ordered, *([placebo] if placebo is not None else [])]
        if row.gain is not None and row.gain.fair and row.gain.n
    ]
    caption = (
        f"Mean difference from {baseline} and its 95 % interval, not corrected for the number of "
        "arms; coloured if it is decided once corrected."
    )
    title, axis = "Gain over the baseline", f"difference in {endpoint.label}"
    axis += f" ({unit.name})" if unit.name else ""
    return [figures.intervals(title, axis, drawn, caption=caption)] if drawn else []


def effect_tables(design: TwoByTwo) -> list[Table]:
    """Main effects and interaction of a 2×2, then the effects at each level."""
    seeds = f"{count(len(design.seeds), 'seed')} ({', '.join(map(str, design.seeds))})"
    of = correlation_suffix(design.correlated)
    main = tuple(
        (EFFECTS[key], points(effect.mean), interval(effect, _limit(key)), p_value(effect.p_adjusted))
        for key, effect in design.main.items()
    )
    simple = tuple(
        (EFFECTS[key], points(effect.mean), interval(effect)) for key, effect in design.simple.items()
    )
    return [
        Table(
            f"Correlation and scale, separated{of}",
            ("effect on test accuracy", "points", "95 % interval", "p"),
            main,
            "Main effects of the 2×2, each averaged over both levels of the other factor, and their "
            f"interaction, in percentage points, over {seeds}, {how_tested(design.main.values())}; p is "
            "Holm-corrected over this table.",
        ),
        Table(
            f"The same effects at each level{of}",
            ("effect on test accuracy", "points", "95 % interval"),
            simple,
        ),
    ]


def _finding(design: TwoByTwo, name: str, together: Contrast) -> str:
    setting = f"{name}{correlation_suffix(design.correlated)} ({count(len(design.seeds), 'seed')})"
    sentences = [
        f"{setting}: at equal scale, averaged over both, correlated taps change accuracy by "
        f"{_effect(design.main[CORRELATION])}.",
        f"With the same taps, averaged over both, the small scale changes it by "
        f"{_effect(design.main[SCALE])}.",
        f"Both together, against independent taps at He's scale, change it by {_effect(together)}.",
    ]
    interaction = design.main[INTERACTION]
    if interaction.decided:
        more = "more" if interaction.mean > 0 else "less"
        sentences.append(
            f"Correlation does {more} at the small scale than at He's: the difference between its effects is "
            f"{_size(interaction, INTERACTION)}."
        )
    if len(design.seeds) == 1:
        sentences.append("One seed has no interval and decides nothing.")
    return " ".join(sentences)


def _effect(effect: Contrast) -> str:
    """An effect, and whether it is decided."""
    if effect.n == 1:
        return _size(effect)
    if effect.decided:
        return f"{_size(effect)}, {'an improvement' if effect.mean > 0 else 'a deterioration'}"
    excludes_zero = effect.low > 0 or effect.high < 0
    return f"{_size(effect)}, which is undecided: " + (
        corrected(effect) if excludes_zero else "the interval contains 0"
    )


def _signed(value: float, unit: Unit, decimals: int) -> str:
    return f"{unit.factor * value:+.{decimals}f}".replace("-", "−")


def _ends(gain: Contrast, unit: Unit, decimals: int) -> str:
    """The ends of an interval with their signs, as far as differences can go."""
    if not math.isfinite(gain.high - gain.low):
        return "n = 1" if gain.n == 1 else "too few"
    ends = (min(max(end, -unit.limit), unit.limit) for end in (gain.low, gain.high))
    return " to ".join(_signed(end, unit, decimals) for end in ends)


def _size(effect: Contrast, key: str = "") -> str:
    spread = "n = 1" if effect.n == 1 else f"95 % interval {interval(effect, _limit(key))}"
    if math.isinf(effect.high):
        spread = "too few pairs for an interval"
    return f"{points(effect.mean)} percentage points ({spread})"


def _limit(key: str) -> float:
    """The largest difference of accuracies that an effect can be: an interaction is one of differences."""
    return 2.0 if key == INTERACTION else 1.0
