"""Cost of `corrinit.estimate` on ONNX and Keras files, beside reading their tensors with their libraries.

Target: at most 1.5 times the time of `onnx.load` and `numpy_helper.to_array`, and of h5py, which reads an
archive of Keras as Keras does, out of the zip file. Files of 94 MB with the 3×3 kernels of a ResNet-34. Each
measurement is the first of a fresh process, with the libraries loaded before the clock starts and the file in
the page cache; both sides in turns, the least of several. Needs `pip install onnx h5py` beside corrinit.
"""

import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

REPEATS = 7
TARGET = 1.5


def layers() -> Iterator[tuple[str, np.ndarray]]:
    """Filters, (out, in, 3, 3)."""
    channels = [64] * 7 + [128] * 8 + [256] * 12 + [512] * 7
    generator = np.random.default_rng(0)
    for index, (inputs, outputs) in enumerate(zip([3, *channels], channels, strict=False)):
        values = 0.05 * generator.standard_normal((outputs, inputs, 3, 3), np.float32)
        yield f"conv2d_{index}", values


def write_onnx(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    constants = [numpy_helper.from_array(values, f"{name}.weight") for name, values in layers()]
    nodes = [
        helper.make_node("Conv", [f"x{index}", constant.name], [f"x{index + 1}"], pads=[1, 1, 1, 1])
        for index, constant in enumerate(constants)
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x0", f"x{len(nodes)}")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "network", ends[:1], ends[1:], constants)), path)


def write_hdf5(path: Path) -> None:
    """As Keras 3 writes weights alone."""
    import h5py

    with h5py.File(path, "w") as root:
        for name, values in layers():
            root[f"layers/{name}/vars/0"] = np.ascontiguousarray(values.transpose(2, 3, 1, 0))
            root[f"layers/{name}/vars/1"] = np.zeros(len(values), np.float32)


def write_keras(path: Path) -> None:
    """As Keras 3 writes a model: an archive, not compressed, with a file of HDF5."""
    inside = path.with_suffix(".inside")
    write_hdf5(inside)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(inside, "model.weights.h5")


def read_onnx(path: str) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    _ = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def read_hdf5(path: str | IO[bytes]) -> None:
    import h5py

    found: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as root:
        root.visititems(lambda name, item: found.update({name: item[()]} if hasattr(item, "shape") else {}))


def read_keras(path: str) -> None:
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as inside:
        read_hdf5(inside)


def estimate(path: str) -> None:
    import corrinit

    corrinit.estimate(path)


FORMATS: dict[str, tuple[Callable[[Path], None], Callable[[Any], None]]] = {
    "onnx": (write_onnx, read_onnx),
    "weights.h5": (write_hdf5, read_hdf5),
    "keras": (write_keras, read_keras),
}


def measure(action: str, path: str) -> tuple[float, float]:
    """Seconds of one action by the clock and by the processor, the first of this process."""
    import h5py  # noqa: F401 (importing is not what is measured)
    import onnx
    import onnx.numpy_helper  # noqa: F401

    import corrinit._estimation  # noqa: F401

    run = estimate if action == "estimate" else FORMATS[action][1]
    started = time.perf_counter(), time.process_time()
    run(path)
    return time.perf_counter() - started[0], time.process_time() - started[1]


def in_fresh_process(action: str, path: Path) -> tuple[float, float]:
    command = [sys.executable, __file__, action, str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, (write, _) in FORMATS.items():
            path = Path(folder) / f"network.{name}"
            write(path)
            reading, estimating = [], []
            for _ in range(REPEATS):  # in turns, so that other load falls on both
                reading.append(in_fresh_process(name, path))
                estimating.append(in_fresh_process("estimate", path))
            seconds, least = np.min(estimating, axis=0), np.min(reading, axis=0)
            clock, processor = seconds / least
            print(
                f"estimate of {path.stat().st_size / 1e6:.0f} MB of {name}: measured {1e3 * seconds[0]:.0f} "
                "ms, "
                f"{clock:.2f} times reading its tensors with the library for it ({1e3 * least[0]:.0f} ms), "
                f"{processor:.2f} times in processor time; target {TARGET}"
            )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(*sys.argv[1:])))
    else:
        main()
