"""The page on `initialize` says what the recipes say, and shows what its command draws."""

import math
import shlex
from pathlib import Path

import pytest
from torch import nn

from corrinit._planning.gains import Power
from corrinit._planning.recipes import RECIPES, score_deviation
from corrinit._tracing import TensorFunction

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "initialize.md"


def markdown(rows):
    header, *body = rows
    lines = [header, [":--"] * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def test_the_rules_on_the_page_are_those_of_the_default_recipe():
    assert markdown(RECIPES["2026.1"].table()) in PAGE.read_text(encoding="utf-8")


def test_recipes_and_numbers_on_the_page_are_those_of_the_code():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in RECIPES)
    deviations = ", ".join(f"{score_deviation(c):.2f} for {c}" for c in (2, 100))
    assert f"{score_deviation(10):.2f} for 10 classes, {deviations}" in text


def test_the_figure_is_what_its_command_draws(run):
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    command = text.partition("measured: `")[2].partition("`")[0]
    program, *words = shlex.split(command)
    assert program == "corrinit"
    words = [str(ROOT / word) if word.startswith("examples/") else word for word in words]
    words[words.index("--svg") + 1] = "drawn.svg"
    assert run(*words).code == 0
    pytest.importorskip("matplotlib")
    drawn, committed = Path("drawn.svg").read_text(), (ROOT / "docs" / "signal.svg").read_text()
    assert drawn.count("<path") == committed.count("<path")
    assert "recipe 2026.1" in committed


def test_what_the_page_says_of_draws_that_stray():
    """By d log E f(y)² / d log v, where the signal keeps unit strength, what it strays by is multiplied."""

    def factor(activation, step=0.05):
        low, high = (Power(TensorFunction(activation)).before(math.exp(shift)) for shift in (-step, step))
        return 2 * step / math.log(high / low)

    text = PAGE.read_text(encoding="utf-8")
    relu, gelu, silu = map(factor, (nn.ReLU(), nn.GELU(), nn.SiLU()))
    assert relu == pytest.approx(1, abs=1e-3)
    assert f"with GELU multiplied by {gelu:.2f} per layer, with SiLU by {silu:.2f}" in text
    assert f"that is {silu**20:.0f}-fold over twenty layers" in text
