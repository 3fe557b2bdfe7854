"""Sound files of every kind that corrinit reads, and how each is read."""

import contextlib
import io
import json
import random
import shutil
import zipfile
from dataclasses import dataclass, field
from importlib.util import find_spec
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save_file
from tests.weights.test_other_formats import packed
from torch import nn

import corrinit
from corrinit import SpatialCorrelation, estimate, kernels, load_correlation, save_correlation
from corrinit._reading import sealed
from corrinit.cli import main
from corrinit.errors import CorrInitError
from corrinit.lab.data import cache
from corrinit.lab.data.dataset import load
from corrinit.lab.experiment.config import RunConfig, read_experiment
from corrinit.lab.runs.check import check_records
from corrinit.lab.runs.export import export
from corrinit.lab.runs.record import read_runs
from corrinit.lab.training.loop import Training
from corrinit.lab.training.run import run

TINY = RunConfig(train_subset=32, width=0.05, epochs=2, batch_size=32, lr=0.05)


@dataclass
class Family:
    """Files of one kind: how to write sound ones into a folder, and how to read them."""

    write: object
    read: object
    needs: str = "torch"
    files: dict = field(default_factory=dict)

    @property
    def possible(self):
        """Whether the library that reads them is there."""
        return find_spec(self.needs) is not None

    def sound(self, place):
        """The files of a sound copy, by path below the folder; made once."""
        if not self.files:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            self.write(place)
            self.files = {p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()}
        return self.files


def write_record(place):
    run(TINY, place, keep_weights=True)


def write_old_record(place):
    write_record(place)
    (file,) = place.glob("*/result.json")
    result = json.loads(file.read_text())
    del result["digest"]
    file.write_text(json.dumps(result, indent=2))


def read_records(place):
    found, faults = read_runs(place)
    for record in found:
        with contextlib.suppress(CorrInitError):
            record.updates()
            record.correct()
    export(found, place / "all.csv")
    export(found, place / "epochs.parquet", by_epoch=True)
    check_records(place)
    if faults:
        raise faults[0]


class Trainings:
    """A training to restore checkpoints into, and the dataset that it is of."""

    data = None

    @classmethod
    def new(cls):
        cls.data = cls.data or load("digits", train_subset=TINY.train_subset)
        return Training(TINY, cls.data)


def write_checkpoint_file(place):
    training = Trainings.new()
    training.run_epoch()
    training.save(place / "checkpoint.pt")


def read_checkpoint_file(place):
    file, training = place / "checkpoint.pt", Trainings.new()
    training.restore(file)
    training.run_epoch()


def reseal_and_read(place):
    """The digest is made to fit, as nobody but an attacker would."""
    file = place / "checkpoint.pt"
    content = file.read_bytes()[:-32]
    file.write_bytes(content + sealed(content))
    read_checkpoint_file(place)


def write_correlation(place):
    r = SpatialCorrelation(kernels.exponential((3, 3), mean=0.3), provenance={"source": "a drill"})
    save_correlation(place / "R.safetensors", r)


def network():
    return nn.Sequential(nn.Conv2d(3, 12, 3), nn.Conv2d(12, 12, 3)).state_dict()


def write_safetensors(place):
    save_file(network(), place / "a.safetensors")


def write_shards(place):
    index = {}
    for number, (name, value) in enumerate(network().items()):
        save_file({name: value}, place / f"{number}.safetensors")
        index[name] = f"{number}.safetensors"
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def write_flax(place):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 12)).astype(np.float32)
    (place / "a.msgpack").write_bytes(packed({"params": {"Conv_0": {"kernel": kernel}, "step": 3}}))


def write_onnx(place):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    weight = numpy_helper.from_array(network()["1.weight"].numpy(), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])], "graph", ends[:1], ends[1:], [weight]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), place / "a.onnx")


def write_hdf5(place):
    import h5py

    with h5py.File(place / "a.h5", "w") as root:
        kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 12))
        root.create_dataset("layers/conv2d/vars/0", data=kernel, compression="gzip")


def write_keras(place):
    write_hdf5(place)
    with zipfile.ZipFile(place / "a.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", (place / "a.h5").read_bytes())
    (place / "a.h5").unlink()


def write_tflite(place):
    from tests.frameworks.shared.tflite_files import one_convolution

    weights = np.random.default_rng(0).normal(size=(12, 3, 3, 4)).astype(np.float32)
    (place / "a.tflite").write_bytes(one_convolution(weights))


