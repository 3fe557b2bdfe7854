"""Documents quote recorded runs: they are what the records in `results` give, to the byte."""

import runpy
import shlex
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def command_of(document):
    """The command that a document says it was made by."""
    (line,) = [line for line in document.splitlines() if line.startswith("| command |")]
    return shlex.split(line.removeprefix("| command | ").removesuffix(" |").replace("\\", ""))


@pytest.mark.parametrize("name", ["reproduction", "comparison", "words"])
def test_a_document_is_what_its_command_makes_from_the_records(name, run, monkeypatch, tmp_path):
    committed = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    program, *words = command_of(committed)
    assert program == "corrinit"
    places = {f"docs/{name}.md": f"{name}.md", "results": str(ROOT / "results")}
    monkeypatch.setattr("sys.argv", ["corrinit", *words])
    words = [str(ROOT / word) if word.startswith("results/") else places.get(word, word) for word in words]
    assert run(*words).code == 0
    assert (tmp_path / f"{name}.md").read_text(encoding="utf-8") == committed


def test_the_gallery_shows_the_networks_of_its_list():
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    listed = tomllib.loads((ROOT / "experiments" / "gallery.toml").read_text(encoding="utf-8"))["network"]
    assert len(listed) >= 12
    assert len({network["package"] for network in listed}) >= 5
    for network in listed:
        row = f"| {network['name']} | {network['looks_at']} | {network['package']} {network['version']} |"
        assert row in page
        assert network["sha256"] in page


@pytest.mark.parametrize("name", ["endpoints", "presets", "demo"])
def test_a_document_is_what_its_script_makes_from_the_records(name, monkeypatch, tmp_path):
    committed = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    program, script, *words = command_of(committed)
    assert program == "python"
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", [script, *words, "--output", str(tmp_path / f"{name}.md")])
    runpy.run_path(script, run_name="__main__")
    assert (tmp_path / f"{name}.md").read_text(encoding="utf-8") == committed
