"""The three reports in a real browser: readable at any width, by keyboard, in the dark, on paper, offline."""

import subprocess
import sys

import pytest
from axe_playwright_python.sync_playwright import Axe

SMALL = ("--train-subset", "96", "--epochs", "2", "--seeds", "2")
COMMANDS = {
    "comparison": ("compare", "small", "--data", "digits", "--methods", "correlated,orthogonal", *SMALL),
    "paper": ("reproduce", "table3", "--scale", "smoke", "--models", "vgg8"),
    "theory": ("theory", "single-filter"),
}
"""What makes each kind of report, as small as it gets."""

WIDTHS = (1280, 390)
"""Of a laptop and of a phone, in pixels."""


@pytest.fixture(scope="session")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    for name, words in COMMANDS.items():
        command = [sys.executable, "-m", "corrinit", *words, "-o", f"{name}.html"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return folder


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_report_fits_its_window_and_has_no_barrier(opened, reports, screenshots, name, width, colours):
    page = opened(reports / f"{name}.html", width=width, colours=colours)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=screenshots / f"{name}-{width}-{colours}.png", full_page=True)
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_answer_is_seen_first_and_its_line_is_copied(opened, reports):
    page = opened(reports / "comparison.html")
    answer = page.locator(".card .answer").first
    assert answer.bounding_box()["y"] < 400
    button = page.locator(".card button.copy").first
    button.click()
    line = page.locator(".card code").first.text_content()
    assert line.startswith("corrinit.initialize(model")
    assert page.evaluate("navigator.clipboard.readText()") == line
    assert button.text_content() == "Copied"


def test_a_table_is_sorted_by_keyboard(opened, reports):
    page = opened(reports / "comparison.html")
    table = page.locator("table").first
    header = table.locator("th button", has_text="accuracy")
    header.focus()
    page.keyboard.press("Enter")
    column = header.evaluate("button => button.closest('th').cellIndex")
    read = "rows => rows.map(row => parseFloat(row.cells[COLUMN].textContent))".replace("COLUMN", str(column))
    ascending = table.locator("tbody tr").evaluate_all(read)
    page.keyboard.press("Enter")
    descending = table.locator("tbody tr").evaluate_all(read)
    assert len(ascending) > 2
    assert ascending == sorted(ascending)
    assert descending == sorted(descending, reverse=True)


def test_a_link_into_a_folded_part_opens_it(opened, reports):
    page = opened(reports / "comparison.html")
    page.locator("nav a").last.click()
    assert page.locator("#provenance details").get_attribute("open") is not None


def test_without_script_and_on_paper_nothing_is_lost(browser, reports):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((reports / "comparison.html").as_uri())
    page.emulate_media(media="print")
    assert page.locator("#provenance dd").first.is_visible()
    assert not page.locator("button.copy").first.is_visible()
    assert not page.locator("nav").is_visible()
    context.close()
