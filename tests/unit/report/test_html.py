"""The report: complete in itself, escaped, and there for a run that stopped early."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from rank_files import one_by_one, write_part

from hpc_lstm import config as configuration
from hpc_lstm.errors import InputError
from hpc_lstm.report import html
from hpc_lstm.report.html import write_report
from hpc_lstm.report.series import ForecastSeries

# HTML, a command to a terminal, a change of direction, a formula of TeX.
EVIL = "<script>alert('x')</script>&\x1b[31m\u202e$x^2$"
SHOWN = EVIL.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")


class Page(HTMLParser):
    """Tags are closed in order; what is fetched and what is run is collected."""

    VOID = frozenset({"meta", "br", "img", "link", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run_dir(tmp_path):
    path = tmp_path / "run <1>"
    path.mkdir()
    tables = {"data": {"store": "/data/market.h5", "symbols": [EVIL, "B"], "horizon": 5}}
    (path / "config.toml").write_text(configuration.dump(configuration.parse(tables, "test")))
    return path


def complete(path):
    write_part(path, one_by_one(("startup", 10**9), ("compute", 3 * 10**9)), node=EVIL)
    losses = [
        {"kind": "validation", "step": s, "epoch": float(s), "loss": 1 / s, "best": True} for s in (1, 2)
    ]
    (path / "history.jsonl").write_text("".join(json.dumps(e) + "\n" for e in losses))
    numbers = {"rmse": 1.25, "mae": 1.0, "mape": 2.0, "mase": 1.1, "directional_accuracy": None}
    part = {
        "windows": 1234,
        "first_date": "2010-01-04",
        "last_date": "2011-01-04",
        "verdict": f"Verdict {EVIL}",
    }
    part |= dict.fromkeys(("model", "persistence", "a new <baseline>"), numbers)
    part["against_persistence"] = {"p_value": 0.5}
    metrics = {"format": "hpc_lstm metrics", "version": 1, "validation": part, "test": part, "notes": [EVIL]}
    (path / "metrics.json").write_text(json.dumps({**metrics, "samples_per_second": 1e4, "ranks": 2}))


def test_a_completed_run(run_dir, monkeypatch):
    complete(run_dir)
    for name in ("model.keras", "scaler.h5"):
        (run_dir / name).touch()
    days = np.datetime64("2010-01-04") + np.arange(50)
    series = ForecastSeries(
        EVIL, "test", 1, days, days.astype(float), days.astype(float) + 1, days.astype(float)
    )
    monkeypatch.setattr(html, "open_and_forecast", lambda path, part: series)
    path = write_report(run_dir)
    assert path == run_dir / "report.html"
    text = path.read_text()
    page = Page(text)
    assert page.tags.count("svg") == 3
    assert "script" not in page.tags
    assert f"Verdict {SHOWN}" in page.text
    assert f"{SHOWN}: test part" in page.text
    assert all(letter == "\n" or letter.isprintable() for letter in text)
    assert "1,234 windows, 2010-01-04 to 2011-01-04" in page.text
    rows = re.findall(r"<tr><td>(.*?)</td><td>1\.25</td>", text)
    assert rows == ["model", "persistence", "a new &lt;baseline&gt;"] * 2
    assert "all phases" in page.text
    assert "The bottleneck is compute (the training itself): 100% of the time after start-up" in page.text
    assert "Missing" not in page.text
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"@import|url\((?!#)", text)
    assert len(text) < 1e6


def test_a_run_that_stopped_before_anything_says_what_is_missing(run_dir):
    page = Page(write_report(run_dir, run_dir / "other.html").read_text())
    assert page.text.count("Missing:") == 4
    assert "--resume" in page.text
    assert "Run run <1>" in page.text
    assert not (run_dir / "report.html").exists()


def test_a_run_that_stopped_before_evaluation_shows_its_losses_and_time(run_dir):
    complete(run_dir)
    (run_dir / "metrics.json").unlink()
    page = Page(write_report(run_dir).read_text())
    assert page.tags.count("svg") == 2
    assert page.text.count("Missing:") == 2


def test_damaged_metrics_leave_the_other_sections(run_dir):
    complete(run_dir)
    (run_dir / "metrics.json").write_text("{")
    page = Page(write_report(run_dir).read_text())
    assert "cannot be read as JSON" in page.text
    assert page.tags.count("svg") == 2


def test_without_jinja2_the_extra_is_named(run_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(InputError, match=r'pip install "hpc-lstm\[report\]"'):
        write_report(run_dir)
    assert not (run_dir / "report.html").exists()


def test_not_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config\.toml"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []
