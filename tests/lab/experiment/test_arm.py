"""Arms: their text form and back, and the correlations that can be named."""

import json
import string
from dataclasses import asdict
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrinit._correlation import default_correlation
from corrinit._correlation_io import save_correlation
from corrinit._correlation_source import KERNELS
from corrinit._planning import recipes
from corrinit.errors import ConfigError
from corrinit.kernels import exponential, gaussian, matern
from corrinit.lab.experiment.arm import Initialization, controls, label, parse_initialization
from corrinit.lab.experiment.config import RunConfig, from_dict
from corrinit.lab.experiment.role_rules import Role
from corrinit.presets import load_preset, preset_layers, preset_names

names = st.text(string.ascii_lowercase + string.digits + "_", min_size=1, max_size=12)
correlations = st.one_of(
    st.just("default"),
    st.sampled_from(preset_names()),
    st.sampled_from(preset_names()).map("{}:layers".format),
    st.builds("{}:{}".format, st.sampled_from([*KERNELS]), st.floats(0, 1)),
    st.text(string.ascii_letters + string.digits + "/._- é", min_size=1, max_size=30)
    .map(str.strip)
    .filter(bool),
)
initializations = st.builds(
    Initialization,
    method=st.sampled_from(["kaiming_normal", "correlated", "orthogonal"]) | names,
    scale=st.sampled_from(["own", "he", "correlated", "measured"]),
    correlation=correlations,
    strength=st.floats(0, allow_infinity=False, allow_nan=False),
)


# Text


@given(initializations)
def test_an_arm_survives_its_text(arm):
    assert parse_initialization(arm.spec) == arm.canonical
    assert parse_initialization(arm.spec).spec == arm.spec


@given(initializations)
def test_the_canonical_form_is_final_and_names_the_scale(arm):
    assert arm.canonical.canonical == arm.canonical
    assert arm.canonical.scale != "own" or arm.own_scale == "own"


@pytest.mark.parametrize(
    ("text", "arm"),
    [
        ("correlated", Initialization("correlated", "paper")),
        ("kaiming_normal", Initialization("kaiming_normal", "he")),
        (" lsuv ", Initialization("lsuv")),
        ("xavier_normal:scale=he", Initialization("xavier_normal", "he")),
        ("correlated:strength=0.5:scale=he", Initialization("correlated", "he", strength=0.5)),
        ("correlated:strength=2", Initialization("correlated", "paper", strength=2)),
        (
            "correlated:correlation=exponential:0.3:scale=measured",
            Initialization("correlated", "measured", "exponential:0.3"),
        ),
        (
            "correlated:correlation=vgg8-cifar10:layers",
            Initialization("correlated", "paper", "vgg8-cifar10:layers"),
        ),
        (
            "correlated:correlation=C:\\R.safetensors:strength=0.5",
            Initialization("correlated", "paper", "C:\\R.safetensors", 0.5),
        ),
    ],
)
def test_arms_as_people_write_them(text, arm):
    assert parse_initialization(text) == arm


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "it is NAME"),
        (":scale=he", "it is NAME"),
        ("scale=he", "it is NAME"),
        ("recipe=", "it is NAME"),
        ("correlated:he", "it is NAME"),
        ("correlated:strenght=1", "'strenght' is no setting of the arm .*; did you mean strength"),
        ("correlated:zzz=1", "there are scale, correlation, strength"),
        ("correlated:method=lsuv", "'method' is no setting of the arm"),
        ("correlated:scale=he:scale=own", "sets a key twice"),
        ("correlated:strength=strong", "strength is no number"),
        ("correlated:strength=-1", "strength is -1.0; it is a factor of at least 0"),
        ("correlated:strength=nan", "strength is nan"),
        ("correlated:scale=small", "scale is 'small'; it is one of own, he, paper, measured, natural"),
        ("correlated:steam=lsuv", "'steam' is no setting of the arm .*; did you mean stem"),
        ("correlated:stem=", "the rule 'stem=' is ROLE=METHOD"),
        ("correlated:stem=lsuv,scale=he,scale=own", "the rule 'stem=lsuv,scale=he,scale=own' is ROLE=METHOD"),
        ("correlated:stem=lsuv,size=3", "'size' is no setting of the rule"),
        ("correlated:stem=scale=small", "stem: scale is 'small'; it is one of own"),
        ("correlated:stem=orthogonal,scale=own", "stem: the scale of orthogonal has no name"),
        ("correlated:stem=strength=-1", "stem: strength is -1.0; it is a factor"),
        ("correlated:scale=he:0.5", "scale is 'he:0.5'"),
    ],
)
def test_a_faulty_arm_is_refused_with_a_remedy(text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        parse_initialization(text)


# Identity


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("kaiming_normal:scale=measured", "kaiming_normal:scale=he"),
        ("kaiming_uniform", "kaiming_uniform:scale=he"),
        ("convolutional_covariance", "convolutional_covariance:scale=he"),
        ("correlated:correlation=exponential:0.26", "correlated"),
    ],
)
def test_texts_of_the_same_weights_are_the_same_run(one, other):
    ids = {RunConfig(initialization=parse_initialization(text)).run_id for text in (one, other)}
    assert len(ids) == 1


def test_texts_of_other_weights_are_other_runs():
    texts = [
        *("correlated:correlation=centre:0.8", "correlated:correlation=centre:0.9"),
        *("correlated:strength=0", "correlated:correlation=default+centre:0.8"),
        *("lsuv", "lsuv:scale=he", "correlated", "correlated:scale=he", "correlated:scale=measured"),
        *("correlated:correlation=exponential:0.3", "correlated:correlation=gaussian:0.3"),
        *("correlated:correlation=vgg8-cifar10", "correlated:correlation=vgg8-cifar10:layers"),
    ]
    assert len({RunConfig(initialization=parse_initialization(text)).run_id for text in texts}) == len(texts)


