"""Reports, from records written by hand to the sentences and numbers a reader sees."""

import html
import math
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from corrinit._correlation import SpatialCorrelation
from corrinit._correlation_io import save_correlation
from corrinit.errors import CorrInitError
from corrinit.lab.comparison import groups as comparison
from corrinit.lab.comparison.names import compared
from corrinit.lab.comparison.report import write_report
from corrinit.lab.comparison.two_by_two import TOGETHER, two_by_twos
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.experiment.identity import protocol_of
from corrinit.lab.runs.record import read_run, write_json, write_metrics
from corrinit.lab.runs.table import Runs
from corrinit.lab.statistics.moderated import Conditions
from corrinit.lab.statistics.moderated_tests import against_baseline, contrasts, t_test
from corrinit.presets import load_preset

INDEPENDENT_HE = Initialization("kaiming_normal", "he")
INDEPENDENT_SMALL = Initialization("kaiming_normal", "correlated")
CORRELATED_HE = Initialization("correlated", "he")
CORRELATED_SMALL = Initialization("correlated", "paper")
SEEDS = (0, 1, 2, 3, 4)

# Correlation is worth 3 points, the small scale nothing; noise of 0.3 points within a seed, 3 between seeds.
NOISE = np.random.default_rng(0).normal(scale=0.003, size=(5, 5))
ACCURACY = {
    arm: 0.80 + gain + 0.03 * np.sin(np.arange(5)) + noise
    for (arm, gain), noise in zip(
        {INDEPENDENT_HE: 0, INDEPENDENT_SMALL: 0, CORRELATED_HE: 0.03, CORRELATED_SMALL: 0.03}.items(),
        NOISE[:4],
        strict=True,
    )
}


def record(root, initialization, seed, accuracy, *, epochs=3, done=3, loss=0.5, test_loss=0.6, **settings):
    """A run written as the lab writes it; `done` < `epochs` leaves it unfinished."""
    config = RunConfig(initialization=initialization, seed=seed, epochs=epochs, **settings)
    path = root / config.run_id
    path.mkdir(parents=True)
    write_json(path / "config.json", {"protocol": protocol_of(config), **asdict(config)})
    rows = [
        {
            "epoch": epoch,
            "train_loss": loss / epoch + 1e-9 * int(config.run_id[:6], 16),  # no two runs compute the same
            "train_accuracy": 0.9,
            "test_loss": test_loss,
            "test_accuracy": accuracy * epoch / epochs,
            "sign_changes": 0.4,
            "gradient_mean_abs": 1e-3 / epoch,
            "gradient_l2": 0.1,
            "weight_correlation": 0.2,
            "seconds": 1.5,
        }
        for epoch in range(1, done + 1)
    ]
    write_metrics(path, rows)
    if done == epochs:
        write_json(
            path / "result.json",
            {
                "test_accuracy": accuracy,
                "seconds": 4.5,
                "images_per_second": 1234.5,
                "parameters": 1000,
                "commit": "0123456789ab-dirty",
                "version": "0.1.0",
                "hardware": "A processor",
                "device": "cpu",
                "torch": "2.13.0",
                "threads": 1,
                "data": "digits: embedded in scikit-learn; 1,438 training images",
                "finished": f"2030-01-0{1 + seed % 9}T00:00:00+00:00",
            },
        )
    return read_run(path)


def two_by_two(root, seeds=SEEDS, **settings):
    return [
        record(root, arm, seed, float(accuracies[seed]), **settings)
        for arm, accuracies in ACCURACY.items()
        for seed in seeds
    ]


def report(records, folder, command="corrinit demo"):
    """The HTML of a report, and its text without tags."""
    found = compared(Runs(records))
    page = write_report(found, folder / "report.html", command=command).read_text(encoding="utf-8")
    bare = re.sub(r"<(style|script|svg).*?</\1>", " ", page, flags=re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]*>", " ", bare))
    return page, re.sub(r"\s+", " ", text)


