"""The core without torch; the numbers are what it gave from the same weights as a torch module."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

import corrinit
from corrinit._method_info import BUILT_IN

MEAN = 0.29139915230785024
MEAN_IN_BFLOAT16 = 0.29136916332469237
FIRST_ROW = [
    *(1.0, 0.4960988365385796, 0.30990554481521554, 0.5222350019547083, 0.2705865991091411),
    *(0.10195171540884225, 0.23408769176994645, 0.1369519210037335, 0.04514258047562661),
]
INTERVAL = (0.25666986283751236, 0.3291516573194195)
SCALE = 0.022849352450503284
AMPLIFICATION = (25.661634068140646, 25.306724840840605)
MEAN_SQUARES = (1.0, 2.0, 1.0, 1.471922030414205, 2.9438440608284093)


@pytest.fixture
def weights():
    generator = np.random.default_rng(0)
    factor = corrinit.SpatialCorrelation(corrinit.kernels.exponential((3, 3), mean=0.3)).factor
    return {
        f"layer{i}.weight": (generator.standard_normal((24, 16, 9)) @ factor.T)
        .reshape(24, 16, 3, 3)
        .astype(np.float32)
        for i in range(2)
    }


def test_there_is_no_torch_here():
    assert importlib.util.find_spec("torch") is None


def test_arrays_give_what_a_torch_module_gave(weights):
    correlation = corrinit.estimate(weights)
    assert correlation.mean == pytest.approx(MEAN, abs=1e-12)
    assert correlation.matrix[0] == pytest.approx(FIRST_ROW, abs=1e-12)
    assert corrinit.estimate_layers(weights).mean_interval() == pytest.approx(INTERVAL, abs=1e-12)
    assert corrinit.signal_scale(correlation, 64) == pytest.approx(SCALE, abs=1e-12)


def test_a_safetensors_file_gives_what_its_arrays_give(weights, tmp_path):
    save_file(weights, tmp_path / "w.safetensors")
    assert np.array_equal(
        corrinit.estimate(tmp_path / "w.safetensors").matrix, corrinit.estimate(weights).matrix
    )


def test_a_file_of_bfloat16_gives_what_torch_gave(weights, tmp_path):
    header, content = {}, b""
    for name, weight in weights.items():
        bits = weight.view(np.uint32)
        rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
        place = [len(content), len(content) + len(rounded)]
        header[name] = {"dtype": "BF16", "shape": list(weight.shape), "data_offsets": place}
        content += rounded
    text = json.dumps(header).encode()
    (tmp_path / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + content)
    assert corrinit.estimate(tmp_path / "w.safetensors").mean == pytest.approx(MEAN_IN_BFLOAT16, abs=1e-12)


def test_correlations_are_kept_and_read(weights, tmp_path):
    correlation = corrinit.estimate(weights)
    corrinit.save_correlation(tmp_path / "R.safetensors", correlation)
    assert corrinit.load_correlation(tmp_path / "R.safetensors") == correlation
    assert corrinit.presets.load_preset("vgg8-cifar10").mean == pytest.approx(0.0209, abs=1e-4)


def test_the_correlation_of_images():
    images = np.random.default_rng(0).standard_normal((32, 3, 16, 16))
    assert abs(corrinit.estimate_inputs(images, (3, 3)).mean) < 0.05


def test_the_signal_in_closed_form_is_that_of_the_torch_model():
    from corrinit import _signal as signal

    def conv(inputs):
        return {
            "in_channels": inputs,
            "out_channels": 64,
            "kernel_size": (3, 3),
            "stride": (1, 1),
            "groups": 1,
            "dilation": (1, 1),
            "padding": ((1, 1), (1, 1)),
            "padding_mode": "zeros",
        }

    steps = (
        signal.Step(0, "input", "images", shape=(2, 3, 32, 32)),
        signal.Step(1, "conv", "Conv2d", "first", inputs=(0,), arguments=conv(3)),
        signal.Step(2, "activation", "ReLU", inputs=(1,), arguments={"function": lambda z: np.maximum(z, 0)}),
        signal.Step(
            3, "max_pool", "MaxPool2d", inputs=(2,), shape=(2, 64, 16, 16), arguments={"kernel_size": 2}
        ),
        signal.Step(4, "conv", "Conv2d", "second", inputs=(3,), arguments=conv(64)),
    )
    R = corrinit.kernels.exponential((3, 3), mean=0.3)
    report = signal.propagate(
        signal.Graph(steps),
        lambda layer: signal.LayerLaw(R, (2 / (layer.channels * (R * layer.moments).sum())) ** 0.5),
    )
    assert [layer.amplification for layer in report.layers] == pytest.approx(AMPLIFICATION, rel=1e-9)
    assert [step.mean_square for step in report.steps] == pytest.approx(MEAN_SQUARES, rel=1e-9)
    assert signal.gain(np.tanh) == pytest.approx(1.5925, abs=5e-5)


def test_the_statistics_of_the_lab():
    from corrinit.lab.statistics.paired import paired_difference

    assert paired_difference([1.0, 2.0, 3.0], [0.5, 1.0, 2.5]).mean == pytest.approx(2 / 3)


def test_lists_and_data_frames(weights):
    assert len(corrinit.list_methods()) == len(BUILT_IN)
    frame = corrinit.list_presets().to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["name"]) == ["resnet10-cifar10", "vgg8-cifar10"]
    assert list(corrinit.estimate_layers(weights).to_pandas()["filters"]) == [384, 384]


@pytest.mark.parametrize("name", ["initialize", "plan", "GradientMonitor", "methods"])
def test_what_needs_torch_says_how_to_install_it(name):
    with pytest.raises(corrinit.MissingLibraryError, match="needs torch") as raised:
        getattr(corrinit, name)
    for line in ('pip install "corrinit[torch]"', "https://download.pytorch.org/whl/cpu", "CUDA"):
        assert line in str(raised.value)


def test_the_commands_that_need_no_torch(weights, tmp_path):
    save_file(weights, tmp_path / "w.safetensors")
    command = [Path(sys.executable).parent / "corrinit"]

    def run(*words):
        return subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, check=False)

    estimated = json.loads(run("estimate", "w.safetensors", "-o", "R.safetensors", "--json").stdout)
    assert estimated["mean"] == pytest.approx(MEAN, abs=1e-12)
    assert "0.291" in run("show", "R.safetensors").stdout
    assert "lsuv" in run("methods").stdout
    assert "vgg8-cifar10" in run("presets").stdout
    failed = run("plan", "timm:resnet50")
    assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)
    assert 'this command needs torch: pip install "corrinit[torch]"' in failed.stderr
