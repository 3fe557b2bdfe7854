"""Configurations: what is refused, what an experiment file expands to, and what identifies a run."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrinit._correlation import SpatialCorrelation
from corrinit._correlation_io import save_correlation
from corrinit.errors import ConfigError
from corrinit.kernels import exponential
from corrinit.lab.experiment.config import (
    TWO_BY_TWO,
    Initialization,
    RunConfig,
    expand,
    from_dict,
    read_experiment,
    to_dict,
    to_toml,
)
from corrinit.lab.experiment.identity import run_id

OTHER_VALUES = {
    "data": "cifar10",
    "train_subset": 100,
    "resample": True,
    "tested_on": "held_out",
    "model": "vgg8",
    "architecture": "0123456789abcdef",
    "width": 1.5,
    "batch_norm": False,
    "initialization": Initialization("kaiming_normal"),
    "epochs": 3,
    "batch_size": 128,
    "lr": 0.005,
    "momentum": 0.9,
    "l2": 0.001,
    "precision": "bfloat16",
    "channels_last": False,
    "seed": 7,
    "augmentation": "crop_flip",
    "schedule": "cosine",
    "warmup": 0.1,
    "optimizer": "adamw",
    "weight_decay": 0.05,
    "dropout": 0.5,
    "noise": 25.0,
}


# Values


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("lr", "fast", "needs a number"),
        ("lr", 0, "a positive number"),
        ("lr", float("nan"), "a positive number"),
        ("lr", True, "needs a number"),
        ("epochs", 2.5, "needs a whole number"),
        ("epochs", 0, "a positive number"),
        ("batch_size", -1, "a positive number"),
        ("width", float("inf"), "a positive number"),
        ("momentum", 1.0, "at least 0 and below 1"),
        ("l2", -0.1, "at least 0"),
        ("seed", -1, "at least 0"),
        ("train_subset", 0, "a positive number"),
        ("train_subset", "all", "needs a whole number or nothing"),
        ("batch_norm", 1, "needs true or false"),
        ("data", None, "needs text"),
        ("precision", "float16", "one of float32, bfloat16"),
        ("initialization", "correlated", "needs a table of settings"),
    ],
)
def test_an_impossible_value_is_named_with_its_remedy(name, value, remedy):
    with pytest.raises(ConfigError, match=f"{name} is .*; it .*{remedy}"):
        RunConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("scale", "small", "one of own, he, paper"),
        ("strength", -1, "at least 0"),
        ("strength", "strong", "needs a number"),
        ("method", 3, "needs text"),
    ],
)
def test_an_impossible_arm_is_named_with_its_remedy(name, value, remedy):
    with pytest.raises(ConfigError, match=f"{name} is .*; it .*{remedy}"):
        Initialization(**{name: value})


def test_whole_numbers_stand_for_numbers():
    config = RunConfig(lr=1, width=2)
    assert (type(config.lr), type(config.width)) == (float, float)
    assert config.run_id == RunConfig(lr=1.0, width=2.0).run_id


def test_an_unknown_setting_suggests_the_nearest():
    with pytest.raises(ConfigError, match="'epoch' is no setting of a run; did you mean epochs"):
        from_dict({"epoch": 3})
    with pytest.raises(
        ConfigError, match="'strenght' is no setting of initialization; did you mean strength"
    ):
        from_dict({"initialization": {"strenght": 1}})
    with pytest.raises(ConfigError, match="'zzz' is no setting of a run; there are data, train_subset"):
        from_dict({"zzz": 3})


# Identity


def test_the_run_id_is_the_same_on_every_machine_and_day():
    config = RunConfig(initialization=Initialization("kaiming_normal"))
    assert run_id(config, protocol=1) == "94f62f244ff9d96d"


@pytest.mark.parametrize("name", [field.name for field in fields(RunConfig)])
def test_every_setting_changes_the_run_id(name):
    config = RunConfig(train_subset=50, optimizer="adamw" if name == "weight_decay" else "sgd")
    assert replace(config, **{name: OTHER_VALUES[name]}).run_id != config.run_id


def test_the_defaults_of_later_settings_are_in_no_run_id():
    assert run_id(RunConfig(train_subset=50), protocol=1) == "06233c8cba1197d4"


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"weight_decay": 0.05}, "weight_decay is 0.05; it is of adamw: for sgd, set l2"),
        ({"optimizer": "adamw", "l2": 0.001}, "l2 is 0.001; it is of sgd: for adamw, set weight_decay"),
        ({"warmup": 1.0}, "warmup is 1.0; it is at least 0 and below 1"),
        ({"dropout": 1.0}, "dropout is 1.0; it is at least 0 and below 1"),
        ({"noise": -1.0}, "noise is -1.0; it is at least 0"),
        ({"schedule": "step"}, "schedule is 'step'; it is one of constant, decay, cosine"),
    ],
)
def test_settings_of_training_that_cannot_be(settings, remedy):
    with pytest.raises(ConfigError, match=remedy):
        RunConfig(**settings)


def test_nothing_is_drawn_from_all_images():
    with pytest.raises(ConfigError, match="resample is True; it draws a part of the training images"):
        RunConfig(resample=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Initialization("kaiming_normal"), Initialization("kaiming_normal", "he")),
        (Initialization("correlated"), Initialization("correlated", "paper")),
        (Initialization("kaiming_normal", "he"), Initialization("kaiming_normal", "he", strength=0.5)),
        (Initialization("orthogonal"), Initialization("orthogonal", correlation="nowhere.safetensors")),
    ],
)
def test_arms_that_give_the_same_weights_are_the_same_run(one, other):
    assert RunConfig(initialization=one).run_id == RunConfig(initialization=other).run_id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Initialization("xavier_normal"), Initialization("xavier_normal", "he")),
        (Initialization("correlated"), Initialization("correlated", strength=0.5)),
        (
            Initialization("kaiming_normal", "correlated"),
            Initialization("kaiming_normal", "correlated", strength=0.5),
        ),
    ],
)
def test_arms_that_give_other_weights_are_other_runs(one, other):
    assert RunConfig(initialization=one).run_id != RunConfig(initialization=other).run_id


def test_a_correlation_file_counts_by_its_values(tmp_path):
    matrix = exponential((3, 3), mean=0.3)
    for name, values in {"a": matrix, "b": matrix, "c": exponential((3, 3), mean=0.31)}.items():
        save_correlation(tmp_path / name, SpatialCorrelation(values, provenance={"source": name}))
    a, b, c = (
        RunConfig(initialization=Initialization(correlation=str(tmp_path / name))).run_id for name in "abc"
    )
    assert a == b != c
    assert a != RunConfig().run_id


def test_a_missing_correlation_file_is_refused(tmp_path):
    arm = Initialization(correlation=str(tmp_path / "none.safetensors"))
    with pytest.raises(ConfigError, match=r"initialization.correlation is '.*none.safetensors'"):
        _ = RunConfig(initialization=arm).run_id


# TOML


@given(
    st.builds(
        RunConfig,
        data=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])),
        train_subset=st.none() | st.integers(1, 10**9),
        width=st.floats(1e-6, 1e6),
        lr=st.floats(1e-300, 1e6),
        batch_norm=st.booleans(),
        initialization=st.builds(Initialization, strength=st.floats(0, 1e6)),
        seed=st.integers(0, 2**62),
    )
)
def test_configurations_survive_toml_and_dictionaries(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "run.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert read_experiment(path) == (config,)
    assert from_dict(to_dict(config)) == config


def test_an_experiment_file_expands_to_every_combination_once(tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text("""
        [base]
        model = "vgg8"
        initialization = {method = "kaiming_normal"}

        [[cross]]
        seed = [0, 1]
        initialization = [{method = "kaiming_normal", scale = "he"}, {method = "correlated"}]

        [[cross]]
        seed = [0]
        l2 = [0, 0.001]
        epochs = [80]
    """)
    runs = read_experiment(path)
    assert [(run.seed, run.initialization.method, run.l2, run.epochs) for run in runs] == [
        (0, "kaiming_normal", 0, 40),
        (0, "correlated", 0, 40),
        (1, "kaiming_normal", 0, 40),
        (1, "correlated", 0, 40),
        (0, "kaiming_normal", 0, 80),
        (0, "kaiming_normal", 0.001, 80),
    ]
    assert {run.model for run in runs} == {"vgg8"}


def test_combinations_that_are_the_same_run_are_run_once():
    arms = [{"method": "kaiming_normal"}, {"method": "kaiming_normal", "scale": "he"}]
    assert len(expand({"cross": [{"initialization": arms}, {"seed": [0]}]})) == 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[base]\nlr = 1\nlr = 2", "cannot be read as an experiment file"),
        ("lr = ", "cannot be read as an experiment file"),
        ("[bse]\nlr = 1", "'bse' is unknown"),
        ("[base]\nlr = -1", "lr is -1.0; it is a positive number"),
        ("[base]\nrl = 1", "'rl' is no setting of a run"),
        ("base = 1", r"\[base\] is 1; it needs a table"),
        ("[cross]\nseed = [1]", "two brackets"),
        ("[[cross]]\nseed = 1", r"seed is 1 in \[\[cross\]\]; it needs a list"),
        ("[[cross]]\nseed = []", "it needs a list"),
        ("[[cross]]\nsed = [1]", "did you mean seed"),
        ("[[cross]]\nlr = [0.1, 'x']", "lr is 'x'; it needs a number"),
    ],
)
def test_a_faulty_experiment_file_is_named_with_its_fault(tmp_path, text, complaint):
    path = tmp_path / "faulty.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"faulty.toml.*{complaint}"):
        read_experiment(path)


def test_a_missing_or_binary_experiment_file_is_refused(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("none.toml", "binary.toml"):
        with pytest.raises(ConfigError, match=name):
            read_experiment(tmp_path / name)


def test_the_two_by_two_crosses_taps_and_scale():
    assert {(arm.method, arm.scale) for arm in TWO_BY_TWO} == {
        (method, scale) for method in ("kaiming_normal", "correlated") for scale in ("he", "paper")
    }
    assert len({RunConfig(initialization=arm).run_id for arm in TWO_BY_TWO}) == 4
    assert np.all([arm.strength == 1 for arm in TWO_BY_TWO])
