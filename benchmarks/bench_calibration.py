"""How often a comparison of copies calls one of them different, and what it finds: error rates by simulation.

Eleven arms against a baseline, all copies of one another. A comparison errs if it calls any of them
different; that may happen in at most 5 %. Accuracies are multiples of 1/N on N test images; their mean is
70 %, and the deviation of a run 2 points. Two designs: a fixed number of seeds; and seeds added from the
second on, up to that number, to the arms that are still open, as `corrinit compare --max-seeds` adds them.

Both ask what reports ask: moderated inference from all arms from three seeds on, the paired one for two, with
Holm's correction. In every cell some of the comparisons are also made one by one, with `contrast.against`,
and have to give the same p-values.

Then the power of the fixed design beside that of the plain paired t test, both with Holm's correction; how
many seeds are spent when they are added; seeds to a decision; and what is not held: arms of equal mean whose
noise differs in shape, copies that collapse in every second run (which reports name unstable), and the usual
mistake, the t test looked at after every seed.

Under two minutes on one core; exits with 1 if a rate is above its limit.
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, ttest_1samp

from corrinit.lab.statistics.anytime import evidence_path
from corrinit.lab.statistics.contrast import ALPHA, MARGIN, Contrast, Inference, Sample, against, is_decided
from corrinit.lab.statistics.moderated import LEAST_SEEDS, Conditions
from corrinit.lab.statistics.moderated_tests import (
    Contrasts,
    against_baseline,
    contrasts,
    evidence,
    t_test,
    without_seeds,
)
from corrinit.lab.statistics.paired import holm
from corrinit.lab.statistics.planning import baseline_seeds

ARMS = 12
SEEDS = (2, 3, 5, 10)
IMAGES = (50, 360, 10_000)
REPLICATIONS = 20_000
MEAN, DEVIATION = 0.7, 0.02
FIRST = 2
LIMIT = 0.06
CHECKED = 20
SAVED = {1: (60, 0.20), 2: (30, 0.25), 3: (20, 0.25)}
"""Seeds at most, and the share of runs that inference from all arms saves at least, by effect."""
LOST = 0.003
"""Power that may be missing: the plain t test takes differences that happen to be equal for certain."""

Array = NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, ...]], Array]


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def _heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Student's t with 3 degrees of freedom, of variance 1."""
    return rng.standard_t(3, shape) / math.sqrt(3)


def _skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Minus an exponential: most runs do about equally well, a few much worse."""
    return 1 - rng.exponential(size=shape)


def _tenfold(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal, with deviations from 0.32 to 3.2 times the usual one; the baseline has the smallest."""
    return rng.standard_normal(shape) * np.geomspace(0.1, 1, ARMS)[:, None] * math.sqrt(10)


