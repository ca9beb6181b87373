"""The report: complete in itself, escaped, and there for a run that stopped early."""

from __future__ import annotations

import base64
import json
import re
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from rank_files import one_by_one, write_part

from hpc_lstm import config as configuration
from hpc_lstm.errors import InputError
from hpc_lstm.report import html, page_forecast
from hpc_lstm.report.html import write_report
from hpc_lstm.report.page_losses import epoch_means, loss_curves
from hpc_lstm.report.series import ForecastSeries
from hpc_lstm.runs import directory
from hpc_lstm.runs.run_file import RunFile, write_run_file

# HTML, a command to a terminal, a change of direction, a formula of TeX.
EVIL = "<script>alert('x')</script>&\x1b[31m\u202e$x^2$"
SHOWN = EVIL.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")


class Page(HTMLParser):
    """Tags are closed in order; what is fetched and what is run is collected."""

    VOID = frozenset({"meta", "br", "img", "link", "hr", "input"})

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
    traded = dict.fromkeys(("annual_return", "volatility", "maximum_drawdown", "turnover", "invested"), 0.25)
    traded |= {"sharpe": 0.5, "sharpe_standard_error": None}
    rested = {"rule": "interval", "cost_bps": 10, "short": True, "dates": 1234, "independent_bets": 50}
    part["backtest"] = {**rested, "model": traded, "buy_and_hold": traded}
    share = {"share": 0.5, "low": 0.25, "high": 0.75, "stated": 0.9}
    output = dict.fromkeys(("rmse", "mae", "mase", "width", "pinball"), 0.125) | {"crps": None}
    output |= {"target": EVIL, "horizon": 5, "direction": share, "coverage": share}
    part["outputs"] = [output]
    metrics = {"format": "hpc_lstm metrics", "version": 1, "validation": part, "test": part, "notes": [EVIL]}
    metrics["per_symbol"] = {EVIL: {"test": {"windows": 30, "model": numbers, "persistence": numbers}}}
    metrics["sync"] = {"cluster": "alpha", "round": 3}
    metrics["backtest"] = {"net": {"sharpe ratio": 0.25}, EVIL: 1}
    (path / "metrics.json").write_text(json.dumps({**metrics, "samples_per_second": 1e4, "ranks": 2}))


DAYS = np.datetime64("2010-01-04") + np.arange(50)


@pytest.fixture
def forecasts(monkeypatch):
    """Forecasts of any symbol, without a network; returns the symbols that were asked for."""
    asked = []

    def series(trained, name, part):
        asked.append(name)
        if name == "B":
            raise InputError("B has no windows in the test part")
        return ForecastSeries(
            *(name, part, "close", 5, DAYS, np.arange(50.0), np.arange(50.0) + 1, np.arange(50.0) - 1),
            lower=np.arange(50.0) - 3,
            upper=np.arange(50.0) + 4,
            coverage=0.9,
        )

    monkeypatch.setattr(page_forecast, "forecast_series", series)
    monkeypatch.setattr(page_forecast, "persistence_loss", lambda trained: 0.75)
    monkeypatch.setattr(
        page_forecast,
        "open_run",
        lambda path: SimpleNamespace(
            config=directory.at(path).load_config(), scaler=SimpleNamespace(symbols=[EVIL, "B", "C"])
        ),
    )
    return asked


