"""Verdicts: what is said, and that no more is said than is known."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrinit.lab.comparison.contrasts import ScaleShare, Standing
from corrinit.lab.comparison.time_to_accuracy import EpochsSaved
from corrinit.lab.comparison.verdict import divergence, verdict
from corrinit.lab.document.numbers import POINTS, Unit
from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.runs.endpoints import TEST_ACCURACY, Direction
from corrinit.lab.statistics.contrast import Contrast, Decision, Inference, Sample, contrast

LOSS = replace(TEST_ACCURACY, label="loss", unit=Unit(), direction=Direction.LOWER)


def known(mean, low, high, n=5, p=0.01):
    """A contrast that is as sure as its p-value says, whatever its family."""
    contrast = Contrast(n, mean, 0.01, low, high, p)
    return contrast.judged(p, "arms", 1)


def paired(ours, theirs, inference=Inference.FIXED):
    samples = (Sample(dict(enumerate(values))) for values in (ours, theirs))
    return contrast(list(zip((1.0, -1.0), samples, strict=True)), inference)


def saying(gain, *, p=None, name="correlated", values=5, diverged=(), endpoint=TEST_ACCURACY, **others):
    if gain is not None and p is not None:
        gain = gain.judged(p, "arms", 3)
    sample = Sample(dict.fromkeys(range(values), 0.5), tuple(diverged))
    return verdict(Standing(name, sample, gain, Initialization()), endpoint, **others)


NONE = contrast([(1.0, Sample()), (-1.0, Sample())], Inference.FIXED)


GAIN = known(0.009, 0.005, 0.013)


def test_epochs_gain_and_share_in_one_verdict():
    saved = EpochsSaved(0.8, known(6, 4, 8), (), (), 5)
    share = ScaleShare("kaiming_normal", False, known(0.005, 0.002, 0.008), known(0.004, 0.001, 0.007))
    gain = replace(GAIN, inference=Inference.ANYTIME)
    assert saying(gain, saved=saved, share=share) == (
        "correlated reaches 80 % 6 epochs earlier (95 % interval 4 to 8); final accuracy +0.9 points (0.5 to "
        "1.3). 0.5 of these 0.9 points are scale: kaiming_normal, at the same scale, gains +0.5 points (0.2 "
        "to 0.8); the structure adds +0.4 points (0.1 to 0.7). Decided after 5 seeds."
    )


def test_a_gain_alone():
    assert saying(GAIN) == "correlated: final accuracy +0.9 points (95 % interval 0.5 to 1.3)."


def test_no_difference_says_what_the_interval_excludes():
    assert saying(known(-0.001, -0.006, 0.004), p=0.6) == (
        "correlated: no difference in final accuracy was found: −0.1 points (95 % interval −0.6 to 0.4), and "
        "differences beyond ±0.6 points are excluded by the interval."
    )


def test_a_difference_too_small_to_matter():
    assert "no difference in final accuracy that matters: +0.1 points" in saying(
        known(0.001, -0.002, 0.004), p=0.6
    )


def test_what_correction_for_several_arms_takes_back_is_undecided():
    assert saying(GAIN, p=0.09).endswith(
        "+0.9 points (95 % interval 0.5 to 1.3), undecided: p = 0.09, Holm-corrected over 3 arms."
    )


def test_one_seed_decides_nothing():
    text = saying(paired([0.9], [0.1]), values=1)
    assert text == "correlated: final accuracy +80.0 points. One seed decides nothing."


def test_too_few_seeds_for_an_anytime_interval():
    text = saying(paired([0.9, 0.8], [0.1, 0.2], Inference.ANYTIME), p=0.3)
    assert "undecided: 2 pairs are too few for an interval. Still open after 2 seeds." in text


def test_an_interval_goes_no_further_than_accuracies_do():
    wide = paired([0.9, 0.1], [0.2, 0.3])
    assert wide.high > 1
    assert saying(wide, p=0.7) == (
        "correlated: no difference in final accuracy was found: +25.0 points (95 % interval −100.0 to "
        "100.0); 2 seeds are too few to tell."
    )


def test_an_interval_too_wide_to_be_of_use_is_not_sold_as_a_bound():
    assert saying(known(-0.075, -0.155, 0.005), p=0.2).endswith(
        "(95 % interval −15.5 to 0.5); 5 seeds are too few to tell."
    )
    loss = saying(known(-7.5, -15.5, 0.5), p=0.2, endpoint=LOSS)
    assert "differences beyond ±15.5 are excluded" in loss


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        (
            EpochsSaved(0.8, known(-1, -1.5, -0.5, p=0.3), (), (), 5),
            "80 % 1 epoch later (95 % interval 0.5 to 1.5), which is undec",
        ),
        (
            EpochsSaved(0.8, known(1, -1, 3, p=0.3), (), (), 5),
            "1 epoch earlier (95 % interval −1 to 3), which is undec",
        ),
        (EpochsSaved(0.8, known(0, -1, 1), (), (), 5), "reaches 80 % at the same epoch on average (95 %"),
        (EpochsSaved(0.8, known(2, 1, 3), (3,), (), 5), "where it does; not in 1 of 5 runs (seed 3);"),
        (
            EpochsSaved(0.8, known(2, 1, 3), (), (1, 3), 5),
            "; the baseline does not in 2 of 5 runs (seeds 1, 3);",
        ),
        (EpochsSaved(0.8, NONE, (0, 1), (), 2), "correlated never reaches 80 %;"),
        (EpochsSaved(0.8, NONE, (0,), (1,), 2), "reaches 80 % for no seed for which the baseline does;"),
        (EpochsSaved(0.8, paired([5], [2]), (), (), 1), "3 epochs earlier with one seed;"),
        (EpochsSaved(0.8, NONE, (), (), 0), "correlated: final"),
    ],
)
def test_how_soon_the_target_is_reached(saved, said):
    assert said in saying(GAIN, saved=saved)


def test_epochs_saved_are_a_fact_once_they_are_decided():
    decided, open_still = (EpochsSaved(0.8, known(-1, -1.5, -0.5, p=p), (), (), 5) for p in (0.01, 0.09))
    assert "80 % 1 epoch later (95 % interval 0.5 to 1.5);" in saying(GAIN, saved=decided)
    assert "0.5 to 1.5), which is undecided;" in saying(GAIN, saved=open_still)


def test_the_control_at_he_scale_speaks_of_structure():
    scale, structure = known(0.006, 0.002, 0.01), known(0.003, -0.001, 0.007, p=0.4)
    assert (
        "0.6 of these 0.9 points are scale: correlated:scale=he, at He's scale, gains +0.3 points (−0.1 to "
        "0.7, undecided); the scale adds +0.6 points (0.2 to 1.0)."
    ) in saying(GAIN, share=ScaleShare("correlated:scale=he", True, scale, structure))


@pytest.mark.parametrize(("scale", "structure"), [(0.012, -0.003), (-0.003, 0.012)])
def test_parts_of_opposite_sign_are_no_share(scale, structure):
    parts = known(scale, scale - 0.002, scale + 0.002), known(structure, structure - 0.002, structure + 0.002)
    text = saying(GAIN, share=ScaleShare("control", False, *parts))
    assert "of these" not in text
    assert "control, at the same scale, gains" in text


def test_an_undecided_gain_is_not_shared_out():
    parts = (known(0.0005, -0.001, 0.002, p=0.4),) * 2
    assert "of these" not in saying(known(0.001, -0.002, 0.004), p=0.4, share=ScaleShare("c", False, *parts))


def test_seeds_that_a_control_lacks_are_told():
    parts = known(0.005, 0.002, 0.008, n=3), known(0.004, 0.001, 0.007, n=3)
    assert "(over the 3 seeds that all three have)." in saying(GAIN, share=ScaleShare("c", False, *parts))


def test_a_missing_control_is_named():
    assert saying(GAIN, missing_control="kaiming_normal:scale=paper").endswith(
        "Scale and structure are not separated; add the arm kaiming_normal:scale=paper."
    )


def test_divergence_comes_first_and_survivors_are_no_sample():
    assert saying(replace(NONE, decision=Decision.DIVERGED), values=0, diverged=(0, 1, 2)) == (
        "correlated diverged in 3 of 3 runs (seeds 0, 1, 2)."
    )
    survivor = replace(paired([0.9], [0.5]), decision=Decision.DIVERGED)
    assert saying(survivor, values=1, diverged=(0, 2)) == (
        "correlated diverged in 2 of 3 runs (seeds 0, 2); final accuracy +40.0 points over the 1 pair that "
        "finished, which is no fair sample."
    )
    assert divergence("a", [1], 1) == "a diverged in 1 of 1 run (seed 1)"


def test_nothing_in_common_is_nothing_compared():
    assert saying(NONE).startswith("correlated: no seed is finished for both")


def test_other_metrics_have_their_own_unit():
    text = saying(known(-0.12, -0.2, -0.04), name="a", endpoint=LOSS)
    assert text == "a: final loss −0.12 (95 % interval −0.20 to −0.04), where lower is better."


@pytest.mark.parametrize("value", [0.0, -0.0, -0.0004, 0.0004])
def test_zero_has_no_sign(value):
    assert POINTS.signed(value, 1) == "0.0 points"


@given(st.floats(-1, 1), st.floats(1e-6, 0.5))
def test_digits_show_how_well_a_difference_is_known(mean, width):
    decimals = POINTS.decimals(known(mean, mean - width, mean + width))
    assert decimals >= 1
    assert round(100 * width, decimals) > 0
