"""Does what correlated taps gain at a constant rate remain at Kaiming's own best rate?

    CORRINIT_DATA=DIRECTORY python experiments/best_rate.py --minutes 60

Records are kept in results/best-rate: what is finished is not run again, and no run is started once the
minutes are over. With `--minutes 0` nothing is run, and docs/best-rate.md is written from what is there.

# Protocol, fixed before the first run

**Question.** With batch norm a smaller scale of the weights is a larger rate in effect. Gains of correlated
taps over Kaiming normal that are measured at one common rate may therefore be gains of a better rate. So each
arm is run at its own best one.

**Setting.** VGG-8 at a quarter of the paper's channels, batch norm, 5,000 training images of CIFAR-10 (JPEG),
20 epochs in batches of 256, SGD with momentum 0.8, constant rate, no weight decay, no augmentation, bfloat16.

**Arms.** Ten, in pairs of He's scale and the small one of the paper (g / √(n ΣR)): independent taps
everywhere; R everywhere; independent taps in the stem and R elsewhere; a stem that whitens patches of
training images, with independent taps and with R elsewhere. R is the default one (separable exponential of
mean 0.26). Head, zero biases and gain are the same in all.

**Stage 1, the choice of rates.** Each arm at the rates 0.01, 0.03, 0.1, 0.3 and 1 with the seeds 2,000,000 to
2,000,002, trained on four fifths of the 5,000 images. The rate of an arm is the one with the highest mean
over the seeds of the accuracy of averaged weights on 10,000 of the training images that no run trains on
(`averaged_unused_accuracy`); a rate at which a run diverged is out; the smallest of equals. No test image is
looked at. A best rate at the end of the grid is reported as such.

**Stage 2, the comparison.** Each arm at its rate, trained on all 5,000 images, with the seeds 0 to 7, which
no run of stage 1 has. It starts when stage 1 is complete.

**Endpoint.** `averaged_test_accuracy`: averaged weights (exponential, window of 50 updates) after the last
update, on all 10,000 test images. It has the least variance of those there are (docs/endpoints.md). Beside
it, and deciding nothing: the accuracy of the last weights.

**What decides.** Paired differences over the 8 seeds, Student's t, α = 0.05. Two families, Holm-adjusted
each: every other arm minus Kaiming normal (nine contrasts); every arm with R minus the arm with independent
taps of the same scale and the same kind of stem (six; R in all but the stem beside independent taps
everywhere).

**The answer** is a sentence that follows from the first family's six arms with R:
- some are decided and positive: the gain does not vanish (the arms are named);
- none is, and all intervals end below +1 point: it vanishes;
- else: it is not decided, and by how much it could be is said.

**What is reported without deciding**: stage 1 in full, every arm at every rate; its gain over Kaiming normal
at the common rate 0.1, and at each arm's own best, from the same seeds.

No seeds are added, no rate is tried again, and nothing stops early, whatever is seen on the way. Before this
was fixed, three runs of one arm with another seed were made for their time. The test images are not fresh:
which arms are here was learned from runs that were tested on them, at a common rate.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch

from corrinit.lab.document.blocks import Section, Table
from corrinit.lab.document.markdown import write_markdown
from corrinit.lab.document.numbers import interval, p_value, points
from corrinit.lab.experiment.arm import BASELINE, Initialization, label, parse_initialization
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.observation import Observation
from corrinit.lab.runs.endpoints import endpoint
from corrinit.lab.runs.provenance import provenance
from corrinit.lab.runs.record import RunRecord, read_runs
from corrinit.lab.statistics.contrast import ALPHA, Contrast, Sample, against, contrasts
from corrinit.lab.training.sweep import sweep

RUNS = Path("results/best-rate")

RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
CHOOSING_SEEDS = (2_000_000, 2_000_001, 2_000_002)
SEEDS = tuple(range(8))
CHOOSING = "averaged_unused_accuracy"
DECIDING = "averaged_test_accuracy"
BESIDE = "test_accuracy"
COMMON = 0.1
POINT = 0.01
NEEDS = (CHOOSING, DECIDING)
OBSERVATION = Observation(test_images=1_000, test_every=5, unused_images=10_000)
MINUTES_PER_RUN = 0.42

INDEPENDENT = "kaiming_normal:scale={}"
KINDS: dict[str, tuple[str, str | None]] = {
    "independent taps": (INDEPENDENT, None),
    "R everywhere": ("correlated:scale={}", INDEPENDENT),
    "R in all but the stem": ("correlated:scale={}:stem=kaiming_normal", INDEPENDENT),
    "whitened stem": ("kaiming_normal:scale={}:stem=patch_whitening", None),
    "whitened stem, R elsewhere": (
        "correlated:scale={}:stem=patch_whitening",
        "kaiming_normal:scale={}:stem=patch_whitening",
    ),
}
"""What the taps are, with its arm, and the arm of the same scale whose taps are independent; by scale."""

SCALES = {"he": "He's", "paper": "small"}

ARMS: dict[tuple[str, str], Initialization] = {
    (kind, scale): parse_initialization(arm.format(scale))
    for kind, (arm, _) in KINDS.items()
    for scale in SCALES
}
"""By kind and scale; the first is Kaiming normal, `BASELINE`."""

CONTROLS: dict[Initialization, Initialization] = {
    parse_initialization(arm.format(scale)): parse_initialization(control.format(scale))
    for arm, control in KINDS.values()
    if control is not None
    for scale in SCALES
}
"""The arms with R, each with the arm that differs from it in R alone."""

SETTING = RunConfig(
    data="parquet:cifar10-jpeg",
    train_subset=5_000,
    model="vgg8",
    width=0.25,
    epochs=20,
    precision="bfloat16",
)


def choosing_runs() -> Iterator[RunConfig]:
    """Stage 1: a seed of everything before the next seed, so that what is finished is balanced."""
    for seed in CHOOSING_SEEDS:
        for rate in RATES:
            for arm in ARMS.values():
                yield replace(SETTING, initialization=arm, lr=rate, seed=seed, tested_on="held_out")


def deciding_runs(rates: Mapping[Initialization, float]) -> Iterator[RunConfig]:
    """Stage 2: every arm at its own rate."""
    for seed in SEEDS:
        for arm in ARMS.values():
            yield replace(SETTING, initialization=arm, lr=rates[arm], seed=seed)


def found_of(configs: Iterator[RunConfig], records: Mapping[str, RunRecord]) -> list[RunRecord]:
    """The records of the runs that are finished."""
    return [records[config.run_id] for config in configs if config.run_id in records]


def by_rate(records: Sequence[RunRecord]) -> dict[Initialization, dict[float, float]]:
    """Mean of the choosing endpoint over the seeds; NaN where a run diverged."""
    values: dict[Initialization, dict[float, list[float]]] = {arm: {} for arm in ARMS.values()}
    for record in records:
        value = endpoint(CHOOSING).read(record)
        of_rate = values[record.arm].setdefault(record.config.lr, [])
        of_rate.append(math.nan if value is None else value)
    return {arm: {rate: fmean(each) for rate, each in rates.items()} for arm, rates in values.items()}


def best_rates(means: Mapping[Initialization, Mapping[float, float]]) -> dict[Initialization, float]:
    """The rate of each arm with the highest mean, the smallest of equals."""
    return {
        arm: max(sorted(rate for rate in rates if not math.isnan(rates[rate])), key=lambda rate: rates[rate])
        for arm, rates in means.items()
    }


def samples(records: Sequence[RunRecord], name: str) -> dict[Initialization, Sample]:
    """An endpoint of each arm by seed."""
    values: dict[Initialization, dict[int, float]] = {arm: {} for arm in ARMS.values()}
    for record in records:
        value = endpoint(name).read(record)
        values[record.arm][record.config.seed] = math.nan if value is None else value
    return {arm: Sample.of(of_seed) for arm, of_seed in values.items()}


def families(
    found: Mapping[Initialization, Sample],
) -> tuple[dict[Initialization, Contrast], dict[Initialization, Contrast]]:
    """Every arm minus Kaiming normal; every arm with R minus its control."""
    over_kaiming = against(found, BASELINE, family="arms, each at its own best rate")
    terms = {arm: ((1.0, found[arm]), (-1.0, found[control])) for arm, control in CONTROLS.items()}
    return over_kaiming, contrasts(terms, family="R at equal scale and stem, each at its own best rate")


def answer(over_kaiming: Mapping[Initialization, Contrast]) -> str:
    """Does the gain vanish at Kaiming's own best rate? By the rule of the protocol."""
    with_r = {arm: over_kaiming[arm] for arm in CONTROLS}
    better = {arm: each for arm, each in with_r.items() if each.decided and each.mean > 0}
    if better:
        named = "; ".join(f"{label(arm)}: {points(each.mean)}" for arm, each in better.items())
        return (
            f"No, the gain does not vanish at Kaiming's own best rate: of the six arms with R, {len(better)} "
            f"are better than Kaiming normal, each at its own best rate, in points ({named})."
        )
    highest = max(each.high for each in with_r.values())
    if highest < POINT:
        return (
            "Yes, the gain vanishes at Kaiming's own best rate: no arm with R is better than Kaiming normal "
            f"there, and no interval reaches a point; the highest ends at {points(highest)}."
        )
    return (
        "Not decided: no arm with R is better than Kaiming normal at its own best rate beyond doubt, but "
        f"gains of up to {points(highest)} points are within the intervals."
    )


