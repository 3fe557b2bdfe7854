"""What of the formats of other frameworks needs none of their libraries; the rest is in tests/frameworks."""

import json
import re
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import corrinit
from corrinit._weights import named_weights, read_filters
from corrinit._weights.filters import find_filters
from corrinit._weights.stored_tensor import in_memory
from corrinit.errors import MissingLibraryError, WeightsError


def packed(value):
    """A value as Flax writes it."""
    if isinstance(value, dict):
        items = b"".join(packed(name) + packed(each) for name, each in value.items())
        return b"\xde" + struct.pack(">H", len(value)) + items
    if isinstance(value, str):
        return b"\xd9" + struct.pack(">B", len(value.encode())) + value.encode()
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return b"\xd3" + struct.pack(">q", value)
    shape = bytes([0x90 + value.ndim]) + b"".join(map(packed, value.shape))
    values = b"\xc6" + struct.pack(">I", value.nbytes) + value.tobytes()
    content = b"\x93" + shape + packed(value.dtype.name) + values
    return b"\xc9" + struct.pack(">Ib", len(content), 1) + content


@pytest.fixture
def kernel():
    return np.random.default_rng(0).normal(size=(3, 3, 8, 16)).astype(np.float32)


class TestFlax:
    def test_kernels_have_their_taps_first(self, tmp_path, kernel):
        tree = {"params": {"Conv_0": {"kernel": kernel, "bias": np.zeros(16, np.float32)}, "step": 3}}
        (tmp_path / "a.msgpack").write_bytes(packed(tree))
        ((name, found),) = named_weights(tmp_path / "a.msgpack")
        assert name == "Conv_0/kernel"
        np.testing.assert_array_equal(found, kernel.transpose(3, 2, 0, 1))

    def test_parameters_alone(self, tmp_path, kernel):
        tree = {"stem": {"kernel": kernel}, "head": {"conv": {"kernel": 2 * kernel[:, :, ::-1]}}}
        (tmp_path / "a.msgpack").write_bytes(packed(tree))
        assert [name for name, _ in named_weights(tmp_path / "a.msgpack")] == [
            "stem/kernel",
            "head/conv/kernel",
        ]

    def test_large_arrays_come_in_pieces(self, tmp_path, kernel):
        flat = kernel.ravel()
        pieces = {
            "__msgpack_chunked_array__": True,
            "shape": {str(axis): size for axis, size in enumerate(kernel.shape)},
            "chunks": {"0": flat[:500], "1": flat[500:1000], "2": flat[1000:]},
        }
        (tmp_path / "a.msgpack").write_bytes(packed({"params": {"Conv_0": {"kernel": pieces}}}))
        ((_, found),) = named_weights(tmp_path / "a.msgpack")
        np.testing.assert_array_equal(found, kernel.transpose(3, 2, 0, 1))

    def test_several_sets_are_listed(self, tmp_path, kernel):
        sets = {"params": {"a": {"kernel": kernel}}, "ema_params": {"a": {"kernel": kernel + 1}}}
        (tmp_path / "a.msgpack").write_bytes(packed(sets))
        with pytest.warns(corrinit.CorrInitWarning, match=r"several sets .*: params .* params is taken"):
            ((_, found),) = named_weights(tmp_path / "a.msgpack")
        assert found.mean() < 0.5
        ((_, found),) = named_weights(tmp_path / "a.msgpack", weights="ema_params")
        assert found.mean() > 0.5

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"\x81\xa1a" + b"\x91" * 100 + b"\xc0", "nested more than 64 deep"),
            (b"\x81\xa1a\xdd\xff\xff\xff\xff", "a list of 4,294,967,295 values"),
            (b"\x81\xa1a\xc6\xff\xff\xff\xff", "in the middle of a value"),
            (b"\x81\xa1a\xc0\x00", "1 bytes are left over"),
            (b"\x81\xc0\xc0", "a key is no text"),
            (b"\x81\xa1a\xc7\x03\x01\x93\x90\xa1", "a list of 3 values"),
        ],
    )
    def test_damaged_files(self, tmp_path, content, reason):
        (tmp_path / "a.msgpack").write_bytes(content)
        with pytest.raises(
            WeightsError, match=rf"a\.msgpack is no MessagePack as Flax writes, or damaged.*{reason}"
        ):
            read_filters(tmp_path / "a.msgpack")

    @pytest.mark.filterwarnings("ignore::corrinit.CorrInitWarning")
    def test_damaged_in_many_ways(self, tmp_path, kernel):
        content = packed({"params": {"Conv_0": {"kernel": kernel, "bias": np.zeros(16, np.float32)}}})
        chance = np.random.default_rng(0)
        path, messages = tmp_path / "a.msgpack", []
        for _ in range(300):
            damaged = bytearray(content)
            damaged[chance.integers(120)] = chance.integers(256)
            whole = chance.random() < 0.7
            path.write_bytes(damaged if whole else damaged[: chance.integers(1, len(content))])
            try:
                corrinit.estimate(path)
            except corrinit.CorrInitError as error:
                messages.append(str(error))
        assert len(messages) > 50
        assert all(message.isprintable() for message in messages)


