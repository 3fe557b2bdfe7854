"""What the runs say of the paper's claims: one answer each, setting by setting, and every difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from corrinit.lab.document.blocks import Section, Table
from corrinit.lab.document.numbers import count, interval, p_value, points
from corrinit.lab.paper.claims import Finding, Verdict, verdicts
from corrinit.lab.paper.measures import READINGS
from corrinit.lab.statistics.contrast import ALPHA, Contrast
from corrinit.lab.statistics.random_effects import Answer


def answers_section(findings: Sequence[Finding], name: str) -> Section:
    """One answer per claim from all settings of a figure or table, or of all."""
    answered = verdicts(findings)
    rows = tuple(
        (
            f"{verdict.claim.number} {verdict.claim.text}",
            verdict.reading,
            verdict.answer.value,
            *_effect(verdict),
        )
        for verdict in answered
    )
    text = (
        "By its first measure below, each claim gets one answer from all settings that were run: they are "
        "taken as drawn from those that there are, with effects that differ (random effects; interval of "
        "Hartung and Knapp). Effects are positive where they are as claimed. A claim is supported or "
        f"contradicted if the mean effect is not 0 (p ≤ {ALPHA:g}, Holm-corrected over the claims in a "
        "reading), negligible if its interval lies within the margin (± 0.5 points), else undecided; from "
        "one setting nothing follows for others. τ is the deviation of effects between settings, I² their "
        "share of all variation. Numbers of seeds are taken as fixed."
    )
    header = ("claim", "reading", "answer", "settings", "mean effect", "95 % interval", "p", "τ", "I²")
    return Section(
        "The paper's claims, answered",
        (*_share(answered, "" if name == "all" else f" from the runs of {name} alone"), text),
        (Table("Answers", header, rows),),
    )


def _share(answered: Sequence[Verdict], source: str) -> Iterator[str]:
    """How many claims are decided, in each reading."""
    readings = dict.fromkeys(verdict.reading for verdict in answered)
    for reading in readings:
        of_it = [verdict for verdict in answered if verdict.reading == reading]
        decided = [verdict for verdict in of_it if verdict.answer is not Answer.UNDECIDED]
        told = "; ".join(f"{verdict.claim.number} is {verdict.answer.value}" for verdict in decided)
        yield (
            f"{reading[0].upper()}{reading[1:]}, {len(decided)} of {count(len(of_it), 'claim')} "
            f"{'is' if len(decided) == 1 else 'are'} decided{source}{': ' * bool(told)}{told}."
        )


def _effect(verdict: Verdict) -> tuple[str, ...]:
    """Settings, mean effect, interval, p, τ and I² of an answer."""
    effect, unit = verdict.effect, verdict.claim.measures[0].unit
    if effect is None:
        return ("0", "–", "–", "–", "–", "–")
    mean = f"{_signed(unit.factor * effect.mean)} {unit.name}"
    if effect.settings == 1:
        return ("1", mean, "one setting", "–", "–", "–")
    low, high = (unit.factor * min(max(end, -unit.limit), unit.limit) for end in (effect.low, effect.high))
    return (
        str(effect.settings),
        mean,
        f"{_signed(low)} to {_signed(high)}",
        p_value(effect.p),
        f"{unit.factor * effect.tau:.2f}",
        f"{100 * effect.i_squared:.0f} %",
    )


def claims_section(findings: Sequence[Finding]) -> Section:
    """In how many settings differences are decided, by claim, measure and reading."""
    families = len({(f.claim.number, f.reading) for f in findings if f.contrasts})
    criterion = (
        "Claims are read in four ways: as the paper compares, correlated taps at their small scale "
        "against independent taps at He's scale; and at equal scale, by the main effect of correlated taps, "
        "averaged over both scales, and by their simple effects at He's and at the small scale. Reported "
        "is in how many settings (network, data, learning rate, λ) a difference is decided, "
        f"p ≤ {ALPHA:g}, as claimed or the other way. p is Holm-corrected "
        "over the differences of a claim in one reading, not over claims and readings: if no initialization "
        f"made any difference, each of the {families} families that are tested here would show one all the "
        f"same with a chance of up to {100 * ALPHA:g} %, all together up to "
        f"{min(100, 100 * ALPHA * families):g} %. Settings in which a run diverged on either side are not "
        "tested."
    )
    by_measure: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        by_measure.setdefault((finding.claim.number, finding.measure.name), []).append(finding)
    rows = tuple(
        (f"{number} {readings[0].claim.text}", name, *(finding.outcome for finding in readings))
        for (number, name), readings in by_measure.items()
    )
    return Section(
        "The claims, setting by setting",
        (criterion, *(_in_words(readings) for readings in by_measure.values())),
        (Table("Settings in which a difference is decided", ("claim", "measured by", *READINGS), rows),),
    )


def evidence_sections(findings: Sequence[Finding]) -> list[Section]:
    """Every difference behind the counts."""
    rows = tuple(
        (finding.claim.number, finding.measure.name, finding.reading, *_contrast(finding, *each))
        for finding in findings
        for each in finding.contrasts
    )
    if not rows:
        return []
    header = ("claim", "difference in", "reading", "setting", "difference", "95 % interval", "seeds", "p")
    return [Section("Evidence for the claims", (), (Table("Differences by setting", header, rows),))]


def _in_words(readings: Sequence[Finding]) -> str:
    """A paragraph on one measure of a claim."""
    first = readings[0]
    told = "; ".join(f"{finding.reading}, {finding.outcome}{_numbers(finding)}" for finding in readings)
    return f"{first.claim.number} {first.claim.text} By {first.measure.name}: {told}."


def _numbers(finding: Finding) -> str:
    if not finding.contrasts:
        return ""
    unit = finding.measure.unit
    if len(finding.contrasts) == 1:
        setting, difference, low_to_high, seeds, p = _contrast(finding, *finding.contrasts[0])
        return f" ({setting}: {difference}, 95 % interval {low_to_high}, {seeds} seeds, p {p})"
    means = [unit.factor * each.mean for _, each in finding.contrasts]
    return f" (mean differences from {_signed(min(means))} to {_signed(max(means))} {unit.name})"


def _contrast(finding: Finding, setting: str, difference: Contrast) -> tuple[str, str, str, str, str]:
    """Setting, difference, interval, number of seeds and p of a contrast."""
    unit = finding.measure.unit
    return (
        setting,
        f"{_signed(unit.factor * difference.mean)} {unit.name}",
        interval(difference, unit.limit, unit.factor),
        str(difference.n),
        p_value(difference.p_adjusted),
    )


def _signed(value: float) -> str:
    return points(value / 100)