def estimate_from(place):
    for file in sorted(place.iterdir()):
        if file.name[0].isalpha():
            estimate(file)


def pictures(chance, number=6):
    for _ in range(number):
        buffer = io.BytesIO()
        pixels = np.frombuffer(chance.randbytes(192), np.uint8).reshape(8, 8, 3)
        Image.fromarray(pixels).save(buffer, chance.choice(("PNG", "JPEG", "BMP", "GIF")))
        yield buffer.getvalue()


def write_folder(place):
    chance = random.Random(0)
    for name in ("a", "b"):
        (place / name).mkdir()
        for number, picture in enumerate(pictures(chance)):
            (place / name / f"{number}.png").write_bytes(picture)


def write_parquet(place):
    chance = random.Random(0)
    for split in ("train", "test"):
        images = [{"bytes": content, "path": None} for content in pictures(chance)]
        table = pa.table({"img": images, "label": [0, 1, 0, 1, 0, 1]})
        parquet.write_table(table, place / f"{split}-00000-of-00001.parquet")


def write_experiment(place):
    (place / "x.toml").write_text(
        '[base]\ndata = "digits"\nepochs = 3\nlr = 0.1\nmodel = "small"\n\n[[cross]]\nseed = [0, 1]\n'
        'initialization = [{method = "correlated", strength = 0.5}, {method = "kaiming_normal"}]\n'
    )


def read_cache(place):
    images, labels = np.zeros((4, 1, 4, 4), np.uint8), np.array([0, 1, 0, 1])
    splits = cache.Splits(("a", "b"), "a drill", images, labels, images, labels)
    source = cache.Source("drill", (), lambda progress: splits)
    with patch.object(cache.pooch, "os_cache", lambda name: place):
        found = cache.cached(source)
    assert found.classes == ("a", "b")
    np.testing.assert_array_equal(found.train_images, images)


def own_loop(place):
    def train(model, seed):
        return [0.25, 0.5]

    corrinit.compare(
        train, ["kaiming_normal", "orthogonal"], 2, model=lambda: nn.Conv2d(2, 2, 3), folder=place
    )


def command_line(place):
    """The words of a command on damaged files: exit code 0, 1 or 2, and at most one line of error."""
    out, err = io.StringIO(), io.StringIO()
    file = next(place.glob("*.safetensors"), place)
    words = ["runs", "--folder", str(place)] if file == place else ["show", str(file)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as ended:
            code = ended.code or 0
    if code not in (0, 1, 2):
        raise AssertionError(f"exit code {code}")
    errors = [line for line in err.getvalue().splitlines() if not line.startswith("warning: ")]
    if code:
        if len(errors) != 1:
            raise AssertionError(f"{len(errors)} lines of error: {errors[:3]}")
        raise CorrInitError(errors[0])


FAMILIES = {
    "run records": Family(write_record, read_records),
    "run records, without a digest": Family(write_old_record, read_records),
    "checkpoints": Family(write_checkpoint_file, read_checkpoint_file),
    "checkpoints, digest made to fit": Family(write_checkpoint_file, reseal_and_read),
    "correlation files": Family(write_correlation, lambda place: load_correlation(place / "R.safetensors")),
    "weights, safetensors": Family(write_safetensors, estimate_from),
    "weights, several safetensors": Family(write_shards, estimate_from),
    "weights, .pt": Family(lambda place: torch.save(network(), place / "a.pt"), estimate_from),
    "weights, .pt of before 1.6": Family(
        lambda place: torch.save(network(), place / "a.pt", _use_new_zipfile_serialization=False),
        estimate_from,
    ),
    "weights, Flax": Family(write_flax, estimate_from),
    "weights, ONNX": Family(write_onnx, estimate_from, "onnx"),
    "weights, HDF5": Family(write_hdf5, estimate_from, "h5py"),
    "weights, Keras": Family(write_keras, estimate_from, "h5py"),
    "weights, TFLite": Family(write_tflite, estimate_from, "tflite"),
    "image folders": Family(write_folder, lambda place: load(f"folder:{place}")),
    "Parquet": Family(write_parquet, lambda place: load(f"parquet:{place}")),
    "experiment files": Family(write_experiment, lambda place: read_experiment(place / "x.toml")),
    "data cache": Family(read_cache, read_cache),
    "kept runs of compare": Family(own_loop, own_loop),
    "command line, correlation": Family(write_correlation, command_line),
    "command line, records": Family(write_record, command_line),
}