def rate_sections(means: Mapping[Initialization, Mapping[float, float]]) -> Iterator[Section]:
    best = best_rates(means)
    rows = []
    for arm, rates in means.items():
        shown = [f"{100 * rates[rate]:.2f}" + ("*" if rate == best[arm] else "") for rate in RATES]
        rows.append((label(arm), *shown))
    gains = [
        (
            label(arm),
            points(rates[COMMON] - means[BASELINE][COMMON]),
            points(rates[best[arm]] - means[BASELINE][best[BASELINE]]),
        )
        for arm, rates in means.items()
        if arm != BASELINE
    ]
    ends = [label(arm) for arm, rate in best.items() if rate in (RATES[0], RATES[-1])]
    yield Section(
        "The choice of rates",
        (
            f"Accuracy in percent of averaged weights on {OBSERVATION.unused_images:,} training images that "
            f"no run trains on, mean over {len(CHOOSING_SEEDS)} seeds; * marks the rate that an arm is "
            "compared at.",
            f"At the end of the grid: {'; '.join(ends)}."
            if ends
            else "No best rate is at an end of the grid.",
        ),
        (
            Table("", ("arm", *(f"{rate:g}" for rate in RATES)), tuple(rows)),
            Table(
                "Gain over Kaiming normal on these images, in points",
                ("arm", f"both at the rate {COMMON:g}", "each at its own best"),
                tuple(gains),
                "Of the seeds that chose the rates, so the best of five flatters every arm, Kaiming too.",
            ),
        ),
    )


