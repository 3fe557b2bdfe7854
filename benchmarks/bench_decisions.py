"""What decisions cost: inference from all conditions of a setting beside the paired t test with Holm.

Error rates of families of copies, in the noises of `bench_calibration.py`: with a fixed number of seeds, and
looked at after each seed from the third to the twentieth (in one cell to the fortieth), the baseline having
√K times the seeds. Then the power of the fixed design, and the quantile that Dunnett's test would use in
place of Holm's first.

About a minute on one core; exits with 1 if a rate is above its limit.
"""

from __future__ import annotations

import math
import sys
import time

import numpy as np
from scipy.special import stdtrit

import bench_calibration as calibration
from bench_calibration import Array
from corrinit.lab.statistics.contrast import ALPHA, is_decided
from corrinit.lab.statistics.moderated import LEAST_SEEDS, Conditions
from corrinit.lab.statistics.moderated_tests import (
    against_baseline,
    contrasts,
    evidence,
    t_test,
    without_seeds,
)
from corrinit.lab.statistics.paired import holm
from corrinit.lab.statistics.planning import baseline_seeds

STEP = 1e-4
NOISES = ("normal", "heavy-tailed", "skewed", "tenfold deviations")
REPLICATIONS = 4_000


def found_in(values: Array, seeds: int, shared: int):
    """Contrasts with the baseline, which has `shared` seeds where the others have `seeds`."""
    others = values[:, 1:, :seeds].swapaxes(0, 1)
    return contrasts(
        Conditions.of([values[:, 0, :shared], *others], step=STEP), against_baseline(values.shape[1])
    )


def fixed(values: Array, seeds: int, shared: int) -> Array:
    return holm(t_test(found_in(values, seeds, shared))[2])


def paths(values: Array, last: int) -> Array:
    """The largest evidence so far, after each seed from the third, shape (looks, studies, conditions − 1)."""
    count = values.shape[1] - 1
    looks = [evidence(found_in(values, n, baseline_seeds(n, count)))[2] for n in range(LEAST_SEEDS, last + 1)]
    return np.maximum.accumulate(looks)


def drawn(noise: str, conditions: int, seeds: int, effect: float = 0.0, studies: int = REPLICATIONS) -> Array:
    calibration.ARMS = conditions
    rng = np.random.default_rng([conditions, seeds, calibration.REPLICATIONS])
    return calibration.accuracies(rng, studies, calibration.NOISE[noise], seeds, round(1 / STEP), effect)


def show_errors() -> int:
    print(f"family error of copies, {REPLICATIONS:,} families a cell; at most 5 %")
    print("noise                conditions  fixed: 3, 5, 10 seeds    seeds effects out    looked at 18 times")
    failed = 0
    for noise in NOISES:
        for conditions in (4, 12):
            values = drawn(noise, conditions, baseline_seeds(20, conditions - 1))
            cells = [fixed(values, n, n) for n in (3, 5, 10)]
            crossed = 3 if conditions > 4 else 4  # `contrast.LEAST_RESIDUAL`
            cells.append(fixed(without_seeds(values[..., :crossed]), crossed, crossed))
            cells.append(holm(1 / paths(values, 20)[-1]))
            rates = [float(is_decided(p).any(-1).mean()) for p in cells]
            bad = max(rates) > ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / REPLICATIONS)
            failed += bad
            told = "".join(f"{rate:10.1%}" for rate in rates)
            print(f"{noise:<20}{conditions:>11}{told}{'  ABOVE THE LIMIT' if bad else ''}")
    values = drawn("normal", 12, baseline_seeds(40, 11), studies=1_000)
    rate = is_decided(holm(1 / paths(values, 40)[-1])).any(-1).mean()
    print(f"normal, 12 conditions, looked at 38 times: {rate:.1%}")
    return failed


def show_power() -> None:
    print(
        "\npower for one of 11 conditions; normal noise, as many runs in all (√11 of them for the baseline)"
    )
    print(
        "effect  seeds  paired t + Holm  moderated + Holm  and √K seeds of the baseline (fewer of the rest)"
    )
    for effect in (1.0, 2.0):
        for seeds in (3, 5, 10):
            values = drawn("normal", 12, baseline_seeds(seeds, 11), effect)
            fewer = max(LEAST_SEEDS, math.floor(12 * seeds / (11 + math.sqrt(11))))
            today = calibration.fixed(values[..., :seeds], round(1 / STEP))
            rest = 12 * seeds - 11 * fewer
            p = (today, fixed(values, seeds, seeds), fixed(values, fewer, min(rest, values.shape[-1])))
            print(f"{effect:6g}{seeds:7}" + "".join(f"{is_decided(each)[:, 0].mean():17.1%}" for each in p))


def show_dunnett() -> None:
    """The 95 % quantile of the largest |t| of 11 comparisons with 48 degrees of freedom."""
    rng, holms = np.random.default_rng(0), float(stdtrit(48, 1 - ALPHA / 22))
    for name, ratio in (("as many", 1.0), ("√11 times the", math.sqrt(11))):
        means, baseline = rng.standard_normal((100_000, 11)), rng.standard_normal((100_000, 1))
        z = (means - baseline / math.sqrt(ratio)) / math.sqrt(1 + 1 / ratio)
        largest = np.abs(z).max(-1) / np.sqrt(rng.chisquare(48, 100_000) / 48)
        quantile = np.quantile(largest, 0.95)
        print(f"Dunnett's quantile, baseline with {name} seeds: {quantile:.2f}; Holm's {holms:.2f}")


def main() -> int:
    before = time.process_time()
    failed = show_errors()
    show_power()
    show_dunnett()
    print(f"\n{time.process_time() - before:.0f} s of one core")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
