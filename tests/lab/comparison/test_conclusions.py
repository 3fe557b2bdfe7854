"""What a user reads first: the recommendation, the verdicts and the tables."""

import re
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from tests.lab.handmade import handmade

from corrinit.lab.comparison.conclusions import conclusions
from corrinit.lab.comparison.groups import compare
from corrinit.lab.comparison.names import compared
from corrinit.lab.comparison.tuning import SEEDS
from corrinit.lab.comparison.two_by_two import INTERACTION, two_by_twos
from corrinit.lab.document.blocks import Card, Table
from corrinit.lab.document.numbers import interval
from corrinit.lab.experiment.arm import BASELINE, Initialization, label
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.runs.design import Design
from corrinit.lab.runs.table import Runs
from corrinit.lab.statistics.contrast import Inference
from corrinit.lab.statistics.paired import paired_difference

CORRELATED = Initialization("correlated", "paper")
SMALL = Initialization("kaiming_normal", "correlated")
AT_HE = Initialization("correlated", "he")
ORTHOGONAL = Initialization("orthogonal")
BASE = RunConfig(epochs=4)


def runs(gains, *, seeds=range(5), diverged=()):
    """Runs whose accuracy is 60 % plus the gain of the arm, effects of seeds, and noise of 0.1 points."""
    noise = np.random.default_rng(0).normal(scale=0.001, size=(len(gains), len(seeds)))
    return [
        handmade(
            replace(BASE, initialization=arm, seed=seed),
            0.6 + gain + 0.02 * np.sin(seed) + noise[row, seed],
            loss=float("nan") if (arm, seed) in diverged else 1.0,
        )
        for row, (arm, gain) in enumerate(gains.items())
        for seed in seeds
    ]


@pytest.fixture(autouse=True)
def undrawn():
    with mock.patch("corrinit.lab.document.figures.figure_svg", return_value="<svg></svg>"):
        yield


def said_of(section):
    """What a section says in words, that of its card first."""
    cards = [item for item in section.items if isinstance(item, Card)]
    told = []
    for card in cards:
        facts = (f"{name}: {value}" for name, value in card.facts)
        told += [card.answer, *facts, card.code, card.next_step, card.command]
    return " ".join([*told, *section.paragraphs])


def text(records, **options):
    return " ".join(map(said_of, conclusions(compared(Runs(records)), **options)))


def answer(records, **options):
    """The card of the only setting."""
    return conclusions(compared(Runs(records)), **options)[0].items[0]


def tables(records, *designs):
    sections = conclusions(compared(Runs(records, *designs)))
    return [item for section in sections for item in section.items if isinstance(item, Table)]


def test_the_best_of_the_arms_that_win_is_recommended_with_its_line():
    card = answer(runs({BASELINE: 0, CORRELATED: 0.02, ORTHOGONAL: 0.04}))
    assert re.fullmatch(r"orthogonal: [34]\.\d+ points of accuracy above kaiming_normal\.", card.answer)
    assert card.code == 'corrinit.initialize(model, method="orthogonal", seed=0)'
    assert card.next_step == ""
    assert dict(card.facts)["how sure"].startswith("decided after 5 seeds (p = ")


def test_without_a_winner_the_baseline_is_kept():
    card = answer(runs({BASELINE: 0, ORTHOGONAL: -0.03}))
    assert card.answer == "kaiming_normal: no other is better, and some are worse."
    assert card.code == 'corrinit.initialize(model, method="kaiming_normal", seed=0)'


def test_a_lead_that_may_be_chance_is_no_answer_and_says_what_would_settle_it():
    noise = {BASELINE: (0, 0, 0), ORTHOGONAL: (0.02, 0.0, 0.02)}
    records = [
        handmade(replace(BASE, initialization=arm, seed=seed), 0.6 + value)
        for arm, own in noise.items()
        for seed, value in enumerate(own)
    ]
    card = answer(records, command="corrinit compare vgg8 --max-seeds 4 --lr 0.1")
    assert card.answer == "Keep kaiming_normal for now: that orthogonal leads by 1.3 points may be chance."
    more, total = re.search(r"(\d+) more seeds would settle it", card.next_step)[1], card.command.split()[-1]
    assert int(more) + 3 == int(total)
    assert card.command == f"corrinit compare vgg8 --lr 0.1 --max-seeds {total}"


def test_the_share_of_the_scale_is_told():
    said = text(runs({BASELINE: 0, SMALL: 0.01, AT_HE: 0.01, CORRELATED: 0.03}))
    assert "of these 3.0 points are scale" in said.replace("3.00", "3.0").replace("2.9", "3.0")
    assert "kaiming_normal, small scale: " not in said


