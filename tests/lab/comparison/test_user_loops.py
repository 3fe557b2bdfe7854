"""`corrinit.compare`: fair runs, resuming, stopping, and what is told of them."""

import json
import math
import subprocess
import sys

import pytest
import torch
from torch import nn

import corrinit
from corrinit.errors import ConfigError
from corrinit.lab.experiment import identity
from corrinit.lab.experiment.identity import Change
from corrinit.lab.statistics.contrast import Decision
from corrinit.lab.statistics.paired import paired_difference

METHODS = ["kaiming_normal", "correlated"]


def build():
    return nn.Sequential(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 36, 3))


def is_correlated(model):
    """Neighbouring taps of the correlated method agree in sign far more often than not."""
    taps = model[0].weight.detach().flatten(2)
    return float((taps[..., :-1] * taps[..., 1:]).mean() / taps.pow(2).mean()) > 0.3


def kept(folder):
    """The finished records in a folder."""
    return list(folder.glob("*/result.json"))


def scoring(gain, noise=0.01, curve=False):
    """A loop that knows what the method is worth, and adds noise that depends on the weights."""

    def train(model, seed):
        correlated = is_correlated(model)
        generator = torch.Generator().manual_seed(int(1e6 * model[0].weight.detach().abs().sum()))
        final = 0.6 + gain * correlated + noise * float(torch.randn((), generator=generator))
        if not curve:
            return {"accuracy": final, "loss": 1 - final}
        start = 0.5 if correlated else 0.2
        return {"accuracy": [start, start + 0.1, 0.9 * final, final], "loss": [1.0, 0.9, 0.8, 0.7]}

    return train


def test_values_table_and_verdict_of_a_real_gain():
    result = corrinit.compare(scoring(0.1), METHODS, 5, model=build)
    assert (result.metric, result.baseline) == ("accuracy", "kaiming_normal")
    assert [list(result.values[name]) for name in METHODS] == [[0, 1, 2, 3, 4]] * 2
    baseline, correlated = result.table
    assert baseline.gain is None
    assert correlated.gain.low > 0
    assert correlated.gain.p_adjusted < 0.05
    text = str(result)
    assert text.splitlines()[0].split() == [
        "method", "accuracy", "(%)", "n", "difference", "95", "%", "interval", "p",
    ]  # fmt: skip
    assert "correlated: final accuracy +" in text
    assert "Scale and structure are not separated; add the arm kaiming_normal:scale=paper." in text


def test_numbers_are_those_of_the_paired_t_test():
    from corrinit.lab.statistics.paired import paired_difference

    result = corrinit.compare(scoring(0.02), METHODS, [3, 1, 4], model=build)
    ours, theirs = (list(result.values[name].values()) for name in ("correlated", "kaiming_normal"))
    expected, found = paired_difference(ours, theirs), result.table[1].gain
    assert (found.mean, found.low, found.p) == pytest.approx((expected.mean, expected.low, expected.p))


def test_all_methods_of_a_seed_come_before_the_next_seed_and_share_everything_but_the_initialization():
    seen = []

    def train(model, seed):
        others = [p.detach().clone() for p in model[3].parameters()]
        seen.append((seed, is_correlated(model), torch.initial_seed(), float(torch.rand(())), others))
        return float(seed)

    corrinit.compare(train, METHODS, 2, model=build)
    assert [(seed, correlated) for seed, correlated, *_ in seen] == [
        (0, False),
        (0, True),
        (1, False),
        (1, True),
    ]
    for one, other in (seen[:2], seen[2:]):
        assert one[2:4] == other[2:4]
        assert all(map(torch.equal, one[4], other[4]))
    assert seen[0][3] != seen[2][3]


def test_global_random_state_is_untouched():
    before = torch.get_rng_state()
    corrinit.compare(scoring(0.0), METHODS, 1, model=build)
    assert torch.equal(before, torch.get_rng_state())


def test_control_tells_scale_from_structure():
    methods = [*METHODS, "kaiming_normal:scale=paper"]

    def train(model, seed):
        small = float(model[0].weight.detach().std()) < 0.35
        generator = torch.Generator().manual_seed(seed)
        wobble = 0.001 * float(torch.randn((), generator=generator)) * (1 + small + 2 * is_correlated(model))
        return {"accuracy": 0.6 + 0.05 * small + 0.04 * is_correlated(model) + wobble}

    text = corrinit.compare(train, methods, 4, model=build).verdict
    assert "are scale: kaiming_normal:scale=paper, at the same scale, gains +5.0" in text