def words(records, folder):
    """The text of a report; its figures are laid out but not drawn, to save time."""
    with mock.patch("corrinit.lab.document.figures.figure_svg", return_value="<svg></svg>"):
        return report(records, folder)[1]


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The records of a whole 2×2, and the HTML and the text of their report."""
    root = tmp_path_factory.mktemp("full")
    records = two_by_two(root / "runs")
    return records, *report(records, root, command="corrinit demo --seeds 5")


def test_summary_tells_correlation_from_scale(full):
    _, _, text = full
    assert re.search(
        r"\(5 seeds\): at equal scale, averaged over both, correlated taps change accuracy "
        r"by \+[23]\.\d\d percentage points \(95 % interval \+[12]\.\d\d to \+[34]\.\d\d\), an improvement\.",
        text,
    )
    assert re.search(
        r"small scale changes it by [+−]0\.\d\d .*?, which is undecided: the interval contains 0\.", text
    )


def test_a_loss_is_called_a_deterioration(tmp_path):
    swap = {INDEPENDENT_HE: CORRELATED_HE, INDEPENDENT_SMALL: CORRELATED_SMALL}
    swap |= {value: key for key, value in swap.items()}
    records = [
        record(tmp_path / "runs", swap[arm], seed, float(accuracies[seed]))
        for arm, accuracies in ACCURACY.items()
        for seed in SEEDS
    ]
    text = words(records, tmp_path)
    assert re.search(r"correlated taps change accuracy by −[23]\.\d\d .*?, a deterioration\.", text)


def moderated():
    """Intervals and p-values of the arms against the first, by hand: the effects of seeds taken out."""
    values = np.array(list(ACCURACY.values()))
    residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    conditions = Conditions(np.full(4, 5), values.mean(1), (residuals**2).sum(1) / 4 * 4 / 3)
    return t_test(contrasts(conditions, against_baseline(4)))


def test_arm_table_has_means_intervals_and_corrected_p(full):
    _, _, text = full
    he, small = 100 * ACCURACY[INDEPENDENT_HE], 100 * ACCURACY[CORRELATED_SMALL]
    lows, highs, p_values = moderated()
    assert f"kaiming_normal {he.mean():.2f} ± {he.std(ddof=1):.2f} 5 – – – –" in text
    low, high = 100 * lows[2], 100 * highs[2]
    assert p_values[2] < 1e-4
    row = f"correlated {small.mean():.2f} ± {small.std(ddof=1):.2f} 5 +{(small - he).mean():.2f} "
    assert f"{row}+{low:.2f} to +{high:.2f} 5 < 0.001" in text


def test_holm_correction_is_applied(full):
    _, _, text = full
    p = moderated()[2]
    row = re.search(r"kaiming_normal, small scale [\d.]+ ± [\d.]+ 5 \S+ \S+ to \S+ 5 (\S+)", text)
    assert row is not None
    assert p.max() == p[0]
    assert float(row[1]) == pytest.approx(p[0], abs=6e-4)


def test_figures_and_provenance_are_all_there(full):
    _, page, text = full
    for title in (
        "Test accuracy",
        "Training loss",
        "Gradient sign changes",
        "Gradient magnitude",
        "Correlation of the weights",
        "Final test accuracy by seed",
        "R: default",
        "Correlation by distance: default",
    ):
        assert f'aria-label="{title}"' in page
    for fact in (
        "corrinit demo --seeds 5",
        "0123456789ab-dirty",
        "A processor",
        "2.13.0",
        "embedded in scikit-learn",
    ):
        assert fact in text
    assert "date 2030-01-05" in text
    assert "20 runs, 90 seconds in all" in text
    assert "0.570 times He's" in text


def test_every_run_is_listed_with_its_id(full):
    records, _, text = full
    assert all(record.run_id in text for record in records)
    assert "1,234" in text


def test_the_same_records_give_the_same_bytes_in_any_order(full, tmp_path):
    records, page, _ = full
    assert page == report(records[::-1], tmp_path, command="corrinit demo --seeds 5")[0]


def test_arms_have_one_colour_per_kind_of_taps(full):
    _, page, _ = full
    accuracy = re.search(r'aria-label="Test accuracy".*?</svg>', page, flags=re.DOTALL)
    assert accuracy is not None
    for stroke in ("fill: none", r"stroke-dasharray: [^;]*; stroke-dashoffset: 0"):
        lines = re.findall(rf"{stroke}; stroke: (#\w{{6}}); stroke-width: 1\.6", accuracy[0])
        assert set(lines) == {"#0072b2", "#d55e00"}


def test_one_seed_has_no_interval_and_decides_nothing(tmp_path):
    text = words(two_by_two(tmp_path / "runs", seeds=(2,)), tmp_path)
    assert "(1 seed)" in text
    assert "percentage points (n = 1)" in text
    assert "One seed has no interval and decides nothing." in text
    assert "improvement" not in text
    assert "nan" not in text.lower()


def test_missing_seeds_are_named_and_only_common_ones_are_paired(tmp_path):
    records = two_by_two(tmp_path / "runs")
    records = [
        r for r in records if not (r.config.initialization == CORRELATED_SMALL and r.config.seed in (1, 3))
    ]
    text = words(records, tmp_path)
    assert "correlated lacks 2 seeds that other arms have (1, 3)" in text
    assert "(3 seeds)" in text
    assert "over 3 seeds (0, 2, 4)" in text
    (compared,) = comparison.compare(Runs(records))
    (design,) = two_by_twos(compared)
    kept = [0, 2, 4]
    expected = (ACCURACY[CORRELATED_SMALL] - ACCURACY[INDEPENDENT_HE])[kept].mean()
    assert design.simple[TOGETHER].mean == pytest.approx(expected)


def test_unfinished_and_diverged_runs_are_listed_not_averaged(tmp_path):
    records = two_by_two(tmp_path / "runs", seeds=(0, 1))
    records.append(record(tmp_path / "runs", CORRELATED_HE, 2, 0.5, done=2))
    records.append(record(tmp_path / "runs", INDEPENDENT_HE, 2, 0.1, loss=math.nan))
    records.append(record(tmp_path / "runs", INDEPENDENT_SMALL, 2, 0.1, test_loss=math.inf))
    text = words(records, tmp_path)
    assert "3 runs took no part" in text
    unfinished, diverged, also_diverged = (r.run_id for r in records[-3:])
    assert f"correlated, He scale 2 unfinished: 2 of 3 epochs are recorded {unfinished}" in text
    assert f"kaiming_normal 2 diverged in epoch 1 {diverged}" in text
    assert f"kaiming_normal, small scale 2 diverged in epoch 1 {also_diverged}" in text
    (compared,) = comparison.compare(Runs(records))
    assert all(len(arm.runs) == 2 for arm in compared.arms)


def test_runs_that_are_all_unfinished_still_make_a_report(tmp_path):
    text = words([record(tmp_path / "runs", CORRELATED_HE, 0, 0.5, done=1)], tmp_path)
    assert "No run of this setting is finished." in text
    assert "unfinished: 1 of 3 epochs" in text


def test_settings_are_compared_apart(tmp_path):
    records = two_by_two(tmp_path / "runs", lr=0.1) + two_by_two(tmp_path / "runs", lr=0.005)
    text = words(records, tmp_path)
    assert "2 settings" in text
    assert text.index("digits, small, lr 0.005 (5 seeds)") < text.index("digits, small, lr 0.1 (5 seeds")


def test_an_incomplete_design_says_that_it_cannot_tell(tmp_path):
    records = [r for r in two_by_two(tmp_path / "runs") if r.config.initialization != INDEPENDENT_SMALL]
    text = words(records, tmp_path)
    assert "cannot be separated from what the scale does" in text
    assert "Correlation and scale, separated" not in text


def test_each_strength_and_correlation_has_its_own_design(tmp_path):
    source = tmp_path / "mine.safetensors"
    save_correlation(source, SpatialCorrelation(np.eye(9) / 2 + 0.5))
    records = two_by_two(tmp_path / "runs")
    preset = load_preset("vgg8-cifar10")
    for variant in ({"strength": 0.5}, {"correlation": str(source)}, {"correlation": "vgg8-cifar10"}):
        for arm in (INDEPENDENT_SMALL, CORRELATED_HE, CORRELATED_SMALL):
            for seed in SEEDS:
                accuracy = float(ACCURACY[arm][seed])
                records.append(record(tmp_path / "runs", replace(arm, **variant), seed, accuracy))
    page, text = report(records, tmp_path)
    for suffix in ("", ", α = 0.5", ", R of mine", ", R of vgg8-cifar10"):
        assert f"digits, small{suffix} (5 seeds)" in text
    assert 'aria-label="R: mine"' in page
    for mean in (0.26, 0.13, 0.5, preset.mean):
        assert f"mean off-diagonal correlation of {mean:.2f} on a 3×3 kernel" in text


def test_a_correlation_file_that_is_gone_is_named(tmp_path):
    source = tmp_path / "mine.safetensors"
    save_correlation(source, SpatialCorrelation(np.eye(9) / 2 + 0.5))
    records = [record(tmp_path / "runs", Initialization("correlated", correlation=str(source)), 0, 0.8)]
    source.unlink()
    assert "The correlation mine cannot be shown" in words(records, tmp_path)


def test_other_methods_are_compared_with_the_baseline(tmp_path):
    records = two_by_two(tmp_path / "runs")
    records += [
        record(tmp_path / "runs", Initialization("orthogonal"), seed, 0.7 + seed / 100) for seed in SEEDS
    ]
    text = words(records, tmp_path)
    assert re.search(r"orthogonal 72\.00 ± 1\.58 5 −\d+\.\d\d", text)


def test_own_scale_and_the_scale_by_name_are_one_arm(tmp_path):
    assert Initialization("correlated").canonical == CORRELATED_SMALL
    assert Initialization("kaiming_normal", strength=0.5).canonical == INDEPENDENT_HE
    first = record(tmp_path / "a", Initialization("correlated"), 0, 0.8)
    second = record(tmp_path / "b", CORRELATED_SMALL, 0, 0.8)
    (compared,) = comparison.compare(Runs([first, second]))
    assert len(compared.arms) == 1
    assert [out.reason for out in compared.left_out] == [f"repeats run {first.run_id}"]


def test_no_runs_are_refused(tmp_path):
    with pytest.raises(CorrInitError, match="no runs to report; make some first"):
        write_report(compared(Runs([])), tmp_path / "report.html", command="c")


def test_a_report_is_written_without_torch(tmp_path):
    two_by_two(tmp_path / "runs", seeds=(0, 1))
    program = f"""
import sys
sys.modules["torch"] = None
from pathlib import Path
from corrinit.lab.comparison.names import compared
from corrinit.lab.comparison.report import write_report
from corrinit.lab.runs.table import Runs
from corrinit.lab.statistics.moderated import Conditions
from corrinit.lab.statistics.moderated_tests import against_baseline, contrasts, t_test
from corrinit.presets import load_preset
runs, _ = Runs.read([Path({str(tmp_path / "runs")!r})])
write_report(compared(runs), {str(tmp_path / "report.html")!r}, command="c")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 seeds" in Path(tmp_path / "report.html").read_text(encoding="utf-8")


def test_runs_of_a_comparison_that_was_stopped_while_rates_were_chosen_make_a_report(tmp_path):
    runs = [
        record(tmp_path / "runs", INDEPENDENT_HE, 10**6, accuracy, lr=lr, tested_on="held_out")
        for lr, accuracy in ((0.1, 0.5), (0.01, 0.6))
    ]
    page = write_report(compared(Runs(runs)), tmp_path / "r.html", command="corrinit report runs").read_text()
    assert "Correlated initialization: the choice of learning rates" in page
    assert "Learning rates" in page
