import sys
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from rich.console import Console
from torch import nn

import corrinit
from corrinit import kernels
from corrinit._tables import Table
from corrinit.errors import CorrInitError


class Point(NamedTuple):
    name: str
    x: float | None


POINTS = corrinit.Listing([Point("a<b>\x1b[2J", 0.123456), Point("c", None)])


def printed(value, width=100):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(value)
    return console.export_text()


def test_text_escapes_what_would_move_the_terminal():
    assert str(POINTS) == "name         x\na<b>\\x1b[2J  0.1235\nc"
    assert "\x1b" not in printed(POINTS)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_long_cells_are_not_folded_letter_by_letter(width):
    shown = printed(corrinit.list_methods(), width)
    assert "Correlated initialization for correlated data" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= width


def test_html_escapes_names():
    html = POINTS._repr_html_()
    assert "a&lt;b&gt;" in html
    assert html.count("<tr>") == 3


def test_data_frames_hold_the_values(monkeypatch):
    made = SimpleNamespace(DataFrame=lambda rows, columns: (rows, columns))
    monkeypatch.setitem(sys.modules, "pandas", made)
    rows, columns = POINTS.to_pandas()
    assert columns == ["name", "x"]
    assert rows[0]["x"] == 0.123456


def test_without_pandas_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(CorrInitError, match="pip install pandas"):
        POINTS.to_pandas()


def test_columns_of_numbers_are_told():
    assert Table(("a", "b", "c"), ((1, "x", None), (2.5, "y", None))).numeric == (True, False, False)


class TestValues:
    def test_a_plan(self):
        plan = corrinit.plan(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))
        assert "8×3×3×3" in printed(plan, 140)
        assert "action" in printed(plan, 140)
        assert "action" not in printed(plan, 80)
        assert plan._repr_html_().count("<tr>") == 3

    def test_a_correlation(self):
        flat = corrinit.SpatialCorrelation(kernels.exponential((3, 3), mean=0.3))
        weighted = flat.with_deviations(kernels.centre_weighted((3, 3), width=0.8))
        assert "1.00  .51" in printed(flat)
        assert "deviation of each tap" in printed(weighted)
        assert "deviation of each tap" not in printed(flat)
        assert flat._repr_html_().count("<td") == 81
        assert weighted._repr_html_().count("<td") == 90

    def test_a_large_correlation_is_not_drawn_cell_by_cell(self):
        large = corrinit.SpatialCorrelation.identity((51, 51))
        assert "<td" not in large._repr_html_()

    def test_a_comparison(self):
        values = {"kaiming_normal": [0.5, 0.6, 0.4], "orthogonal": [0.7, 0.9, 0.6]}
        runs = iter([value for pair in zip(*values.values(), strict=True) for value in pair])
        compared = corrinit.compare(
            lambda model, seed: next(runs), list(values), 3, model=lambda: nn.Conv2d(1, 4, 3)
        )
        (baseline, other) = compared._table().records()
        assert (baseline["mean"], baseline["p"]) == (pytest.approx(0.5), None)
        assert other["difference"] == pytest.approx(0.7333333 - 0.5)
        assert "orthogonal" in compared._repr_html_()
        assert "orthogonal" in printed(compared)

    def test_the_layers_of_a_network(self):
        generator = torch.Generator().manual_seed(0)
        layers = corrinit.estimate_layers({"c.weight": torch.randn(8, 8, 3, 3, generator=generator)})
        assert "c.weight" in printed(layers)
        assert "c.weight" in str(layers)