def test_curves_give_epochs_to_a_target():
    result = corrinit.compare(scoring(0.1, curve=True), METHODS, 4, model=build)
    assert "correlated reaches " in result.verdict
    assert "earlier" in result.verdict
    assert result.values["correlated"][0] > 0.6


def test_seeds_are_spent_on_what_is_open_alone():
    methods = ["kaiming_normal", "correlated", "orthogonal"]
    result = corrinit.compare(scoring(0.3), methods, 3, model=build, max_seeds=12)
    spent = {name: len(by_seed) for name, by_seed in result.values.items()}
    assert spent["correlated"] < spent["orthogonal"] <= spent["kaiming_normal"] <= 12
    assert list(result.values["correlated"]) == list(range(spent["correlated"]))
    assert result.table[1].gain.decision is Decision.DIFFERENT
    assert f"Decided after {spent['correlated']} seeds." in result.verdict
    assert "anytime p" in str(result)


def test_further_seeds_follow_the_largest():
    result = corrinit.compare(scoring(0.0, noise=0.1), METHODS, [7, 3], model=build, max_seeds=4)
    assert list(result.values["correlated"]) == [7, 3, 8, 9]


def test_a_folder_remembers_that_seeds_were_added(tmp_path):
    def compared(seeds, **options):
        return corrinit.compare(scoring(0.01), METHODS, seeds, model=build, **options)

    fixed = compared(4)
    assert "anytime p" not in str(fixed)
    compared(2, max_seeds=4, folder=tmp_path / "stopped")
    assert "anytime p" in str(compared(4, folder=tmp_path / "stopped"))
    for seeds in (3, 4):
        looked = compared(seeds, folder=tmp_path / "looked")
    assert looked.table[1].gain.p > fixed.table[1].gain.p
    assert str(compared(4, folder=tmp_path / "once")) == str(fixed)


def test_methods_that_leave_a_model_the_same_are_refused_before_any_run():
    def flat():
        return nn.Sequential(nn.Conv2d(1, 8, 1), nn.Flatten(), nn.Linear(8 * 64, 3))

    calls = []
    with pytest.raises(
        ConfigError, match="initialization correlated left the weights as those of kaiming_normal"
    ):
        corrinit.compare(lambda model, seed: calls.append(seed), METHODS, 2, model=flat)
    assert calls == []


def test_results_that_depend_on_the_seed_alone_are_called_unstable():
    def train(model, seed):
        return {"accuracy": (0.1, 0.9, 0.5)[seed] + 0.01 * is_correlated(model)}

    text = str(corrinit.compare(train, METHODS, 3, model=build))
    assert "training ends for kaiming_normal anywhere from 10.0 to 90.0 %" in text
    assert "try a smaller rate" in text


def test_divergence_is_told_and_the_rest_goes_on():
    def train(model, seed):
        return math.nan if is_correlated(model) and seed != 1 else 0.5 + 0.01 * seed

    result = corrinit.compare(train, [*METHODS, "orthogonal"], 3, model=build, metric="accuracy")
    assert [len(by_seed) for by_seed in result.values.values()] == [3, 3, 3]
    assert result.table[1].sample.diverged == (0, 2)
    assert math.isnan(result.table[1].gain.p)
    assert "correlated diverged in 2 of 3 runs (seeds 0, 2)" in result.verdict
    assert "orthogonal: no difference in final accuracy was found: 0.0 points" in result.verdict


def test_a_baseline_that_diverges_everywhere_leaves_nothing_to_compare():
    result = corrinit.compare(
        lambda model, seed: 0.5 if is_correlated(model) else math.inf, METHODS, 2, model=build, max_seeds=9
    )
    assert "kaiming_normal diverged in 2 of 2 runs (seeds 0, 1)." in result.verdict
    assert "no seed is finished for both" in result.verdict
    assert "diverged" in result.text


def test_finished_runs_are_kept_and_not_repeated(tmp_path):
    calls = []

    def train(model, seed):
        calls.append(seed)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return {"accuracy": [0.1, 0.2 + 0.01 * len(calls)], "loss": math.nan}

    with pytest.raises(RuntimeError, match="out of memory"):
        corrinit.compare(train, METHODS, 2, model=build, folder=tmp_path / "runs")
    assert len(kept(tmp_path / "runs")) == 2
    told = []
    result = corrinit.compare(train, METHODS, 2, model=build, folder=tmp_path / "runs", progress=told.append)
    assert calls == [0, 0, 1, 1, 1]
    assert [(run.method, run.seed, run.kept) for run in told] == [
        ("kaiming_normal", 0, True),
        ("correlated", 0, True),
        ("kaiming_normal", 1, False),
        ("correlated", 1, False),
    ]
    assert result.values["correlated"] == {0: 0.2 + 0.01 * 2, 1: 0.2 + 0.01 * 5}
    again = corrinit.compare(train, METHODS, 2, model=build, folder=tmp_path / "runs")
    assert (len(calls), str(again)) == (5, str(result))