class TestMissingLibraries:
    @pytest.mark.parametrize(
        ("content", "library", "extra"),
        [
            (b"\x89HDF\r\n\x1a\n" + bytes(9), "h5py", "keras"),
            (b"\x1c\0\0\0TFL3" + bytes(9), "tflite", "tflite"),
            (b"\x08\x0a\x12\x07pytorch", "onnx", "onnx"),
        ],
    )
    def test_are_named_with_the_extra(self, tmp_path, monkeypatch, content, library, extra):
        monkeypatch.setitem(sys.modules, library, None)
        (tmp_path / "model").write_bytes(content)
        with pytest.raises(MissingLibraryError, match=rf'needs {library}: pip install "corrinit\[{extra}\]"'):
            corrinit.estimate(tmp_path / "model")


class TestFiltersThatTheFileTells:
    def told(self, shape, name):
        tensor = in_memory(np.random.default_rng(0).normal(size=shape))
        return find_filters({name: replace(tensor, is_filter=True)})

    def test_need_no_name(self):
        assert [each.name for each in self.told((16, 8, 3, 3), "mask").filters] == ["mask"]

    @pytest.mark.parametrize(("name", "shape"), [("stft.basis", (64, 1, 32)), ("conv", (64, 1, 256))])
    def test_are_left_out_where_they_are_a_fixed_transform(self, name, shape):
        found = self.told(shape, name)
        assert not found.filters
        assert "fixed" in found.left_out[0].reason


class TestFolders:
    @pytest.mark.parametrize(
        ("mark", "words"),
        [
            ("_METADATA", "a checkpoint of Orbax, which is not read; restore it"),
            ("saved_model.pb", "a SavedModel of TensorFlow, which is not read; save the model as .keras"),
            ("anything", "a folder; give the file of weights in it"),
        ],
    )
    def test_are_named(self, tmp_path, mark, words):
        (tmp_path / mark).touch()
        with pytest.raises(WeightsError, match=re.escape(f"{tmp_path} is {words}")):
            corrinit.estimate(tmp_path)


MEASURE = """
import sys, corrinit
layers = corrinit.estimate_layers(sys.argv[1])
(peak,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # of this program alone
print(len(layers.layers), int(peak.split()[1]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the memory is read from /proc")
def test_a_file_of_many_gigabytes_takes_little_memory(tmp_path):
    """14 GB, nearly all of them holes: 110 embeddings of 128 MB between two layers of filters."""
    filters = np.random.default_rng(0).normal(size=(2, 64, 32, 3, 3)).astype(np.float32)
    shapes = {"a.weight": filters[0].shape, "b.weight": filters[1].shape}
    shapes |= {f"b{index}.weight": (1 << 15, 1 << 10) for index in range(110)}
    header, end = {}, 0
    for name in sorted(shapes, key=lambda name: name != "a.weight" and (name == "b.weight") + 1):
        start, end = end, end + 4 * int(np.prod(shapes[name]))
        header[name] = {"dtype": "F32", "shape": shapes[name], "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + filters[0].tobytes())
        file.seek(8 + len(text) + end - filters[1].nbytes)
        file.write(filters[1].tobytes())
    assert path.stat().st_size > 14e9
    assert path.stat().st_blocks * 512 < 1e8
    command = [sys.executable, "-c", MEASURE, str(path)]
    layers, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(layers) == 2
    assert int(megabytes) < 1000
