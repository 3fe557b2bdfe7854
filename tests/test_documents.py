"""Documents quote recorded runs: they are what the records in `results` give, to the byte."""

import shlex
from pathlib import Path

import pytest

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
