"""`corrinit demo` and `corrinit runs`, as users type them."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from corrinit.cli import main, progress, tally
from corrinit.lab.experiment.config import RunConfig, read_experiment
from corrinit.lab.runs import record
from corrinit.lab.runs.record import read_runs


def demo(**options):
    """The words of a demo of ten tiny runs."""
    tiny = {
        "epochs": 2,
        "seeds": 2,
        "width": 0.1,
        "train_subset": 300,
        "jobs": 1,
        "model": "small",
        "lr": 0.1,
    }
    return ("demo", *(f"--{name.replace('_', '-')}={value}" for name, value in {**tiny, **options}.items()))


SIGNALS = ("kaiming_normal, small scale", "correlated, He scale", "recipe 2026.1")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The records of a demo."""
    folder = tmp_path_factory.mktemp("recorded")
    with pytest.raises(SystemExit):
        main(list(demo(runs=folder / "runs", output=folder / "report.html")))
    return folder / "runs"


@pytest.fixture
def with_records(run, recorded):
    """Run the command in a folder with a copy of those records, in `runs`."""
    shutil.copytree(recorded, "runs")
    return run


def test_demo_ends_with_the_answer_and_the_path_of_a_report_of_five_arms(run):
    outcome = run(*demo(output="out/report.html"))
    assert outcome.code == 0
    assert "Which initialization for this network on these data?" in outcome.out
    assert outcome.out.splitlines()[-1] == "out/report.html"
    page = Path("out/report.html").read_text()
    for arm in (
        "kaiming_normal",
        "kaiming_normal, small scale",
        "correlated, He scale",
        "correlated",
        "recipe 2026.1",
    ):
        assert arm in page
        assert len(re.findall(rf"(?m)^{arm}, seed [01]: test accuracy \d+\.\d\d %", outcome.err)) == 2
    assert len(read_runs(Path("runs"))[0]) == 10


def test_demo_shows_the_signal_of_its_arms_before_training(run):
    plain = {"model": "plain10-gelu", "width": 0.5, "epochs": 1, "seeds": 1, "lr": 1e-9}
    outcome = run(*demo(output="out/report.html", **plain))
    assert "The signal before training: plain10-gelu" in outcome.out
    table = {name: re.search(rf"(?m)^ *{name} +(\S+) +(\S+)", outcome.out) for name in SIGNALS}
    grown = {name: float(row[2]) / float(row[1]) for name, row in table.items()}
    assert grown["kaiming_normal, small scale"] < 0.1  # fades
    assert grown["correlated, He scale"] > 5  # explodes
    assert 0.2 < grown["recipe 2026.1"] < 5
    assert "The signal before training: plain10-gelu" in Path("out/report.html").read_text()


