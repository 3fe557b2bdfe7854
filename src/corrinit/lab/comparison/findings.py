"""What the statistics of a comparison say, in sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from corrinit.lab.comparison.groups import Comparison, TwoByTwo
from corrinit.lab.comparison.standing import Standing
from corrinit.lab.document.numbers import count, interval, p_value, points
from corrinit.lab.document.page import Table
from corrinit.lab.experiment.arm import BASELINE, correlation_suffix, label
from corrinit.lab.statistics.decision import is_decided
from corrinit.lab.statistics.paired import Estimate, holm

INTRODUCTION = (
    "Runs differ in how the filters are drawn, and in nothing else: runs of one seed start from the same "
    "draws and see the same batches. A correlated initialization changes two things at once, the correlation "
    "between the taps of a filter and their standard deviation. The 2×2 design tells them apart: independent "
    "or correlated taps, each at He's scale and at the small scale, the one that the correlated method calls "
    "for. Accuracy is that on the test images after the last epoch."
)


def findings(comparison: Comparison, name: str, rows: Sequence[Standing]) -> list[str]:
    """What the runs of a setting say about test accuracy, a paragraph per 2×2.

    Args:
        comparison: the runs.
        name: what the setting is called.
        rows: where its arms stand.
    """
    standing = {row.arm: row for row in rows}
    found = [_finding(design, name, standing) for design in comparison.two_by_twos()]
    for copy, original in comparison.copies.items():
        found.append(
            f"{name}: every run of {copy} came out as that of {original} did in every epoch, so no layer was "
            "drawn differently, and nothing is found about it."
        )
    if not found and any(arm.initialization.method == "correlated" for arm in comparison.arms):
        found = [
            f"{name}: the four arms of the 2×2 have no finished seed in common, or one of them diverged, so "
            "what correlation does cannot be told from what the scale does."
        ]
    if comparison.left_out:
        found.append(
            f"{name}: {count(len(comparison.left_out), 'run')} left out; the reasons are given below."
        )
    return found


def arm_table(rows: Sequence[Standing], *, anytime: bool = False) -> Table:
    """Accuracy of each arm, and its paired difference from the baseline.

    Args:
        rows: where the arms stand, of accuracies.
        anytime: whether the number of seeds depended on what they showed.
    """
    cells = []
    for row in rows:
        mean, n = "–", "0"
        if row.values is not None:
            sd = f" ± {100 * row.values.sd:.2f}" if row.values.n > 1 else ""
            mean, n = f"{100 * row.values.mean:.2f}{sd}", str(row.values.n)
        compared = ("–", "–", "–", "–")
        if row.difference is not None:
            gain = row.difference
            known = interval(gain) if row.fair else "no fair sample"
            compared = points(gain.mean), known, str(gain.n), p_value(row.p)
        cells.append((row.arm, mean, n, *compared))
    inference = (
        "with an interval and p that hold whenever one looks or stops (anytime-valid t test, Wang & Ramdas "
        "2023)"
        if anytime
        else "with Student's t interval; p is of the paired t test"
    )
    return Table(
        "Test accuracy by initialization",
        ("initialization", "accuracy (%)", "n", "difference", "95 % interval", "pairs", "p"),
        tuple(cells),
        f"Mean ± standard deviation over n seeds. Differences from “{label(BASELINE)}” are in percentage "
        f"points, paired by seed, {inference}, Holm-corrected over this table. An arm is not tested if it or "
        "the baseline diverged: the runs that remain are no fair sample.",
    )


def effect_tables(design: TwoByTwo) -> list[Table]:
    """Main effects and interaction of a 2×2, then the effects at each level."""
    effects = design.effects
    main = {
        "correlation (correlated − independent taps)": effects.correlation,
        "scale (small − He's)": effects.scale,
        "interaction (correlation at the small scale − at He's)": effects.interaction,
    }
    simple = {
        "correlation, at He's scale": effects.correlation_at_he,
        "correlation, at the small scale": effects.correlation_at_small,
        "small scale, with independent taps": effects.scale_of_independent,
        "small scale, with correlated taps": effects.scale_of_correlated,
        "both together": design.together,
    }
    adjusted = holm([effect.p for effect in main.values()]).tolist()
    seeds = f"{count(len(design.seeds), 'seed')} ({', '.join(map(str, design.seeds))})"
    of = correlation_suffix(design.correlated)
    return [
        Table(
            f"Correlation and scale, told apart{of}",
            ("effect on test accuracy", "points", "95 % interval", "p"),
            tuple(
                (
                    name,
                    points(effect.mean),
                    interval(effect, 2.0 if "interaction" in name else 1.0),
                    p_value(p),
                )
                for (name, effect), p in zip(main.items(), adjusted, strict=True)
            ),
            "Main effects of the 2×2, each averaged over both levels of the other factor, and their "
            f"interaction, in percentage points, paired over {seeds}; p Holm-corrected over this table.",
        ),
        Table(
            f"The same effects at each level{of}",
            ("effect on test accuracy", "points", "95 % interval"),
            tuple((name, points(effect.mean), interval(effect)) for name, effect in simple.items()),
        ),
    ]


def _finding(design: TwoByTwo, name: str, standing: Mapping[str, Standing]) -> str:
    effects = design.effects
    main = (effects.correlation, effects.scale, effects.interaction)
    correlation_p, scale_p, interaction_p = holm([effect.p for effect in main]).tolist()
    together_p = standing[label(design.correlated)].p
    setting = f"{name}{correlation_suffix(design.correlated)} ({count(len(design.seeds), 'paired seed')})"
    correlation = _effect(effects.correlation, correlation_p, "three effects")
    scale = _effect(effects.scale, scale_p, "three effects")
    sentences = [
        f"{setting}: at equal scale, averaged over both, correlated taps change accuracy by {correlation}.",
        f"With the same taps, averaged over both, the small scale changes it by {scale}.",
        "Both together, against independent taps at He's scale, change it by "
        f"{_effect(design.together, together_p, 'the number of arms')}.",
    ]
    if is_decided(interaction_p):
        more = "more" if effects.interaction.mean > 0 else "less"
        sentences.append(
            f"Correlation does {more} at the small scale than at He's: the difference between its effects is "
            f"{_size(effects.interaction, limit=2.0)}."
        )
    if len(design.seeds) == 1:
        sentences.append("One seed has no interval and decides nothing.")
    return " ".join(sentences)


def _effect(difference: Estimate, p: float, family: str) -> str:
    """An effect, and whether it is decided.

    Args:
        difference: the effect.
        p: its p-value, adjusted.
        family: what it is adjusted for.
    """
    if difference.n == 1:
        return _size(difference)
    if is_decided(p):
        return f"{_size(difference)}, {'an improvement' if difference.mean > 0 else 'a deterioration'}"
    excludes_zero = difference.low > 0 or difference.high < 0
    doubt = f"p = {p:.2g} once corrected for {family}" if excludes_zero else "the interval contains 0"
    return f"{_size(difference)}, which is undecided: {doubt}"


def _size(difference: Estimate, limit: float = 1.0) -> str:
    spread = "n = 1" if difference.n == 1 else f"95 % interval {interval(difference, limit)}"
    if math.isinf(difference.high):
        spread = "too few pairs for an interval"
    return f"{points(difference.mean)} percentage points ({spread})"