def data_of(text: str) -> dict:
    """What the page's script reads."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_a_completed_run(run_dir, forecasts):
    complete(run_dir)
    for name in ("model.keras", "scaler.h5"):
        (run_dir / name).touch()
    start = {
        "started": "2026-01-02T03:04:05+00:00",
        "command": f"hpc-lstm train {SHOWN}",
        "gpus": {"H100": 2},
        "memory_bytes": 2**29,
        "seed": 2024112700,
    }
    data = {"store": "m.h5", "symbols": 3, "rows": 1000, "last": "2011-01-04", "sha256": "abc"}
    write_run_file(directory.at(run_dir), RunFile(data=data, starts=[start, start]))
    path = write_report(run_dir)
    assert path == run_dir / "report.html"
    text = path.read_text()
    page = Page(text)
    assert f"Verdict {SHOWN}" in page.text
    assert all(letter == "\n" or letter.isprintable() for letter in text)
    assert "1,234 windows, 2010-01-04 to 2011-01-04" in page.text
    rows = re.findall(r'<th scope="row">([^<]*)</th>(?:<td>[^<]*</td>)*?<td>1\.25</td>', text)
    assert rows == ["model", "persistence", "a new &lt;baseline&gt;"] * 2
    assert "all phases" in page.text
    assert "The bottleneck is compute (the training itself): 100% of the time after start-up" in page.text
    assert "Missing" not in page.text
    for said in (
        f"hpc-lstm train {SHOWN}",
        "H100 2",
        "0.5 GiB",
        "2024112700",
        "started 2 times",
        "sharpe ratio",
        "cluster",
        "data.horizon",
        "intervals that lie wholly above or below the last price, 10 basis points",
        "It rests on 50 independent bets only",
        "buy and hold",
        "Each output on test, in its own unit. The intervals are meant to cover 90%.",
        "50.0 [25.0, 75.0]",
    ):
        assert said in page.text, said
    # Nothing is fetched, and what somebody wrote is not run.
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest", text)
    assert page.tags.count("script") == 2
    assert (html.TEMPLATES / "uplot.LICENSE").read_text() in text, "it goes where uPlot goes"
    assert EVIL not in text.replace(json.dumps(EVIL), "")
    assert len(text) < 1e6
    drawn = data_of(text)
    assert list(drawn["forecast"]["symbols"]) == [EVIL, "C"]
    series = drawn["forecast"]["symbols"]["C"]
    numbers = {
        name: np.frombuffer(base64.b64decode(series[name]), "<f4")
        for name in ("actual", "model", "last", "lower", "upper")
    }
    assert (numbers["model"] - numbers["actual"] == 1).all()
    assert (numbers["last"] - numbers["actual"] == -1).all()
    assert (numbers["lower"] - numbers["actual"] == -3).all()
    assert (numbers["upper"] - numbers["actual"] == 4).all()
    assert drawn["forecast"]["interval"] == "90%"
    assert "The band is meant to contain 90% of the targets." in page.text
    dates = np.frombuffer(base64.b64decode(series["dates"]), "<f8")
    assert (dates == DAYS.astype("datetime64[s]").astype(float)).all()
    assert drawn["losses"]["persistence"] == 0.75


def test_symbols_that_are_named_are_shown(run_dir, forecasts):
    complete(run_dir)
    for name in ("model.keras", "scaler.h5"):
        (run_dir / name).touch()
    drawn = data_of(write_report(run_dir, symbols=["C"]).read_text())
    assert list(drawn["forecast"]["symbols"]) == ["C"]
    with pytest.raises(InputError, match="B has no windows"):
        write_report(run_dir, symbols=["C", "B"])


def test_a_page_stays_small_whatever_the_number_of_symbols(run_dir, forecasts, monkeypatch):
    complete(run_dir)
    for name in ("model.keras", "scaler.h5"):
        (run_dir / name).touch()
    monkeypatch.setattr(page_forecast, "MAX_BYTES", 4200)
    monkeypatch.setattr(
        page_forecast, "open_run",
        lambda path: SimpleNamespace(
            config=directory.at(path).load_config(), scaler=SimpleNamespace(symbols=[f"S{n}" for n in range(9)])
        ),
    )  # fmt: skip
    text = write_report(run_dir).read_text()
    assert list(data_of(text)["forecast"]["symbols"]) == ["S0", "S1"]
    assert "The charts have 2 of 9 symbols" in Page(text).text


def test_each_symbol_has_a_row(run_dir):
    complete(run_dir)
    text = write_report(run_dir).read_text()
    assert re.search(r'<tr><td data-value="&lt;script[^"]*">.*?</td><td data-value="30">30</td>', text)
    (run_dir / "symbols.csv").write_text(
        "part,symbol,windows,method,rmse,mae\n"
        "test,A,10,model,2.0,1.0\ntest,A,10,persistence,4.0,\nvalidation,B,10,model,1,1\n"
    )
    text = write_report(run_dir).read_text()
    assert '<td data-value="A">A</td><td data-value="10">10</td><td data-value="0.5">0.5000</td>' in text
    assert '<td data-value="B">' not in text
    (run_dir / "symbols.csv").write_text("part,symbol,windows,method,rmse\ntest,A,ten,model,2.0\n")
    assert "symbols.csv: cannot be read" in Page(write_report(run_dir).read_text()).text


def test_the_losses_of_an_epoch_are_averaged_over_its_steps():
    entries = [
        {"kind": "train", "epoch": epoch, "loss": loss}
        for epoch, loss in ((0.8, 1.0), (1.0, 2.0), (1.5, 4.0), (2.0, 2.0), (2.25, 7.0))
    ]
    curves = loss_curves(entries)
    assert curves["means"] == [[1.0, 2.0, 2.25], [pytest.approx(0.8 * 1 + 0.2 * 2), 3.0, 7.0]]
    assert curves["validation"] == [[], []]
    assert epoch_means(np.empty((2, 0))).shape == (2, 0)


def test_a_run_that_stopped_before_anything_says_what_is_missing(run_dir):
    page = Page(write_report(run_dir, run_dir / "new" / "other.html").read_text())
    assert page.text.count("Missing:") == 4
    assert "--resume" in page.text
    assert "Report: run <1>" in page.text
    assert not (run_dir / "report.html").exists()


def test_a_run_that_stopped_before_evaluation_shows_its_losses_and_time(run_dir):
    complete(run_dir)
    (run_dir / "metrics.json").unlink()
    text = write_report(run_dir).read_text()
    assert Page(text).text.count("Missing:") == 2  # what the forecast is worth, and forecasts
    assert data_of(text)["losses"]["validation"] == [[1.0, 2.0], [1.0, 0.5]]


def test_damaged_metrics_leave_the_other_sections(run_dir):
    complete(run_dir)
    (run_dir / "metrics.json").write_text("{")
    page = Page(write_report(run_dir).read_text())
    assert "cannot be read as JSON" in page.text
    assert "all phases" in page.text


@pytest.mark.parametrize("symbols", [[], [EVIL]])
@pytest.mark.parametrize("part", [{"windows": None}, {"windows": 30}])
def test_no_windows_and_no_symbols_are_no_work(part, symbols, run_dir, forecasts, monkeypatch):
    complete(run_dir)
    for name in ("model.keras", "scaler.h5"):
        (run_dir / name).touch()
    file = run_dir / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"test": part}))
    run = directory.at(run_dir)
    opened = SimpleNamespace(config=run.load_config(), scaler=SimpleNamespace(symbols=symbols))
    monkeypatch.setattr(page_forecast, "open_run", lambda path: opened)
    if symbols:
        assert list(page_forecast.collect_forecasts(run).symbols) == symbols
    else:
        with pytest.raises(InputError, match="has no symbols"):
            page_forecast.collect_forecasts(run)


def test_numbers_that_are_not_finite_are_refused_in_one_line():
    with pytest.raises(InputError, match=r"not finite: .*restore scaler\.h5"):
        html._render_page({}, {"forecast": {"forecast": [1.0, float("nan")]}})


def test_without_jinja2_the_extra_is_named(run_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(InputError, match=r'pip install "hpc-lstm\[report\]"'):
        write_report(run_dir)
    assert not (run_dir / "report.html").exists()


def test_not_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config\.toml"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_targets_from_which_no_price_follows_have_a_table_of_their_own(run_dir):
    output = dict.fromkeys(("mase", "coverage", "width", "pinball", "crps"))
    output |= {"target": "direction", "horizon": 1, "rmse": 0.5, "mae": 0.25}
    output["direction"] = {"share": 0.5, "low": 0.25, "high": 0.75}
    metrics = {"format": "hpc_lstm metrics", "version": 2, "test": {"windows": 3, "outputs": [output]}}
    (run_dir / "metrics.json").write_text(json.dumps(metrics))
    page = Page(write_report(run_dir).read_text())
    assert "Each output on test, in its own unit. In brackets: 95% confidence intervals." in page.text
    assert "Errors on test" not in page.text