def test_a_changed_model_or_method_is_run_anew(tmp_path):
    calls = []

    def train(model, seed):
        calls.append(seed)
        return 1.0

    def wider():
        return nn.Sequential(nn.Conv2d(1, 65, 3), nn.ReLU(), nn.Flatten(), nn.Linear(65 * 36, 3))

    corrinit.compare(train, METHODS, 1, model=build, folder=tmp_path)
    corrinit.compare(train, METHODS, 1, model=wider, folder=tmp_path)
    assert len(calls) == 4
    corrinit.compare(train, ["kaiming_normal", "correlated:strength=0.5"], 1, model=build, folder=tmp_path)
    assert len(calls) == 5


def test_a_run_made_before_its_weights_changed_is_made_again(tmp_path, monkeypatch):
    calls = []

    def train(model, seed):
        calls.append(seed)
        return 1.0

    corrinit.compare(train, METHODS, 1, model=build, folder=tmp_path)
    change = Change(2, "how taps are drawn", lambda run: run.initialization.method == "correlated")
    monkeypatch.setattr(identity, "CHANGES", (identity.CHANGES[0], change))
    before = len(calls)
    corrinit.compare(train, METHODS, 1, model=build, folder=tmp_path)
    corrinit.compare(train, METHODS, 1, model=build, folder=tmp_path)
    assert len(calls) == before + 1


def test_a_damaged_record_is_warned_of_and_made_again(tmp_path):
    corrinit.compare(scoring(0.1), METHODS, 1, model=build, folder=tmp_path)
    file = min(kept(tmp_path))
    file.write_text('{"images": ')
    with pytest.warns(corrinit.CorrInitWarning, match="damaged"):
        corrinit.compare(scoring(0.1), METHODS, 1, model=build, folder=tmp_path)
    assert json.loads(file.read_text())["images"] is None


@pytest.mark.parametrize(
    ("returned", "metric", "name"),
    [
        (0.5, None, "result"),
        (0.5, "accuracy", "accuracy"),
        (torch.tensor(0.5), None, "result"),
        ([0.1, 0.5], None, "result"),
        ({"f1": torch.tensor([0.1, 0.5])}, None, "f1"),
        ({"loss": 3, "accuracy": 0.5}, None, "accuracy"),
        ({"accuracy": 3, "loss": 0.5}, "loss", "loss"),
    ],
)
def test_what_a_loop_may_return(returned, metric, name):
    result = corrinit.compare(lambda model, seed: returned, METHODS, 1, model=build, metric=metric)
    assert result.metric == name
    assert result.values["correlated"] == {0: 0.5}


def test_lower_can_be_better():
    result = corrinit.compare(scoring(0.1), METHODS, 3, model=build, metric="loss", higher_is_better=False)
    assert "correlated: final loss −" in result.verdict
    assert "where lower is better" in result.verdict


@pytest.mark.parametrize(
    ("returned", "metric", "said"),
    [
        ("good", None, "returned str for result; it returns a number"),
        ({"accuracy": []}, None, "no value for accuracy"),
        ({}, None, "no metric"),
        (None, None, "returned NoneType"),
        ({"f1": 1, "loss": 2}, None, "metrics f1, loss; choose one with metric="),
        ({"f1": 1, "loss": 2}, "f2", "no metric 'f2'; there are f1, loss"),
    ],
)
def test_what_it_may_not(returned, metric, said):
    with pytest.raises(ConfigError, match=said):
        corrinit.compare(lambda model, seed: returned, METHODS, 1, model=build, metric=metric)


@pytest.mark.parametrize(
    ("methods", "options", "said"),
    [
        (["kaiming_normal", "corelated"], {}, "did you mean correlated"),
        (["kaiming_normal"], {}, "at least two"),
        (["kaiming_normal", "kaiming_normal:scale=he"], {}, "are the same initialization"),
        (METHODS, {"seeds": 0}, "seeds is 0"),
        (METHODS, {"seeds": []}, r"seeds is \[\]"),
        (METHODS, {"seeds": [-1]}, r"seeds is \[-1\]"),
        (METHODS, {"max_seeds": 1}, "at least the number of seeds, 2"),
        (["kaiming_normal", "lsuv"], {}, "'lsuv' looks at training images"),
        (METHODS, {"model": lambda: "a model"}, "model made str"),
    ],
)
def test_impossible_requests_are_refused(methods, options, said):
    with pytest.raises(ConfigError, match=said):
        corrinit.compare(scoring(0), methods, **{"seeds": 2, "model": build} | options)


