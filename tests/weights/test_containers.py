import argparse
import collections
import datetime
import enum
import io
import json
import os
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from corrinit._arrays import as_array
from corrinit._estimation import estimate
from corrinit._weights import named_weights, read_filters
from corrinit.errors import CorrInitWarning, WeightsError


class Phase(enum.Enum):
    TRAIN = 1


class AttributeDict(dict):
    """A mapping of a class of its own, as configuration libraries have them."""


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(12, 8, 3, 3, generator=torch.Generator().manual_seed(0))


def beside(weight):
    """What training scripts keep beside the weights."""
    parameter = torch.nn.Parameter(weight.clone())
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = weight.clone()
    optimizer.step()
    return {
        "optimizer": optimizer.state_dict(),
        "best": np.float64(0.9),
        "dtype": np.dtype("f4"),
        "history": np.ones(3),
        "args": argparse.Namespace(lr=0.1, arch="resnet"),
        "config": AttributeDict(width=AttributeDict(a=1)),
        "path": Path("runs"),
        "counts": collections.Counter("aab"),
        "groups": collections.defaultdict(list, a=[1]),
        "recent": collections.deque([1], maxlen=3),
        "phase": Phase.TRAIN,
        "at": datetime.datetime(2020, 1, 1),
        "shape": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "type": torch.float32,
        "names": {"a", "b"},
        "raw": bytearray(b"x"),
        "schedule": len,
        "metric": float("nan"),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
class TestHarmlessObjects:
    def test_beside_the_weights_do_not_matter(self, weight, tmp_path, zipped, protocol):
        checkpoint = beside(weight) | {"state_dict": AttributeDict({"c.weight": torch.nn.Parameter(weight)})}
        torch.save(
            checkpoint,
            tmp_path / "model_best",
            _use_new_zipfile_serialization=zipped,
            pickle_protocol=protocol,
        )
        ((name, found),) = named_weights(tmp_path / "model_best")
        assert name == "c.weight"
        assert np.array_equal(found, as_array(weight))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings(
    "ignore:torch.quantize_per_tensor:UserWarning", "ignore::corrinit.CorrInitWarning"
)
class TestTensors:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    def test_of_every_type(self, weight, tmp_path, zipped, dtype):
        torch.save({"c.weight": weight.to(dtype)}, tmp_path / "w", _use_new_zipfile_serialization=zipped)
        ((_, found),) = named_weights(tmp_path / "w")
        assert found.dtype == {"torch.bfloat16": "float32"}.get(str(dtype), str(dtype).removeprefix("torch."))
        assert np.array_equal(found, as_array(weight.to(dtype)))

    def test_views_and_memory_formats(self, weight, tmp_path, zipped):
        row = torch.randn(4000)
        state = {
            "view.weight": row[100:748].view(9, 8, 3, 3),
            "again.weight": row[100:748].view(9, 8, 3, 3),
            "last.weight": weight.to(memory_format=torch.channels_last),
        }
        torch.save(state, tmp_path / "w", _use_new_zipfile_serialization=zipped)
        found = dict(named_weights(tmp_path / "w"))
        assert list(found) == ["view.weight", "last.weight"]
        assert all(np.array_equal(value, as_array(state[name])) for name, value in found.items())

    def test_that_hold_no_values_of_their_own_are_refused(self, tmp_path, zipped):
        huge = {"c.weight": torch.zeros(1, 1, 1, 1).expand(40_000, 30_000, 3, 3)}
        torch.save(huge, tmp_path / "w", _use_new_zipfile_serialization=zipped)
        for source in (huge, tmp_path / "w"):
            with pytest.raises(WeightsError, match="expanded tensor"):
                estimate(source)

    def test_of_other_kinds_are_listed(self, weight, tmp_path, zipped):
        state = {
            "q.weight": torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
            "z.weight": torch.complex(weight, weight),
            "c.weight": weight,
        }
        torch.save(state, tmp_path / "w", _use_new_zipfile_serialization=zipped)
        found = read_filters(tmp_path / "w")
        assert [each.name for each in found.filters] == ["c.weight"]
        assert dict(found.left_out) == {
            "q.weight": "it is quantized, not a plain tensor",
            "z.weight": "it is of type complex64",
        }

    def test_without_values_are_named(self, weight, tmp_path, zipped):
        for kind, value in (("sparse tensor", weight.to_sparse()), ("meta tensor", weight.to("meta"))):
            torch.save({"c.weight": value}, tmp_path / "w", _use_new_zipfile_serialization=zipped)
            with pytest.raises(WeightsError, match=rf"left out are c\.weight: it is a {kind}"):
                estimate(tmp_path / "w")
            torch.save({"c.weight": value, "d.weight": weight}, tmp_path / "w")
            found = read_filters(tmp_path / "w")
            assert [each.name for each in found.filters] == ["d.weight"]
            assert [each.name for each in found.left_out] == ["c.weight"]

    def test_beside_pickled_arrays_are_not_all_there_is(self, weight, tmp_path, zipped):
        state = {"c.weight": weight, "d.weight": weight.numpy(), "best": np.float64(1)}
        torch.save(state, tmp_path / "w", _use_new_zipfile_serialization=zipped)
        assert [each.name for each in read_filters(tmp_path / "w").left_out] == ["d.weight"]

    def test_damage_anywhere_is_one_clear_error(self, weight, tmp_path, zipped):
        saved = io.BytesIO()
        state = {"state_dict": {"c.weight": weight[:2, :3], "c.bias": weight[0, 0, 0]}, "best": np.float64(1)}
        torch.save(state, saved, _use_new_zipfile_serialization=zipped)
        content, chosen = saved.getvalue(), random.Random(0)
        start = content.find(b"\x80\x02")
        for _ in range(300):
            damaged = bytearray(content)
            place = start + chosen.randrange(900)
            if chosen.random() < 0.7:
                damaged[place : place + 1] = chosen.choice([b"\xff", b"R", b"b", b"0", b"2", b"", b"(("])
            else:
                damaged[chosen.randrange(len(damaged))] = chosen.randrange(256)
            (tmp_path / "w").write_bytes(damaged)
            refused = None
            try:
                list(named_weights(tmp_path / "w"))
            except WeightsError as error:
                refused = error
            assert refused is None or str(refused).isprintable()


class TestZipArchives:
    def rewritten(self, path, weight, change, compression=zipfile.ZIP_STORED):
        saved = io.BytesIO()
        torch.save({"c.weight": weight}, saved)
        with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w", compression) as new:
            for member in old.namelist():
                new.writestr(member, change(member, old.read(member)))

    def test_of_the_other_byte_order(self, weight, tmp_path):
        def swap(member, content):
            if member.endswith("byteorder"):
                return b"big"
            return np.frombuffer(content, "<u4").byteswap().tobytes() if "/data/" in member else content

        self.rewritten(tmp_path / "w", weight, swap)
        ((_, found),) = named_weights(tmp_path / "w")
        assert np.array_equal(found, as_array(weight))

    def test_compressed_ones_are_refused_unread(self, weight, tmp_path):
        self.rewritten(tmp_path / "w", weight, lambda _, content: content, zipfile.ZIP_DEFLATED)
        with pytest.raises(WeightsError, match="compressed, which torch"):
            list(named_weights(tmp_path / "w"))

    def test_too_short_storages_are_refused(self, weight, tmp_path):
        self.rewritten(tmp_path / "w", weight, lambda m, c: c[:-4] if "/data/" in m else c)
        with pytest.raises(WeightsError, match=r"damaged: a tensor ends at byte 3,456 of 3,452 stored"):
            list(named_weights(tmp_path / "w"))

    def test_other_archives_are_named(self, tmp_path):
        np.savez(tmp_path / "w.npz", a=np.ones(3))
        with pytest.raises(WeightsError, match=r"numpy archive \(\.npz\)"):
            list(named_weights(tmp_path / "w.npz"))
        torch.jit.script(torch.nn.Conv2d(3, 8, 3)).save(str(tmp_path / "w.pt"))
        with pytest.raises(WeightsError, match=r"TorchScript program.*model\.state_dict\(\)"):
            list(named_weights(tmp_path / "w.pt"))


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"<!DOCTYPE html><html>", "the download failed"),
            (b"\x08\x01\x12\x80\x08" + bytes(9), "a SavedModel of TensorFlow; save the model as"),
            (b"GGUF\3\0\0\0" + bytes(9), "a GGUF file"),
            (b"\x1f\x8b\x08" + bytes(9), "compressed; unpack it"),
            (bytes(257) + b"ustar" + bytes(300), "a tar archive; unpack it"),
            (b"anything", "no file of weights, or damaged"),
        ],
    )
    def test_are_named(self, tmp_path, content, kind):
        (tmp_path / "model.pt").write_bytes(content)
        with pytest.raises(WeightsError, match=rf"model\.pt is .*{kind}.*safetensors and what torch\.save"):
            list(named_weights(tmp_path / "model.pt"))

    def test_names_of_other_encodings(self, weight, tmp_path):
        path = tmp_path / os.fsdecode(b"\xff.pt")
        torch.save({"c.weight": weight}, tmp_path / "w")
        (tmp_path / "w").rename(path)
        ((_, found),) = named_weights(path)
        assert np.array_equal(found, as_array(weight))
        save_file({"c.weight": weight}, tmp_path / "w")
        (tmp_path / "w").rename(path)
        with pytest.raises(WeightsError, match=r"no UTF-8.*rename it"):
            list(named_weights(path))


