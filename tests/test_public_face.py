"""The public names: one list of them, what users get back is in it, and it costs nothing to look."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import corrinit


@pytest.fixture
def model():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3))


def test_every_name_is_there_once():
    assert len(set(corrinit.__all__)) == len(corrinit.__all__)
    assert all(getattr(corrinit, name) is getattr(corrinit, name) for name in corrinit.__all__)
    assert set(corrinit.__all__) <= set(dir(corrinit))


def test_no_name_is_that_of_another_public_module():
    folder = Path(corrinit.__file__).parent
    modules = {path.stem for path in folder.iterdir() if not path.name.startswith("_")}
    named = {name for name in corrinit.__all__ if type(getattr(corrinit, name)).__name__ == "module"}
    assert not (set(corrinit.__all__) - named) & modules


def test_what_is_returned_is_public(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    plan = corrinit.plan(model)
    layers = corrinit.estimate_layers(model)
    with corrinit.GradientMonitor(model, optimizer) as monitor:
        model(torch.randn(2, 3, 8, 8)).mean().backward()
        optimizer.step()
        history = monitor.read()
    compared = corrinit.compare(
        lambda model, seed: float(seed), ["kaiming_normal", "orthogonal"], 2, model=lambda: nn.Conv2d(1, 4, 3)
    )
    returned = [
        *(plan, plan.layers[0], plan.signal, plan.signal.steps[0], plan.signal.layers[0]),
        *(layers, layers.layers[0], layers.skipped or corrinit.Skipped("", ""), layers.mean_interval()),
        *(layers.pooled(), layers.pooled().profile()[0], history, compared, compared.table[0]),
        *(corrinit.list_methods(), corrinit.list_methods()[0], corrinit.list_presets()[0]),
    ]
    public = {getattr(corrinit, name) for name in corrinit.__all__}
    assert [type(each).__name__ for each in returned if type(each) not in {*public, tuple}] == []


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'initialise'"):
        corrinit.initialise  # noqa: B018  # pyright: ignore


def test_importing_it_imports_nothing_heavy():
    program = "import sys, corrinit; print({'numpy', 'torch', 'safetensors'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "set()\n"


def test_the_core_imports_no_torch():
    program = (
        "import sys, numpy, corrinit\n"
        "corrinit.estimate({'c.weight': numpy.random.default_rng(0).normal(size=(8, 8, 3, 3))})\n"
        "corrinit.list_methods(), corrinit.list_presets()\n"
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"


def test_versions(capsys):
    corrinit.show_versions()
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    assert lines["corrinit"] == corrinit.__version__
    assert lines["numpy"] == np.__version__
