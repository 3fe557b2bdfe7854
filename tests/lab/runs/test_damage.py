"""Damaged and hostile files of records: each is noticed, costs one record at most, and is told in a line."""

import io
import json
import os
import zipfile
from dataclasses import replace

import pytest
import torch

from corrinit._reading import LARGEST
from corrinit.errors import ConfigError, CorrInitError, CorrInitWarning, RecordError, UnreadableError
from corrinit.lab.experiment.config import RunConfig, read_experiment
from corrinit.lab.runs import record as records
from corrinit.lab.runs.check import REMAKE, check_records
from corrinit.lab.runs.export import export
from corrinit.lab.runs.record import claimed, finished_run, read_run, read_runs
from corrinit.lab.runs.result import RunResult
from corrinit.lab.training.checkpoint import read_checkpoint, write_checkpoint
from corrinit.lab.training.run import run
from corrinit.lab.training.sweep import sweep

TINY = RunConfig(train_subset=64, width=0.1, epochs=3, batch_size=32, lr=0.05)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The files of a finished record by name."""
    path = run(TINY, tmp_path_factory.mktemp("runs"), keep_weights=True).path
    return {file.name: file.read_bytes() for file in path.iterdir()}


def lay(root, files, name=TINY.run_id):
    (root / name).mkdir(parents=True)
    for file, content in files.items():
        (root / name / file).write_bytes(content)
    return root / name


def with_field(content, name, text):
    """A JSON object, without its digest, with the text of a value put in the place of another."""
    values = json.loads(content)
    values.pop("digest", None)
    values[name] = "VALUE"
    return json.dumps(values).replace('"VALUE"', text).encode()


RESULTS = [
    ("test_accuracy", "1.5"),
    ("test_accuracy", "true"),
    ("test_accuracy", '"0.5"'),
    ("test_accuracy", "1" + 400 * "0"),
    ("diverged", "1"),
    ("seconds", "-1"),
    ("seconds", "[1]"),
    ("images_per_second", "NaN"),
    ("parameters", "0.5"),
    ("parameters", str(2**63)),
    ("data", "3"),
    ("data", r'"\ud800"'),
    ("finished", '{"a": 1}'),
    ("averaged_test_loss", "[]"),
    ("something_new", "[1]"),
    ("something_new", 100_000 * "[" + 100_000 * "]"),
]


@pytest.mark.parametrize(("name", "text"), RESULTS)
def test_a_field_of_a_result_that_cannot_be_read_costs_one_record(tmp_path, sound, name, text):
    path = lay(tmp_path, sound | {"result.json": with_field(sound["result.json"], name, text)})
    other = lay(tmp_path, sound, "other")
    found, faults = read_runs(tmp_path)
    assert [record.path for record in found] == [other]
    assert [str(path / "result.json") in str(fault) and "\n" not in str(fault) for fault in faults] == [True]
    assert len(str(faults[0])) < len(str(path)) + 200


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train_loss", '"x"'),
        ("test_loss", "1" + 400 * "0"),
        ("epoch", "7"),
        ("seconds", "true"),
        ("new", "[]"),
    ],
)
def test_a_metric_that_cannot_be_read_costs_one_record(tmp_path, sound, name, text):
    first, *others = sound["metrics.jsonl"].splitlines(keepends=True)
    damaged = b"".join([with_field(first, name, text), b"\n", *others])
    lay(tmp_path, sound | {"metrics.jsonl": damaged})
    with pytest.raises(RecordError, match=r"metrics\.jsonl is damaged: .*epoch"):
        read_run(tmp_path / TINY.run_id)


@pytest.mark.parametrize("name", ["train_loss", "test_loss", "test_accuracy", "epoch"])
def test_a_record_without_a_metric_that_counts_is_damaged(tmp_path, sound, name):
    rows = [json.loads(line) for line in sound["metrics.jsonl"].splitlines()]
    lines = [json.dumps({key: value for key, value in row.items() if key != name}) for row in rows]
    lay(tmp_path, sound | {"metrics.jsonl": "\n".join(lines).encode()})
    with pytest.raises(RecordError, match=f"epoch 1 has no {name}"):
        read_run(tmp_path / TINY.run_id)


@pytest.mark.parametrize("text", ["{}", '{"diverged": true}', '{"diverged": false}'])
def test_a_result_without_an_accuracy_is_damaged(tmp_path, sound, text):
    lay(tmp_path, sound | {"result.json": text.encode()})
    with pytest.raises(RecordError, match="it has no test_accuracy"):
        read_run(tmp_path / TINY.run_id)


@pytest.mark.parametrize("protocol", ["[1]", "true", "{}"])
def test_a_protocol_that_is_no_number_is_refused(tmp_path, sound, protocol):
    lay(tmp_path, sound | {"config.json": with_field(sound["config.json"], "protocol", protocol)})
    with pytest.raises(RecordError, match="has the protocol"):
        read_run(tmp_path / TINY.run_id)


def test_a_setting_of_hundreds_of_digits_is_refused(tmp_path, sound):
    for number, name in enumerate(("lr", "seed", "epochs")):
        config = with_field(sound["config.json"], name, "1" + 400 * "0")
        path = lay(tmp_path, sound | {"config.json": config}, str(number))
        with pytest.raises(RecordError, match=f"{name} is a whole number of 1329 bits"):
            read_run(path)


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy(shape, content=b"", dtype="'<f4'"):
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


ARCHIVES = {
    "no archive": b"PK nonsense",
    "a size that is not there": archive(a=npy((10**12,))),
    "a type that does not fit": archive(a=npy((2,), bytes(16), "'<f8'")),
    "several axes": archive(a=npy((2, 2), bytes(16))),
    "different lengths": archive(a=npy((2,), bytes(8)), b=npy((3,), bytes(12))),
    "a header that is no header": archive(a=b"\x93NUMPY\x01\x00\x04\x00(((("),
    "a header that nests": archive(a=npy(9000 * "(" + 9000 * ")")),
    "objects": archive(a=npy((1,), bytes(8), "'|O'")),
    "more than fits": archive(a=npy((LARGEST // 4,), bytes(LARGEST))),
}


@pytest.mark.parametrize("damage", ARCHIVES)
def test_totals_that_cannot_be_read_are_noticed_and_the_run_is_made_again(tmp_path, sound, damage):
    path = lay(tmp_path, sound | {"updates.npz": ARCHIVES[damage]})
    with pytest.raises(RecordError, match=r"updates\.npz is damaged"):
        read_run(path).updates()
    with pytest.warns(CorrInitWarning, match="the run is made again"):
        assert finished_run(tmp_path, TINY) is None


def test_a_pipe_in_a_record_is_not_waited_for(tmp_path, sound):
    path = lay(tmp_path, sound)
    (path / "config.json").unlink()
    os.mkfifo(path / "config.json")
    with pytest.raises(RecordError, match="is no regular file"):
        read_run(path)


def test_a_record_of_another_run_under_its_name_is_made_again(tmp_path, sound):
    lay(tmp_path, sound, replace(TINY, seed=1).run_id)
    with pytest.warns(CorrInitWarning, match="holds another run than the one that it is named by"):
        assert finished_run(tmp_path, replace(TINY, seed=1)) is None


def test_a_folder_in_the_folder_of_a_run_is_left_alone(tmp_path, sound):
    with claimed(tmp_path, TINY) as path:
        records.start(path, TINY)
    (path / ".ipynb_checkpoints").mkdir()
    assert not sweep([TINY], tmp_path).failures
    assert (path / ".ipynb_checkpoints").is_dir()


def test_a_run_that_begins_anew_is_never_without_its_configuration(tmp_path, sound, monkeypatch):
    def killed(*_):
        raise Interruption

    path = lay(tmp_path, {name: content for name, content in sound.items() if name != "result.json"})
    monkeypatch.setattr(records, "write_json", killed)
    with pytest.raises(Interruption), claimed(tmp_path, TINY):
        records.start(path, TINY)
    assert check_records(tmp_path) == []


def test_a_record_that_cannot_be_read_is_left_and_the_other_runs_are_made(tmp_path, sound, monkeypatch):
    path = lay(tmp_path, sound)
    read = type(path).read_bytes

    def refuse(file):
        if file.parent == path:
            raise PermissionError(13, "Permission denied")
        return read(file)

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    with pytest.raises(UnreadableError, match="cannot be read: Permission denied; see to the disk"):
        finished_run(tmp_path, TINY)
    outcome = sweep([TINY, replace(TINY, seed=1, epochs=1)], tmp_path)
    assert [record.config.seed for record in outcome.records] == [1]
    assert [config for config, _ in outcome.failures] == [TINY]
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in path.iterdir()} == sound


def test_values_of_several_types_under_one_name_are_exported_as_text(tmp_path, sound):
    lay(tmp_path, sound, "a")
    lay(tmp_path, sound | {"result.json": with_field(sound["result.json"], "new", "3")}, "b")
    lay(tmp_path, sound | {"result.json": with_field(sound["result.json"], "new", '"x"')}, "c")
    found, faults = read_runs(tmp_path)
    assert faults == []
    export(found, tmp_path / "all.csv")
    assert {'"3"', '"x"'} <= set((tmp_path / "all.csv").read_text().replace("\n", ",").split(","))


# Digests


def flipped(content, after):
    """Another digit after the point that follows a text."""
    start = content.index(b".", content.index(after)) + 1
    assert content[start : start + 1].isdigit()
    return content[:start] + str((int(content[start : start + 1]) + 1) % 10).encode() + content[start + 1 :]


DIGITS = [("result.json", b'"test_loss"'), ("metrics.jsonl", b'"train_loss"'), ("config.json", b'"width"')]


@pytest.mark.parametrize(("file", "after"), DIGITS)
def test_a_digit_that_flips_is_noticed_by_every_reader(tmp_path, sound, file, after):
    path = lay(tmp_path, sound | {file: flipped(sound[file], after)})
    with pytest.raises(RecordError, match=r"result\.json is damaged: its digest"):
        read_run(path)
    with pytest.warns(CorrInitWarning, match="the run is made again"):
        assert finished_run(tmp_path, TINY) is None
    (finding,) = check_records(tmp_path)
    assert (finding.kind, finding.remedy) == ("damaged", REMAKE)


@pytest.mark.parametrize(("file", "after"), DIGITS[:2])
def test_a_record_of_before_there_were_digests_is_read_as_ever(tmp_path, sound, file, after):
    result = json.loads(sound["result.json"])
    assert len(result.pop("digest")) == 64
    path = lay(tmp_path, sound | {"result.json": json.dumps(result).encode()})
    record = read_run(path)
    assert (record.run_id, record.result) == (TINY.run_id, RunResult.of(result))
    assert check_records(tmp_path) == []


def test_the_digest_is_no_endpoint(tmp_path, sound):
    assert "digest" not in read_run(lay(tmp_path, sound)).result.row()


# Checkpoints


class Interruption(Exception):
    pass


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """The files of a record after two of three epochs."""

    def interrupt(metrics):
        if metrics["epoch"] == 2:
            raise Interruption

    root = tmp_path_factory.mktemp("unfinished")
    with pytest.raises(Interruption):
        run(TINY, root, checkpoint_every=1, on_epoch=interrupt)
    return {file.name: file.read_bytes() for file in (root / TINY.run_id).iterdir()}


def same_training(path, sound):
    first, second = (
        [{**json.loads(line), "seconds": 0} for line in content.splitlines()]
        for content in (sound["metrics.jsonl"], (path / "metrics.jsonl").read_bytes())
    )
    return first == second and (path / "weights.safetensors").read_bytes() == sound["weights.safetensors"]


@pytest.mark.parametrize("where", [0.1, 0.3, 0.5, 0.7, 0.9, 0.9999])
def test_a_flipped_bit_in_a_checkpoint_is_noticed(tmp_path, sound, unfinished, where):
    damaged = bytearray(unfinished["checkpoint.pt"])
    damaged[int(where * len(damaged))] ^= 64
    path = lay(tmp_path, unfinished | {"checkpoint.pt": bytes(damaged)})
    with pytest.warns(CorrInitWarning, match=r"its digest is not that of its bytes; the run starts anew"):
        run(TINY, tmp_path, keep_weights=True)
    assert same_training(path, sound)


EDITS = {
    "no model": lambda state: state.pop("model"),
    "another run": lambda state: state.update(run="0123456789abcdef"),
    "a weight too few": lambda state: state["model"].popitem(),
    "a weight of another shape": lambda state: state["model"].update(
        {name: torch.zeros(1) for name in list(state["model"])[:1]}
    ),
    "weights that are none": lambda state: state.update(model=3),
    "another momentum": lambda state: state["optimizer"]["param_groups"][0].update(momentum=0.1),
    "momentum of another shape": lambda state: state["optimizer"]["state"].update(
        {0: {"momentum_buffer": torch.zeros(1)}}
    ),
    "momentum of no parameter": lambda state: state["optimizer"]["state"].update({"x": {}}),
    "text as metrics": lambda state: state.update(metrics="abc"),
    "text as a metric": lambda state: state["metrics"][0].update(train_loss="abc"),
    "too many epochs": lambda state: state.update(metrics=9 * state["metrics"]),
    "an epoch twice": lambda state: state.update(metrics=[state["metrics"][0]] * len(state["metrics"])),
    "no epoch": lambda state: state.update(metrics=[], updates=[]),
    "totals of text": lambda state: state["updates"][0].update(sign_changes="x"),
    "totals too few": lambda state: state["updates"].pop(),
    "no average": lambda state: state.update(average=None),
    "signs of another shape": lambda state: state["monitor"].update(signs=[torch.zeros(1)]),
    "numbers instead of hits": lambda state: state.update(correct=torch.zeros(3)),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_sound_checkpoint_that_does_not_fit_is_noticed(tmp_path, sound, unfinished, edit):
    path = lay(tmp_path, unfinished)
    state = read_checkpoint(path / "checkpoint.pt", torch.device("cpu"))
    EDITS[edit](state)
    write_checkpoint(path / "checkpoint.pt", state)
    with pytest.warns(CorrInitWarning, match=r"checkpoint\.pt is .*; the run starts anew") as warned:
        run(TINY, tmp_path, keep_weights=True)
    assert len(warned) == 1
    assert same_training(path, sound)


def test_a_checkpoint_that_fits_is_gone_on_from(tmp_path, sound, unfinished):
    path, seen = lay(tmp_path, unfinished), []
    run(TINY, tmp_path, keep_weights=True, on_epoch=lambda metrics: seen.append(metrics["epoch"]))
    assert seen == [3]
    assert same_training(path, sound)


# Experiment files


def test_lists_that_cross_to_too_many_runs_are_counted_not_expanded(tmp_path):
    names = ("seed", "epochs", "batch_size", "lr", "l2", "width")
    file = tmp_path / "x.toml"
    file.write_text("[[cross]]\n" + "\n".join(f"{name} = {list(range(1, 41))}" for name in names))
    with pytest.raises(ConfigError, match="cross to 4,096,000,000 runs, more than 10,000"):
        read_experiment(file)


@pytest.mark.parametrize(
    "content",
    [
        b"x = " + 5000 * b"[",
        b"x = 1" + 5000 * b"0",
        b"\xff\xfe",
        b"[base]\nseed = 1" + 400 * b"0",
        b"[base]\nlr = 1" + 400 * b"0",
        b"[base]\nlr = nan",
        b"[base]\nseed = 1979-05-27",
        b"[[cross]]\nseed = 3",
        b"cross = [1]",
        b"#" * 2**19,
    ],
)
def test_an_experiment_file_that_is_none_is_refused_in_one_line(tmp_path, content):
    file = tmp_path / "x.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        read_experiment(file)
    assert "\n" not in str(refused.value)


def test_what_cannot_be_written_is_one_error(tmp_path):
    with pytest.raises(CorrInitError, match="no name of a file"):
        export([], tmp_path / "a\0b.csv")


def test_the_checkpoint_stays_until_the_result_stands(tmp_path, unfinished, monkeypatch):
    path = lay(tmp_path, unfinished)
    write = records.write_json

    def full(file, value):
        if file.name == "result.json":
            raise CorrInitError("no space left")
        write(file, value)

    monkeypatch.setattr(records, "write_json", full)
    with pytest.raises(CorrInitError, match="no space left"):
        run(TINY, tmp_path)
    assert (path / "checkpoint.pt").exists()
    monkeypatch.undo()
    seen = []
    run(TINY, tmp_path, on_epoch=seen.append)
    assert len(seen) <= 1
    assert not (path / "checkpoint.pt").exists()


def test_a_checkpoint_that_cannot_be_read_is_left_for_the_next_attempt(tmp_path, unfinished, monkeypatch):
    path = lay(tmp_path, unfinished)

    def refuse(file):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    with pytest.raises(UnreadableError, match=r"checkpoint\.pt cannot be read: Input/output error"):
        run(TINY, tmp_path)
    monkeypatch.undo()
    assert (path / "checkpoint.pt").read_bytes() == unfinished["checkpoint.pt"]
