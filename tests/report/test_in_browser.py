"""The page in a real browser: every tab, what may be chosen, sound, keyboard, both themes; nothing leaves the machine.

Needs the extra `browser` and a Chromium (Debian's package, or $CHROMIUM); skipped without them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lorascope.api.sounds import sound_of
from lorascope.findings.over_units import write_findings
from lorascope.report.clips import clip_table, worth_hearing
from lorascope.report.page import write_report
from lorascope.store.finished import FinishedRun

from .folders import make_units

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]

TABS = ("finding", "overview", "layers", "rank-space", "causal", "clips", "methods")
LOCAL = ("file:", "data:", "blob:")
#: What plotly's mode bar may offer: nothing that sends anything anywhere.
BUTTONS = {"Download plot as a PNG", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_units(tmp_path_factory.mktemp("browser") / "run", folds=2)
    write_findings(run)
    time = np.arange(16_000) / 16_000
    tone = sound_of((0.1 * np.sin(2 * np.pi * 440 * time)).astype(np.float32))
    return write_report(run, dict.fromkeys(worth_hearing(FinishedRun(run), 3), tone))


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=["light", "dark"])
def page(request, browser, file) -> Iterator:
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=request.param)
    faults: list[str] = []
    opened.on("console", lambda told: faults.append(told.text) if told.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda asked: faults.append(asked.url) if not asked.url.startswith(LOCAL) else None)
    opened.goto(file.as_uri())
    yield opened
    assert faults == []
    opened.close()


def _drawn(page, name: str):
    plot = page.locator(f'.panel[data-plot="{name}"]')
    plot.scroll_into_view_if_needed()
    plot.locator(".main-svg").first.wait_for()
    return plot


def test_every_tab_is_reached_and_shown_alone(page) -> None:
    for tab in TABS:
        page.locator(f'nav a[href="#{tab}"]').click()
        assert [name for name in TABS if page.locator(f"#{name}").is_visible()] == [tab]
    page.go_back()
    assert page.locator("#clips").is_visible()


def test_what_is_chosen_holds_for_all_plots_and_stands_in_the_address(page, file) -> None:
    page.locator('nav a[href="#layers"]').click()
    first = _drawn(page, "fig1")
    first.get_by_label("Variant").select_option("paper")
    first.get_by_label("Mark layer").select_option("2")
    assert "variant=paper" in page.url and "layer=2" in page.url
    assert first.locator(".values caption").inner_text() == "At layer 2"
    second = _drawn(page, "fig2a")
    assert second.get_by_label("Variant").input_value() == "paper"
    page.goto(file.as_uri() + "#lens;variant=released")
    page.reload()
    assert _drawn(page, "fig2a").get_by_label("Variant").input_value() == "released"


def test_no_button_sends_anything_anywhere_and_a_curve_can_be_hidden(page) -> None:
    page.locator('nav a[href="#layers"]').click()
    plot = _drawn(page, "fig2a")
    titles = plot.locator(".modebar-btn").evaluate_all("buttons => buttons.map(button => button.dataset.title)")
    assert set(titles) <= BUTTONS and titles
    button = plot.locator(".legend button").first
    before = plot.locator(".scatterlayer .trace").count()
    button.focus()
    page.keyboard.press("Enter")
    plot.locator('.legend button[aria-pressed="false"]').wait_for()
    assert plot.locator(".scatterlayer .trace").count() < before


def test_a_clip_is_found_and_played(page) -> None:
    page.locator('nav a[href="#clips"]').click()
    page.get_by_label("that can be heard").check()
    assert page.locator("#clip-count").inner_text().startswith("3 of ")
    page.locator("#clip-table button.clip").first.click()
    page.wait_for_function("document.getElementById('clip-audio').currentTime > 0.05")
    assert page.locator("#clip-strips canvas").count() >= 2
    page.get_by_label("Answer").select_option("wrong")
    answers = page.locator("#clip-table tbody tr").count()
    assert page.locator("#clip-table td.wrong").count() == answers


def test_a_point_of_the_rank_space_plays_its_clip(page, file) -> None:
    page.locator('nav a[href="#rank-space"]').click()
    plot = _drawn(page, "fig2b")
    box = plot.locator(".scatterlayer .point").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("document.getElementById('clip-title').textContent !== ''")
    known = clip_table(FinishedRun(file.parent))["clip"].tolist()
    assert page.locator("#clip-title").text_content() in known
    # the reader stays where the point is
    assert page.locator("#rank-space").is_visible()


@pytest.mark.parametrize("width", [1280, 400])
def test_nobody_is_kept_out(page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for tab in TABS:
        page.evaluate(f"location.hash = '{tab}'")
        page.wait_for_timeout(300)
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), tab
        found = axe.Axe().run(page)
        told = [(each["id"], each["nodes"][0]["html"][:120]) for each in found.response["violations"]]
        assert told == [], tab
