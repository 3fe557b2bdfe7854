"""The answer of a comparison at a glance: which initialization, its gain, how sure it is, what to do next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from corrinit.lab.comparison.contrasts import Standing
from corrinit.lab.comparison.groups import Comparison
from corrinit.lab.comparison.time_to_accuracy import EpochsSaved
from corrinit.lab.comparison.two_by_two import CORRELATION, SCALE, two_by_twos
from corrinit.lab.comparison.verdict import corrected, divergence
from corrinit.lab.document.blocks import Card
from corrinit.lab.document.numbers import POINTS, count
from corrinit.lab.experiment.arm import BASELINE, Initialization, controls, label
from corrinit.lab.experiment.snippet import line_of_code
from corrinit.lab.runs.endpoints import TEST_ACCURACY, Endpoint
from corrinit.lab.statistics.contrast import Contrast
from corrinit.lab.statistics.paired import summary
from corrinit.lab.statistics.planning import MOST, seeds_to_settle

QUESTION = "Which initialization for this network on these data?"


def card(
    comparison: Comparison,
    rows: Sequence[Standing],
    saved: EpochsSaved | None,
    *,
    command: str = "",
    placebo: Standing | None = None,
    endpoint: Endpoint = TEST_ACCURACY,
) -> Card:
    """The answer of a setting that has a baseline.

    Args:
        comparison: its runs.
        rows: where its arms stand.
        saved: epochs that the arm of `best` saves; None if that is not known.
        command: what the user typed, for the line that makes the answer surer.
        placebo: where the placebo stands; None without one.
        endpoint: the accuracy that decides.
    """
    (baseline,) = (row for row in rows if row.gain is None)
    if lost := baseline.sample.diverged:
        found = divergence(baseline.name, lost, baseline.sample.runs)
        return Card(QUESTION, f"Not to be told: {found}.", next_step="Compare at a smaller learning rate.")
    leader = best(rows)
    if leader is None or leader.gain is None:
        return Card(QUESTION, f"Not to be told yet: nothing is finished beside {baseline.name}.")
    gain, name = leader.gain, leader.name
    size = POINTS.signed(abs(gain.mean), POINTS.decimals(gain)).removeprefix("+")
    chosen = leader if gain.direction > 0 else baseline
    if chosen is leader:
        answer = f"{name}: {size} of accuracy above {baseline.name}."
    elif gain.mean > 0:
        answer = f"Keep {baseline.name} for now: that {name} leads by {size} may be chance"
        answer += "; others are decidedly worse." if _worse(rows) else "."
    elif any(row.gain is not None and row.gain.decided for row in rows):
        answer = f"{baseline.name}: no other is better, and some are worse."
    else:
        answer = f"{baseline.name}: no other is better."
    facts = [(f"gain of {name}", _between(gain)), ("how sure", _sureness(gain))]
    if worse := _worse(rows):
        facts.append(("decidedly worse", "; ".join(f"{row.name} {_between(lost)}" for row, lost in worse)))
    if saved is not None and saved.contrast.n > 1:
        facts.append((f"epochs saved to {100 * saved.target:g} %", _epochs(saved.contrast)))
    if placebo is not None and placebo.gain is not None and placebo.gain.n and placebo.gain.fair:
        facts.append((f"{baseline.name} once more", f"{_between(placebo.gain)}: the noise (placebo)"))
    facts.append(("cost", "none: the network that is trained is the same"))
    for design in two_by_twos(comparison, endpoint):
        effect = design.main[CORRELATION]
        if design.correlated == leader.arm and math.isfinite(effect.high - effect.low):
            facts.append(("of that, correlation", f"{_between(effect)}, at equal scale; the rest is scale"))
    facts += _effects(comparison, rows, leader.arm, endpoint)
    next_step, line = ("", "") if chosen is leader else _next_step(comparison, gain, command)
    return Card(QUESTION, answer, tuple(facts), line_of_code(chosen.arm), next_step, line)


def _effects(
    comparison: Comparison, rows: Sequence[Standing], leader: Initialization, endpoint: Endpoint
) -> list[tuple[str, str]]:
    """The 2×2 of arms that do not lead: what correlation and scale do by themselves, or why that is open."""
    found = []
    for design in two_by_twos(comparison, endpoint):
        effects = [(name, design.main[name]) for name in (CORRELATION, SCALE)]
        if design.correlated != leader and all(math.isfinite(each.high - each.low) for _, each in effects):
            found.append(("2×2", "; ".join(f"{name} {_between(each)}" for name, each in effects)))
    by_arm = {row.arm: row for row in rows}
    for row in rows:
        four = [by_arm.get(arm) for arm in (BASELINE, row.arm, *controls(row.arm))]
        if len(four) == 4 and all(four):
            lost = [
                divergence(each.name, each.sample.diverged, each.sample.runs)
                for each in four
                if each is not None and each.sample.diverged
            ]
            found += [("2×2", f"incomplete: {', '.join(lost)}")] if lost else []
    return found


def _worse(rows: Sequence[Standing]) -> list[tuple[Standing, Contrast]]:
    """Arms that are decidedly worse than the baseline, with their loss."""
    return [(row, row.gain) for row in rows if row.gain is not None and row.gain.direction < 0]


def best(rows: Sequence[Standing]) -> Standing | None:
    """The arm to speak of: the most accurate of those that are decidedly better, else the most accurate."""
    compared = [row for row in rows if row.gain is not None and row.gain.fair and row.gain.n]
    better = [row for row in compared if row.gain is not None and row.gain.direction > 0]
    return max(better or compared, key=lambda row: row.gain.mean if row.gain else -math.inf, default=None)


def _between(contrast: Contrast) -> str:
    decimals = POINTS.decimals(contrast)
    change = POINTS.signed(contrast.mean, decimals)
    if not math.isfinite(contrast.high - contrast.low):
        return f"{change} ({count(contrast.n, 'seed')}: too few for an interval)"
    ends = POINTS.interval(contrast, decimals).replace(" to ", " and ")
    return f"{change}, between {ends} with 95 % confidence"


def _sureness(gain: Contrast) -> str:
    state = "decided" if gain.decided else "undecided"
    p = "no test" if math.isnan(gain.p_adjusted) else corrected(gain)
    return f"{state} after {count(gain.n, 'seed')} ({p})"


def _epochs(saved: Contrast) -> str:
    number = f"{saved.mean:+.1f}".replace("-", "−")
    if not math.isfinite(saved.high - saved.low):
        return number
    return f"{number} (between {saved.low:.1f} and {saved.high:.1f})".replace("-", "−")


def _next_step(comparison: Comparison, gain: Contrast, command: str) -> tuple[str, str]:
    """What would settle the question, and the line that does it."""
    if gain.n < 2:
        return "More seeds would tell: two are the least.", ""
    total = seeds_to_settle(gain.mean, gain.sd, gain.n, family=max(1, gain.size))
    if total is None:
        return (
            f"If the difference is as small as it looks, more than {MOST} seeds would be needed to show it.",
            "",
        )
    seconds = [record.result.seconds or 0.0 for record in comparison.records]
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
