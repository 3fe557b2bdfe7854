"""The index of runs: it says what the folders say, whatever happens to either, and saves the reading."""

import json
import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from corrinit._reading import sealed
from corrinit.errors import CorrInitWarning, RecordError
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.runs import index
from corrinit.lab.runs import record as records
from corrinit.lab.runs.fields import METRICS
from corrinit.lab.runs.index import FILE, finished_runs, list_runs
from corrinit.lab.runs.record import claimed, finished_run, read_run, read_runs
from corrinit.lab.training.sweep import sweep

CONFIGS = [
    RunConfig(epochs=2, seed=seed, initialization=Initialization("kaiming_normal")) for seed in range(8)
]


def write(root, config, *, finish=True, accuracy=0.5):
    with claimed(root, config) as path:
        records.start(path, config)
        rows = [dict.fromkeys(METRICS, 0.25) | {"epoch": epoch} for epoch in (1, 2)]
        records.write_metrics(path, rows if finish else rows[:1])
        if finish:
            records.finish(path, {"gradient_l2": np.ones(2)}, {"test_accuracy": accuracy, "seconds": 1.0})
    return path


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """A few runs are worth an index too, and need not be old."""
    monkeypatch.setattr(index, "FEWEST", 2)
    monkeypatch.setattr(index, "SETTLED", 0)


@pytest.fixture
def root(tmp_path):
    for config in CONFIGS[:6]:
        write(tmp_path / "runs", config, finish=config.seed != 5)
    wait()
    return tmp_path / "runs"


def wait():
    """Until what is written next has a later time."""
    time.sleep(0.012)


def told(record):
    values = (record.path, record.run_id, record.config, [*record.metrics], record.result, record.protocol)
    facts = (record.finished, record.status, record.diverged_in, record.has_accuracy, record.current)
    return repr((values, facts, record.endpoint("test_accuracy")))


def same(listed, read):
    (found, faults), (expected, missed) = listed, read
    assert [told(record) for record in found] == [told(record) for record in expected]
    assert sorted(map(str, faults)) == sorted(map(str, missed))


@pytest.fixture
def reads(monkeypatch):
    """The folders that are read."""
    read = []

    def noted(root, *args, **options):
        read.append(root)
        return (finished_run if args else read_run)(root, *args, **options)

    monkeypatch.setattr(index, "read_run", noted)
    monkeypatch.setattr(index, "finished_run", noted)
    return read


def test_what_has_not_changed_is_read_once(root, reads):
    same(list_runs(root), read_runs(root))
    assert len(reads) == 6
    same(list_runs(root), read_runs(root))
    assert len(reads) == 6
    write(root, CONFIGS[6])
    same(list_runs(root), read_runs(root))
    assert reads[6:] == [root / CONFIGS[6].run_id]


def test_a_sweep_whose_runs_are_finished_reads_none_of_them(root, reads):
    list_runs(root)
    reads.clear()
    outcome = sweep(CONFIGS[:5], root)
    assert [record.config for record in outcome.records] == CONFIGS[:5]
    assert outcome.failures == ()
    assert reads == []


def test_what_a_record_has_to_have_is_looked_at(root):
    wanted = {"needs": ("averaged_test_accuracy",)}, {"with_weights": True}, {"needs": ("correct",)}
    list_runs(root)
    for each in wanted:
        assert finished_runs(root, CONFIGS[:2], **each) == []
    (root / CONFIGS[0].run_id / records.WEIGHTS).write_bytes(b"")
    assert len(finished_runs(root, CONFIGS[:2], with_weights=True)) == 1


def flip(path, rng):
    """Another digit in the place of one, in the file itself."""
    content = bytearray(path.read_bytes() or b"0")
    places = [i for i, byte in enumerate(content) if chr(byte).isdigit()] or range(len(content))
    place = rng.choice(list(places))
    content[place] = rng.choice([c for c in b"0123456789" if c != content[place]])
    with path.open("r+b") as file:
        file.write(content)


def mishap(root, rng):
    """Something that happens to the folders of runs, or to their index."""
    folders = sorted(path.parent for path in root.rglob("config.json"))
    folder, config = rng.choice(folders), rng.choice(CONFIGS)
    file = rng.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    kind = rng.randrange(11)
    if kind == 0:
        flip(file, rng)
    elif kind == 1:
        file.unlink()
    elif kind == 2 and len(folders) > 3:
        shutil.rmtree(folder)
    elif kind == 3:
        shutil.rmtree(root / config.run_id, ignore_errors=True)
        write(root, config, accuracy=rng.randrange(100) / 100)
    elif kind == 4:
        folder.rename(folder.with_name(f"{rng.randrange(16**16):016x}"))
    elif kind == 5:
        (root / "older").mkdir(exist_ok=True)
        shutil.move(folder, root / "older" / f"{rng.randrange(16**16):016x}")
    elif kind == 6:
        shutil.copytree(folder, root / f"{rng.randrange(16**16):016x}", copy_function=shutil.copy2)
    elif kind == 7:
        (root / FILE).unlink(missing_ok=True)
    elif kind == 8 and (root / FILE).exists():
        flip(root / FILE, rng)
    elif kind == 9 and (root / FILE).exists():
        (root / FILE).write_bytes((root / FILE).read_bytes()[: rng.randrange(2000)])
    elif kind == 10 and (root.parent / "kept").exists():
        shutil.copy(root.parent / "kept", root / FILE)