def test_the_baseline_is_kaiming_normal_unless_told():
    def baseline(methods, **options):
        return corrinit.compare(scoring(0), methods, 1, model=build, **options).baseline

    assert baseline(["correlated", "kaiming_normal"]) == "kaiming_normal"
    assert baseline(["correlated", "orthogonal"]) == "correlated"
    assert baseline(["correlated"], baseline="orthogonal") == "orthogonal"


def test_images_reach_the_methods_that_look_at_them():
    def train(model, seed):
        return model(images)[0, 0].detach()

    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    result = corrinit.compare(train, ["kaiming_normal", "lsuv"], 1, model=build, images=images)
    assert result.values["lsuv"] != result.values["kaiming_normal"]


def test_other_images_are_another_run_for_the_methods_that_look_at_them(tmp_path):
    calls = []

    def train(model, seed):
        calls.append(seed)
        return 1.0

    for factor in (1.0, 2.0):
        images = factor * torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        corrinit.compare(train, ["kaiming_normal", "lsuv"], 1, model=build, images=images, folder=tmp_path)
    assert len(calls) == 3


def test_without_the_extra_the_error_says_what_to_install():
    program = """
import sys
sys.modules["scipy"] = None
import corrinit
try:
    corrinit.compare(None, [], 1, model=None)
except corrinit.CorrInitError as error:
    sys.exit(str(error))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.stderr.strip() == ('corrinit.compare needs scipy: pip install "corrinit[lab]" [C001]')


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"methods": "correlated"}, "methods is 'correlated'; it is a list of names"),
        ({"methods": 3}, "methods is 3; it is a list"),
        ({"methods": ["kaiming_normal", 3]}, "methods holds 3"),
        ({"seeds": 2.5}, "seeds is 2.5; it is a number of seeds, at most"),
        ({"seeds": "2"}, "seeds is '2'"),
        ({"seeds": True}, "seeds is True"),
        ({"seeds": 10**30}, r"seeds is 1000000000.*; it is a number of seeds, at most 100,000"),
        ({"seeds": [0, 10**30]}, "seeds is"),
        ({"max_seeds": 10**30}, "max_seeds is 1000"),
        ({"seeds": [0, 1.5]}, "seeds is a list"),
        ({"seeds": None}, "seeds is None"),
        ({"max_seeds": 3.5}, "max_seeds is 3.5"),
        ({"model": nn.Linear(2, 2)}, "model is a Linear; it is a function that builds one, such as lambda"),
        ({"model": None}, "model is None"),
        ({"train_fn": 3}, "train_fn is 3; it is a function of a model and a seed"),
        ({"images": [1, 2]}, "images is a list; it is a tensor of shape"),
        ({"images": torch.zeros(2, 3)}, r"images is a Tensor of shape \(2, 3\)"),
    ],
)
def test_a_misused_argument_is_named_before_anything_is_run(changed, complaint):
    def never(model, seed):
        raise AssertionError("trained")

    arguments = {"train_fn": never, "methods": METHODS, "seeds": 2, "model": build} | changed
    with pytest.raises(ConfigError, match=complaint):
        corrinit.compare(**arguments)  # pyright: ignore[reportArgumentType]


def test_runs_with_other_metrics_than_those_before_are_named():
    def train(model, seed):
        return {"accuracy": 0.5} if seed == 0 else 0.5

    with pytest.raises(ConfigError, match=r"result, returned by train_fn .* and seed 1, lack 'accuracy'"):
        corrinit.compare(train, METHODS, 2, model=build)


def test_an_accuracy_in_percent_is_one_in_points():
    result = corrinit.compare(lambda model, seed: {"accuracy": 10.0 + 60 * seed}, METHODS, 2, model=build)
    assert "2 seeds are too few to tell" in result.verdict
    images = 36  # of which 35, 34 are right, and 34, 33: differences of one step, equal by chance
    right = {True: (35, 34), False: (34, 33)}
    result = corrinit.compare(
        lambda model, seed: {"accuracy": 100 * right[is_correlated(model)][seed] / images},
        METHODS,
        2,
        model=build,
    )
    expected = paired_difference([35 / 36, 34 / 36], [34 / 36, 33 / 36])
    assert result.table[1].gain.p == pytest.approx(expected.p)
