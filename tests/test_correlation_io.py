import contextlib
import errno
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from corrinit import kernels
from corrinit._correlation import SpatialCorrelation, default_correlation
from corrinit._correlation_io import is_correlation_file, load_correlation, save_correlation
from corrinit._spd import relative_deviations
from corrinit.errors import CorrelationError, CorrInitError


@pytest.fixture
def correlation() -> SpatialCorrelation:
    return SpatialCorrelation(kernels.exponential((3, 2), 1.3), (3, 2), {"source": "café → 日本"})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "R.safetensors"


def write(path, matrix=None, **changes):
    """A correlation file of a 2×1 kernel with some of its metadata changed."""
    fields = {"version": "1", "kernel_size": "[2, 1]", "provenance": "{}"} | changes
    about = "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"
    matrix = np.eye(2) if matrix is None else matrix
    path.write_bytes(safetensors.numpy.save({"correlation": matrix}, {"corrinit.correlation": about}))
    return path


class TestRoundTrip:
    @given(st.data())
    def test_is_bit_for_bit(self, tmp_path_factory, data):
        size = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
        samples = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=(200, np.prod(size)))
        matrix = np.corrcoef(samples, rowvar=False).reshape(np.prod(size), -1)
        provenance = data.draw(st.dictionaries(st.text(), st.text()))
        path = tmp_path_factory.mktemp("round") / "R.safetensors"
        saved = SpatialCorrelation(matrix, size, provenance)
        save_correlation(path, saved)
        loaded = load_correlation(path)
        assert loaded.matrix.tobytes() == saved.matrix.tobytes()
        assert loaded == saved

    @given(st.data())
    def test_of_deviations_is_bit_for_bit(self, tmp_path_factory, data):
        size = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
        drawn = np.random.default_rng(data.draw(st.integers(0, 99))).random(np.prod(size))
        deviations = relative_deviations(drawn)
        axes = [kernels.exponential((k,), 1.3) for k in size]
        separable = data.draw(st.booleans())
        saved = SpatialCorrelation(kernels.exponential(size, 1.3), size, deviations=deviations)
        if separable:
            saved = SpatialCorrelation.separable(axes, {"a": "b"}, deviations=deviations)
        path = tmp_path_factory.mktemp("round") / "R.safetensors"
        save_correlation(path, saved)
        loaded = load_correlation(path)
        assert loaded == saved
        assert loaded.deviations.tobytes() == saved.deviations.tobytes()
        assert (loaded.axes is None) == (saved.axes is None)
        assert loaded.matrix.tobytes() == saved.matrix.tobytes()

    def test_large_kernel_is_kept_by_its_axes(self, path):
        """Its matrix would take 54 MB."""
        save_correlation(path, default_correlation((51, 51)))
        assert load_correlation(path) == default_correlation((51, 51))
        assert path.stat().st_size < 50_000

    def test_file_without_deviations_is_what_an_older_corrinit_wrote(self, path, correlation):
        save_correlation(path, correlation)
        older = {"version": 1, "kernel_size": [3, 2], "provenance": dict(correlation.provenance)}
        expected = safetensors.numpy.save(
            {"correlation": correlation.matrix}, {"corrinit.correlation": json.dumps(older)}
        )
        assert path.read_bytes() == expected
        assert load_correlation(path).is_flat

    def test_older_readers_are_told_of_deviations_by_the_version(self, path, correlation):
        save_correlation(path, correlation.with_deviations(kernels.centre_weighted((3, 2), 1)))
        with safetensors.safe_open(path, framework="np") as file:
            assert json.loads(file.metadata()["corrinit.correlation"])["version"] == 2
            assert sorted(file.keys()) == ["correlation", "deviations"]

    def test_same_correlation_gives_same_bytes(self, tmp_path, correlation):
        save_correlation(tmp_path / "a", correlation)
        save_correlation(tmp_path / "b", correlation)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_file_is_plain_safetensors(self, path, correlation):
        save_correlation(str(path), correlation)
        np.testing.assert_array_equal(
            safetensors.numpy.load_file(path)["correlation"], correlation.matrix, strict=True
        )

    def test_missing_folders_are_created(self, tmp_path, correlation):
        save_correlation(tmp_path / "a" / "b" / "R.safetensors", correlation)
        assert load_correlation(tmp_path / "a" / "b" / "R.safetensors") == correlation