def _diverging(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal, and the baseline diverges in 30 % of its runs: those that would have ended worst."""
    noise = rng.standard_normal(shape)
    baseline = noise[:, 0]
    noise[:, 0] = np.where(baseline < -0.5244, np.nan, baseline)
    return noise


NOISE: dict[str, Noise] = {
    "normal": _normal,
    "heavy-tailed": _heavy,
    "skewed": _skewed,
    "tenfold deviations": _tenfold,
    "diverging baseline": _diverging,
}


@dataclass(frozen=True)
class Rates:
    """How many of the comparisons were wrong, and the share of arms that were not tested."""

    wrong: int
    comparisons: int
    refused: float

    @property
    def ends(self) -> tuple[float, float]:
        """The exact 99 % interval of the rate of wrong comparisons (Clopper and Pearson)."""
        right = self.comparisons - self.wrong
        low = beta.ppf(0.005, self.wrong, right + 1) if self.wrong else 0.0
        high = beta.ppf(0.995, self.wrong + 1, right) if right else 1.0
        return float(low), float(high)

    @property
    def holds(self) -> bool:
        """Whether the rate can be 5 %, and is not above 6 %."""
        low, high = self.ends
        return low <= ALPHA and high <= LIMIT


def accuracies(
    rng: np.random.Generator, count: int, noise: Noise, seeds: int, images: int, effect: float = 0.0
) -> Array:
    """Shape (count, ARMS, seeds), the baseline first; arm 1 is better by `effect` deviations of a run."""
    values = MEAN + DEVIATION * noise(rng, (count, ARMS, seeds))
    values[:, 1] += effect * DEVIATION
    return np.rint(values.clip(0, 1) * images) / images


def fixed(values: Array, images: int) -> Array:
    """Adjusted p-values at a fixed number of seeds, shape (count, ARMS − 1)."""
    if values.shape[-1] < LEAST_SEEDS:
        return holm(Inference.FIXED.test(values[:, 1:] - values[:, :1], 1 / images)[2])
    diverged = np.isnan(values).any((1, 2))
    crossed = without_seeds(values)  # where a run diverged, its arm has other seeds than the rest
    p = t_test(_contrasts(np.where(diverged[:, None, None], values, crossed), images))[2]
    return holm(p)


def sequential(values: Array, images: int) -> tuple[Array, NDArray[np.int64]]:
    """Adjusted p-values when the comparison ends, and the seeds of each arm, both (count, ARMS − 1)."""
    shape, last = (len(values), values.shape[1] - 1), values.shape[-1]
    e, low, high = np.ones(shape), np.full(shape, -np.inf), np.full(shape, np.inf)
    p = np.ones(shape)
    spent, still_open = np.zeros(shape, np.int64), np.full(shape, True)
    for seeds in range(FIRST, last + 1):
        spent[still_open] = seeds
        if seeds < LEAST_SEEDS:  # two seeds decide nothing
            p = Inference.ANYTIME.test(values[:, 1:, :seeds] - values[:, :1, :seeds], 1 / images)[2]
        else:
            n = np.column_stack([np.full(len(values), seeds), spent])
            lower, upper, now = evidence(_contrasts(values, images, n))
            e, low, high = np.maximum(e, now), np.maximum(low, lower), np.minimum(high, upper)
            p = 1 / e
        diverged = np.isnan(values[:, 0, :seeds]).any(-1) & still_open.any(-1)
        e[diverged] = p[diverged] = np.nan  # it is over: no arm has a fair sample to be compared with
        equivalent = (low >= -MARGIN) & (high <= MARGIN)
        still_open &= ~(is_decided(holm(p)) | equivalent | diverged[:, None])
    return holm(p), spent


def _contrasts(values: Array, images: int, n: NDArray[np.int64] | None = None) -> Contrasts:
    """Each arm minus the baseline, by moderated variances of the first n seeds of each arm."""
    count = values.shape[-1]
    n = np.full(values.shape[:2], count) if n is None else n
    counted = np.arange(count) < n[..., None]
    mean = np.where(counted, values, 0).sum(-1) / n
    squares = np.where(counted, (values - mean[..., None]) ** 2, 0).sum(-1)  # NaN where a run diverged
    variance = np.maximum(squares / (n - 1), 1 / (12 * images**2))
    return contrasts(Conditions(n, mean, variance), against_baseline(values.shape[1]))


def by_hand(values: Array) -> list[float]:
    """The same p-values of one comparison as a report has them, its seeds fixed."""
    found = _against(values, [values.shape[-1]] * ARMS, Inference.FIXED)
    return [each.p_adjusted for each in found.values()]


def by_hand_sequential(values: Array) -> list[float]:
    """The same for seeds that are added to open arms, as `Contest` asks for them."""
    last, n = values.shape[-1], [FIRST] * ARMS
    while True:
        found = _against(values, n, Inference.ANYTIME)
        wanted = [arm for arm, each in found.items() if each.wants_seeds and n[arm] < last]
        if not wanted:
            return [each.p_adjusted for each in found.values()]
        for arm in (0, *wanted):
            n[arm] += 1


def _against(values: Array, n: list[int], inference: Inference) -> dict[int, Contrast]:
    samples = {arm: Sample.of(dict(enumerate(values[arm, : n[arm]].tolist()))) for arm in range(ARMS)}
    return against(samples, 0, family="arms", inference=inference)


def rates(p_values: Array) -> Rates:
    """What copies were called: any decided is an error."""
    return Rates(int(is_decided(p_values).any(-1).sum()), len(p_values), float(np.isnan(p_values).mean()))


def cell(
    noise: str, seeds: int, images: int, *, anytime: bool, replications: int = REPLICATIONS, checked: int = 0
) -> Rates:
    """The error rate of one cell of the table; `checked` of its comparisons are also made one by one."""
    rng = np.random.default_rng([list(NOISE).index(noise), seeds, images, anytime])
    values = accuracies(rng, replications, NOISE[noise], seeds, images)
    p_values = sequential(values, images)[0] if anytime else fixed(values, images)
    one_by_one = by_hand_sequential if anytime else by_hand
    expected = np.array([one_by_one(each) for each in values[:checked]]).reshape(checked, ARMS - 1)
    np.testing.assert_allclose(p_values[:checked], expected, rtol=1e-6)
    return rates(p_values)


def plain_t_tests(values: Array) -> Array:
    """The p-values of scipy's t test with Holm's correction, for comparison."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of differences that are all equal, for which it gives p = 0
        return holm(ttest_1samp(values[:, 1:] - values[:, :1], 0, axis=-1).pvalue)


def show_power() -> int:
    """The share of comparisons in which the one arm that differs is found."""
    print(f"\npower for one arm of {ARMS - 1} that differs, {REPLICATIONS:,} comparisons; normal noise")
    print("effect (deviations of a run)  seeds  images  fixed  plain t  refused  sequential  seeds spent")
    failed = 0
    for effect in (1.0, 2.0):
        for seeds in SEEDS:
            for images in IMAGES:
                rng = np.random.default_rng([seeds, images, round(effect)])
                values = accuracies(rng, REPLICATIONS, _normal, seeds, images, effect)
                here, (added, spent) = fixed(values, images), sequential(values, images)
                found, plain, later = (
                    float(is_decided(p)[:, 0].mean()) for p in (here, plain_t_tests(values), added)
                )
                refused = float(np.isnan(here).mean())
                bad = seeds >= 3 and images >= 360 and (found < plain - LOST or refused > 0)
                failed += bad
                print(
                    f"{effect:28g}{seeds:7}{images:8,}{found:7.1%}{plain:9.1%}{refused:9.1%}{later:12.1%}"
                    f"{spent[:, 0].mean():13.1f}{'  LESS' if bad else ''}"
                )
    return failed


def show_seeds() -> int:
    """Seeds to a decision, looked at after each, of arms that all differ: within seeds, and from all arms."""
    print("\nseeds to a decision, median over 12 arms that all differ, and runs in all; 1,000 studies")
    print("effect  paired: seeds, runs   moderated, √12 seeds of the baseline: seeds, runs   saved")
    failed, bound, arms = 0, 12 / ALPHA, 12
    for effect, (last, least) in SAVED.items():
        rng = np.random.default_rng(effect)
        values = rng.standard_normal((1_000, arms + 1, baseline_seeds(last, arms))) * DEVIATION
        values[:, 1:] += effect * DEVIATION
        values[:, 1:, last:] = np.nan
        differences = values[:, 1:, :last] - values[:, :1, :last]
        before = _first(np.maximum.accumulate(evidence_path(differences, 1e-4), -1) >= bound, 1)
        looks = []
        for n in range(LEAST_SEEDS, last + 1):
            seeds = np.full((len(values), arms + 1), n)
            seeds[:, 0] = baseline_seeds(n, arms)
            looks.append(evidence(_contrasts(values, 10_000, seeds))[2])
        after = _first(np.stack(np.maximum.accumulate(looks) >= bound, -1), LEAST_SEEDS)
        runs = (arms + 1) * before, arms * after + baseline_seeds(after, arms)
        saved = 1 - runs[1] / runs[0]
        failed += saved < least
        told = f"{effect:6}{before:13}{runs[0]:7}{after:35}{runs[1]:7}{saved:22.0%}"
        print(told + ("  LESS" if saved < least else ""))
    return failed


def _first(reached: NDArray[np.bool_], start: int) -> int:
    """The median number of seeds at which it is reached; never counts as more than all."""
    first = np.where(reached.any(-1), reached.argmax(-1) + start, reached.shape[-1] + start)
    return int(np.median(first))


def show_what_is_not_held() -> None:
    """Rates without a limit."""
    print(
        "\nnot held: the same rates, where arms have equal means and nothing else in common, or end far apart"
    )
    rng, seeds, images = np.random.default_rng(0), 10, 10_000
    shape = (REPLICATIONS, ARMS, seeds)
    skewed = np.geomspace(0.1, 1, ARMS)[:, None] * math.sqrt(10) * _skewed(rng, shape)
    values = np.rint((MEAN + DEVIATION * skewed).clip(0, 1) * images) / images
    for n in SEEDS:
        p = fixed(values[..., :n], images), sequential(values[..., :n], images)[0]
        print(f"skewed, with deviations that differ tenfold, {n} seeds: {_both(p)}")
    collapsed = rng.random(shape) < 0.5
    values = accuracies(rng, REPLICATIONS, _normal, seeds, images) - 0.6 * collapsed
    for n in SEEDS:
        p = fixed(values[..., :n], images), sequential(values[..., :n], images)[0]
        print(f"copies of which half of the runs collapse, {n} seeds: {_both(p)}")
    copies = accuracies(rng, REPLICATIONS, _normal, seeds, images)
    peeked = np.any([is_decided(plain_t_tests(copies[..., :n])).any(-1) for n in range(3, seeds + 1)], axis=0)
    print(f"the t test after every seed from the third to the tenth, copies: {peeked.mean():.1%}")


def _both(p_values: tuple[Array, Array]) -> str:
    """The error rates of a fixed number of seeds, and of seeds that are added."""
    fixed_rate, sequential_rate = (rates(each).wrong / REPLICATIONS for each in p_values)
    return f"fixed {fixed_rate:.1%}, sequential {sequential_rate:.1%}"


def main() -> int:
    before, failed = time.process_time(), 0
    print(
        f"family error of {ARMS - 1} copies against their baseline, {REPLICATIONS:,} comparisons a cell: "
        "rate, upper end of its 99 % interval, share of arms not tested"
    )
    print("noise                seeds  images    fixed                     sequential")
    for noise in NOISE:
        for seeds in SEEDS:
            for images in IMAGES:
                found = [
                    cell(noise, seeds, images, anytime=anytime, checked=CHECKED) for anytime in (False, True)
                ]
                told = "   ".join(
                    f"{each.wrong / each.comparisons:7.2%}{each.ends[1]:8.2%}{each.refused:8.1%}"
                    for each in found
                )
                bad = not all(each.holds for each in found)
                failed += bad
                print(f"{noise:<20}{seeds:>6}{images:>8,}  {told}{'  ABOVE THE LIMIT' if bad else ''}")
    failed += show_power() + show_seeds()
    show_what_is_not_held()
    print(f"\n{time.process_time() - before:.0f} s of one core; target 120 s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
