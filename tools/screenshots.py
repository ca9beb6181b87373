"""Take the pictures of the report and of the documentation's front page in docs/pictures/ anew, in headless Chromium.

    make screenshots

The report is that of ``examples/quickstart.toml`` on the shipped prices and two ranks, as the README trains it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hpc_lstm as hl

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# Name of the picture, width of the window and the reader's colours.
REPORTS = (("report", 1280, "light"), ("report-dark", 1280, "dark"), ("report-390", 390, "light"))


def main() -> None:
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        sys.exit("screenshots need Chromium: install the package chromium")
    with tempfile.TemporaryDirectory() as folder, open_browser(found) as browser:
        report, site = write_report(Path(folder)), write_site(Path(folder, "site"))
        for name, width, scheme in REPORTS:
            take_report(browser, report, name, width, scheme)
        with open_page(browser, site, 1280, "light") as page:
            save(page, "site")


def write_report(folder: Path) -> Path:
    """The report of the run called ``first``, with intervals."""
    store = hl.read_prices(ROOT / "examples" / "data" / "us_stocks_2000_2013.csv.gz")
    run = hl.train(
        ROOT / "examples" / "quickstart.toml",
        ranks=2,
        run_dir=folder / "first",
        overrides={"data.store": store},
    )
    return run.report()


def write_site(folder: Path) -> Path:
    """The front page of the documentation."""
    subprocess.run([sys.executable, "-m", "mkdocs", "build", "-q", "-d", str(folder)], cwd=ROOT, check=True)
    return folder / "index.html"


@contextmanager
def open_browser(executable: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # In containers root has no user namespaces for Chromium's sandbox; the pages are our own.
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_page(browser: Any, path: Path, width: int, scheme: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(path.as_uri())
    yield page
    context.close()


def take_report(browser: Any, report: Path, name: str, width: int, scheme: str) -> None:
    """From the top to the end of the forecasts, whose charts show the last targets and the values of one day."""
    with open_page(browser, report, width, scheme) as page:
        page.wait_for_selector("#losses-chart canvas")
        page.set_viewport_size({"width": width, "height": 4000})  # nothing needs to be scrolled
        page.get_by_role("button", name="Last 60 targets").click()
        curves = page.locator("#prices .u-over").bounding_box()
        page.mouse.move(curves["x"] + 0.805 * curves["width"], curves["y"] + curves["height"] * 0.55)
        page.wait_for_timeout(500)  # the charts' next frame, in which their legends get longer
        forecasts = page.locator("#forecast").bounding_box()
        save(page, name, height=int(forecasts["y"] + forecasts["height"]) + 10)


def save(page: Any, name: str, height: int = 900) -> None:
    """Write the upper part of a page."""
    clip = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": height}
    page.screenshot(path=str(PICTURES / f"{name}.png"), clip=clip)
    print(f"wrote {PICTURES / name}.png")


if __name__ == "__main__":
    main()
