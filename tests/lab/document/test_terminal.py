"""Reports in a terminal: whole words and numbers at 80 columns."""

import io

from rich.console import Console

from corrinit.lab.document.blocks import Card, Section, Table
from corrinit.lab.document.terminal import show


def shown(*sections, width=80):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    show(sections, console)
    return console.file.getvalue()


def test_a_section_shows_its_title_cards_tables_and_text():
    card = Card("Which?", "This one.", (("gain", "+1.0 points"),), "corrinit.initialize(model)")
    table = Table("Arms", ("arm", "accuracy"), (("he", "0.5"),))
    said = shown(Section("Setting", ("Some words.",), (card, table)))
    places = [
        said.index(text)
        for text in (
            "Setting",
            "Which?",
            "This one.",
            "+1.0 points",
            "corrinit.initialize",
            "accuracy",
            "Some words.",
        )
    ]
    assert places == sorted(places)


def test_numbers_are_whole_and_names_break_between_words_at_80_columns():
    header = ("initialization", "accuracy (%)", "n", "difference", "95 % interval", "pairs", "p")
    row = ("kaiming_normal, small scale", "33.52 ± 3.08", "3", "−60.72", "−69.80 to −51.65", "3", "0.006")
    said = shown(Section("S", items=(Table("T", header, (row,)),)))
    assert max(map(len, said.splitlines())) <= 80
    for number in (row[1], row[3], row[4], row[6]):
        assert number in said
    assert "kaiming_normal," in said
    assert "initialization" in said


def test_text_that_looks_like_markup_is_shown_as_it_is():
    assert "[bold]x[/bold]" in shown(Section("[red]t", ("[bold]x[/bold]",)))
