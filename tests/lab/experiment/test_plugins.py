"""Methods of other packages in the laboratory: what they declare decides ids, arms and lines to paste."""

from dataclasses import replace

import pytest
import torch
from tests.lab.handmade import handmade
from torch import nn

import corrinit
from corrinit import SpatialCorrelation, kernels, methods
from corrinit import _method_info as method_info
from corrinit._init import draw_
from corrinit._method_info import BUILT_IN, UNKNOWN
from corrinit.lab.comparison.names import compared
from corrinit.lab.comparison.report import write_report
from corrinit.lab.experiment.arm import Initialization, label
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.snippet import line_of_code
from corrinit.lab.runs.table import Runs
from corrinit.methods import METHODS, Method

IMAGES = torch.randn(8, 3, 12, 12, generator=torch.Generator().manual_seed(0))
R = [SpatialCorrelation(kernels.exponential((3, 3), mean=mean)) for mean in (0.2, 0.5)]

flat = Method(
    "flat",
    "a package that draws with R",
    std=lambda convolution: 0.1,
    draw=lambda weight, convolution, std, generator: draw_(weight, convolution.correlation, std, generator),
    uses_correlation=True,
)
bold = replace(flat, name="bold", uses_correlation=False)
halved = replace(
    METHODS["kaiming_normal"],
    name="halved",
    adapt=lambda model, convolutions, images: [c.rescale(0.5 * float(images.std())) for c in convolutions],
)
paper = replace(bold, name="paper", std=lambda each: each.paper_std, own_scale="paper")


class Entry:
    value = "package:METHOD"

    def __init__(self, name, method):
        self.name, self.method, self.loaded = name, method, 0

    def load(self):
        self.loaded += 1
        if isinstance(self.method, Exception):
            raise self.method
        return self.method


@pytest.fixture
def installed(monkeypatch):
    """Entry points of packages that are installed for the length of a test."""
    entries = [Entry(each.name, each) for each in (flat, bold, halved, paper)]
    entries += [Entry("torn", ImportError("no module named torch")), Entry("number", 3)]
    for module in (methods, method_info):
        monkeypatch.setattr(
            module, "entry_points", lambda group: entries if group == "corrinit.methods" else []
        )
    method_info._added.cache_clear()
    yield {entry.name: entry for entry in entries}
    method_info._added.cache_clear()


def ids(method, scale="own"):
    arms = (Initialization(method, scale, f"exponential:{mean}") for mean in (0.2, 0.5))
    return {RunConfig(initialization=arm).run_id for arm in arms}


def weights(method, correlation, scale="own"):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(512, 2))
    named = None if scale == "own" else scale
    corrinit.initialize(model, method=method, seed=0, correlation=correlation, scale=named, images=IMAGES)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("scale", ["own", "he", "paper"])
@pytest.mark.parametrize("method", ["flat", "bold", "halved", "paper", *METHODS])
def test_two_correlations_are_one_run_exactly_if_they_give_the_same_weights(method, scale, installed):
    same = torch.equal(*(weights(method, correlation, scale) for correlation in R))
    assert len(ids(method, scale)) == (1 if same else 2)


def test_a_declared_scale_and_its_name_are_one_arm(installed):
    own, named = (Initialization("halved", scale) for scale in ("own", "he"))
    assert own.canonical == named.canonical == replace(named, method="halved")
    assert RunConfig(initialization=own).run_id == RunConfig(initialization=named).run_id


@pytest.mark.parametrize("spec", [Initialization("halved"), Initialization("flat", strength=0.5)])
def test_the_line_to_paste_does_what_the_arm_did(spec, installed):
    line = line_of_code(spec)
    assert ("images=images" in line) == (spec.method == "halved")
    assert ("strength=0.5" in line) == (spec.method == "flat")
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    exec(line, {"corrinit": corrinit, "model": model, "images": IMAGES})
    again = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    corrinit.initialize(again, method=spec.method, seed=0, strength=spec.strength, images=IMAGES)
    for pasted, made in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(pasted, made, rtol=1e-6, atol=1e-7)


def test_methods_of_ours_declare_what_is_known_of_them_without_torch():
    assert {name: method.info for name, method in METHODS.items()} == BUILT_IN


def test_a_method_is_loaded_only_where_it_is_named(installed):
    for name in BUILT_IN:
        _ = RunConfig(initialization=Initialization(name)).run_id
    assert label(Initialization("flat").canonical) == "flat"
    loaded = {name for name, entry in installed.items() if entry.loaded}
    assert loaded == {"flat"}


@pytest.mark.parametrize("name", ["gone", "torn", "number"])
def test_runs_whose_method_is_not_installed_are_reported(name, installed, tmp_path):
    assert method_info.method_info(name) == UNKNOWN
    records = [
        handmade(RunConfig(epochs=1, initialization=Initialization(method), seed=seed), 0.5 + seed / 9)
        for method in ("kaiming_normal", name)
        for seed in (0, 1)
    ]
    page = write_report(compared(Runs(records)), tmp_path / "r.html", command="c")
    assert name in page.read_text()
    assert len(ids(name)) == 2  # it might depend on R
    assert "images=images" in line_of_code(Initialization(name))