def test_an_arm_that_diverged_is_no_candidate():
    gains = {BASELINE: 0, ORTHOGONAL: 0.05}
    said = text(runs(gains, diverged=[(ORTHOGONAL, 1)]))
    assert "orthogonal diverged in 1 of 5 runs (seed 1)" in said
    assert said.startswith("Not to be told yet: nothing is finished beside kaiming_normal.")


def test_the_target_can_be_chosen():
    records = runs({BASELINE: 0, ORTHOGONAL: 0.01})
    listed = [item for section in conclusions(compared(Runs(records)), target=0.5) for item in section.items]
    assert any(getattr(item, "title", "") == "Time to 50 % test accuracy" for item in listed)


def test_seeds_that_were_not_fixed_have_wider_intervals():
    records = runs({BASELINE: 0, ORTHOGONAL: 0.01})
    planned = {BASE.setting: Design(frozenset({3, 5}))}
    fixed, anytime = (tables(records, designs)[0] for designs in ({}, planned))
    low, high = (float(t.rows[1][4].partition(" to ")[0]) for t in (anytime, fixed))
    assert low < high
    assert "anytime-valid" in anytime.caption
    (_, section) = conclusions(compared(Runs(records, planned)))
    assert section.paragraphs[0].startswith("Planned with 3, then 5 seeds: intervals and p-values")


def test_an_arm_that_lacks_planned_seeds_is_looked_at_before_its_end():
    records = runs({BASELINE: 0}) + runs({ORTHOGONAL: 0.01}, seeds=range(3))
    planned = {BASE.setting: Design(frozenset({5}))}
    (_, section) = conclusions(compared(Runs(records, planned)))
    assert section.paragraphs[0].startswith("Planned with 5 seeds: intervals and p-values")


def test_the_two_by_two_obeys_seeds_that_were_not_fixed():
    records = runs({BASELINE: 0, SMALL: 0.01, AT_HE: 0.01, CORRELATED: 0.03})
    planned = {BASE.setting: Design(frozenset({2}), sequential=True)}
    ((design,),) = (two_by_twos(comparison) for comparison in compare(Runs(records, planned)))
    effects = [*design.main.values(), *design.simple.values()]
    assert {effect.inference for effect in effects} == {Inference.ANYTIME}


def test_an_interaction_can_be_twice_as_large_as_a_difference():
    wide = paired_difference([1.9, -0.7], [0.0, 0.0])
    assert interval(wide, 2.0) == "−200.00 to +200.00"
    assert interval(wide) == "−100.00 to +100.00"


def test_a_difference_is_judged_alike_wherever_it_is_told():
    """Correlated at its small scale loses 4 points: an interval without 0, and p > 0.05 among the arms."""
    noise = {BASELINE: (0, 0, 0), CORRELATED: (-0.04, -0.03, -0.05), SMALL: (0.05, -0.05, 0.01)}
    others = {AT_HE: (0.03, 0.01, -0.06), ORTHOGONAL: (0.02, -0.02, 0.01)}
    records = [
        handmade(replace(BASE, initialization=arm, seed=seed), 0.6 + 0.01 * seed + value)
        for arm, own in (noise | others).items()
        for seed, value in enumerate(own)
    ]
    said = text(records)
    over = r"p = 0\.15, Holm-corrected over 4 arms"
    assert re.search(rf"final accuracy −4\.0 points \(.*?−7\.7 to −0\.3\), undecided: {over}", said)
    assert re.search(rf"Both together, .*? by −4\.00 percentage points .*?, which is undecided: {over}", said)
    assert "deterioration" not in said


@pytest.mark.parametrize(
    ("interaction", "told"), [((0.025, 0.026, 0.027), False), ((0.061, 0.059, 0.060), True)]
)
def test_an_interaction_is_a_fact_only_once_it_is_corrected(interaction, told):
    """Both intervals exclude 0; corrected for the three effects of the 2×2, p is above and below 0.05."""
    small, at_he = np.array([0.0, 0.004, -0.004]), np.array([0.001, -0.001, 0.0])
    gains = {BASELINE: 0 * small, SMALL: small, AT_HE: at_he, CORRELATED: small + at_he + interaction}
    records = [
        handmade(replace(BASE, initialization=arm, seed=seed), 0.6 + 0.01 * seed + gain)
        for arm, own in gains.items()
        for seed, gain in enumerate(own)
    ]
    ((design,),) = (two_by_twos(comparison) for comparison in compare(Runs(records)))
    assert design.main[INTERACTION].low > 0
    assert ("Correlation does more at the small scale" in text(records)) == told


