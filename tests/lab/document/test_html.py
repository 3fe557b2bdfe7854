"""Pages: self-contained, escaped, deterministic, whole or absent."""

import errno
import re
from html.parser import HTMLParser

import matplotlib
import pytest
from matplotlib.figure import Figure as Plot

from corrinit import _atomic as atomic
from corrinit.errors import CorrInitError
from corrinit.lab.document.blocks import STYLE, Card, Figure, Section, Table, figure_svg
from corrinit.lab.document.html import write_page


def draw(size=(3.0, 2.0), colour="black"):
    with matplotlib.rc_context(STYLE):
        figure = Plot(figsize=size)
        axes = figure.subplots()
        axes.plot([0, 1, 2], [1, 3, 2], color=colour, label="a < b")
        axes.fill_between([0, 1, 2], [0, 2, 1], [2, 4, 3], alpha=0.2)
        axes.legend()
        return figure_svg(figure)


def page(tmp_path, *sections, title="A page", provenance=None):
    return write_page(tmp_path / "out" / "page.html", title, sections, provenance=provenance or {})


def test_page_holds_its_sections_and_provenance(tmp_path):
    table = Table("Scores", ("arm", "accuracy"), (("He", "0.91"), ("small", "0.93")), "Higher is better.")
    path = page(
        tmp_path,
        Section("Summary", ("First paragraph.",)),
        Section("Results", items=(Figure("Loss by epoch", draw(), "How to read it."), table)),
        provenance={"command": "corrinit demo", "commit": "abc123"},
    )
    html = path.read_text(encoding="utf-8")
    for text in (
        "First paragraph.",
        "Loss by epoch",
        "How to read it.",
        "Scores",
        "0.93",
        "Higher is better.",
    ):
        assert text in html
    assert '<h2 id="title-2">Results</h2>' in html
    assert "<dt>commit</dt>\n<dd>abc123</dd>" in html


def test_page_is_self_contained(tmp_path):
    found = []

    class References(HTMLParser):
        def handle_starttag(self, tag, attrs):
            assert tag not in {"link", "iframe", "img", "object"}
            links = (value for name, value in attrs if name in {"src", "href", "xlink:href"})
            found.extend(link for link in links if not link.startswith("#"))

    html = page(tmp_path, Section("S", items=(Figure("f", draw()),))).read_text(encoding="utf-8")
    References().feed(html)
    assert found == []
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_text_is_escaped(tmp_path):
    attack = "<script>alert('x')</script>"
    html = page(
        tmp_path,
        Section(attack, (attack,), (Table(attack, (attack,), ((attack,),), attack),)),
        title=attack,
        provenance={attack: attack},
    ).read_text(encoding="utf-8")
    assert attack not in html
    assert html.count("<script") == 1  # ours


def test_same_input_gives_the_same_bytes(tmp_path):
    def write(name):
        section = Section("S", items=(Figure("f", draw()),))
        return write_page(tmp_path / name, "t", [section], provenance={"a": "b"}).read_bytes()

    assert write("one.html") == write("two.html")


def test_black_follows_the_theme_and_colours_stay():
    svg = draw(colour="#D55E00")
    assert "#d55e00" in svg.lower()
    assert "currentColor" in svg
    assert "#000000" not in svg
    assert "<metadata" not in svg


def test_figures_on_a_page_share_no_group_id(tmp_path):
    assert not re.search(r"<g id=", draw())


def test_wide_figures_take_a_whole_row():
    assert Figure("f", draw((9, 3))).wide
    assert not Figure("f", draw((4.8, 3.2))).wide


@pytest.mark.parametrize(
    "cells",
    [
        ("0.9", "−0.1 ± 0.2"),
        ("+1", "—"),
        ("< 0.001", "[−1, 2]"),
        ("n = 1", "1e-5"),
        ("1,234", "−0.3 to +0.4"),
    ],
)
def test_columns_of_numbers_are_set_right(cells):
    table = Table("t", ("name", "value"), tuple(("arm", cell) for cell in cells))
    assert table.numeric == (False, True)


@pytest.mark.parametrize("text", ["3fbc90", "2×2 design", "1 of 3 epochs", "α = 0.5"])
def test_columns_with_text_are_set_left(text):
    assert Table("t", ("value",), (("0.9",), (text,))).numeric == (False,)


def test_rows_have_the_cells_of_the_header():
    with pytest.raises(ValueError, match="2 columns; a row has 1"):
        Table("t", ("a", "b"), (("1",),))


def test_full_disk_leaves_the_old_page_and_says_so(tmp_path, monkeypatch):
    path = page(tmp_path, title="old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(CorrInitError, match=r"page\.html cannot be written: No space left on device; free"):
        page(tmp_path, title="new")
    assert "<h1>old</h1>" in path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]


def test_a_file_in_the_way_of_the_folder_is_one_clear_error(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(CorrInitError, match="cannot be written"):
        page(tmp_path)


def test_a_long_page_lists_its_contents_and_folds_what_comes_second(tmp_path):
    parts = [Section("One"), Section("Two", ("words",), folded=True), Section("Three")]
    html = page(tmp_path, *parts).read_text(encoding="utf-8")
    assert '<a href="#section-2">Two</a>' in html
    assert '<details>\n<summary><h2 id="title-2">Two</h2></summary>' in html
    assert html.count("<details>") == 2  # and how it was made


def test_a_card_is_on_the_page_with_its_lines(tmp_path):
    card = Card(
        "Which?", "This one.", (("gain", "+1"),), "line(1)", "More seeds.", "corrinit compare --seeds 9"
    )
    html = page(tmp_path, Section("Answer", items=(card,))).read_text(encoding="utf-8")
    for text in ("Which?", "This one.", "<dt>gain</dt>", "<code>line(1)</code>", "More seeds."):
        assert text in html
    assert "<code>corrinit compare --seeds 9</code>" in html
