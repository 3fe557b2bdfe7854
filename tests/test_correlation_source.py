"""What can be given as correlation, and which R a layer gets of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import corrinit
from corrinit import kernels
from corrinit._correlation import SpatialCorrelation, default_correlation
from corrinit._correlation_io import save_correlation
from corrinit._correlation_source import KERNELS, CorrelationFamily, correlation_lookup, resolve
from corrinit.errors import CorrelationError, PlanError
from corrinit.presets import load_preset, preset_layers, preset_names

PRESET = preset_names()[0]


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "R.safetensors"
    weighted = default_correlation((3, 3)).with_deviations(kernels.centre_weighted((3, 3), 1))
    save_correlation(path, weighted)
    return path


def family(source) -> CorrelationFamily:
    resolved = resolve(source)
    assert isinstance(resolved, CorrelationFamily)
    return resolved


class TestFamilies:
    @pytest.mark.parametrize("size", [(3, 3), (5,), (7, 7), (3, 3, 3)])
    def test_default(self, size):
        for source in (None, "default"):
            assert family(source)(size) == default_correlation(size)

    @pytest.mark.parametrize("name", KERNELS)
    def test_closed_form_has_its_mean_on_a_3x3_kernel(self, name):
        named = family(f"{name}:0.3")((3, 3))
        assert np.array_equal(named.matrix, KERNELS[name]((3, 3), mean=0.3))
        assert named.mean == pytest.approx(0.3)
        assert named.provenance["source"] == f"{name} kernel of mean 0.3 on a 3×3 kernel"

    @pytest.mark.parametrize("name", KERNELS)
    @pytest.mark.parametrize("size", [(5,), (1, 3), (5, 5), (3, 3, 3)])
    def test_neighbours_are_correlated_alike_in_every_size(self, name, size):
        one, other = (family(f"{name}:0.3")(k) for k in ((3, 3), size))
        assert other.profile()[0].correlation == pytest.approx(one.profile()[0].correlation)

    @pytest.mark.parametrize("name", ["exponential", "gaussian"])
    def test_products_need_no_matrix_for_large_kernels(self, name):
        large = family(f"{name}:0.3")((101, 101))
        assert large.axes is not None
        assert np.array_equal(large.axes[0][:3, :3], family(f"{name}:0.3")((3,)).matrix)

    def test_centre_weighted_taps_are_independent(self):
        for size in ((3, 3), (7,), (4, 4)):
            correlation = family("centre:0.8")(size)
            assert correlation.with_deviations(None).is_identity
            assert np.array_equal(correlation.deviations, kernels.centre_weighted(size, 0.8))
        assert "width 0.8" in family("centre:0.8")((3, 3)).provenance["deviations"]

    def test_centre_weighted_deviations_go_with_any_correlation(self, path):
        expected = kernels.centre_weighted((3, 3), 0.8)
        for source in ("default", "gaussian:0.2", PRESET, f"{PRESET}:layers", str(path)):
            plain, weighted = resolve(source), resolve(f"{source}+centre:0.8")
            pairs = (
                [(plain((3, 3)), weighted((3, 3)))]
                if isinstance(plain, CorrelationFamily) and isinstance(weighted, CorrelationFamily)
                else list(zip(plain, weighted, strict=True))  # pyright: ignore
            )
            for one, other in pairs:
                assert np.array_equal(other.matrix, one.matrix)
                assert np.array_equal(other.deviations, expected)

    def test_families_are_told_by_their_names(self):
        assert resolve("exponential:0.3") == resolve("exponential:0.3") != resolve("exponential:0.2")
        assert resolve(resolve("exponential:0.3")) == resolve("exponential:0.3")


class TestGiven:
    def test_presets(self):
        assert resolve(PRESET) == (load_preset(PRESET),)
        layers = tuple(load_preset(PRESET, layer) for layer in preset_layers(PRESET))
        assert resolve(f"{PRESET}:layers") == layers

    def test_files(self, path, monkeypatch):
        monkeypatch.chdir(path.parent)
        for source in (path, str(path), "R.safetensors", ["R.safetensors"]):
            (correlation,) = resolve(source)  # pyright: ignore
            assert not correlation.is_flat

    def test_file_named_like_something_else_is_given_with_its_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        save_correlation(PRESET, SpatialCorrelation.identity((2, 2)))
        assert resolve(PRESET) == (load_preset(PRESET),)
        assert resolve(f"./{PRESET}") == (SpatialCorrelation.identity((2, 2)),)

    def test_several_of_any_kind(self, path):
        small = SpatialCorrelation.identity((2, 2))
        assert resolve([small]) == (small,)
        assert resolve(one for one in (small, PRESET)) == (small, load_preset(PRESET))
        assert len(resolve([path, small, PRESET])) == 3  # pyright: ignore

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("vgg8-cifar100", "no correlation is called so; did you mean vgg8-cifar10"),
            ("defualt", "did you mean default"),
            ("exponental:0.3", "did you mean exponential"),
            ("zzz", "there are default, exponential:MEAN, .*centre:WIDTH, resnet10-cifar10"),
            ("", "there is no file"),
            ("a\0b", "there is no file"),
            (f"{PRESET}:0.3", f"nothing or :layers, as in {PRESET}:layers"),
            ("exponential", "after exponential comes its mean on a 3×3 kernel, as in exponential:0.3"),
            ("exponential:strong", "'strong' is no number"),
            ("exponential:1.5", r"mean is 1\.5; .* in \(0, 1\)"),
            ("gaussian:nan", "mean is nan"),
            ("constant:-0.5", r"9 taps can share a correlation from -0\.125 to 1"),
            ("centre:", "after centre comes a width in taps, as in centre:0.8"),
            ("centre:-1", r"width is -1\.0"),
            ("default+centre:wide", "'wide' is no number"),
            ("nothing+centre:1", "no correlation is called so"),
            (Path("nowhere.safetensors"), "there is no file nowhere.safetensors"),
            ([], "it is empty"),
            (["default", PRESET], "default serves every kernel size: give it alone"),
            (np.eye(9), r"of type ndarray; give a SpatialCorrelation\(matrix, kernel_size\)"),
            (0.3, "of type float"),
            ([0.3], "of type float"),
        ],
    )
    def test_what_is_none_is_refused_in_one_line_with_the_nearest(self, source, message):
        with pytest.raises(CorrelationError, match=message) as error:
            resolve(source)
        assert "\n" not in str(error.value)

    def test_damaged_file_is_told_as_such(self, tmp_path):
        (tmp_path / "R").write_bytes(b"something else")
        with pytest.raises(CorrelationError, match="is no correlation file, or damaged"):
            resolve(str(tmp_path / "R"))


class TestLookup:
    @given(size=st.tuples(st.integers(1, 4), st.integers(1, 4)), strength=st.floats(0, 1))
    def test_families_serve_every_size_at_a_strength(self, size, strength):
        found = correlation_lookup("gaussian:0.3", strength, "error")(size)
        assert found == family("gaussian:0.3")(size).with_strength(strength)

    def test_of_one_size_each_layer_takes_the_one_at_its_depth(self):
        layers = resolve(f"{PRESET}:layers")
        lookup = correlation_lookup(f"{PRESET}:layers", 1.0, "resize")
        assert lookup((3, 3)) == lookup((3, 3), 0.0) == layers[0]  # pyright: ignore
        assert lookup((3, 3), 1.0) == layers[-1]  # pyright: ignore
        found = [lookup((3, 3), depth) for depth in np.linspace(0, 1, len(layers))]  # pyright: ignore
        assert found == list(layers)  # pyright: ignore
        resized = lookup((5, 5), 1.0)
        assert resized == layers[-1].resize((5, 5))  # pyright: ignore

    def test_of_several_sizes_each_layer_takes_its_own_at_any_depth(self):
        sizes = [(3, 3), (5, 5), (3,)]
        lookup = correlation_lookup([default_correlation(size) for size in sizes], 1.0, "error")
        for size in sizes:
            assert lookup(size, 0.0) == lookup(size, 1.0) == default_correlation(size)

    def test_missing_sizes(self):
        given_one = [default_correlation((3, 3))]
        with pytest.raises(CorrelationError, match="no correlation of a 5×5 kernel is given, only of 3×3"):
            correlation_lookup(given_one, 1.0, "error")((5, 5))
        assert correlation_lookup(given_one, 1.0, "independent")((5, 5)) is None
        resized = correlation_lookup(given_one, 1.0, "resize")((5, 5))
        assert resized == given_one[0].resize((5, 5))


@pytest.mark.parametrize("source", ["exponential:0.3", PRESET, "centre:0.8", "R.safetensors"])
def test_a_model_is_planned_with_any_of_them(source, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    layer = nn.Conv2d(3, 8, 3)
    planned = corrinit.plan(layer, correlation=source).layers[0].correlation
    assert planned == correlation_lookup(source, 1.0, "error")((3, 3))
    corrinit.initialize(layer, correlation=source, seed=0)
    assert torch.isfinite(layer.weight).all()


def test_a_model_is_not_planned_with_what_is_none():
    with pytest.raises(PlanError, match="correlation: there is no file nothing"):
        corrinit.plan(nn.Conv2d(3, 8, 3), correlation="nothing")


@pytest.mark.parametrize("source", ["exponential:0.3", PRESET, "centre:0.8", "R.safetensors"])
def test_the_command_plans_with_any_of_them(source, path, run):
    Path("R.safetensors").write_bytes(path.read_bytes())
    Path("net.py").write_text("import torch\n\ndef net():\n    return torch.nn.Conv2d(3, 8, 3)\n")
    outcome = run("plan", "net.py:net", "--correlation", source)
    assert outcome.code == 0
    assert "correlated_normal" in outcome.out