def test_an_unstable_learning_rate_is_named_with_the_remedy():
    noise = {BASELINE: (0.3, -0.4, 0.1), ORTHOGONAL: (0.3, 0.31, 0.29)}
    records = [
        handmade(replace(BASE, initialization=arm, seed=seed), 0.6 + value)
        for arm, own in noise.items()
        for seed, value in enumerate(own)
    ]
    said = text(records)
    assert "training ends for kaiming_normal anywhere from 20.0 to 90.0 %" in said
    assert "choose the rate of each arm with --lr auto" in said
    assert "unstable" not in text(runs({BASELINE: 0, ORTHOGONAL: 0.01}))


def test_nothing_is_recommended_against_the_survivors_of_the_baseline():
    said = text(runs({BASELINE: 0, ORTHOGONAL: 0.05}, diverged=[(BASELINE, 2)]))
    assert said.startswith("Not to be told: kaiming_normal diverged in 1 of 5 runs (seed 2).")
    assert "corrinit.initialize" not in said
    assert "no fair sample, as the baseline diverged" in said


def test_a_two_by_two_with_an_arm_that_diverged_tells_nothing_apart():
    said = text(runs({BASELINE: 0, SMALL: 0.01, AT_HE: 0.01, CORRELATED: 0.03}, diverged=[(SMALL, 0)]))
    assert "or one of them diverged, so what correlation does cannot be separated" in said
    assert "Both together" not in said


def test_runs_that_came_out_the_same_are_no_finding():
    own = runs({BASELINE: 0, ORTHOGONAL: 0.02})
    copies = [
        replace(record, path=Path(f"copy {record.path}"), config=replace(record.config, initialization=AT_HE))
        for record in own
        if record.config.initialization == BASELINE
    ]
    said = text([*own, *copies])
    assert "every run of correlated, He scale came out as that of kaiming_normal did in every epoch" in said
    assert [row[0] for row in tables([*own, *copies])[0].rows] == ["kaiming_normal", "orthogonal"]


def test_without_the_baseline_nothing_is_compared():
    assert f"No run of {label(BASELINE)} is finished" in text(runs({ORTHOGONAL: 0}))


def test_if_all_runs_diverge_it_says_so():
    everything = [(arm, seed) for arm in (BASELINE, ORTHOGONAL) for seed in range(5)]
    assert text(runs({BASELINE: 0, ORTHOGONAL: 0}, diverged=everything)) == "All 10 runs diverged."


def test_learning_rates_that_were_chosen_are_shown():
    tried = [
        handmade(replace(BASE, initialization=BASELINE, lr=lr, seed=SEEDS[0], tested_on="held_out"), accuracy)
        for lr, accuracy in ((0.01, 0.5), (0.1, 0.6))
    ]
    sections = conclusions(compared(Runs([*runs({BASELINE: 0, ORTHOGONAL: 0}), *tried])))
    assert sections[-1].title == "Learning rates"
    assert sections[-1].items[0].rows == (("kaiming_normal", "50.00", "60.00", "0.1"),)


def said_by_the_card(records):
    (section, *_) = conclusions(compared(Runs(tuple(records), {})))
    return said_of(section)


def test_the_card_names_arms_that_are_decidedly_worse_beside_a_leader_that_may_be_chance():
    said = said_by_the_card(runs({BASELINE: 0.0, ORTHOGONAL: 0.0002, SMALL: -0.3}))
    assert "may be chance; others are decidedly worse." in said
    assert re.search(r"decidedly worse: kaiming_normal, small scale −(29|30)\.\d+ points", said)


def test_the_card_does_not_say_that_an_undecided_choice_does_not_matter(monkeypatch):
    monkeypatch.setattr("corrinit.lab.comparison.card.seeds_to_settle", lambda *_, **__: None)
    said = said_by_the_card(runs({BASELINE: 0.0, ORTHOGONAL: 0.0002}))
    assert "more than 200 seeds would be needed to show it." in said
    assert "does not matter" not in said


def test_the_card_shows_the_2x2_though_another_arm_leads():
    arms = {BASELINE: 0.0, SMALL: -0.02, AT_HE: 0.01, CORRELATED: -0.01, ORTHOGONAL: 0.05}
    said = said_by_the_card(runs(arms))
    assert re.search(r"2×2: correlation \+(0.9|1.0)\d* points, between .*; scale −(1.9|2.0)\d* points", said)


def test_the_card_says_why_the_2x2_is_incomplete():
    arms = {BASELINE: 0.0, SMALL: -0.02, AT_HE: 0.01, CORRELATED: -0.01, ORTHOGONAL: 0.05}
    said = said_by_the_card(runs(arms, diverged={(AT_HE, 1), (AT_HE, 3)}))
    assert "2×2: incomplete: correlated, He scale diverged in 2 of 5 runs (seeds 1, 3)" in said