# Rules by role


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("correlated:scale=he:stem=kaiming_normal", "correlated:scale=he:stem=kaiming_normal"),
        ("correlated:head=lsuv:stem=kaiming_normal", "correlated:stem=kaiming_normal:head=lsuv"),
        ("correlated:stem=kaiming_normal,scale=own", "correlated:stem=kaiming_normal,scale=he"),
        ("correlated:stem=correlated,scale=paper,strength=1", "correlated"),
        ("kaiming_normal:dense=strength=0.5,correlation=x", "kaiming_normal"),
        ("kaiming_normal:dense=correlated,strength=0.5", "kaiming_normal:dense=correlated,strength=0.5"),
        ("correlated:stem=kaiming_normal,scale=he,strength=2", "correlated:stem=kaiming_normal,scale=he"),
        ("recipe=2026.1:stem=patch_whitening", "recipe=2026.1:stem=patch_whitening"),
    ],
)
def test_rules_are_told_once_and_where_they_matter(text, canonical):
    arm = parse_initialization(text)
    assert arm.spec == canonical
    assert parse_initialization(canonical) == arm
    assert from_dict({"initialization": json.loads(json.dumps(asdict(arm)))}).initialization == arm


def test_what_a_rule_leaves_open_is_as_in_the_rest_of_the_arm():
    """The scale too, so that arms which differ in the taps of a role have one scale."""
    arm = Initialization("correlated", rules=("stem=kaiming_normal",))
    assert arm.options == {
        "method": "correlated",
        "scale": "paper",
        "rules": {"stem": {"method": "kaiming_normal"}},
    }
    assert "missing" in parse_initialization("lsuv:stem=correlated,correlation=vgg8-cifar10").options
    assert Initialization("recipe=2026.1").options == {"recipe": "2026.1"}


def test_an_arm_says_what_any_of_its_roles_needs():
    assert parse_initialization("orthogonal:stem=correlated").depends_on_correlation
    assert not parse_initialization("correlated:scale=he").rules
    assert ("patch_whitening", "he") in parse_initialization("orthogonal:scale=he:stem=patch_whitening").parts
    assert Initialization("recipe=2026.1").parts == (("correlated", "own"),)
    assert Initialization("recipe=2026.1").depends_on_correlation


def test_controls_keep_the_rules():
    arm = parse_initialization("correlated:stem=patch_whitening")
    assert [each.canonical.spec for each in controls(arm)] == [
        "kaiming_normal:scale=paper:stem=patch_whitening",
        "correlated:scale=he:stem=patch_whitening",
    ]


def test_roles_are_those_of_the_library():
    assert set(get_args(Role)) == set(get_args(recipes.Role))


# Correlations


@pytest.mark.parametrize(
    ("name", "kernel"), [("exponential", exponential), ("gaussian", gaussian), ("matern", matern)]
)
def test_a_kernel_is_named_with_its_mean(name, kernel):
    correlation = Initialization(correlation=f"{name}:0.3").load_correlation()
    np.testing.assert_array_equal(correlation.matrix, kernel((3, 3), mean=0.3))
    assert correlation.mean == pytest.approx(0.3)


def test_the_default_is_the_exponential_kernel_of_mean_0_26():
    named = Initialization(correlation="exponential:0.26").load_correlation()
    np.testing.assert_allclose(named.matrix, default_correlation((3, 3)).matrix, atol=1e-12)
    assert Initialization().load_correlations() is None


def test_a_preset_gives_one_correlation_or_one_per_layer():
    name = preset_names()[0]
    assert Initialization(correlation=name).load_correlations() == load_preset(name)
    layers = Initialization(correlation=f"{name}:layers")
    assert layers.load_correlations() == tuple(load_preset(name, layer) for layer in preset_layers(name))
    assert layers.load_correlation() == load_preset(name)
    narrow = Initialization(correlation=f"{name}:layers+centre:1").load_correlation()
    assert narrow is not None
    assert np.array_equal(narrow.matrix, load_preset(name).matrix)
    assert not narrow.is_flat


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("vgg8-cifar100", "did you mean vgg8-cifar10"),
        ("defualt", "did you mean default"),
        ("exponental:0.3", "did you mean exponential"),
        ("vgg8-cifar10:0.3", "nothing or :layers, as in vgg8-cifar10:layers"),
        ("exponential:strong", "'strong' is no number"),
        ("exponential:1.5", r"mean is 1.5; .* in \(0, 1\)"),
        ("gaussian:nan", "mean is nan"),
        ("constant:-0.5", "9 taps can share a correlation from -0.125 to 1"),
        ("nowhere.safetensors", "there is no file nowhere.safetensors"),
    ],
)
def test_a_correlation_that_does_not_exist_is_named_with_the_nearest(source, complaint):
    with pytest.raises(ConfigError, match=f"initialization.correlation is '{source}'.*{complaint}"):
        Initialization(correlation=source).load_correlations()


def test_tables_name_correlations_without_folders(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_correlation(path, default_correlation((3, 3)))
    shown = {
        str(path): "mine",
        "exponential:0.26": "exponential:0.26",
        "vgg8-cifar10:layers": "vgg8-cifar10:layers",
        "centre:0.8": "centre:0.8",
        f"{path}+centre:0.8": "mine+centre:0.8",
    }
    for source, name in shown.items():
        arm = Initialization("correlated", "measured", source)
        assert arm.correlation_name == name
        assert label(arm) == f"correlated, measured scale, R of {name}"
