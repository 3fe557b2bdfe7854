"""What a comparison says of an arm, in plain language."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from corrinit.lab.document.numbers import POINTS, Unit, count
from corrinit.lab.statistics.decision import INDIFFERENCE, Answer, is_decided
from corrinit.lab.statistics.gains import EpochsSaved, ScaleShare
from corrinit.lab.statistics.paired import Estimate

TELLING = 0.1
"""Largest difference of accuracy, 10 points, that is worth excluding; a wider interval tells too little."""


UNSTABLE = 0.1
"""Standard deviation of the final accuracies of an arm above which its learning rate counts as unstable."""


STEADY = 5
"""Seeds from which on tests hold even where half of the runs collapse: of fewer, those of an arm may all end
alike, as if it were certain (`benchmarks/bench_calibration.py`)."""


def verdict(
    arm: str,
    gain: Estimate | None,
    *,
    runs: int,
    p: float,
    metric: str = "accuracy",
    unit: Unit = POINTS,
    lower_is_better: bool = False,
    indifference: float = INDIFFERENCE,
    saved: EpochsSaved | None = None,
    saved_p: float = math.nan,
    share: ScaleShare | None = None,
    share_p: tuple[float, float] = (math.nan, math.nan),
    missing_control: str | None = None,
    diverged: Sequence[int] = (),
    fair: bool = True,
    answer: Answer | None = None,
) -> str:
    """What is known of an arm against the baseline, in one to three sentences.

    Args:
        arm: what it is called.
        gain: its final value minus the baseline's; None if no seed has both.
        runs: seeds on which the arm was run.
        p: p-value of the gain, adjusted for all arms.
        metric: what the gain is of.
        unit: of the gain.
        lower_is_better: for a loss or an error.
        indifference: gains up to this size count as none in practice.
        saved: epochs to a target.
        saved_p: p-value of the epochs saved, adjusted for all arms.
        share: parts of the gain that are scale and structure.
        share_p: adjusted p-values of the control against the baseline, and of the arm against the control.
        missing_control: the arm that would tell them apart, if it is missing.
        diverged: seeds for which the arm diverged.
        fair: whether neither the arm nor the baseline diverged.
        answer: what sequential inference decided; None if the number of seeds was fixed.
    """
    if diverged or not fair or gain is None:
        return _without_test(arm, gain, runs, metric, unit, diverged)
    decided = is_decided(p)
    clauses = []
    if saved is not None and saved.runs:
        clauses.append(f" {_saved(saved, saved_p)}")
    named = not any("interval" in clause for clause in clauses)
    worth = _gain(gain, p, metric, unit, indifference, decided=decided, named=named)
    if lower_is_better:
        worth += ", where lower is better"
    clauses.append(f" {worth}" if clauses else f": {worth}")
    sentences = [arm + ";".join(clauses)]
    if share is not None and share.scale.n > 1:
        sentences.append(_share(share, share_p, gain, unit, decided=decided))
    elif share is None and missing_control is not None:
        sentences.append(f"Scale and structure are not told apart; add the arm {missing_control}")
    if gain.n == 1:
        sentences.append("One seed decides nothing")
    elif answer is not None:
        state = "Still open" if answer == "open" else "Decided"
        sentences.append(f"{state} after {count(gain.n, 'seed')}")
    return ". ".join(sentences) + "."


def divergence(arm: str, seeds: Sequence[int], runs: int) -> str:
    """Which runs of an arm diverged.

    >>> divergence("correlated", [0, 2], runs=3)
    'correlated diverged in 2 of 3 runs (seeds 0, 2)'
    """
    return f"{arm} diverged in {_share_of_runs(seeds, runs)}"


def unstable_in_words(found: Mapping[str, tuple[float, float]], remedy: str) -> str:
    """A sentence on arms that `corrinit.lab.comparison.standing.unstable` found, and what to do."""
    told = ", ".join(
        f"{arm} anywhere from {100 * low:.1f} to {100 * high:.1f} %" for arm, (low, high) in found.items()
    )
    return (
        f"The learning rate is unstable: depending on the seed, training ends for {told} (a standard "
        f"deviation above {100 * UNSTABLE:g} points). Differences say little there, and with fewer than "
        f"{STEADY} seeds a test calls them real too often; {remedy}."
    )


def _without_test(
    arm: str, gain: Estimate | None, runs: int, metric: str, unit: Unit, diverged: Sequence[int]
) -> str:
    found = [divergence(arm, diverged, runs)] if diverged else []
    if gain is not None:
        change = unit.signed(gain.mean, unit.decimals(gain))
        pairs = count(gain.n, "pair")
        blame = "" if diverged else ", as the baseline diverged"
        lead = "" if diverged else f"{arm}: "
        found.append(
            f"{lead}final {metric} {change} over the {pairs} that finished, which is no fair sample{blame}"
        )
    elif len(diverged) < runs:
        found.append(f"{'' if found else f'{arm}: '}no seed is finished for both, so nothing is compared")
    return "; ".join(found) + "."


def _saved(saved: EpochsSaved, p: float) -> str:
    target, difference = f"{100 * saved.target:g} %", saved.difference
    if difference is None and len(saved.not_reached) == saved.runs:
        return f"never reaches {target}"
    if difference is None:
        return f"reaches {target} for no seed for which the baseline does"
    text = f"reaches {target} {_epochs(difference, p)}"
    if saved.not_reached:
        text += f", where it does; not in {_share_of_runs(saved.not_reached, saved.runs)}"
    if saved.baseline_not_reached:
        text += f"; the baseline does not in {_share_of_runs(saved.baseline_not_reached, saved.runs)}"
    return text


def _epochs(difference: Estimate, p: float) -> str:
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
    doubt = "" if is_decided(p) else ", which is undecided"
    return f"{when} (95 % interval {low} to {high}){doubt}"


def _gain(
    gain: Estimate,
    p: float,
    metric: str,
    unit: Unit,
    indifference: float,
    *,
    decided: bool,
    named: bool,
) -> str:
    decimals = unit.decimals(gain)
    change = unit.signed(gain.mean, decimals)
    if gain.n == 1:
        return f"final {metric} {change}"
    if math.isinf(gain.high):
        return f"final {metric} {change}, undecided: {gain.n} pairs are too few for an interval"
    spread = f"({'95 % interval ' if named else ''}{unit.interval(gain, decimals)})"
    if decided:
        return f"final {metric} {change} {spread}"
    if gain.low > 0 or gain.high < 0:
        doubt = f"undecided: p = {p:.2g} once corrected for the number of arms"
        return f"final {metric} {change} {spread}, {doubt}"
    bound = max(-gain.low, gain.high)
    if bound <= indifference:
        return f"no difference in final {metric} that matters: {change} {spread}"
    found = f"no difference in final {metric} was found: {change} {spread}"
    if bound > TELLING * unit.limit:
        return f"{found}; {gain.n} seeds are too few to tell"
    limit = unit.signed(bound, decimals).removeprefix("+")
    return f"{found}, and differences beyond ±{limit} are excluded by the interval"


def _share(share: ScaleShare, p: tuple[float, float], gain: Estimate, unit: Unit, *, decided: bool) -> str:
    scale_p, structure_p = reversed(p) if share.at_he else p
    scale, structure = _part(share.scale, scale_p, unit), _part(share.structure, structure_p, unit)
    if share.at_he:
        sentence = f"{share.control}, at He's scale, gains {structure}; the scale adds {scale}"
    else:
        sentence = f"{share.control}, at the same scale, gains {scale}; the structure adds {structure}"
    if share.scale.n != gain.n:
        sentence += f" (over the {count(share.scale.n, 'seed')} that all three have)"
    total = share.scale.mean + share.structure.mean
    if decided and 0 < share.scale.mean / total < 1:
        decimals = unit.decimals(share.scale)
        part = f"{unit.factor * share.scale.mean:.{decimals}f}".replace("-", "−")
        whole = unit.signed(total, decimals).removeprefix("+")
        sentence = f"{part} of these {whole} are scale: {sentence}"
    return sentence


def _part(estimate: Estimate, p: float, unit: Unit) -> str:
    decimals = unit.decimals(estimate)
    doubt = "" if is_decided(p) else ", undecided"
    spread = "no interval yet" if math.isinf(estimate.high) else unit.interval(estimate, decimals) + doubt
    return f"{unit.signed(estimate.mean, decimals)} ({spread})"


def _share_of_runs(seeds: Sequence[int], runs: int) -> str:
    which = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    return f"{len(seeds)} of {count(runs, 'run')} ({which})"
