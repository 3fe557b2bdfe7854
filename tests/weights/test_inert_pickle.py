import builtins
import collections
import contextlib
import io
import itertools
import os
import pickle
import subprocess
import zipfile

import numpy as np
import pytest
import torch

import corrinit
from corrinit._weights import named_weights
from corrinit._weights.inert_pickle import Foreign, Name, read_inert
from corrinit.errors import WeightsError


def read(content: bytes):
    return read_inert(io.BytesIO(content))


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
class TestPlainValues:
    @pytest.mark.parametrize(
        "value",
        [
            None,
            True,
            -(10**30),
            1.5,
            "text\nwith lines",
            [1, [2, ()], (1, 2, 3, 4)],
            {"a": {"b": 1}, 3: "c", (1, "x"): 2, None: 0},
            collections.OrderedDict(a=1, b=[2]),
            "ä" * 70_000,
        ],
        ids=repr,
    )
    def test_are_what_they_were(self, value, protocol):
        assert read(pickle.dumps(value, protocol)) == value

    def test_shared_and_circular_values_stay_so(self, protocol):
        shared: list = []
        circular = {"a": shared, "b": shared}
        circular["self"] = circular  # pyright: ignore
        found = read(pickle.dumps(circular, protocol))
        assert found["a"] is found["b"]
        assert found["self"] is found

    def test_objects_are_not_made(self, protocol):
        found = read(pickle.dumps({"w": 1, "at": Call(complex, 1, 2)}, protocol))
        assert found["w"] == 1
        assert isinstance(found["at"], Foreign)
        assert found["at"].arguments == (1, 2)


def hostile(canary):
    """Calls that would create a file, in every place that a pickle has for them."""
    bombs = [
        Call(os.system, f"touch {canary}"),
        Call(builtins.eval, f"open({str(canary)!r}, 'w')"),
        Call(builtins.exec, f"open({str(canary)!r}, 'w')"),
        Call(subprocess.getoutput, f"touch {canary}"),
        Call(io.open, str(canary), "w"),
        Call(os.mkdir, str(canary)),
    ]
    for bomb in bombs:
        yield bomb
        yield [bomb, {"a": bomb}, (bomb,)]
        yield {"state_dict": {"a.weight": bomb}}
        yield Call(dict, [("a", bomb)])
        yield Call(collections.Counter, bomb)
        yield Call(Exception, "x", state={"a": bomb})
        yield {(1, "a"): 1, "b": Call(getattr, bomb, "a")}


def by_hand(canary):
    """Programs of opcodes that no pickler writes."""
    command = f"touch {canary}".encode()
    text = b"U" + bytes([len(command)]) + command
    yield b"cos\nsystem\n(" + text + b"tR."  # REDUCE
    yield b"(" + text + b"ios\nsystem\n."  # INST
    yield b"(cos\nsystem\n" + text + b"o."  # OBJ
    yield b"\x80\x02cos\nsystem\n(" + text + b"t\x81."  # NEWOBJ
    yield b"\x80\x04\x8c\x02os\x8c\x06system\x93(" + text + b"t}\x92."  # STACK_GLOBAL, NEWOBJ_EX
    yield b"\x80\x04\x8c\x08builtins\x8c\x0bgetattr.foo\x93(" + text + b"tR."
    yield b"cbuiltins\ngetattr\n(cos\nU\x06systemtR(" + text + b"tR."  # a call of what a call returns
    yield b"\x80\x02cos\nsystem\n}U\x0c__setstate__cos\nsystem\nsb(" + text + b"tR."  # BUILD of a function
    yield b"\x80\x02ccollections\nOrderedDict\n)R}U\x05__new__cos\nsystem\nsb."  # BUILD of a mapping


