"""Search, role by role, for an initializer that gains: each family at its own best rate and scale.

    CORRINIT_DATA=DIRECTORY python experiments/search.py --minutes 60

Records are kept in results/search: what is finished is not run again, and no run is started once the minutes
are over. With `--minutes 0` nothing is run, and docs/search.md is written from what is there. `--setting`
runs one setting alone.

# Protocol, fixed before the first run

**Purpose.** To choose one candidate for a confirmation on fresh images. Nothing here is established: the best
of many is flattered, and no p-value is given.

**Images.** CIFAR-10 (JPEG), its training images alone: runs train on some and are scored on 10,000 others
that no run trains on. Test images are never looked at.

**Score.** `averaged_unused_accuracy`: accuracy on those 10,000 of averaged weights (exponential, window of 50
updates) after the last update; minus infinity where a run diverged.

**Settings**, in the order in which they are run:
1. `constant`: VGG-8 at a quarter of the channels, batch norm, 5,000 images, 20 epochs, constant rate, SGD
   with momentum 0.8, no decay, no augmentation.
2. `recipe`: the same net, 10,000 images, 20 epochs, crop and flip, L2 of 0.0005, SGD with momentum 0.9,
   warm-up over a tenth of the updates, then cosine.
3. `depthwise`: ConvMixer at half width (48 channels, 5 blocks, kernel 7, patches of 4), 5,000 images, 12
   epochs, crop and flip, AdamW with decay 0.05, warm-up over a tenth of the updates, then cosine.

**Families** are named by what taps of a role get, `DENSE` and `DEPTHWISE` below. Where a family has two
scales, He's and the small one, it is at the better of the two, as Kaiming normal is. Heads are Kaiming normal
at He's scale and biases zero in all but the two families of the recipe 2026.1, of which one has other taps,
so that a gain of the recipe's head and scales is told from one of its taps.

**Rungs** (successive halving), each with seeds of its own:
1. every family, scale and rate, one seed;
2. the better half of the families, each at its two best pairs of scale and rate, two more seeds;
3. the four best families, each at its best pair, six more seeds. A pair's score is its mean over the seeds it
   has in the rungs before. The baseline, independent taps (Kaiming normal), passes every rung. Of equal
   scores the earlier family, the earlier scale and the smaller rate is better.

**Choice.** The gain of a family is its score minus the baseline's, in the last rung that it reached, over the
seeds of that rung alone, which had no part in choosing its pair (in the first they had). The candidate for
stem and dense layers is the family with the largest mean gain over `constant` and `recipe` of those that
reached the last rung in both; where none but the baseline did, of those that did in one. For depthwise layers
and their stem it is the family with the largest gain in `depthwise`. A family whose mean gain is not positive
is not taken: that role stays as Kaiming normal has it.

No family, rate or seed is added to this search after it has begun. Before it, single runs were made for their
time alone, and their scores not looked at.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TypeAlias

import torch

from corrinit.lab.document.blocks import Section, Table
from corrinit.lab.document.markdown import write_markdown
from corrinit.lab.document.numbers import interval, points
from corrinit.lab.experiment.arm import Initialization, label, parse_initialization
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.observation import Observation
from corrinit.lab.runs.endpoints import endpoint
from corrinit.lab.runs.provenance import provenance
from corrinit.lab.runs.record import RunRecord, read_runs
from corrinit.lab.statistics.contrast import Contrast, Inference, Sample, contrast
from corrinit.lab.training.sweep import sweep

RUNS = Path("results/search")
SCORE = "averaged_unused_accuracy"
OBSERVATION = Observation(test_images=500, test_every=100, unused_images=10_000)

SCALES = ("he", "paper")
BASELINE = "independent"

WHITE, PATCH, PLAIN = (":stem=natural_whitening", ":stem=patch_whitening", ":stem=kaiming_normal")

DENSE: dict[str, tuple[str, ...]] = {
    BASELINE: ("kaiming_normal:scale={}",),
    "torch": ("pytorch_default",),
    "R everywhere": ("correlated:scale={}",),
    "R but in the stem": ("correlated:scale={}" + PLAIN,),
    "centre-weighted": ("centre_weighted:scale={}",),
    "centre-weighted R but in the stem": ("correlated:correlation=default+centre:0.8:scale={}" + PLAIN,),
    "orthogonal modes of R but in the stem": ("mode_orthogonal:scale={}" + PLAIN,),
    "white stem": ("kaiming_normal:scale={}" + WHITE,),
    "white stem, R": ("correlated:scale={}" + WHITE,),
    "white stem, centre-weighted": ("centre_weighted:scale={}" + WHITE,),
    "white stem, orthogonal modes of R": ("mode_orthogonal:scale={}" + WHITE,),
    "stem white for the images": ("kaiming_normal:scale={}" + PATCH,),
    "stem white for the images, R": ("correlated:scale={}" + PATCH,),
    "recipe 2026.1": ("recipe=2026.1",),
    "recipe 2026.1, independent taps": ("recipe=2026.1:dense=kaiming_normal",),
}
"""Families for nets of dense convolutions, with what each is tried at; braces stand for both scales."""

_KAIMING = "kaiming_normal:scale=he"

DEPTHWISE: dict[str, tuple[str, ...]] = {
    BASELINE: (_KAIMING,),
    "torch": ("pytorch_default",),
    "truncated normal": ("truncated_normal",),
    "R everywhere": ("correlated:scale=he",),
    "R": (_KAIMING + ":depthwise=correlated",),
    "half of R": (_KAIMING + ":depthwise=correlated,strength=0.5",),
    "centre-weighted": (_KAIMING + ":depthwise=centre_weighted",),
    "centre alone": (_KAIMING + ":depthwise=correlated,correlation=centre:0",),
    "centre-weighted R": (_KAIMING + ":depthwise=correlated,correlation=default+centre:0.8",),
    "closed-form covariance": (_KAIMING + ":depthwise=convolutional_covariance",),
    "white stem": (_KAIMING + WHITE,),
    "white stem, centre-weighted": (_KAIMING + WHITE + ":depthwise=centre_weighted",),
    "white stem, closed-form covariance": (_KAIMING + WHITE + ":depthwise=convolutional_covariance",),
    "torch, centre-weighted": ("pytorch_default:depthwise=centre_weighted",),
    "torch, closed-form covariance": ("pytorch_default:depthwise=convolutional_covariance",),
    "orthogonal, centre-weighted": ("orthogonal:scale=he:depthwise=centre_weighted",),
    "recipe 2026.1": ("recipe=2026.1",),
    "recipe 2026.1, centre-weighted": ("recipe=2026.1:depthwise=centre_weighted",),
}
"""Families for nets of depthwise convolutions; the others are Kaiming normal where nothing else is said."""

Pair: TypeAlias = tuple[Initialization, float]
"""An arm and a rate: what a family is tried at."""


@dataclass(frozen=True)
class Space:
    """A setting and what is searched there.

    Args:
        setting: what all runs share; a fifth of its training images is held out.
        rates: that every arm is tried at, ascending.
        families: arms of each, `{}` standing for every scale.
        minutes: that a run takes on a core.
    """

    setting: RunConfig
    rates: tuple[float, ...]
    families: Mapping[str, tuple[str, ...]]
    minutes: float

    def pairs(self, family: str) -> list[Pair]:
        """Everything that a family is tried at."""
        texts = [
            arm.format(scale)
            for arm in self.families[family]
            for scale in (SCALES if "{}" in arm else SCALES[:1])
        ]
        return [(parse_initialization(text), rate) for text in texts for rate in self.rates]


_SHARED = RunConfig(data="parquet:cifar10-jpeg", tested_on="held_out")
_VGG = replace(_SHARED, model="vgg8", width=0.25, epochs=20, precision="bfloat16")

SPACES: dict[str, Space] = {
    "constant": Space(replace(_VGG, train_subset=6_250), (0.03, 0.1, 0.3), DENSE, 0.47),
    "recipe": Space(
        replace(
            _VGG,
            train_subset=12_500,
            augmentation="crop_flip",
            l2=0.0005,
            momentum=0.9,
            schedule="cosine",
            warmup=0.1,
        ),
        (0.03, 0.1, 0.3),
        DENSE,
        1.07,
    ),
    "depthwise": Space(
        replace(
            _SHARED,
            train_subset=6_250,
            model="convmixer",
            width=0.5,
            epochs=12,
            augmentation="crop_flip",
            optimizer="adamw",
            momentum=0.9,
            weight_decay=0.05,
            schedule="cosine",
            warmup=0.1,
        ),
        (0.003, 0.01, 0.03),
        DEPTHWISE,
        1.0,
    ),
}


@dataclass(frozen=True)
class Rung:
    """A round of halving.

    Args:
        seeds: of its runs, which no other rung has.
        families: how many pass from the rung before, the baseline beside them; None for all.
        pairs: at how many of its best pairs each is run; None for all.
    """

    seeds: tuple[int, ...]
    families: int | None = None
    pairs: int | None = None

    def size(self, space: Space) -> int:
        """Runs at most."""
        if self.families is None or self.pairs is None:
            return len(self.seeds) * sum(len(space.pairs(family)) for family in space.families)
        return len(self.seeds) * (self.families + 1) * self.pairs


def rungs(space: Space) -> tuple[Rung, ...]:
    """The three of a space."""
    seeds = tuple(range(3_000_000, 3_000_009))
    half = math.ceil(len(space.families) / 2)
    return Rung(seeds[:1]), Rung(seeds[1:3], half, 2), Rung(seeds[3:], 4, 1)


Scores: TypeAlias = Mapping[str, float]
"""Of finished runs, by id."""


def run_of(space: Space, pair: Pair, seed: int) -> RunConfig:
    """A run of a pair."""
    return replace(space.setting, initialization=pair[0], lr=pair[1], seed=seed)


def scores_of(space: Space, pair: Pair, seeds: Sequence[int], scores: Scores) -> dict[int, float]:
    """The scores of a pair by seed, of those that are finished."""
    ids = {seed: run_of(space, pair, seed).run_id for seed in seeds}
    return {seed: scores[key] for seed, key in ids.items() if key in scores}


@dataclass(frozen=True)
class Field:
    """What is run in a rung: families, each with its pairs, the best first.

    Args:
        rung: the round.
        pairs: by family, the best family first where an earlier rung tells.
    """

    rung: Rung
    pairs: Mapping[str, Sequence[Pair]]

    def runs(self, space: Space) -> Iterator[RunConfig]:
        """Seed by seed, so that what is finished is balanced."""
        for seed in self.rung.seeds:
            for pairs in self.pairs.values():
                for pair in pairs:
                    yield run_of(space, pair, seed)


def fields(space: Space, scores: Scores) -> list[Field]:
    """The rungs as far as they are known: each one once all runs of the one before are finished."""
    known: list[Field] = []
    seen: tuple[int, ...] = ()
    for rung in rungs(space):
        if not known:
            known.append(Field(rung, {family: space.pairs(family) for family in space.families}))
        else:
            if any(config.run_id not in scores for config in known[-1].runs(space)):
                break
            known.append(passed(space, known[-1], rung, seen, scores))
        seen += rung.seeds
    return known


def passed(space: Space, before: Field, rung: Rung, seen: Sequence[int], scores: Scores) -> Field:
    """What passes from a rung to the next."""

    def mean(pair: Pair) -> float:
        return fmean(scores_of(space, pair, seen, scores).values())

    # sorted keeps the order of equals: the earlier family, the earlier scale and the smaller rate
    best = {family: sorted(pairs, key=mean, reverse=True) for family, pairs in before.pairs.items()}
    ranked = sorted(best, key=lambda family: mean(best[family][0]), reverse=True)
    others = [family for family in ranked if family != BASELINE][: rung.families]
    kept = [family for family in ranked if family in (BASELINE, *others)]
    return Field(rung, {family: best[family][: rung.pairs] for family in kept})


@dataclass(frozen=True)
class Standing:
    """How far a family came.

    Args:
        rung: the last one that it reached, from 0, of those that are finished.
        pair: its best one, by the rungs before; in the first by that rung itself.
        score: of that pair on the seeds of the rung.
        gain: its score minus that of the baseline.
        difference: the same, with its interval.
    """

    rung: int
    pair: Pair
    score: float
    gain: float
    difference: Contrast


def standings(space: Space, scores: Scores) -> dict[str, Standing]:
    """Every family in the last finished rung that it reached, the best first."""
    found: dict[str, Standing] = {}
    for number, field in enumerate(fields(space, scores)):
        if any(config.run_id not in scores for config in field.runs(space)):
            break

        def values(pair: Pair, seeds: Sequence[int] = field.rung.seeds) -> dict[int, float]:
            return scores_of(space, pair, seeds, scores)

        def mean(pair: Pair) -> float:
            return fmean(values(pair).values())

        best = {family: pairs[0] if number else max(pairs, key=mean) for family, pairs in field.pairs.items()}
        baseline = best[BASELINE]
        for family, pair in best.items():
            terms = [(1.0, Sample.of(values(pair))), (-1.0, Sample.of(values(baseline)))]
            difference = contrast(terms, Inference.FIXED)
            found[family] = Standing(number, pair, mean(pair), mean(pair) - mean(baseline), difference)
    return dict(sorted(found.items(), key=lambda item: (-item[1].rung, -item[1].gain)))


def candidate(by_space: Mapping[str, Mapping[str, Standing]]) -> tuple[str, str]:
    """The families chosen for dense and for depthwise nets, by the rule of the protocol."""
    finalists = {
        name: [family for family, each in of.items() if each.rung == 2 and family != BASELINE]
        for name, of in by_space.items()
    }
    constant, recipe = finalists["constant"], finalists["recipe"]
    dense = {
        family: fmean(by_space[name][family].gain for name in ("constant", "recipe"))
        for family in DENSE
        if family in (set(constant) & set(recipe) or set(constant) | set(recipe))
    }
    depthwise = {family: by_space["depthwise"][family].gain for family in finalists["depthwise"]}
    return tuple(best_of(gains) for gains in (dense, depthwise))  # pyright: ignore[reportReturnType]


def best_of(gains: Mapping[str, float]) -> str:
    """The family of the largest gain; the baseline if none is positive."""
    best = max(gains, key=lambda family: gains[family])
    return best if gains[best] > 0 else BASELINE


def sections(scores: Scores) -> Iterator[Section]:
    """What was chosen, as far as it is, and how far every family came in each setting."""
    by_space = {name: standings(space, scores) for name, space in SPACES.items()}
    if all(any(each.rung == 2 for each in of.values()) for of in by_space.values()):
        dense, depthwise = candidate(by_space)
        yield Section(
            "The candidate",
            (
                f"For stem and dense layers: {dense}. For depthwise layers and their stem: {depthwise}. "
                "Chosen by the rule that was fixed before; what it is worth, a confirmation on fresh images "
                "has to say.",
            ),
        )
    for name, space in SPACES.items():
        if not by_space[name]:
            continue
        rows = tuple(
            (
                family,
                label(standing.pair[0]),
                f"{standing.pair[1]:g}",
                f"{standing.rung + 1}",
                f"{100 * standing.score:.2f}",
                *(
                    ("–", "–")
                    if family == BASELINE
                    else (points(standing.gain), interval(standing.difference))
                ),
            )
            for family, standing in by_space[name].items()
        )
        yield Section(
            f"Setting “{name}”",
            (
                f"{len(space.families)} families; accuracy in percent on training images that no run trains "
                "on, and the gain over independent taps at their best scale and rate, in points, both over "
                "the seeds of the last rung that a family reached (1, 2 and 6 seeds). Intervals are "
                "Student's, uncorrected: of the best of many they promise nothing.",
            ),
            (Table("", ("family", "arm", "rate", "rung", "score", "gain", "interval"), rows),),
        )


def print_plan(spaces: Mapping[str, Space], scores: Scores) -> None:
    """The runs of each setting at most, how many are left, and the minutes that they take on a core."""
    for name, space in spaces.items():
        known = fields(space, scores)
        runs = sum(rung.size(space) for rung in rungs(space))
        done = sum(config.run_id in scores for field in known for config in field.runs(space))
        left = space.minutes * (runs - done)
        sys.stderr.write(f"{name}: {runs} runs, {done} finished; about {left:.0f} minutes\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--setting", choices=[*SPACES])
    parser.add_argument("--output", type=Path, default=Path("docs/search.md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    records = {record.run_id: record for record in read_runs(RUNS)[0] if record.finished}
    scores = {key: score(record) for key, record in records.items()}
    spaces = {options.setting: SPACES[options.setting]} if options.setting else SPACES
    print_plan(spaces, scores)
    end = time.monotonic() + 60 * options.minutes
    for space in spaces.values() if options.minutes > 0 else ():
        while left := [c for f in fields(space, scores) for c in f.runs(space) if c.run_id not in scores]:
            made = sweep(
                left,
                RUNS,
                start_another=lambda: time.monotonic() < end,
                observation=OBSERVATION,
                needs=(SCORE,),
            )
            records.update({record.run_id: record for record in made.records})
            scores = {key: score(record) for key, record in records.items()}
            if len(made.records) < len(left):
                sys.stderr.write(
                    f"{len(left) - len(made.records)} runs of a rung are left; {made.failures}\n"
                )
                break
    print_plan(spaces, scores)
    if found := list(sections(scores)):
        command = "python experiments/search.py --minutes 0"
        facts = provenance(list(records.values()), command)
        write_markdown(options.output, "The search for an initializer that gains", found, provenance=facts)


def score(record: RunRecord) -> float:
    """The score of a run; minus infinity if it diverged."""
    value = endpoint(SCORE).read(record)
    return -math.inf if value is None or math.isnan(value) else value


if __name__ == "__main__":
    main()