@pytest.mark.filterwarnings("ignore::corrinit.errors.CorrInitWarning")
@pytest.mark.parametrize("seed", range(8))
def test_index_and_folders_never_disagree(root, seed):
    rng = random.Random(seed)
    for _ in range(12):
        for _ in range(rng.randrange(1, 4)):
            mishap(root, rng)
        wait()
        expected = [record for config in CONFIGS if (record := finished_run(root, config)) is not None]
        assert [told(each) for each in finished_runs(root, CONFIGS)] == [told(each) for each in expected]
        same(list_runs(root), read_runs(root))
        if (root / FILE).exists() and rng.random() < 0.5:
            shutil.copy(root / FILE, root.parent / "kept")


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "result.json", "updates.npz"])
def test_an_edit_in_place_is_noticed_in_every_file(root, name):
    list_runs(root)
    path = root / CONFIGS[0].run_id
    wait()
    with (path / name).open("r+b") as file:
        file.write(b"[")
    with pytest.warns(CorrInitWarning, match="the run is made again"):
        found = finished_runs(root, CONFIGS[:2])
    assert [record.config for record in found] == [CONFIGS[1]]


def test_a_file_that_may_still_change_under_the_same_time_is_not_kept(root, monkeypatch, reads):
    monkeypatch.setattr(index, "SETTLED", 10**12)
    for _ in range(2):
        list_runs(root)
    assert len(reads) == 12
    assert not (root / FILE).exists()


def test_where_nothing_can_be_written_all_is_read(root, monkeypatch, reads):
    def refuse(*args, **kwargs):
        raise OSError("read-only file system")

    monkeypatch.setattr(index.tempfile, "TemporaryFile", refuse)
    before = sorted(root.iterdir())
    for _ in range(2):
        same(list_runs(root), read_runs(root))
    assert len(reads) == 12
    assert sorted(root.iterdir()) == before


def test_two_may_write_it_at_once(root, reads):
    with ThreadPoolExecutor(4) as pool:
        for listed in pool.map(lambda _: list_runs(root), range(8)):
            same(listed, read_runs(root))
    reads.clear()
    same(list_runs(root), read_runs(root))
    assert reads == []


def test_an_index_of_another_version_is_made_anew(root, monkeypatch, reads):
    list_runs(root)
    monkeypatch.setattr(index, "SCHEMA", index.SCHEMA.with_metadata({"corrinit": "9.9"}))
    same(list_runs(root), read_runs(root))
    assert len(reads) == 12


def test_a_file_that_is_no_index_counts_as_none(root):
    for content in (b"", b"PAR1", b"nothing" + sealed(b"nothing")):
        (root / FILE).write_bytes(content)
        same(list_runs(root), read_runs(root))


def test_a_run_whose_correlation_lies_in_a_file_is_looked_at_each_time():
    named = [("default", False), ("exponential:0.3+centre:0.8", False), ("vgg8-cifar10:layers", False)]
    for name, expected in [*named, ("R.safetensors", True), ("./default", True)]:
        config = RunConfig(initialization=Initialization("correlated", correlation=name))
        assert index._names_a_file(config) == expected


def test_metrics_are_read_when_they_are_asked_for(root):
    list_runs(root)
    (record, *_), _ = list_runs(root)
    assert (len(record.metrics), record.metrics[-1]["epoch"]) == (2, 2)
    shutil.rmtree(record.path)
    assert record.metrics[-1]["test_accuracy"] == 0.25
    with pytest.raises(RecordError):
        record.curve("test_accuracy")


def test_a_record_that_grew_since_is_not_mixed_with_the_older_one(root):
    list_runs(root)
    record = next(each for each in list_runs(root)[0] if not each.finished)
    assert len(record.metrics) == 1
    write(root, record.config)
    with pytest.raises(RecordError, match="changed by somebody"):
        list(record.metrics)


def test_the_listing_of_the_command_is_the_same_with_an_index(root, run, monkeypatch):
    monkeypatch.chdir(root.parent)
    first, second = run("runs"), run("runs")
    assert first.out == second.out
    assert len(first.out.splitlines()) == 7
    assert run("runs", "seed=3", "--json").out == run("runs", "--json", "seed=3").out
    assert json.loads(run("runs", "seed=3", "--json").out)[0]["seed"] == 3


def test_an_index_is_written_where_it_saves_time(root, monkeypatch):
    monkeypatch.setattr(index, "FEWEST", 7)
    list_runs(root)
    assert not (root / FILE).exists()
    monkeypatch.setattr(index, "FEWEST", 6)
    list_runs(root)
    written = (root / FILE).stat()
    list_runs(root)
    assert (root / FILE).stat().st_ino == written.st_ino  # nothing is new