class TestAtomicWrite:
    @pytest.fixture
    def full_disk(self, monkeypatch):
        def fsync(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", fsync)

    @pytest.mark.usefixtures("full_disk")
    def test_full_disk_is_an_error_that_keeps_the_old_file(self, path, correlation):
        path.write_bytes(b"old")
        with pytest.raises(CorrInitError, match="cannot be written: No space left on device"):
            save_correlation(path, correlation)
        assert path.read_bytes() == b"old"
        assert list(path.parent.iterdir()) == [path], "a temporary file was left behind"

    def test_write_that_the_system_refuses_keeps_the_old_file(self, path, correlation):
        resource = pytest.importorskip("resource")
        path.write_bytes(b"old")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            with pytest.raises(CorrInitError, match="cannot be written: File too large"):
                save_correlation(path, correlation)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == b"old"
        assert list(path.parent.iterdir()) == [path]

    def test_name_that_no_file_can_have_is_a_clear_error(self, tmp_path, correlation):
        with pytest.raises(CorrInitError, match="cannot be written: File name too long"):
            save_correlation(tmp_path / ("R" * 300), correlation)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
    def test_device_is_not_replaced(self, correlation):
        with pytest.raises(CorrInitError, match="no regular file"):
            save_correlation("/dev/full", correlation)

    def test_folder_in_the_way_is_a_clear_error(self, tmp_path, correlation):
        with pytest.raises(CorrInitError, match="no regular file"):
            save_correlation(tmp_path, correlation)

    def test_replaces_an_older_file_and_leaves_no_other(self, path, correlation):
        save_correlation(path, SpatialCorrelation.identity((3, 3)))
        save_correlation(path, correlation)
        assert load_correlation(path) == correlation
        assert list(path.parent.iterdir()) == [path]


class TestBadFiles:
    def test_missing(self, path):
        with pytest.raises(CorrelationError, match="there is no file"):
            load_correlation(path)

    def test_folder_and_pipe(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path, tmp_path / "pipe"):
            with pytest.raises(CorrelationError, match="no correlation file, or damaged"):
                load_correlation(path)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\0",
            b"\xff" * 100,
            b"not a safetensors file",
            pickle.dumps({"a": 1}),
            b"\x02" + b"\0" * 7 + b"{}",
        ],
        ids=["empty", "one byte", "absurd header", "text", "pickle", "no tensors"],
    )
    def test_foreign(self, path, content):
        path.write_bytes(content)
        with pytest.raises(CorrelationError, match="is no correlation file"):
            load_correlation(path)
        assert not is_correlation_file(path)

    @pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
    def test_truncated(self, path, correlation, kept):
        save_correlation(path, correlation)
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(CorrelationError, match="damaged"):
            load_correlation(path)

    @given(position=st.integers(0), byte=st.integers(0, 255))
    def test_any_corrupted_byte_loads_or_is_one_clear_error(self, tmp_path_factory, position, byte):
        path = tmp_path_factory.mktemp("corrupt") / "R.safetensors"
        square = SpatialCorrelation(kernels.exponential((2, 2), 1.0))
        save_correlation(path, square.with_deviations(relative_deviations([1, 2, 3, 4])))
        content = bytearray(path.read_bytes())
        content[position % len(content)] = byte
        path.write_bytes(content)
        with contextlib.suppress(CorrelationError):
            load_correlation(path)

    def test_weights_are_told_from_a_correlation(self, path):
        path.write_bytes(safetensors.numpy.save({"conv.weight": np.zeros((4, 4, 3, 3))}))
        with pytest.raises(CorrelationError, match=r"other tensors.*corrinit\.estimate"):
            load_correlation(path)
        assert not is_correlation_file(path)

    def test_later_version(self, path):
        with pytest.raises(CorrelationError, match="version 3; this corrinit reads versions 1 and 2"):
            load_correlation(write(path, version="3"))

    @pytest.mark.parametrize("version", ['"1\\n2"', "[1]", "1.5", "null", "true1"])
    def test_version_of_another_kind_is_one_line(self, path, version):
        with pytest.raises(CorrelationError) as error:
            load_correlation(write(path, version=version))
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        "kernel_size",
        [
            "",
            "3",
            "[0, 2]",
            "[-1, -2]",
            "[true, 2]",
            "[2.0, 1]",
            '["2", 1]',
            "[",
            "[" * 100_000,
            "{}",
            "[" + "9" * 5000 + "]",
        ],
    )
    def test_malformed_kernel_size(self, path, kernel_size):
        with pytest.raises(CorrelationError, match="damaged"):
            load_correlation(write(path, kernel_size=kernel_size))

    def test_kernel_size_of_more_axes_than_arrays_have(self, path):
        about = '{"version": 1, "kernel_size": [' + ", ".join(["1"] * 65) + '], "provenance": {}}'
        path.write_bytes(safetensors.numpy.save({"correlation": np.eye(1)}, {"corrinit.correlation": about}))
        with pytest.raises(CorrelationError, match="65 axes"):
            load_correlation(path)

    @pytest.mark.parametrize("kind", ["F8_E8M0", "F8_E4M3", "F8_E5M2", "BF16", "BOOL", "F32", "I64"])
    @pytest.mark.parametrize("name", ["correlation", "deviations"])
    def test_other_kinds_of_numbers(self, path, name, kind):
        save_correlation(path, SpatialCorrelation(np.eye(2), (2, 1), deviations=[0, 2**0.5]))
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        start, end = header[name]["data_offsets"]
        header[name]["dtype"] = kind
        size = {"F32": 4, "BF16": 2, "I64": 8}.get(kind, 1)
        header[name]["shape"] = [(end - start) // size]
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
        with pytest.raises(CorrelationError, match=f"damaged: its {name} is {kind}"):
            load_correlation(path)
        assert is_correlation_file(path)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e300, 5.0])
    @pytest.mark.parametrize("name", ["correlation", "deviations"])
    def test_impossible_values_are_one_line(self, path, name, value):
        tensors = {"correlation": np.eye(2), "deviations": np.ones(2)}
        tensors[name].flat[-1] = value
        about = {"corrinit.correlation": '{"version": 2, "kernel_size": [2, 1], "provenance": {}}'}
        path.write_bytes(safetensors.numpy.save(tensors, about))
        with pytest.raises(CorrelationError, match="holds no correlation") as error:
            load_correlation(path)
        assert "\n" not in str(error.value)

    def test_deviations_of_another_kernel(self, path):
        tensors = {"correlation": np.eye(2), "deviations": np.ones(3)}
        about = {"corrinit.correlation": '{"version": 2, "kernel_size": [2, 1], "provenance": {}}'}
        path.write_bytes(safetensors.numpy.save(tensors, about))
        with pytest.raises(CorrelationError, match=r"deviations is F64 of shape \[3\], where .* shape \[2\]"):
            load_correlation(path)

    def test_missing_axis(self, path):
        about = {"corrinit.correlation": '{"version": 2, "kernel_size": [2, 1], "provenance": {}}'}
        path.write_bytes(safetensors.numpy.save({"axis.0": np.eye(2)}, about))
        with pytest.raises(CorrelationError, match=r"damaged: it has no axis\.1"):
            load_correlation(path)

    def test_kernel_size_too_large_to_ever_hold(self, path):
        with pytest.raises(CorrelationError, match="damaged"):
            load_correlation(write(path, kernel_size=json.dumps([10**9, 10**9])))

    @pytest.mark.parametrize("provenance", ["", "[]", "null", '{"a": 1}', '{"a": {"b": "c"}}'])
    def test_malformed_provenance(self, path, provenance):
        with pytest.raises(CorrelationError, match="damaged"):
            load_correlation(write(path, provenance=provenance))

    def test_wrong_type_of_number(self, path):
        with pytest.raises(CorrelationError, match="correlation is F32"):
            load_correlation(write(path, np.eye(2, dtype=np.float32)))

    @pytest.mark.parametrize(
        ("matrix", "reason"),
        [
            ([[1, np.nan], [np.nan, 1]], "NaN"),
            ([[1, 0.5], [0.4, 1]], "not symmetric"),
            ([[2, 0.5], [0.5, 2]], "diagonal"),
            ([[1, 1.5], [1.5, 1]], "positive semi-definite"),
        ],
    )
    def test_matrix_that_is_no_correlation(self, path, matrix, reason):
        with pytest.raises(CorrelationError, match=f"holds no correlation.*{reason}"):
            load_correlation(write(path, np.array(matrix, dtype=np.float64)))


def test_metadata_that_is_no_object(path):
    path.write_bytes(safetensors.numpy.save({"correlation": np.eye(4)}, {"corrinit.correlation": "[1, 2]"}))
    with pytest.raises(CorrelationError, match="damaged: its metadata cannot be read"):
        load_correlation(path)