def comparison_section(records: Sequence[RunRecord], best: Mapping[Initialization, float]) -> Section:
    decided, beside = samples(records, DECIDING), samples(records, BESIDE)
    (over, alone), (over_beside, _) = families(decided), families(beside)
    rows = []
    for (kind, scale), arm in ARMS.items():
        told = decided[arm].summary
        assert told is not None
        row = [kind, SCALES[scale], f"{best[arm]:g}", f"{100 * told.mean:.2f} ± {100 * told.sd:.2f}"]
        gain, last = over.get(arm), over_beside.get(arm)
        row += (
            ["–"] * 4
            if gain is None or last is None
            else [
                points(gain.mean),
                interval(gain),
                p_value(gain.p_adjusted),
                f"{points(last.mean)} ({interval(last)})",
            ]
        )
        rows.append(tuple(row))
    equal = [
        (
            label(arm),
            label(CONTROLS[arm]),
            points(c.mean),
            interval(c),
            p_value(c.p_adjusted),
            c.decision.value,
        )
        for arm, c in alone.items()
    ]
    seeds = min(len(each.values) for each in decided.values())
    return Section(
        "Each arm at its own best rate",
        (
            answer(over),
            f"Accuracy in percent of averaged weights on the test images, mean ± standard deviation over "
            f"{seeds} seeds; differences in points with their 95 % intervals; p adjusted by Holm's method "
            f"within each table, decided at {ALPHA}.",
        ),
        (
            Table(
                "Beside Kaiming normal (the first row)",
                ("taps", "scale", "rate", "accuracy", "gain", "interval", "p", "gain of the last weights"),
                tuple(rows),
            ),
            Table(
                "R at equal scale and stem",
                ("arm", "beside", "gain", "interval", "p", "decision"),
                tuple(equal),
            ),
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--output", type=Path, default=Path("docs/best-rate.md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    choosing = list(choosing_runs())
    runs = len(choosing) + len(SEEDS) * len(ARMS)
    records = {record.run_id: record for record in read_runs(RUNS)[0] if record.finished}
    sys.stderr.write(
        f"{runs} runs, {len(records)} finished; about {MINUTES_PER_RUN * (runs - len(records)):.0f} minutes\n"
    )
    end = time.monotonic() + 60 * options.minutes

    def carry_out(configs: list[RunConfig]) -> None:
        if options.minutes > 0:
            made = sweep(
                configs,
                RUNS,
                known=records.values(),
                start_another=lambda: time.monotonic() < end,
                observation=OBSERVATION,
                needs=NEEDS,
            )
            records.update({record.run_id: record for record in made.records})
            sys.stderr.write(f"{len(made.records)} of {len(configs)} are finished; {made.failures}\n")

    carry_out(choosing)
    chosen = found_of(iter(choosing), records)
    if len(chosen) < len(choosing):
        sys.stderr.write(f"the rates are chosen once {len(choosing) - len(chosen)} more runs are finished\n")
        return
    means = by_rate(chosen)
    best = best_rates(means)
    carry_out(list(deciding_runs(best)))
    compared = found_of(deciding_runs(best), records)
    sections = list(rate_sections(means))
    if len(compared) == len(SEEDS) * len(ARMS):
        sections.insert(0, comparison_section(compared, best))
    write_markdown(
        options.output,
        "Each initialization at its own best rate",
        sections,
        provenance=provenance([*chosen, *compared], "python experiments/best_rate.py --minutes 0"),
    )


if __name__ == "__main__":
    main()