def test_demo_keeps_finished_runs(with_records):
    before = {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/result.json")}
    outcome = with_records(*demo())
    assert "10 of 10 runs are finished already, in runs" in outcome.err
    assert {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/result.json")} == before


def test_a_finished_record_is_read_once_by_a_command(with_records, monkeypatch):
    read, reads = record.read_run, Counter()

    def counting(path):
        reads[path.name] += 1
        return read(path)

    monkeypatch.setattr(record, "read_run", counting)
    assert with_records(*demo()).code == 0
    assert set(reads.values()) == {1}
    assert len(reads) == 10


def test_demo_says_after_an_interruption_how_to_go_on(run, monkeypatch):
    def interrupted(configs, runs, *, on_epoch, **options):
        sweep(configs[:3], runs, on_epoch=on_epoch)
        raise KeyboardInterrupt

    sweep = progress.sweep
    with monkeypatch.context() as patch:
        patch.setattr(progress, "sweep", interrupted)
        outcome = run(*demo())
    assert outcome.code == 130
    assert "Which initialization" not in outcome.out
    assert "3 of 10 runs are finished, in runs; the same command resumes the others" in outcome.err
    finished = {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/result.json")}
    assert run(*demo()).code == 0
    assert len(finished) == 3
    assert (
        finished.items()
        < {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/result.json")}.items()
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"model": "vgg9"}, "error: model is 'vgg9'; it is one of vgg8"),
        ({"data": "nowhere"}, "error: data is 'nowhere'; it is one of digits"),
        ({"data": "parquet:nowhere"}, "nowhere"),
        ({"lr": -1}, "error: lr is -1.0; it is a positive number"),
        ({"jobs": 0}, "error: jobs is 0"),
        ({"seeds": 0}, "error: seeds is 0"),
    ],
)
def test_bad_input_is_one_clear_error(run, options, complaint):
    outcome = run(*demo(**options))
    assert outcome.code == 2
    assert outcome.out == ""
    last = outcome.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert complaint in last
    assert "Traceback" not in outcome.err
    assert not Path("report.html").exists()


def test_what_finished_is_reported_though_some_runs_failed(run, monkeypatch):
    build, failing = RunConfig.__init__, []

    def one_run_fails(self, **settings):
        build(self, **settings)
        if settings.get("seed") == 1 and not failing:
            object.__setattr__(self, "model", "vgg9")
            failing.append(self)

    monkeypatch.setattr(RunConfig, "__init__", one_run_fails)
    outcome = run(*demo())
    assert outcome.code == 2
    assert outcome.out.splitlines()[-1] == "report.html"
    assert "error: 1 of 10 runs failed: kaiming_normal, seed 1: model is 'vgg9'" in outcome.err


def test_a_run_that_diverged_is_said_to(run):
    outcome = run(*demo(lr=1e30))
    assert outcome.code == 0
    assert re.search(r"seed 0: test accuracy .* %, diverged in epoch [12]", outcome.err)


def test_runs_are_named_by_what_they_differ_in():
    one, other = RunConfig(lr=0.1), RunConfig(lr=0.005, seed=2)
    assert tally.run_names([one, other]) == {
        one: "lr 0.1, correlated, seed 0",
        other: "lr 0.005, correlated, seed 2",
    }


def test_runs_lists_the_records_that_meet_the_conditions(with_records):
    assert len(with_records("runs").out.splitlines()) == 11
    listed = with_records("runs", "scale=he", "seed=1").out.splitlines()
    assert len(listed) == 3
    row = r"[0-9a-f]{16} +digits +small +kaiming_normal +1 +0.1 +0 +2/2 +\d+\.\d\d %"
    assert sum(re.match(row, line) is not None for line in listed[1:]) == 1


def test_runs_exports_and_prints_experiment_files(with_records):
    assert with_records("runs", "--output", "all.csv").out == "all.csv\n"
    assert len(Path("all.csv").read_text().splitlines()) == 11
    assert with_records("runs", "-o", "epochs.csv", "--by-epoch").code == 0
    assert len(Path("epochs.csv").read_text().splitlines()) == 21
    Path("run.toml").write_text(with_records("runs", "scale=he", "seed=1", "method=correlated", "--toml").out)
    (config,) = read_experiment("run.toml")
    assert (config.seed, config.initialization.scale, config.epochs) == (1, "he", 2)


def test_runs_tells_unfinished_and_damaged_records(with_records):
    first, second = sorted(path.parent for path in Path("runs").glob("*/config.json"))[:2]
    (first / "result.json").unlink()
    (second / "metrics.jsonl").write_text("{")
    outcome = with_records("runs")
    assert outcome.code == 0
    assert re.search(rf"{first.name}.* unfinished", outcome.out)
    assert re.search(rf"warning: .*{second.name}/metrics.jsonl is damaged", outcome.err)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--folder", "nowhere"), "there is no folder nowhere"),
        (("--folder", ".", "modle=vgg8"), "did you mean model"),
        (("--folder", ".", "-o", "runs.xlsx"), "its name ends in .csv or .parquet"),
    ],
)
def test_runs_refuses_bad_input(run, arguments, complaint):
    outcome = run("runs", *arguments)
    assert outcome.code == 2
    assert complaint in outcome.err
    assert outcome.err.startswith("error: ")


def test_listing_needs_no_torch(tmp_path):
    code = "import sys; from corrinit.cli import runs; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
