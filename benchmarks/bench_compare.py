"""How often comparisons err, and what they find: false alarms, power and seeds spent, by simulation.

Seven arms against a baseline. Runs of one seed share its effect, three times as large as the noise of a run.
A comparison errs if it calls any copy of the baseline different; at most 5 % may. Two ways to decide: the
paired t test with Holm's correction at a fixed number of seeds, and anytime p-values with Holm's correction,
looked at after every seed from the third to the twentieth, where decided arms get no more seeds. The usual
mistake stands beside them: the t test with Holm's correction, looked at after every seed.

Under a minute on one core.
"""

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, ttest_1samp

from corrinit.lab.sequential import decide, open_arms

ALPHA = 0.05
ARMS, FIRST, LAST = 8, 3, 20
COMPARISONS, POWER_COMPARISONS = 1000, 200
T_TEST_COMPARISONS = 20_000  # cheap, and needed: their rate comes close to the limit
TARGET_POWER = 0.9  # at effects from 2 deviations of the paired difference
INDIFFERENCE = 0.25  # in deviations of the noise of a run

Array = NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, ...]], Array]

NOISE: dict[str, Noise] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "Student t, 4 degrees": lambda rng, shape: rng.standard_t(4, shape) / math.sqrt(2),
    "skewed (minus exponential)": lambda rng, shape: 1 - rng.exponential(size=shape),
}


def skewed_against_steady(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Equal means, but arms are skewed and the baseline steady: their differences are skewed too."""
    values = 1 - rng.exponential(size=shape)
    values[:, 0] = 0.1 * rng.standard_normal(values[:, 0].shape)
    return values


def comparisons(rng: np.random.Generator, count: int, noise: Noise, effect: float = 0.0) -> Array:
    """Values of shape (comparisons, arms, seeds); arm 1 is better by `effect` deviations of a difference."""
    values = 3 * rng.standard_normal((count, 1, LAST)) + noise(rng, (count, ARMS, LAST))
    values[:, 1] += effect * math.sqrt(2)
    return values


def t_tests(values: Array, n: int) -> NDArray[np.bool_]:
    """Which arms the t test with Holm's correction calls different at n seeds: (comparisons, arms − 1)."""
    p = ttest_1samp(values[:, 1:, :n] - values[:, :1, :n], 0, axis=-1).pvalue
    ordered = np.sort(p, axis=-1)
    accepted = ordered * np.arange(p.shape[-1], 0, -1) > ALPHA
    rejected = np.where(accepted.any(-1), accepted.argmax(-1), p.shape[-1])
    return p.argsort(axis=-1).argsort(axis=-1) < rejected[:, None]


def sequential_tests(values: Array) -> tuple[NDArray[np.bool_], Array]:
    """Which arms are called different in the end, and the seeds spent on each: (comparisons, arms − 1)."""
    different, spent = [], []
    for runs in values.tolist():
        n = [FIRST] * ARMS
        while True:
            seen = {arm: runs[arm][: n[arm]] for arm in range(ARMS)}
            wanted = [arm for arm in open_arms(seen, 0, indifference=INDIFFERENCE) if n[arm] < LAST]
            if not wanted:
                break
            for arm in (0, *wanted):
                n[arm] += 1
        found = decide(seen, 0, indifference=INDIFFERENCE)
        different.append([found[arm].answer == "different" for arm in range(1, ARMS)])
        spent.append(n[1:])
    return np.array(different), np.array(spent, np.float64)


def binomial_interval(successes: int, trials: int) -> tuple[float, float]:
    """The exact 95 % interval of Clopper and Pearson."""
    low = beta.ppf(0.025, successes, trials - successes + 1) if successes else 0.0
    high = beta.ppf(0.975, successes + 1, trials - successes) if successes < trials else 1.0
    return float(low), float(high)


def show(name: str, hits: NDArray[np.bool_], *, at_most: float | None) -> None:
    low, high = binomial_interval(int(hits.sum()), len(hits))
    target = {None: "no target"}.get(at_most) or ("ok" if low <= at_most else "ABOVE TARGET")
    print(f"  {name:44} {hits.mean():6.1%}  ({low:5.1%} to {high:5.1%})  {target}")


def main() -> None:
    before = time.perf_counter()
    rng = np.random.default_rng(0)
    print(
        f"false alarms in comparisons of {ARMS - 1} copies with their baseline ({T_TEST_COMPARISONS:,} for t "
        f"tests at a fixed number of seeds, {COMPARISONS:,} for the others); at most 5 %"
    )
    for name, noise in NOISE.items():
        print(name)
        many = comparisons(rng, T_TEST_COMPARISONS, noise)
        for n in (3, 5, 10, 20):
            show(f"t test, {n} seeds", t_tests(many, n).any(-1), at_most=ALPHA)
        values = many[:COMPARISONS]
        show("anytime, after every seed", sequential_tests(values)[0].any(-1), at_most=ALPHA)
        peeked = np.any([t_tests(values, n).any(-1) for n in range(FIRST, LAST + 1)], axis=0)
        show("t test after every seed (the mistake)", peeked, at_most=None)
    print("no copies: equal means, but differences are skewed")
    values = comparisons(rng, COMPARISONS, skewed_against_steady)
    for n in (5, 20):
        show(f"t test, {n} seeds", t_tests(values, n).any(-1), at_most=None)
    show("anytime, after every seed", sequential_tests(values)[0].any(-1), at_most=None)

    print(f"power for one arm of {ARMS - 1} that differs, in {POWER_COMPARISONS} comparisons")
    header = ("t, n = 5", "t, n = 10", "t, n = 20", "anytime")
    print("  effect" + "".join(f"{name:>10}" for name in header) + "  seeds spent")
    for effect in (0.5, 1.0, 2.0, 3.0):
        values = comparisons(rng, POWER_COMPARISONS, NOISE["normal"], effect)
        fixed = [t_tests(values, n)[:, 0].mean() for n in (5, 10, 20)]
        found, spent = sequential_tests(values)
        power = found[:, 0].mean()
        judged = "" if effect < 2 else "  ok" if power >= TARGET_POWER else "  BELOW TARGET"
        cells = "".join(f"{rate:10.0%}" for rate in (*fixed, power))
        print(f"  {effect:6.1f}{cells} {spent[:, 0].mean():12.1f}{judged}")
    print(f"{time.perf_counter() - before:.0f} s; target 60 s")


if __name__ == "__main__":
    main()
