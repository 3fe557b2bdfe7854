import json
import os
import subprocess
import sys
import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from safetensors.torch import save_file

from corrinit import kernels
from corrinit._correlation import SpatialCorrelation
from corrinit._correlation_io import load_correlation, save_correlation
from corrinit._correlation_views import decimal
from corrinit._estimation import estimate, estimate_layers
from corrinit.cli import app, main
from corrinit.cli.estimate import parse_kernel_size
from corrinit.errors import CorrInitError, CorrInitWarning


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the command in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(ended.value.code or 0, captured.out, captured.err)  # pyright: ignore

    return run


@pytest.fixture
def weights(tmp_path) -> Path:
    """Two layers of correlated 3×3 filters, one of them padded, a 1×1 and a linear layer."""
    generator = torch.Generator().manual_seed(0)
    root = torch.tensor(SpatialCorrelation(kernels.exponential((3, 3), mean=0.3)).root).float()
    first = (torch.randn(32, 16, 9, generator=generator) @ root).view(32, 16, 3, 3)
    second = (torch.randn(32, 32, 9, generator=generator) @ root).view(32, 32, 3, 3)
    second[..., 0, :] *= 1e-6
    tensors = {
        "a.weight": first,
        "b.weight": second,
        "c.weight": torch.ones(8, 8, 1, 1),
        "d": torch.ones(8, 8),
    }
    save_file(tensors, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def assert_one_line_error(outcome, *parts):
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    for part in parts:
        assert part in outcome.err


class TestEstimate:
    def test_writes_what_the_library_estimates(self, run, weights):
        outcome = run("estimate", weights, "-o", "R.safetensors")
        assert outcome.code == 0
        assert load_correlation("R.safetensors") == estimate(weights)

    def test_prints_mean_interval_and_what_was_left_out(self, run, weights):
        out = run("estimate", weights).out
        layers = estimate_layers(weights)
        deviations = layers.pooled().deviations
        assert f"deviation of a tap: {deviations.min():.2f} to {deviations.max():.2f} of their" in out
        low, high = layers.mean_interval()
        assert f"{layers.filters:,} filters" in out
        assert f"{layers.pooled().mean:.3f} (95 % interval {low:.3f} to {high:.3f}" in out
        assert "b.weight: taps 0, 1, 2 hardly vary" in out
        assert "1×1: c.weight" in out

    @pytest.mark.parametrize("pooling", ["filters", "layers", "raw"])
    def test_pooling(self, run, weights, pooling):
        out = run("estimate", weights, "--pooling", pooling, "--output", "R.safetensors").out
        assert load_correlation("R.safetensors") == estimate(weights, pooling=pooling)
        assert ("no interval" in out) == (pooling == "raw")

    def test_kernel_size(self, run, tmp_path):
        generator = torch.Generator().manual_seed(0)
        shapes = {"a": (16, 16, 3, 3), "b": (32, 32, 1, 5)}
        tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        save_file(tensors, tmp_path / "w.safetensors")
        run("estimate", "w.safetensors", "-k", "3x3", "-o", "R.safetensors")
        assert load_correlation("R.safetensors").kernel_size == (3, 3)

    def test_bad_input_is_one_line(self, run, weights, tmp_path):
        (tmp_path / "empty.safetensors").touch()
        assert_one_line_error(run("estimate", "none.safetensors"), "there is no file none.safetensors")
        assert_one_line_error(run("estimate", "empty.safetensors"), "damaged")
        assert_one_line_error(run("estimate", weights, "-k", "7x7"), "7×7")
        assert_one_line_error(run("estimate", weights, "-k", "3,3"), "'3,3'", "such as 3x3")

    def test_broken_weights_are_named(self, run, tmp_path):
        save_file({"conv.weight": torch.full((8, 8, 3, 3), torch.nan)}, tmp_path / "w.safetensors")
        assert_one_line_error(run("estimate", "w.safetensors"), "conv.weight", "NaN")

    def test_weights_are_not_overwritten(self, run, weights):
        before = weights.read_bytes()
        assert_one_line_error(run("estimate", weights, "-o", weights), "the file of weights itself")
        assert weights.read_bytes() == before

    def test_correlation_file_is_told_from_weights(self, run, tmp_path):
        save_correlation(tmp_path / "R.safetensors", SpatialCorrelation.identity((3, 3)))
        assert_one_line_error(run("estimate", "R.safetensors"), "corrinit show R.safetensors")


class TestWhichWeights:
    @pytest.fixture
    def checkpoint(self, tmp_path) -> Path:
        generator = torch.Generator().manual_seed(0)
        shapes = {
            "stem.weight": (16, 16, 3, 3),
            "body.weight": (32, 16, 3, 3),
            "body.pos_embed": (1, 9, 7, 7),
        }
        sets = [
            {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
            for _ in range(2)
        ]
        torch.save({"state_dict": sets[0], "state_dict_ema": sets[1]}, tmp_path / "best.pth.tar")
        return tmp_path / "best.pth.tar"

    @pytest.mark.parametrize("command", ["estimate", "show"])
    def test_can_be_chosen_by_name(self, run, checkpoint, command):
        chosen = run(
            command, checkpoint, "--weights", "state_dict_ema", "--include", "stem", "--include", "b*"
        )
        assert chosen.code == 0
        assert chosen.err == ""
        assert "768 filters of 3×3 taps in 2 layers" in chosen.out
        assert "skipped, its name is that of no filters: body.pos_embed" in chosen.out
        assert "256 filters" in run(command, checkpoint, "--weights", "state_dict", "--exclude", "body.*").out

    @pytest.mark.parametrize("command", ["estimate", "show"])
    def test_a_choice_made_for_the_user_is_said(self, run, checkpoint, command):
        err = run(command, checkpoint).err
        assert "state_dict is taken" in err
        assert "--weights state_dict_ema" in err
        assert err.count("\n") == 1

    @pytest.mark.parametrize("command", ["estimate", "show"])
    def test_unknown_names_are_one_line(self, run, checkpoint, command):
        assert_one_line_error(run(command, checkpoint, "--weights", "state_dict_em"), "state_dict_ema")
        options = ["--weights", "state_dict", "--include", "stm.weight"]
        assert_one_line_error(run(command, checkpoint, *options), "include: 'stm.weight'", "stem.weight")

    def test_left_out_tensors_stand_in_the_correlation_file(self, run, checkpoint):
        run("estimate", checkpoint, "--weights", "state_dict", "-o", "R.safetensors")
        assert "body.pos_embed" in load_correlation("R.safetensors").provenance["skipped"]
        assert_one_line_error(run("show", "R.safetensors", "--include", "a"), "no --include")


class TestShow:
    def test_correlation_file(self, run, tmp_path):
        correlation = SpatialCorrelation(kernels.exponential((3, 3), mean=0.26), provenance={"source": "[a]"})
        save_correlation(tmp_path / "R.safetensors", correlation)
        outcome = run("show", "R.safetensors")
        assert outcome.code == 0
        assert "mean correlation 0.260" in outcome.out
        assert "source  [a]" in outcome.out
        for distance, value, pairs in correlation.profile():
            assert any(
                line.split()[:3] == [f"{distance:.3g}", str(pairs), f"{value:.3f}"]
                for line in outcome.out.splitlines()
            )

    def test_matrix_is_printed_row_by_row(self, run, tmp_path):
        correlation = SpatialCorrelation([[1, -0.5], [-0.5, 1]], (1, 2))
        save_correlation(tmp_path / "R.safetensors", correlation)
        assert " 1.00 -.50\n -.50 1.00\n" in run("show", "R.safetensors").out

    def test_large_matrix_becomes_shades_and_then_a_hint(self, run, tmp_path, monkeypatch):
        save_correlation(tmp_path / "R.safetensors", SpatialCorrelation.identity((5, 5)))
        assert "██" + "  " * 24 in run("show", "R.safetensors").out
        monkeypatch.setenv("COLUMNS", "40")
        assert "25 taps are too many for 40 columns" in run("show", "R.safetensors").out

    @pytest.mark.parametrize(
        ("size", "deviations", "rows"),
        [
            ((3, 2), [0, 0, 3**0.5, 3**0.5, 0, 0], ["0.00  0.00", "1.73  1.73", "0.00  0.00"]),
            ((3,), kernels.centre_weighted((3,), 0.8), ["0.85  1.25  0.85"]),
            ((2, 1, 2), [1, 1, 0, 2**0.5], ["1.00  1.00", "", "0.00  1.41"]),
        ],
    )
    def test_deviations_are_shown_where_they_lie(self, run, size, deviations, rows):
        correlation = SpatialCorrelation(np.eye(len(deviations)), size, deviations=deviations)
        save_correlation("R.safetensors", correlation)
        _, shown = run("show", "R.safetensors").out.split("deviation of each tap, root mean square 1\n")
        assert [line.strip() for line in shown.splitlines()] == rows

    def test_deviations_that_are_all_one_are_not(self, run):
        save_correlation("R.safetensors", SpatialCorrelation.identity((3, 3)))
        assert "deviation" not in run("show", "R.safetensors").out

    def test_deviations_too_wide_are_said_by_their_range(self, run, monkeypatch):
        monkeypatch.setenv("COLUMNS", "40")
        correlation = SpatialCorrelation.identity((1, 9)).with_deviations(kernels.centre_weighted((1, 9), 1))
        save_correlation("R.safetensors", correlation)
        assert "1: 0.03 to 1.89" in run("show", "R.safetensors").out

    def test_weights_have_a_line_for_every_layer(self, run, weights):
        out = run("show", weights).out
        for layer in estimate_layers(weights).layers:
            assert any(
                line.split()[:3] == [layer.name, f"{layer.filters:,}", decimal(layer.mean)]
                for line in out.splitlines()
            )

    def test_control_characters_do_not_reach_the_terminal(self, run):
        hostile = "x\x1b]0;PWNED\x07\x1b[2J"
        save_correlation("R.safetensors", SpatialCorrelation(np.eye(4), provenance={hostile: hostile}))
        save_file({f"{hostile}.weight": torch.randn(8, 8, 3, 3)}, "w.safetensors")
        for file in ("R.safetensors", "w.safetensors"):
            out = run("show", file).out
            assert r"x\x1b]0;PWNED" in out
            assert not {"\x1b", "\x07"} & set(out)

    def test_single_tap(self, run, tmp_path):
        save_correlation(tmp_path / "R.safetensors", SpatialCorrelation.identity((1, 1)))
        assert run("show", "R.safetensors").code == 0

    def test_figures(self, run, weights):
        outcome = run("show", weights, "--png", "a/f.png", "--svg", "f.svg")
        assert outcome.code == 0
        assert np.ptp(imread("a/f.png")) > 0
        drawn = Path("f.svg").read_text()
        assert "distance between taps" in drawn
        assert "w.safetensors" in drawn
        run("show", weights, "--svg", "again.svg")
        assert Path("again.svg").read_text() == drawn

    def test_figure_of_another_format_is_one_line(self, run, weights):
        outcome = run("show", weights, "--png", "f.gif")
        assert outcome.code == 2
        assert (
            "error: f.gif has the suffix '.gif'; a figure is written as .png or .svg [C400]\n" in outcome.err
        )

    def test_hostile_file_is_one_line(self, run, tmp_path):
        (tmp_path / "w.pt").write_bytes(b"\x80\x02cos\nsystem\n(S'touch executed'\ntR.")
        assert_one_line_error(run("show", "w.pt"), "running code in the file and is not read")
        assert not (tmp_path / "executed").exists()


@pytest.fixture
def factories(tmp_path) -> Path:
    """A module of factories, good and bad."""
    path = tmp_path / "factories.py"
    path.write_text(
        textwrap.dedent("""
            import sys
            from torch import nn

            def build():
                print("built")
                return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 5))

            def fails(): raise ValueError("no such thing")
            def exits(): sys.exit(3)
            def needs(size): return nn.Conv2d(3, 3, size)
            def text(): return "text"
            number = 3
        """)
    )
    return path


class TestPlan:
    @pytest.fixture(autouse=True)
    def clean_imports(self, monkeypatch):
        monkeypatch.setattr(sys, "path", list(sys.path))
        yield
        sys.modules.pop("factories", None)

    @pytest.mark.parametrize("where", ["factories", "factories.py"])
    def test_table(self, run, factories, where):
        outcome = run("plan", f"{where}:build", "--recipe", "schneider")
        assert outcome.code == 0
        lines = [line.split() for line in outcome.out.splitlines()]
        assert lines[0] == ["layer", "type", "shape", "role", "rule", "action", "reason"]
        assert [line[: 4 + (line[0] != "1")] for line in lines[1:4]] == [
            ["0", "Conv2d", "8×3×3×3", "dense", "correlated_normal"],
            ["1", "BatchNorm2d", "8", "keep"],
            ["2", "Conv2d", "8×8×5×5", "dense", "correlated_normal"],
        ]

    def test_json_is_all_of_standard_output(self, run, factories):
        outcome = run("plan", f"{factories}:build", "--json", "--exclude", "2", "--recipe", "schneider")
        assert outcome.err == "built\n"
        first, second, third = json.loads(outcome.out)
        assert first["rule"] == "correlated_normal"
        assert first["mean_correlation"] == pytest.approx(0.26)
        assert second == {
            "layer": "1",
            "type": "BatchNorm2d",
            "shape": [8],
            "role": None,
            "rule": "keep",
            "method": "keep",
            "scale": "",
            "action": "keep",
            "reason": "no filters",
            "std": None,
            "mean_correlation": None,
            "zero_bias": False,
        }
        assert third["reason"] == "excluded"

    def test_takes_the_options_of_the_library(self, run, factories, tmp_path):
        correlation = SpatialCorrelation(kernels.exponential((3, 3), mean=0.5))
        save_correlation(tmp_path / "R.safetensors", correlation)
        options = ["--correlation", "R.safetensors", "--strength", "0.5", "--scale", "he"]
        outcome = run("plan", f"{factories}:build", "--json", "--missing", "independent", *options)
        first, _, third = json.loads(outcome.out)
        assert first["mean_correlation"] == pytest.approx(0.25)
        assert first["std"] == pytest.approx((2 / 27) ** 0.5)
        assert third["rule"] == "normal"

    @pytest.mark.usefixtures("factories")
    def test_eighty_columns_hold_what_matters(self, run, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        lines = run("plan", "factories:build", "--recipe", "schneider").out.splitlines()
        assert lines[0].split() == ["layer", "shape", "role", "std", "reason"]
        assert lines[1].split()[:5] == ["0", "8×3×3×3", "dense", "0.155", "correlated_normal:"]
        assert max(map(len, lines)) <= 80

    @pytest.mark.usefixtures("factories")
    def test_recipes_methods_and_rules(self, run, tmp_path):
        (tmp_path / "rules.toml").write_text('["0"]\nmethod = "orthogonal"\nscale = "he"\n')
        outcome = run("plan", "factories:build", "--rules", "rules.toml", "--json")
        first, _, third = json.loads(outcome.out)
        assert (first["method"], first["scale"], first["role"]) == ("orthogonal", "he", "stem")
        assert (third["method"], third["scale"]) == ("kaiming_normal", "natural")
        table = run("plan", "factories:build", "--method", "lsuv").out
        assert table.count("lsuv") == 2
        assert "recipe kaiming" in run("plan", "factories:build", "--recipe", "kaiming").out

    @pytest.mark.usefixtures("factories")
    def test_faulty_rules_are_one_line(self, run, tmp_path):
        (tmp_path / "rules.toml").write_text("stem = [")
        assert_one_line_error(run("plan", "factories:build", "--rules", "rules.toml"), "is no TOML")
        assert_one_line_error(run("plan", "factories:build", "--rules", "none.toml"), "there is no file")

    @pytest.mark.usefixtures("factories")
    @pytest.mark.parametrize("options", [(), ("--recipe", "kaiming"), ("--method", "orthogonal")])
    def test_the_signal_is_printed_for_every_recipe_and_method(self, run, options):
        outcome = run("plan", "factories:build", "--signal", "--input-size", "16", *options)
        assert outcome.code == 0
        assert "⟨DRD, M⟩" in outcome.out

    @pytest.mark.parametrize(
        ("factory", "reason"),
        [
            ("factories", "write MODULE:FACTORY or PATH.py:FACTORY"),
            ("factories:", "write MODULE:FACTORY"),
            (":build", "write MODULE:FACTORY"),
            ("nowhere:build", "nowhere cannot be imported: ModuleNotFoundError"),
            ("nowhere.py:build", "nowhere.py cannot be imported: FileNotFoundError"),
            ("factories:nothing", "no callable nothing; its names: build, exits, fails"),
            ("factories:number", "no callable number"),
            ("factories:fails", "failed: ValueError: no such thing"),
            ("factories:exits", "failed: SystemExit: 3"),
            ("factories:needs", "'size'; it is called without arguments"),
            ("factories:text", "returned str; a factory returns a torch.nn.Module"),
        ],
    )
    @pytest.mark.usefixtures("factories")
    def test_bad_factory_is_one_line(self, run, factory, reason):
        assert_one_line_error(run("plan", factory), reason)

    def test_module_that_fails_is_one_line(self, run, tmp_path):
        (tmp_path / "factories.py").write_text("def build(:")
        assert_one_line_error(run("plan", "factories:build"), "cannot be imported: SyntaxError")

    @pytest.mark.usefixtures("factories")
    def test_plan_that_cannot_be_made_is_one_line(self, run, tmp_path):
        save_correlation(tmp_path / "R.safetensors", SpatialCorrelation.identity((3, 3)))
        outcome = run("plan", "factories:build", "--correlation", "R.safetensors")
        assert outcome.code == 2
        assert "error: layer 2" in outcome.err


class TestMain:
    def test_unknown_option_is_a_usage_error(self, run):
        outcome = run("estimate", "--nonsense")
        assert outcome.code == 2
        assert "nonsense" in outcome.err
        assert "Traceback" not in outcome.err

    @pytest.mark.parametrize("command", ["estimate", "show", "plan"])
    def test_every_command_has_an_example(self, run, command):
        outcome = run(command, "--help")
        assert outcome.code == 0
        assert f"Example: corrinit {command}" in outcome.out

    def test_version(self, run):
        from importlib.metadata import version

        assert run("--version").out.strip() == version("corrinit")

    @pytest.mark.parametrize(
        ("raised", "code", "message"),
        [
            (KeyboardInterrupt(), 130, "interrupted\n"),
            (CorrInitError("what, where, remedy"), 2, "error: what, where, remedy\n"),
            (OSError(28, "No space left on device"), 2, "error: [Errno 28] No space left on device\n"),
            (
                ModuleNotFoundError("No module named 'scipy'", name="scipy"),
                2,
                'error: this command needs scipy: pip install "corrinit[lab]" [C001]\n',
            ),
        ],
    )
    def test_what_goes_wrong_is_one_line(self, run, monkeypatch, raised, code, message):
        def fail(_):
            raise raised

        monkeypatch.setattr("corrinit._correlation_io.is_correlation_file", fail)
        assert run("show", "R.safetensors") == Outcome(code, "", message)

    def test_a_fault_of_ours_keeps_its_traceback(self, monkeypatch):
        def fail(_):
            raise ZeroDivisionError

        monkeypatch.setattr("corrinit._correlation_io.is_correlation_file", fail)
        with pytest.raises(ZeroDivisionError):
            main(["show", "R.safetensors"])

    def test_warnings_are_one_line(self, run, monkeypatch, tmp_path):
        def warn(_):
            warnings.warn("something was approximated", CorrInitWarning, stacklevel=1)
            return True

        save_correlation(tmp_path / "R.safetensors", SpatialCorrelation.identity((3, 3)))
        monkeypatch.setattr("corrinit._correlation_io.is_correlation_file", warn)
        assert run("show", "R.safetensors").err == "warning: something was approximated\n"


class TestProcess:
    def test_module_and_exit_status(self, tmp_path):
        command = [sys.executable, "-m", "corrinit", "show", "none.safetensors"]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == "error: there is no file none.safetensors [C201]\n"

    def test_a_terminal_without_unicode_gets_what_it_lacks_escaped(self, tmp_path):
        environment = os.environ | {"PYTHONIOENCODING": "ascii"}
        command = [sys.executable, "-m", "corrinit", "show", "naïve.pt"]
        ended = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (ended.returncode, ended.stderr) == (2, "error: there is no file na\\xefve.pt [C201]\n")

    def test_help_needs_no_torch(self):
        code = "import sys, corrinit.cli as c\ntry: c.main(['--help'])\nfinally: print(sorted(sys.modules))"
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert "estimate" in ended.stdout
        for heavy in ("'torch'", "'matplotlib'", "'scipy'", "'sklearn'"):
            assert heavy not in ended.stdout

    def test_without_the_lab_the_remedy_is_named(self, tmp_path):
        (tmp_path / "cyclopts.py").write_text("raise ModuleNotFoundError(name='cyclopts')")
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        ended = subprocess.run(
            [sys.executable, "-m", "corrinit", "--help"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 2
        assert (
            ended.stderr == 'error: the corrinit command needs cyclopts: pip install "corrinit[cli]" [C001]\n'
        )


@pytest.mark.parametrize(
    ("text", "size"), [("3x3", (3, 3)), ("5", (5,)), ("1×7", (1, 7)), ("3X3x3", (3, 3, 3)), (None, None)]
)
def test_kernel_sizes_are_read_as_people_write_them(text, size):
    assert parse_kernel_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "3x", "0x3", "-1x3", "3.0x3", "³x3", "(3, 3)"])
def test_kernel_sizes_that_are_none_are_refused(text):
    with pytest.raises(CorrInitError, match="such as 3x3"):
        parse_kernel_size(text)


class TestJson:
    def test_of_an_estimate(self, run, tmp_path):
        weight = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))
        save_file({"c.weight": weight, "d.weight": torch.ones(2, 2, 3, 3)}, tmp_path / "w.safetensors")
        outcome = run("estimate", "w.safetensors", "--json", "-o", "R.safetensors")
        found = json.loads(outcome.out)
        assert found["interval"][0] < found["mean"] < found["interval"][1]
        assert found["layers"][0]["filters"] == 128
        assert found["skipped"] == [{"name": "d.weight", "reason": "4 filters of 9 taps are too few"}]
        shown = json.loads(run("show", "R.safetensors", "--json").out)
        assert shown["matrix"] == found["matrix"]
        assert shown["profile"][0]["pairs"] == 12

    @pytest.mark.parametrize(("command", "name"), [("methods", "orthogonal"), ("presets", "vgg8-cifar10")])
    def test_of_what_can_be_named(self, run, command, name):
        assert name in [row["name"] for row in json.loads(run(command, "--json").out)]
        assert name in run(command).out

    def test_of_the_errata(self, run):
        assert {"key", "place", "kind", "right"} <= set(
            json.loads(run("theory", "errata", "--json").out)[0]["rows"][0]
        )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_and_options(shell):
    script = app.generate_completion(shell=shell)
    for word in ("estimate", "presets", "pooling", "json"):
        assert word in script
