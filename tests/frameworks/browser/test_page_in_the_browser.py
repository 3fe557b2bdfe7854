"""The page of the site that computes in the browser: its numbers are corrinit's, and everybody can use it."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

import corrinit
from corrinit._spd import symmetric_root
from corrinit.theory import Samples, descend

DOCS = Path(__file__).parents[1] / "docs"
SLIDERS = ("strength", "samples", "neighbours", "scale", "rate")


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The page alone, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    alone = ["-D", "extensions=myst_parser,correlations", "-D", "root_doc=browser"]
    command = [sys.executable, "-m", "sphinx", "--quiet", "--builder", "html", *alone, str(DOCS), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder / "browser.html"


def move(page, slider, value):
    page.locator(f"#{slider}").fill(str(value))
    page.wait_for_function(f"document.querySelector('output[for={slider}]').value === '{value}'")


def numbers(page):
    """By start: distances at the start, after 10 and after 300 updates, and how many filters are dead."""
    cells = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    rows = page.locator("#numbers tr").evaluate_all(cells)
    return {row[0]: [float(cell.split(" of ")[0]) for cell in row[1:]] for row in rows}


@pytest.mark.parametrize("source", range(3))
@pytest.mark.parametrize("strength", [0, 0.25, 1, 1.5, 2])
def test_r_and_its_root_are_those_of_corrinit(opened, site, source, strength):
    names = ("closed form, mean 0.26", *corrinit.presets.preset_names())
    known = [
        corrinit.SpatialCorrelation(corrinit.kernels.exponential((3, 3), mean=0.26), (3, 3)),
        *map(corrinit.presets.load_preset, corrinit.presets.preset_names()),
    ]
    script = """([name, strength]) => {
        const given = JSON.parse(document.getElementById("correlations").textContent)[name];
        const { matrix, moved } = singleFilter.withStrength(given, strength);
        return { matrix, moved, root: singleFilter.symmetricRoot(matrix) };
    }"""
    shown = opened(site).evaluate(script, [names[source], strength])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", corrinit.CorrInitWarning)
        expected = known[source].with_strength(strength)
    np.testing.assert_allclose(shown["matrix"], expected.matrix, rtol=0, atol=1e-12)
    root = np.array(shown["root"])
    np.testing.assert_allclose(root @ root, expected.matrix, rtol=0, atol=1e-12)
    np.testing.assert_allclose(root, symmetric_root(expected.matrix), rtol=0, atol=1e-6)  # √ of rounding at 0
    assert (shown["moved"] > 1e-6) == ("psd_repair" in expected.provenance)


def test_the_descent_is_that_of_corrinit(opened, site):
    rng = np.random.default_rng(0)
    optima, starts = rng.normal(size=(2, 20, 9))
    inputs = 1 + 0.5 * rng.normal(size=(20, 6, 9))
    targets = np.einsum("snp,sp->sn", inputs, optima).clip(min=0)
    script = """([inputs, targets, starts]) => inputs.map((samples, set) => {
        const scaled = singleFilter.normalized(samples);
        return { scaled, ...singleFilter.descend(scaled, targets[set], starts[set], 0.5, 300) };
    })"""
    shown = opened(site).evaluate(script, [inputs.tolist(), targets.tolist(), starts.tolist()])
    scaled = np.array([filter["scaled"] for filter in shown])
    largest = np.linalg.eigvalsh(scaled.mT @ scaled / 6)[:, -1]
    np.testing.assert_allclose(largest, 1, rtol=0, atol=1e-12)
    descent = descend(Samples(scaled, targets, optima), starts[:, None], 0.5, 300)
    assert {0, 6} < set(
        descent.active[-1].ravel().tolist()
    )  # dead, whole, and some between: the ReLU matters
    for path, filter in zip(descent.weights[:, :, 0].swapaxes(0, 1), shown, strict=True):
        np.testing.assert_allclose(filter["path"], path, rtol=0, atol=1e-9)
    assert [filter["active"] for filter in shown] == descent.active[-1, :, 0].tolist()


def test_draws_are_normal_and_given_by_their_seed(opened, site):
    """Moments of 20,000 numbers within five standard errors: false for one seed in 600,000."""
    page = opened(site)
    drawn = np.array(page.evaluate("singleFilter.normals(0)(20000)"))
    assert abs(drawn.mean()) < 5 / 20000**0.5
    assert abs(drawn.var() - 1) < 5 * (2 / 20000) ** 0.5
    assert abs((drawn**4).mean() - 3) < 5 * (96 / 20000) ** 0.5
    assert page.evaluate("singleFilter.normals(0)(3)") == drawn[:3].tolist()
    assert page.evaluate("singleFilter.normals(1)(3)") != drawn[:3].tolist()


def test_what_the_page_says_to_try_is_seen(opened, site):
    page = opened(site)
    few = numbers(page)
    assert few["correlated"][2] < few["independent"][2]
    move(page, "samples", 30)
    many = numbers(page)
    assert all(many[start][2] < few[start][2] and many[start][3] < few[start][3] for start in few)
    assert many["correlated"][3] > many["independent"][3]
    move(page, "neighbours", 0)
    free = numbers(page)
    assert free["correlated"][2] == pytest.approx(free["independent"][2], rel=0.1)
    move(page, "neighbours", 0.9)
    move(page, "samples", 4)
    move(page, "scale", 0.1)
    small = numbers(page)
    assert max(small[start][2] for start in small) < min(few[start][2] for start in few)


@pytest.mark.parametrize("slider", SLIDERS)
def test_a_slider_has_a_label_and_moves_by_keyboard(opened, site, slider):
    page = opened(site)
    handle = page.locator(f"#{slider}")
    assert page.locator(f"label[for={slider}]").text_content()
    before, pictures = handle.input_value(), page.locator(".tap-lab").all_inner_texts()
    handle.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"document.querySelector('output[for={slider}]').value !== '{before}'")
    assert float(handle.input_value()) > float(before)
    assert page.locator(".tap-lab").all_inner_texts() != pictures


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_window_and_has_no_barrier(opened, site, screenshots, width, colours):
    page = opened(site, width=width, colours=colours)
    move(page, "strength", 2)
    assert "is no correlation" in page.locator("#matrix-caption").text_content()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=screenshots / f"browser-{width}-{colours}.png", full_page=True)
    # What is around the article is furo's; and no style sheet can be loaded again without a server.
    found = Axe().run(page, context="article", options={"preload": False})
    assert found.violations_count == 0, found.generate_report()
