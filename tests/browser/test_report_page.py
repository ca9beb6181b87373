"""The report as a person sees it: in light and dark, on a telephone, printed, and clicked at."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import LIMIT_MS

LARGEST = 2_000_000


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Callable[..., Any]]:
    """Opens the report in a window; whatever the page says on its console, or fetches, fails the test."""
    contexts, said = [], []

    def open_page(width: int = 1280, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.set_default_timeout(LIMIT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: said.append(r.url) if r.url.startswith("http") else None)
        page.goto(report.as_uri())
        page.wait_for_selector("#losses-chart canvas")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def drawn(report: Path) -> dict[str, Any]:
    text = report.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index]


def area(page: Any, chart: str) -> dict[str, float]:
    """Where in the window a chart's curves are, once they are scrolled into it."""
    curves = page.locator(f"{chart} .u-over")
    curves.scroll_into_view_if_needed()
    return curves.bounding_box()


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
)
def test_nothing_overflows_and_everybody_can_use_it(
    opened: Callable[..., Any], width: int, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    found = Axe().run(page).response["violations"]
    assert found == [], [(one["id"], one["nodes"]) for one in found]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 22, 26)" if scheme == "dark" else "rgb(255, 255, 255)")


def test_the_page_is_small(report: Path) -> None:
    assert report.stat().st_size < LARGEST


def test_another_symbol_is_drawn_when_it_is_chosen(opened: Callable[..., Any], report: Path) -> None:
    page = opened()
    label = "#prices canvas"
    assert "SYN00000" in page.get_attribute(label, "aria-label")
    before = page.locator("#prices canvas").screenshot()
    page.select_option("#symbol", "SYN00002")
    assert "SYN00002" in page.get_attribute(label, "aria-label")
    assert page.locator("#prices canvas").screenshot() != before
    page.click("button[data-symbol=SYN00001]")
    assert page.input_value("#symbol") == "SYN00001"
    assert "SYN00001" in page.get_attribute("#residuals canvas", "aria-label")


def test_values_are_read_under_the_pointer(opened: Callable[..., Any], report: Path) -> None:
    page = opened()
    series = drawn(report)["forecast"]["symbols"]["SYN00000"]
    actual = np.frombuffer(base64.b64decode(series["actual"]), "<f4")
    box = area(page, "#prices")
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] / 2)  # at the last target
    shown = page.locator("#prices .u-legend .u-value").all_inner_texts()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", shown[0])
    assert float(shown[1]) == pytest.approx(actual[-1], rel=1e-4)
    # The chart of the errors follows.
    errors = page.locator("#residuals .u-legend .u-value").all_inner_texts()
    assert errors[0] == shown[0]
    persistence, model = (float(text) - float(shown[1]) for text in shown[2:4])
    assert [float(text) for text in errors[1:]] == pytest.approx([persistence, model], abs=2e-2)
    last = np.frombuffer(base64.b64decode(series["last"]), "<f4")
    assert persistence == pytest.approx(last[-1] - actual[-1], abs=2e-2)


def test_dragging_zooms_both_charts_and_all_shows_all(opened: Callable[..., Any]) -> None:
    page = opened()

    def first_date(chart: str) -> str:
        box = area(page, chart)
        page.mouse.move(box["x"] + 1, box["y"] + box["height"] / 2)
        return page.locator(f"{chart} .u-legend .u-value").first.inner_text()

    whole = first_date("#prices")
    box = area(page, "#prices")
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, middle, steps=5)
    page.mouse.up()
    assert first_date("#prices") > whole
    assert first_date("#residuals") == first_date("#prices")
    page.get_by_role("button", name="All", exact=True).click()
    assert first_date("#prices") == whole
    page.get_by_role("button", name="Last 60 targets").click()
    assert first_date("#prices") > whole
    assert first_date("#residuals") == first_date("#prices")


def test_the_table_is_sorted_by_clicks(opened: Callable[..., Any]) -> None:
    page = opened()
    heading = page.locator("table.sortable th").nth(2)

    def values() -> list[float]:
        return [
            float(text) for text in page.locator("table.sortable tbody td:nth-child(3)").all_inner_texts()
        ]

    heading.locator("button").click()
    assert values() == sorted(values())
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").click()
    assert values() == sorted(values(), reverse=True)
    page.locator("table.sortable th button").first.press("Enter")  # by the keyboard, by name
    names = page.locator("table.sortable tbody td:first-child").all_inner_texts()
    assert names == sorted(names)
    assert heading.get_attribute("aria-sort") is None


def test_it_prints(opened: Callable[..., Any]) -> None:
    page = opened(scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert page.pdf(format="A4").count(b"/Type /Page\n") <= 8