class TestNothingRuns:
    @pytest.mark.parametrize("protocol", [0, 2, 4, 5])
    def test_of_what_picklers_write(self, tmp_path, protocol):
        canary = tmp_path / "ran"
        for program in hostile(canary):
            read(pickle.dumps(program, protocol))
            assert not canary.exists()

    def test_of_what_is_written_by_hand(self, tmp_path):
        canary = tmp_path / "ran"
        for program in by_hand(canary):
            with contextlib.suppress(WeightsError):
                read(program)
            assert not canary.exists()

    def test_the_same_programs_do_run_in_pickle(self, tmp_path):
        canary = tmp_path / "ran"
        for program in itertools.islice(by_hand(canary), 3):
            pickle.loads(program)
            assert canary.exists()
            canary.unlink()

    def test_names_are_not_looked_up(self):
        assert read(b"cno.such.module\nattribute\n.") == Name("no.such.module", "attribute")


class TestDamage:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b".",
            b"\x80\x02",
            b"\x80\x02]a.",
            b"\x80\x02h\x05.",
            b"\x80\x02\x85.",
            b"\x80\x02t.",
            b"\x80\x02}K\x01u.",
            b"\x80\x02K\x01K\x02s.",
            b"\x80\x02K\x01Q.",
            b"\x80\x05\x97.",
            b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fa.",
            b"\xff\xff",
        ],
    )
    def test_is_a_clear_error(self, content):
        with pytest.raises(WeightsError, match="its pickle is damaged"):
            read(content)

    def test_deep_nesting_does_not_exhaust_the_stack(self):
        depth = 100_000
        assert isinstance(read(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."), list)
        (key,) = read(b"\x80\x02}" + b")" + b"\x85" * depth + b"K\x01s.")
        assert repr(key) == "an object"

    def test_endless_programs_end(self, monkeypatch):
        monkeypatch.setattr("corrinit._weights.inert_pickle._MOST_STEPS", 1000)
        with pytest.raises(WeightsError, match="no end within 1,000 steps"):
            read(b"\x80\x02" + b"]" * 2000 + b".")


class Stored:
    """Stands for a storage in a file of torch before 1.6, by what persists of it."""

    def __init__(self, *identity):
        self.identity = identity


class OldPickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.identity if isinstance(value, Stored) else None


def old_file(path, view):
    """A filter that is a view of a storage of the numbers 0 to 17."""
    stored = Stored("storage", torch.FloatStorage, "0", "cpu", 18, view)
    tensor = Call(torch._utils._rebuild_tensor_v2, stored, 0, (1, 1, 3, 3), (9, 9, 3, 1), False, {})
    with path.open("wb") as file:
        for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(value, file, 2)
        OldPickler(file, 2).dump({"w": tensor})
        pickle.dump(["0"], file, 2)
        file.write((18).to_bytes(8, "little") + np.arange(18, dtype="<f4").tobytes())
    return path


def test_a_view_of_a_storage_begins_where_it_says(tmp_path):
    ((_, weight),) = named_weights(old_file(tmp_path / "old.pt", ("1", 4, 9)))
    assert weight.ravel().tolist() == [*range(4, 13)]


@pytest.mark.parametrize("view", [("1", -1, 9), ("1", "0", 9), ("1", 0), ["1", 0, 9]])
def test_a_view_of_a_storage_that_cannot_be_is_refused(tmp_path, view):
    with pytest.raises(WeightsError, match="the view of a storage is"):
        corrinit.estimate(old_file(tmp_path / "old.pt", view))


def test_another_pickle_is_told_by_its_first_five_keys(tmp_path):
    (tmp_path / "notes.pt").write_bytes(pickle.dumps({f"key {number}": number for number in range(6)}))
    with pytest.raises(WeightsError, match=r"no tensors by name.*its keys: 'key 0', .*'key 4'( |$)"):
        corrinit.estimate(tmp_path / "notes.pt")


def test_a_storage_that_is_missing_is_named(tmp_path):
    torch.save({"c.weight": torch.randn(2, 2, 3, 3)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "part.pt", "w") as part:
        for member in whole.namelist():
            if not member.endswith("data/0"):
                part.writestr(member, whole.read(member))
    with pytest.raises(WeightsError, match="the storage '0' is missing"):
        corrinit.estimate(tmp_path / "part.pt")
