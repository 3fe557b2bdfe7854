"""The documentation does what it says: its examples run, and its tables are those of the records."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.pages import ROOT, examples
from tests.walk import TUTORIAL, filled, pasted
from torch import nn

import corrinit
from corrinit._planning.recipes import RECIPES
from corrinit.cli import app

sys.path.insert(0, str(ROOT / "docs"))
import results_table

SITE = ROOT / "docs"
EXAMPLES = (
    ROOT / "README.md",
    *(SITE / f"{name}.md" for name in ("index", "initialize", "cheat-sheet")),
    *sorted(SITE.glob("howto/*.md")),
)
ONLY_PARSED = ("compare", "study", "demo", "reproduce", "theory", "runs", "report")
"""Sub-commands that train, compute long or need records: here their words are read, and not carried out."""


class Network(nn.Module):
    """What pages call `model`."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


def names():
    """What a reader of a page has already."""
    model = Network()
    return {
        "corrinit": corrinit,
        "model": model,
        "build": Network,
        "conv": model.body[0],
        "g": torch.Generator().manual_seed(0),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "train": lambda model, seed: float(seed % 3),
    }


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page, run, tmp_path, monkeypatch):
    namespace = names()
    weights = Network().state_dict()
    save_file(weights, "resnet.safetensors")
    torch.save({"state_dict_ema": weights}, "checkpoint.pth")
    Path("runs.csv").write_text("method,seed,accuracy\na,0,70.1\na,1,70.4\nb,0,71.8\nb,1,71.5\n")
    found = examples(page)
    for example in found:
        if example.file is not None:  # files that stand below the command that reads them, too
            Path(example.file).write_text(example.text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for example in found:
        if example.language == "python" and example.file is None and not example.text.startswith(">>>"):
            code = compile("\n" * (example.line - 1) + example.text, str(page), "exec")
            exec(code, namespace)  # what the page says, word for word
        for command in example.commands if example.language == "sh" else []:
            program, *words = shlex.split(command)
            if program == "corrinit" and words[0] not in ONLY_PARSED:
                assert run(*words).code == 0, command
            elif program == "corrinit":
                app.parse_args(words, exit_on_error=False, print_error=False)
    for file in {"deep", "small", "model"} & set(sys.modules):
        del sys.modules[file]


def test_the_figure_of_a_deep_network_is_what_its_example_gives(run):
    model = f"{ROOT / 'examples' / 'deep_plain_network.py'}:build"
    options = ("--input-size", "32", "--recipe", "schneider", "--scale", "he", "--svg", "signal.svg")
    assert run("plan", model, *options).code == 0
    assert Path("signal.svg").read_text() == (ROOT / "docs" / "signal.svg").read_text()


@pytest.mark.parametrize("page", results_table.PAGES, ids=lambda page: page.stem)
def test_the_table_of_gains_is_that_of_the_records(page):
    text = page.read_text(encoding="utf-8")
    assert results_table.filled(text, results_table.table()) == text
    assert results_table.table() in text


def test_every_recipe_named_on_a_page_exists():
    for page in [*SITE.rglob("*.md"), ROOT / "README.md"]:
        if "_build" not in page.parts:
            named = re.findall(r'recipe="([\w.]+)"', page.read_text(encoding="utf-8"))
            assert set(named) <= set(RECIPES), page


def test_links_of_the_readme_lead_to_files_of_the_repository():
    """On a package index they are made absolute when the package is built, see `pyproject.toml`."""
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_walk_reads_the_tutorial_as_it_is_written():
    found = examples(TUTORIAL)
    assert [example.file for example in found if example.file] == ["images.py", "model.py", "train.py"]
    commands = [command for example in found if example.language == "sh" for command in example.commands]
    assert [command.split()[0] for command in commands] == ["pip", "python", "corrinit", "python"]
    outputs = [example.text.removesuffix("\n") for example in found if example.language == "text"]
    text = TUTORIAL.read_text(encoding="utf-8")
    assert filled(text, outputs) == text
    (train,) = (example.text for example in found if example.file == "train.py")
    line = 'corrinit.initialize(model, method="orthogonal", seed=0)'
    assert f"\n{line}\n" in pasted(train, line)
    assert pasted(train, line).count("corrinit.initialize(") == 1