class TestShards:
    @pytest.mark.parametrize("kind", ["bin", "safetensors"])
    def test_of_both_kinds(self, tmp_path, kind):
        state = {f"layer{i}.weight": torch.randn(8, 8, 3, 3) for i in range(2)}
        for i, (name, value) in enumerate(state.items()):
            save = torch.save if kind == "bin" else save_file
            save({name: value}, tmp_path / f"{i}.{kind}")
        index = tmp_path / f"model.{kind}.index.json"
        places = {name: f"{i}.{kind}" for i, name in enumerate(state)}
        index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
        found = dict(named_weights(index))
        assert all(np.array_equal(found[name], as_array(value)) for name, value in state.items())

    @pytest.mark.parametrize("name", ["model-00002-of-00004.safetensors", "pytorch_model-00001-of-00002.bin"])
    def test_one_of_several_is_said_to_be_a_part(self, tmp_path, name, recwarn):
        save = save_file if name.endswith("safetensors") else torch.save
        save({"c.weight": torch.randn(8, 8, 3, 3)}, tmp_path / name)
        with pytest.warns(CorrInitWarning, match=r"is part \d of \d of a network; give the index"):
            list(named_weights(tmp_path / name))
        index = tmp_path / "index.json"
        index.write_text(json.dumps({"weight_map": {"c.weight": name}}))
        recwarn.clear()
        list(named_weights(index))
        assert not recwarn

    def test_index_that_names_itself_is_an_error(self, tmp_path):
        index = tmp_path / "model.bin.index.json"
        index.write_text(json.dumps({"weight_map": {"a": index.name}}))
        with pytest.raises(WeightsError, match="no file of weights"):
            list(named_weights(index))


def test_files_are_read_tensor_by_tensor(weight, tmp_path):
    """Of a file of 3 GB, that holds zeros nearly everywhere, only what is wanted is read."""
    header, end = {}, 0
    for i in range(12):
        shape = [8192, 8192, 1, 1]
        header[f"big{i}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + 4 * 8192**2]}
        end += 4 * 8192**2
    size = weight.numel() * 4
    header["c.weight"] = {"dtype": "F32", "shape": list(weight.shape), "data_offsets": [end, end + size]}
    text = json.dumps(header).encode()
    with (tmp_path / "w").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.seek(end, os.SEEK_CUR)  # a hole: it takes no room on the disk
        file.write(weight.numpy().tobytes())
    found = read_filters(tmp_path / "w")
    assert [each.tensor.shape for each in found.filters[:12]] == [(8192, 8192, 1, 1)] * 12
    assert np.array_equal(found.filters[12].tensor.read(), as_array(weight))
    estimated = estimate(tmp_path / "w", (3, 3), include="c")
    assert np.array_equal(estimated.matrix, estimate({"c.weight": weight}).matrix)
