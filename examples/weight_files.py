"""Weight files: what correlation do the filters in a file have, and which of its layers have most of it?

    pip install "corrinit[onnx,cli]"
    python examples/weight_files.py [FILE ...]

Takes files of any kind that corrinit reads: safetensors, ONNX, Keras, TFLite, Flax, PyTorch. Without one it
writes a small network as an ONNX file first. Ends with a table of the layers of each file and with the
correlation, as it is kept for `corrinit.initialize(model, correlation=...)`. On the command line these are
`corrinit estimate FILE -o R.safetensors` and `corrinit show R.safetensors`.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import corrinit


def write_network(path: Path) -> Path:
    """Three convolutions whose filters become more correlated with depth, as an exporter writes them."""
    generator = np.random.default_rng(0)
    constants, nodes, channels = [], [], 8
    for layer, mean in enumerate((0.1, 0.2, 0.3)):
        R = corrinit.SpatialCorrelation(corrinit.kernels.exponential((3, 3), mean=mean))
        taps = 0.1 * generator.standard_normal((2 * channels, channels, 9)) @ R.factor.T
        filters = taps.reshape(2 * channels, channels, 3, 3).astype(np.float32)
        constants.append(numpy_helper.from_array(filters, f"features.{layer}.weight"))
        nodes.append(helper.make_node("Conv", [f"x{layer}", constants[-1].name], [f"x{layer + 1}"]))
        channels *= 2
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x0", "x3")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "network", ends[:1], ends[1:], constants)), path)
    return path


def main() -> None:
    """Estimate, show the layers, and keep the result."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(name) for name in sys.argv[1:]] or [write_network(Path(folder) / "network.onnx")]
        for file in files:
            layers = corrinit.estimate_layers(file)
            correlation = corrinit.estimate(file)
            kept = Path(folder) / "correlation.safetensors"
            corrinit.save_correlation(kept, correlation)
            low, high = layers.mean_interval()
            print(
                f"{file.name}: mean correlation {correlation.mean:.2f}, 95 % interval {low:.2f} to {high:.2f}"
            )
            print(layers)
            print(corrinit.load_correlation(kept))


if __name__ == "__main__":
    main()
