"""Measure which endpoint decides with the fewest runs, from Kaiming normal and the paper's method alone.

    CORRINIT_DATA=DIRECTORY python experiments/endpoints.py --minutes 60

Records are kept in results/endpoints: what is finished is not run again, and no run is started once the
minutes are over; with `--minutes 0` nothing is run. Seeds go round all settings and both arms, so that
whatever is finished is balanced. docs/endpoints.md says what the records show.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import chi2, nct

from corrinit.lab.document.blocks import Section, Table
from corrinit.lab.document.markdown import write_markdown
from corrinit.lab.document.numbers import POINTS, Unit, interval
from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.observation import Observation
from corrinit.lab.runs.endpoints import endpoint
from corrinit.lab.runs.observed import CORRECT
from corrinit.lab.runs.provenance import provenance
from corrinit.lab.runs.record import RunRecord, read_runs
from corrinit.lab.statistics.moderated import LEAST_SEEDS, expected_df
from corrinit.lab.statistics.noise import split_noise
from corrinit.lab.statistics.paired import paired_difference
from corrinit.lab.statistics.planning import baseline_seeds, pairing_ratio
from corrinit.lab.training.sweep import sweep

RUNS = Path("results/endpoints")

SETTINGS = {
    "VGG-8, CIFAR-10 (JPEG)": ("vgg8", "cifar10-jpeg"),
    "VGG-8, Tiny-ImageNet-100 (32×32)": ("vgg8", "tinyimagenet100-32"),
    "ResNet-10, CIFAR-10 (JPEG)": ("resnet10", "cifar10-jpeg"),
}

ARMS = {"Kaiming normal": Initialization("kaiming_normal", "he"), "correlated": Initialization("correlated")}

OBSERVATION = Observation(test_images=1_000, unused_images=10_000)

NEEDS = ("averaged_test_scaled_loss", "averaged_unused_accuracy", CORRECT)


def configuration(model: str, data: str, arm: Initialization, seed: int) -> RunConfig:
    """A quarter of the paper's channels, ten updates an epoch, otherwise the paper's setting."""
    return RunConfig(
        data=f"parquet:{data}",
        train_subset=2_560,
        model=model,
        width=0.25,
        initialization=arm,
        epochs=20,
        precision="bfloat16",
        seed=seed,
    )


def configurations(seeds: int) -> Iterator[RunConfig]:
    for seed in range(seeds):
        for model, data in SETTINGS.values():
            for arm in ARMS.values():
                yield configuration(model, data, arm, seed)


TODAY = "test_accuracy"

ACCURACIES = (
    TODAY,
    "unlooked_accuracy",
    "mean_test_accuracy",
    "averaged_test_accuracy",
    "averaged_unlooked_accuracy",
)
LOSSES = ("test_loss", "averaged_test_loss", "test_scaled_loss", "averaged_test_scaled_loss")

POINT = 0.01
POWER = 0.8
ARMS_OF_A_STUDY = 11
BOOTSTRAP = 2_000
ENOUGH = 5
"""Seeds from which a bootstrap says anything."""

Values = NDArray[np.float64]


def values(records: Sequence[RunRecord], name: str) -> tuple[dict[str, Values], Unit]:
    """An endpoint of each arm, shape (seeds,), over the seeds that both have; and its unit."""
    declared = endpoint(name)
    by_arm: dict[str, dict[int, float]] = {arm: {} for arm in ARMS}
    for record in records:
        for arm, initialization in ARMS.items():
            value = declared.read(record)
            if record.config.initialization.canonical == initialization.canonical and value is not None:
                by_arm[arm][record.config.seed] = value
    seeds = sorted(set.intersection(*(set(each) for each in by_arm.values())))
    return {arm: np.array([each[seed] for seed in seeds]) for arm, each in by_arm.items()}, declared.unit


def pooled_variance(by_arm: Mapping[str, Values]) -> np.float64:
    return np.float64(np.mean([each.var(ddof=1) for each in by_arm.values()]))


def efficiency(by_arm: Mapping[str, Values]) -> np.float64:
    """(difference / deviation of a run)²: what the number of seeds that decide is inverse to."""
    baseline, arm = by_arm.values()
    return (arm.mean() - baseline.mean()) ** 2 / pooled_variance(by_arm)


def beside_today(
    today: Mapping[str, Values], other: Mapping[str, Values]
) -> list[tuple[float, float, float]]:
    """By how many times variance falls and efficiency rises, each with its bootstrap 95 % interval."""
    rng = np.random.default_rng(0)
    found = []
    for measure in (lambda each: 1 / pooled_variance(each), efficiency):
        ratios = []
        for _ in range(BOOTSTRAP):
            draws = {arm: rng.integers(len(each), size=len(each)) for arm, each in today.items()}
            one, two = ({arm: each[arm][draw] for arm, draw in draws.items()} for each in (today, other))
            with np.errstate(all="ignore"):  # of draws that are all equal
                ratios.append(measure(two) / measure(one))
        low, high = np.nanquantile(ratios, [0.025, 0.975])
        found.append((measure(other) / measure(today), float(low), float(high)))
    return found


def described(name: str, records: Sequence[RunRecord]) -> tuple[str, ...]:
    today, _ = values(records, TODAY)
    by_arm, unit = values(records, name)
    comparable = unit == POINTS
    factor, decimals = unit.factor, 2 if comparable else 4
    baseline, arm = by_arm.values()
    difference = paired_difference(arm, baseline)
    ratios = [
        f"{ratio:.1f}" + (f" [{low:.1f}, {high:.1f}]" if len(arm) >= ENOUGH else "")
        for ratio, low, high in beside_today(today, by_arm)
    ]
    told = [
        f"{factor * each.mean():.{decimals}f} ± {factor * each.std(ddof=1):.{decimals}f}"
        for each in (baseline, arm)
    ]
    gain = f"{factor * difference.mean:+.{decimals}f}".replace("-", "−")
    return (
        endpoint(name).definition,
        *told,
        f"{gain} ({interval(difference)})" if comparable else gain,
        ("1" if name == TODAY else ratios[0]) if comparable else "–",
        "1" if name == TODAY else ratios[1],
        f"{pairing_ratio(list(by_arm.values())):.2f}",
    )


def runs_needed(sd: float, *, moderated: bool) -> int:
    """Runs in all until each of 11 arms that differs by a point is found with a probability of 80 %.

    As all arms are tested at once, each at α/11: Holm's first step, which alone is sure to be taken.
    """
    arms = ARMS_OF_A_STUDY
    for n in range(LEAST_SEEDS if moderated else 2, 10_000):
        shared = baseline_seeds(n, arms) if moderated else n
        error, df = sd * (1 / n + 1 / shared) ** 0.5, n - 1.0
        if moderated:
            counts = np.array([shared, *[n] * arms])
            v, own = 1 / counts[:2], expected_df(counts)[:2]
            df = float(min(v.sum() ** 2 / (v**2 / own).sum(), (counts - 1).sum()))
        bound = float(stdtrit(df, 1 - 0.025 / arms))
        if nct.sf(bound, df, POINT / error) >= POWER:
            return arms * n + shared
    raise AssertionError("a point is never found")


def sections(by_setting: Mapping[str, Sequence[RunRecord]]) -> Iterator[Section]:
    rows = []
    for name in ACCURACIES:
        cells = [endpoint(name).definition]
        for records in by_setting.values():
            sd = pooled_variance(values(records, name)[0]) ** 0.5
            cells += [f"{runs_needed(sd, moderated=False):,}", f"{runs_needed(sd, moderated=True):,}"]
        rows.append(tuple(cells))
    fewest = min(len(values(records, TODAY)[0]["correlated"]) for records in by_setting.values())
    df = 2 * (fewest - 1)
    low, high = df / chi2.ppf(0.975, df), df / chi2.ppf(0.025, df)
    header = ("endpoint", *(f"{name}: {how}" for name in by_setting for how in ("paired t", "moderated")))
    yield Section(
        "Runs to decide ± 1 point",
        (
            f"For a study of {ARMS_OF_A_STUDY} arms and a baseline: networks to train in all until an arm "
            f"that differs by one point is found with a probability of {100 * POWER:.0f} %, Holm's method "
            "included. “paired t”: as many seeds for the baseline as for each arm, differences paired by "
            "seed. “moderated”: variances borrow from each other, and the baseline has √11 times the seeds. "
            "The first row and the first column of each setting are what was done before.",
            "What the inference saves follows from the design. How the endpoints compare is as uncertain as "
            f"deviations of {fewest} seeds an arm and more, of which each is the pooled one of two arms: "
            f"95 % intervals of a number of runs reach from {low:.1f} to {high:.1f} times what is said here.",
        ),
        (Table("", header, tuple(rows)),),
    )
    for setting, records in by_setting.items():
        seeds = len(values(records, TODAY)[0]["correlated"])
        noise = []
        for arm, initialization in ARMS.items():
            own = [r for r in records if r.config.initialization.canonical == initialization.canonical]
            for weights in ("last", "averaged"):
                correct = [right[weights] for r in own if (right := r.correct())]
                found = split_noise(correct)
                noise.append(
                    (
                        arm,
                        weights,
                        f"{100 * found.total**0.5:.2f}",
                        f"{100 * found.images_sd:.2f}",
                        f"{100 * found.network_sd:.2f}",
                    )
                )
        header = (
            "endpoint",
            *ARMS,
            "difference",
            "variance, times less",
            "efficiency, times",
            "pairing ratio",
        )
        yield Section(
            setting,
            (
                f"{seeds} seeds an arm, 2,560 training images, learning rate 0.1. Accuracies in percent, "
                "losses in nats, each "
                "mean ± deviation of a run, differences with the 95 % interval of the paired t test. "
                "Variance: by how many times it is smaller than that of the first row. Efficiency: the same "
                "for (difference / deviation)², so by how many times fewer seeds decide this contrast; in "
                f"brackets, from {ENOUGH} seeds on, bootstrap 95 % intervals. Pairing ratio: variance "
                "of differences within seeds beside that of unpaired ones.",
            ),
            (
                Table(
                    "Endpoints", header, tuple(described(name, records) for name in (*ACCURACIES, *LOSSES))
                ),
                Table(
                    "Where the noise is",
                    ("arm", "weights", "deviation between runs", "test images", "network"),
                    tuple(noise),
                    "In points: how accuracies on the test images vary between runs, and what of it comes of "
                    "having just these images and of the network itself (Jordan 2024, Theorem 2).",
                ),
            ),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--output", type=Path, default=Path("docs/endpoints.md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.minutes > 0:
        end = time.monotonic() + 60 * options.minutes
        found = sweep(
            list(configurations(options.seeds)),
            RUNS,
            start_another=lambda: time.monotonic() < end,
            observation=OBSERVATION,
            needs=NEEDS,
        )
        sys.stderr.write(f"{len(found.records)} runs are finished; failures: {found.failures}\n")
    records = [record for record in read_runs(RUNS)[0] if record.finished]
    by_setting = {
        setting: [r for r in records if (r.config.model, r.config.data) == (model, f"parquet:{data}")]
        for setting, (model, data) in SETTINGS.items()
    }
    command = "python experiments/endpoints.py --minutes 0"
    write_markdown(
        options.output,
        "Which endpoint decides with the fewest runs",
        list(sections(by_setting)),
        provenance=provenance(records, command),
    )


if __name__ == "__main__":
    main()
