"""Documents quote recorded runs: they are what the records in `results` give, to the byte."""

import runpy
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import corrinit

ROOT = Path(__file__).parents[1]


def command_of(document):
    """The command that a document says it was made by."""
    (line,) = [line for line in document.splitlines() if line.startswith("| command |")]
    return shlex.split(line.removeprefix("| command | ").removesuffix(" |").replace("\\", ""))


@pytest.mark.parametrize("name", ["reproduction", "comparison"])
def test_a_document_is_what_its_command_makes_from_the_records(name, run, monkeypatch, tmp_path):
    committed = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    program, *words = command_of(committed)
    assert program == "corrinit"
    places = {f"docs/{name}.md": f"{name}.md", "results": str(ROOT / "results")}
    monkeypatch.setattr("sys.argv", ["corrinit", *words])
    words = [str(ROOT / word) if word.startswith("results/") else places.get(word, word) for word in words]
    assert run(*words).code == 0
    assert (tmp_path / f"{name}.md").read_text(encoding="utf-8") == committed


def test_results_in_the_readme_stand_in_the_documents():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Results")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|") and not line.startswith("| :")]
    assert len(rows) > 5
    documents = "".join(
        (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("reproduction", "comparison")
    )
    assert [row for row in rows if row not in documents] == []


class Network(nn.Module):
    """What the documents call `model`."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


def snippets():
    for document in ("README.md", "docs/initialize.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for number, block in enumerate(text.split("```python\n")[1:]):
            yield pytest.param(block.partition("```")[0], id=f"{document}-{number}")


@pytest.mark.parametrize("code", list(snippets()))
def test_the_lines_of_python_in_the_documents_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = Network()
    save_file(Network().state_dict(), "resnet.safetensors")
    names = {
        "corrinit": corrinit,
        "model": model,
        "build": Network,
        "conv": model.body[0],
        "g": torch.Generator().manual_seed(0),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "train": lambda model, seed: float(seed % 3),
    }
    exec(code, names)  # what the documents say, word for word


def test_the_document_of_endpoints_is_what_its_command_makes_from_the_records(monkeypatch, tmp_path):
    committed = (ROOT / "docs" / "endpoints.md").read_text(encoding="utf-8")
    program, script, *words = command_of(committed)
    assert program == "python"
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", [script, *words, "--output", str(tmp_path / "endpoints.md")])
    runpy.run_path(script, run_name="__main__")
    assert (tmp_path / "endpoints.md").read_text(encoding="utf-8") == committed
