"""What a comparison says of its arms, in plain language."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from corrinit.lab.comparison.contrasts import Beside, ScaleShare, Standing, scale_shares
from corrinit.lab.comparison.groups import Comparison
from corrinit.lab.comparison.time_to_accuracy import EpochsSaved, default_target, epochs_saved
from corrinit.lab.document.numbers import PERCENT, POINTS, Unit, count, p_value
from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.runs.endpoints import Endpoint
from corrinit.lab.statistics.contrast import Contrast, Decision, Inference

TELLING = 0.1
"""Largest difference of accuracy, 10 points, that is worth excluding; a wider interval tells too little."""


UNSTABLE = 0.1
"""Standard deviation of the final accuracies of an arm above which its learning rate counts as unstable."""


STEADY = 5
"""Seeds from which on tests hold even where half of the runs collapse: of fewer, those of an arm may all end
alike, as if it were certain (`benchmarks/bench_calibration.py`)."""


def verdict(
    row: Beside,
    endpoint: Endpoint,
    *,
    saved: EpochsSaved | None = None,
    share: ScaleShare | None = None,
    missing_control: str | None = None,
) -> str:
    """What is known of an arm against the baseline, in one to three sentences.

    Args:
        row: where the arm stands.
        endpoint: what is compared.
        saved: epochs to a target.
        share: parts of the gain that are scale and structure.
        missing_control: arm that would separate them, if it is missing.
    """
    gain = row.gain
    if gain is None or not gain.fair or not gain.n:
        return _without_test(row, endpoint)
    clauses = []
    if saved is not None and saved.runs:
        clauses.append(f" {_saved(saved)}")
    named = not clauses or "interval" not in clauses[0]
    worth = _gain(gain, endpoint, named=named)
    if not endpoint.higher_is_better:
        worth += ", where lower is better"
    clauses.append(f" {worth}" if clauses else f": {worth}")
    sentences = [row.name + ";".join(clauses)]
    if share is not None and share.scale.n > 1:
        sentences.append(_share(share, gain, endpoint.unit))
    elif share is None and missing_control is not None:
        sentences.append(f"Scale and structure are not separated; add the arm {missing_control}")
    if gain.n == 1:
        sentences.append("One seed decides nothing")
    elif gain.inference is Inference.ANYTIME:
        state = "Still open" if gain.wants_seeds else "Decided"
        sentences.append(f"{state} after {count(gain.n, 'seed')}")
    return ". ".join(sentences) + "."


def verdicts(
    comparison: Comparison,
    rows: Sequence[Standing],
    endpoint: Endpoint,
    *,
    target: float | None = None,
    silent: Collection[Initialization] = (),
) -> list[str]:
    """What is known of each arm, a paragraph for each.

    Args:
        comparison: the runs.
        rows: where the arms stand.
        endpoint: what is compared.
        target: accuracy to which epochs are counted; by default one that the baseline reaches.
        silent: arms to say nothing of.
    """
    if endpoint.is_accuracy and target is None:
        target = default_target(comparison, endpoint)
    saved = epochs_saved(comparison, rows, target, endpoint) if endpoint.is_accuracy else {}
    shares = scale_shares(comparison, rows, endpoint)
    found = []
    for row in rows:
        if row.gain is None:
            diverged = row.sample.diverged
            found += [f"{divergence(row.name, diverged, row.sample.runs)}."] if diverged else []
        elif row.arm not in silent:
            share, control = shares.get(row.arm, (None, None))
            found.append(
                verdict(
                    row,
                    endpoint,
                    saved=saved.get(row.arm),
                    share=share,
                    missing_control=None if control is None else control.spec,
                )
            )
    return found


def text_table(rows: Sequence[Beside], endpoint: Endpoint, *, inference: Inference) -> str:
    """The rows as plain text: mean ± standard deviation, and the paired difference with its interval."""
    name = f"{endpoint.label} (%)" if endpoint.is_accuracy else endpoint.label
    p = "anytime p" if inference is Inference.ANYTIME else "p"
    header = ("method", name, "n", "difference", "95 % interval", p)
    cells = [header, *(_cells(row, endpoint.unit) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def unstable(rows: Sequence[Beside]) -> dict[str, tuple[float, float]]:
    """Arms whose final accuracies depend on the seed more than on anything else, with their range."""
    return {
        row.name: (min(row.sample.values.values()), max(row.sample.values.values()))
        for row in rows
        if row.sample.summary is not None and row.sample.summary.sd > UNSTABLE
    }


def divergence(arm: str, seeds: Sequence[int], runs: int) -> str:
    """Which runs of an arm diverged.

    >>> divergence("correlated", [0, 2], runs=3)
    'correlated diverged in 2 of 3 runs (seeds 0, 2)'
    """
    return f"{arm} diverged in {_share_of_runs(seeds, runs)}"


def unstable_in_words(found: Mapping[str, tuple[float, float]], remedy: str) -> str:
    """A sentence on arms that `unstable` found, and what to do."""
    told = ", ".join(
        f"{arm} anywhere from {100 * low:.1f} to {100 * high:.1f} %" for arm, (low, high) in found.items()
    )
    return (
        f"The learning rate is unstable: depending on the seed, training ends for {told} (a standard "
        f"deviation above {100 * UNSTABLE:g} points). Differences say little there, and with fewer than "
        f"{STEADY} seeds a test calls them real too often; {remedy}."
    )


def _without_test(row: Beside, endpoint: Endpoint) -> str:
    gain, diverged, runs = row.gain, row.sample.diverged, row.sample.runs
    found = [divergence(row.name, diverged, runs)] if diverged else []
    if gain is not None and gain.n:
        change = endpoint.unit.signed(gain.mean, endpoint.unit.decimals(gain))
        pairs = count(gain.n, "pair")
        blame = "" if diverged else ", as the baseline diverged"
        lead = "" if diverged else f"{row.name}: "
        found.append(
            f"{lead}final {endpoint.label} {change} over the {pairs} that finished, which is no fair "
            f"sample{blame}"
        )
    elif len(diverged) < runs:
        found.append(
            f"{'' if found else f'{row.name}: '}no seed is finished for both, so nothing is compared"
        )
    return "; ".join(found) + "."


def _saved(saved: EpochsSaved) -> str:
    target, difference = f"{100 * saved.target:g} %", saved.contrast
    if not difference.n and len(saved.not_reached) == saved.runs:
        return f"never reaches {target}"
    if not difference.n:
        return f"reaches {target} for no seed for which the baseline does"
    text = f"reaches {target} {_epochs(difference)}"
    if saved.not_reached:
        text += f", where it does; not in {_share_of_runs(saved.not_reached, saved.runs)}"
    if saved.baseline_not_reached:
        text += f"; the baseline does not in {_share_of_runs(saved.baseline_not_reached, saved.runs)}"
    return text


def _epochs(difference: Contrast) -> str:
    sign = -1 if difference.mean < 0 else 1
    number = f"{abs(difference.mean):.1f}".removesuffix(".0")
    when = f"{number} epoch{'' if number == '1' else 's'} {'earlier' if sign > 0 else 'later'}"
    if number == "0":
        when = "at the same epoch on average" if difference.n > 1 else "at the same epoch"
    if difference.n == 1:
        return f"{when} with one seed"
    if math.isinf(difference.high):
        return f"{when} over {difference.n} pairs, too few for an interval"
    ends = sorted((sign * difference.low, sign * difference.high))
    low, high = (f"{end:.1f}".removesuffix(".0").replace("-", "−") for end in ends)
    doubt = "" if difference.decided else ", which is undecided"
    return f"{when} (95 % interval {low} to {high}){doubt}"


def _gain(gain: Contrast, endpoint: Endpoint, *, named: bool) -> str:
    metric, unit = endpoint.label, endpoint.unit
    decimals = unit.decimals(gain)
    change = unit.signed(gain.mean, decimals)
    if gain.n == 1:
        return f"final {metric} {change}"
    if math.isinf(gain.high):
        return f"final {metric} {change}, undecided: {gain.n} pairs are too few for an interval"
    spread = f"({'95 % interval ' if named else ''}{unit.interval(gain, decimals)})"
    if gain.decided:
        return f"final {metric} {change} {spread}"
    if gain.low > 0 or gain.high < 0:
        return f"final {metric} {change} {spread}, undecided: {corrected(gain)}"
    if gain.decision is Decision.EQUIVALENT:
        return f"no difference in final {metric} that matters: {change} {spread}"
    found = f"no difference in final {metric} was found: {change} {spread}"
    bound = max(-gain.low, gain.high)
    if bound > TELLING * unit.limit:
        return f"{found}; {gain.n} seeds are too few to tell"
    limit = unit.signed(bound, decimals).removeprefix("+")
    return f"{found}, and differences beyond ±{limit} are excluded by the interval"


def _share(share: ScaleShare, gain: Contrast, unit: Unit) -> str:
    scale, structure = _part(share.scale, unit), _part(share.structure, unit)
    if share.at_he:
        sentence = f"{share.control}, at He's scale, gains {structure}; the scale adds {scale}"
    else:
        sentence = f"{share.control}, at the same scale, gains {scale}; the structure adds {structure}"
    if share.scale.n != gain.n and not share.scale.moderated:
        sentence += f" (over the {count(share.scale.n, 'seed')} that all three have)"
    total = share.scale.mean + share.structure.mean
    if gain.decided and 0 < share.scale.mean / total < 1:
        decimals = unit.decimals(share.scale)
        part = f"{unit.factor * share.scale.mean:.{decimals}f}".replace("-", "−")
        whole = unit.signed(total, decimals).removeprefix("+")
        sentence = f"{part} of these {whole} are scale: {sentence}"
    return sentence


def _part(part: Contrast, unit: Unit) -> str:
    decimals = unit.decimals(part)
    doubt = "" if part.decided else ", undecided"
    spread = "no interval yet" if math.isinf(part.high) else unit.interval(part, decimals) + doubt
    return f"{unit.signed(part.mean, decimals)} ({spread})"


def how_tested(contrasts: Iterable[Contrast]) -> str:
    """How differences and their intervals were made, for the caption of a table."""
    told = {
        (True, Inference.FIXED): "with variances that borrow from all arms (moderated t test, Smyth 2004)",
        (
            True,
            Inference.ANYTIME,
        ): "with variances that borrow from all arms (Smyth 2004) and intervals and "
        "p that hold whenever one looks or stops",
        (False, Inference.FIXED): "paired by seed, with Student's t interval and the p of the paired t test",
        (False, Inference.ANYTIME): "paired by seed, with an interval and p that hold whenever one looks or "
        "stops (anytime-valid t test, Wang & Ramdas 2023)",
    }
    found = {(each.moderated, each.inference) for each in contrasts if each.n}
    return "; or, where there are fewer runs, ".join(told[each] for each in told if each in found)


def corrected(contrast: Contrast) -> str:
    """An adjusted p-value with its family."""
    family = f"{contrast.size} {contrast.family}" if contrast.size > 1 else f"the {contrast.family}"
    return f"p = {contrast.p_adjusted:.2g}, Holm-corrected over {family}"


def _share_of_runs(seeds: Sequence[int], runs: int) -> str:
    which = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    return f"{len(seeds)} of {count(runs, 'run')} ({which})"


def _cells(row: Beside, unit: Unit) -> tuple[str, ...]:
    digits = ".2f" if unit in (POINTS, PERCENT) else ".4g"
    value, known = "diverged", row.sample.summary
    if known is not None:
        value = f"{unit.factor * known.mean:{digits}}"
        if known.n > 1:
            value += f" ± {unit.factor * known.sd:{digits}}"
    n = f"{len(row.sample.values)}" + (f" of {row.sample.runs}" if row.sample.diverged else "")
    gain = row.gain
    if gain is None or not gain.n:
        return row.name, value, n, "", "", ""
    decimals = unit.decimals(gain)
    interval = unit.interval(gain, decimals) if math.isfinite(gain.low) else "none yet"
    p = "" if math.isnan(gain.p_adjusted) else p_value(gain.p_adjusted)
    known = interval if gain.fair else "no fair sample"
    return row.name, value, n, unit.signed(gain.mean, decimals), known, p
