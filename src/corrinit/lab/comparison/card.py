"""The answer of a comparison at a glance: which initialization, its gain, how sure it is, what to do next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from corrinit.lab.comparison.groups import BASELINE, Comparison, label
from corrinit.lab.comparison.standing import Setting, Standing
from corrinit.lab.comparison.verdict import divergence
from corrinit.lab.document.blocks import Card
from corrinit.lab.document.numbers import POINTS, count, p_value
from corrinit.lab.experiment.snippet import line_of_code
from corrinit.lab.statistics.gains import EpochsSaved
from corrinit.lab.statistics.paired import summary
from corrinit.lab.statistics.power import seeds_to_settle

QUESTION = "Which initialization for this network on these data?"


def card(
    comparison: Comparison,
    rows: Sequence[Standing],
    setting: Setting,
    saved: EpochsSaved | None,
    *,
    command: str = "",
) -> Card:
    """The answer of a setting that has a baseline.

    Args:
        comparison: its runs.
        rows: where its arms stand.
        setting: how they were compared.
        saved: epochs that the arm of `best` saves; None if that is not known.
        command: what the user typed, for the line that makes the answer surer.
    """
    (baseline,) = (row for row in rows if row.arm == setting.baseline)
    if baseline.diverged:
        lost = divergence(baseline.arm, baseline.diverged, baseline.runs)
        return Card(QUESTION, f"Not to be told: {lost}.", next_step="Compare at a smaller learning rate.")
    leader = best(rows, setting)
    if leader is None or leader.difference is None:
        return Card(QUESTION, f"Not to be told yet: nothing is finished beside {setting.baseline}.")
    gain, name = leader.difference, leader.arm
    size = POINTS.signed(abs(gain.mean), POINTS.decimals(gain)).removeprefix("+")
    chosen = name if leader.decided and gain.mean > 0 else setting.baseline
    if chosen == name:
        answer = f"{name}: {size} of accuracy above {setting.baseline}."
    elif gain.mean > 0:
        answer = f"Keep {setting.baseline} for now: that {name} leads by {size} may be chance."
    elif any(row.decided for row in rows):
        answer = f"{setting.baseline}: no other is better, and some are worse."
    else:
        answer = f"{setting.baseline}: no other is better."
    facts = [(f"gain of {name}", _gain(leader)), ("how sure", _sureness(leader))]
    if saved is not None and saved.difference is not None and saved.difference.n > 1:
        facts.append(("epochs saved", _epochs(saved)))
    facts += [("cost", "none: the network that is trained is the same")]
    facts += _equal_scale(comparison, leader)
    next_step, line = ("", "") if chosen == name else _next_step(comparison, rows, leader, command)
    return Card(QUESTION, answer, tuple(facts), line_of_code(setting.arms[chosen]), next_step, line)


def best(rows: Sequence[Standing], setting: Setting) -> Standing | None:
    """The arm to speak of: the most accurate of those that are decidedly better, else the most accurate."""
    compared = [
        row for row in rows if row.arm != setting.baseline and row.fair and row.difference is not None
    ]
    better = [row for row in compared if row.decided and _mean(row) > 0]
    return max(better or compared, key=_mean, default=None)


def _mean(row: Standing) -> float:
    return row.difference.mean if row.difference is not None else -math.inf


def _gain(row: Standing) -> str:
    gain = row.difference
    assert gain is not None
    decimals = POINTS.decimals(gain)
    if not math.isfinite(gain.high - gain.low):
        return f"{POINTS.signed(gain.mean, decimals)} ({count(gain.n, 'seed')}: too few for an interval)"
    ends = POINTS.interval(gain, decimals)
    return (
        f"{POINTS.signed(gain.mean, decimals)}, between {ends.replace(' to ', ' and ')} with 95 % confidence"
    )


def _sureness(row: Standing) -> str:
    gain = row.difference
    assert gain is not None
    state = "decided" if row.decided else "undecided"
    p = "no test" if math.isnan(row.p) else f"p {p_value(row.p)}, corrected for the number of arms"
    return f"{state} after {count(gain.n, 'seed')} ({p})"


def _epochs(saved: EpochsSaved) -> str:
    difference = saved.difference
    assert difference is not None
    number = f"{difference.mean:+.1f}".replace("-", "−")
    if not math.isfinite(difference.high - difference.low):
        return f"{number} to {100 * saved.target:g} % accuracy"
    ends = f"{difference.low:.1f} and {difference.high:.1f}".replace("-", "−")
    return f"{number} to {100 * saved.target:g} % accuracy (between {ends})"


def _equal_scale(comparison: Comparison, leader: Standing) -> list[tuple[str, str]]:
    """Of a correlated arm, what correlation does at equal scale: the main effect of its 2×2."""
    for design in comparison.two_by_twos():
        effect = design.effects.correlation
        if label(design.correlated) == leader.arm and math.isfinite(effect.high - effect.low):
            ends = POINTS.interval(effect, POINTS.decimals(effect)).replace(" to ", " and ")
            change = POINTS.signed(effect.mean, POINTS.decimals(effect))
            return [("of that, correlation", f"{change} at equal scale (between {ends}); the rest is scale")]
    return []


def _next_step(
    comparison: Comparison, rows: Sequence[Standing], leader: Standing, command: str
) -> tuple[str, str]:
    """What would settle the question, and the line that does it."""
    gain, baseline = leader.difference, comparison.baseline
    assert gain is not None
    arm = next((arm for arm in comparison.arms if arm.label == leader.arm), None)
    if arm is None or baseline is None or gain.n < 2:
        return "More seeds would tell: two are the least.", ""
    paired = [
        arm.accuracies[seed] - baseline.accuracies[seed] for seed in arm.runs.keys() & baseline.runs.keys()
    ]
    tested = sum(not math.isnan(row.p) for row in rows)
    total = seeds_to_settle(gain.mean, summary(paired).sd, gain.n, family=max(1, tested))
    if total is None:
        return (
            "If the difference is as small as it looks, more than 200 seeds would be needed to show it: "
            "for this network on these data the choice does not matter."
        ), ""
    seconds = [float(record.result.get("seconds") or 0) for record in comparison.records]
    minutes = (total - gain.n) * len(comparison.arms) * summary(seconds).mean / 60
    when = f"about {minutes:.0f} minutes of training" if minutes >= 1 else "less than a minute of training"
    more = f"{count(total - gain.n, 'more seed')} would settle it if the difference stays as it is ({when})."
    words = shlex.split(command)
    if words[:2] != ["corrinit", "compare"]:
        return more, ""
    kept = [
        word
        for i, word in enumerate(words)
        if not word.startswith("--max-seeds") and words[i - 1] != "--max-seeds"
    ]
    return more, shlex.join([*kept, "--max-seeds", str(total)])


def stamp(comparisons: Sequence[Comparison]) -> str:
    """What kind of study a report is of, in a line."""
    seeds = sorted({len(arm.runs) for each in comparisons for arm in each.arms})
    if not seeds:
        return "Exploratory."
    spread = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return (
        f"Exploratory: {spread} seeds an arm, compared with {label(BASELINE)}; what was looked for was not "
        "fixed beforehand."
    )
