"""The three reports in a real browser: readable at any width, by keyboard, in the dark, on paper, offline.

The browser is the system's Chromium. Screenshots are kept in the folder that CORRINIT_SCREENSHOTS names, else
in pytest's.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

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


@pytest.fixture(scope="session")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    assert found, "there is no Chromium; install it, on Debian with: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory):
    named = os.environ.get("CORRINIT_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def opened(browser, reports):
    """A report in a page of its own; what the page complains of and asks the network for fails the test."""
    contexts, complaints = [], []
    complain = complaints.append

    def opened(name, *, width=1280, colours="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=colours)
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.on("console", lambda message: complain(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("request", lambda request: None if request.url.startswith("file:") else complain(request.url))
        page.goto((reports / f"{name}.html").as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_report_fits_its_window_and_has_no_barrier(opened, screenshots, name, width, colours):
    page = opened(name, width=width, colours=colours)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=screenshots / f"{name}-{width}-{colours}.png", full_page=True)
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_answer_is_seen_first_and_its_line_is_copied(opened):
    page = opened("comparison")
    answer = page.locator(".card .answer").first
    assert answer.bounding_box()["y"] < 400
    button = page.locator(".card button.copy").first
    button.click()
    line = page.locator(".card code").first.text_content()
    assert line.startswith("corrinit.initialize(model")
    assert page.evaluate("navigator.clipboard.readText()") == line
    assert button.text_content() == "Copied"


def test_a_table_is_sorted_by_keyboard(opened):
    page = opened("comparison")
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


def test_a_link_into_a_folded_part_opens_it(opened):
    page = opened("comparison")
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
