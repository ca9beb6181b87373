"""Pictures hold the data they were given and are written whole or refused."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from rank_files import one_by_one, write_part

from hpc_lstm.errors import InputError
from hpc_lstm.report import figures, plots
from hpc_lstm.report.series import ForecastSeries
from hpc_lstm.timing.spans import load_timing

DATES = np.datetime64("2010-01-04") + np.arange(100)
PRICES = 50 + np.cumsum(np.random.default_rng(1).normal(size=100))
MAGIC = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


def lines(axes):
    return {line.get_label(): line.get_xydata()[:, 1] for line in axes.get_lines()}


@pytest.fixture
def run_dir(tmp_path):
    for rank in range(2):
        spans = one_by_one(
            ("startup", 3 * 10**9), ("compute", (5 + rank) * 10**9), ("wait", (1 - rank) * 10**9)
        )
        write_part(tmp_path, spans, rank=rank, size=2)
    entries = [
        {"kind": "train", "step": 1, "epoch": 0.5, "loss": 0.9, "learning_rate": 0.001},
        {"kind": "train", "step": 2, "epoch": 1.0, "loss": None, "learning_rate": 0.0005},
        {"kind": "validation", "step": 2, "epoch": 1.0, "loss": 0.8, "best": True},
        {"kind": "train", "step": 3, "epoch": 1.5, "loss": 0.5, "learning_rate": 0.0001},
        {"kind": "validation", "step": 4, "epoch": 2.0, "loss": 0.85, "best": False},
    ]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries))
    return tmp_path


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_the_suffix_says_the_format(run_dir, suffix):
    path = run_dir / f"picture{suffix}"
    plots.plot_history(run_dir, path)
    assert path.read_bytes().startswith(MAGIC[suffix.lower()])


@pytest.mark.parametrize("name", ["picture.jpg", "picture", "picture.txt"])
def test_another_suffix_is_refused_before_anything_is_read(tmp_path, name):
    with pytest.raises(InputError, match=r"\.png, \.svg, \.pdf"):
        plots.plot_history(tmp_path / "no such run", tmp_path / name)
    with pytest.raises(InputError, match=r"\.png, \.svg, \.pdf"):
        plots.plot_prices(tmp_path / "no such store", "A", tmp_path / name)


def test_an_unwritable_picture_is_one_line_and_leaves_nothing(run_dir):
    with pytest.raises(InputError, match="cannot be written"):
        plots.plot_history(run_dir, run_dir / "none" / "p.png")
    assert not (run_dir / "none").exists()


def test_without_matplotlib_the_extra_is_named(run_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r'pip install "hpc-lstm\[report\]"'):
        plots.plot_history(run_dir, run_dir / "p.png")


def test_prices_and_averages_are_drawn_as_given():
    with figures.styled():
        average = np.where(np.arange(100) < 9, np.nan, PRICES - 1)
        figure = plots.prices_figure("AAPL", "adj_close", DATES, PRICES, {"SMA 10": average})
    (axes,) = figure.axes
    np.testing.assert_array_equal(lines(axes)["adj close"], PRICES)
    np.testing.assert_array_equal(lines(axes)["SMA 10"], average)
    assert "AAPL" in axes.get_title(loc="left")
    assert axes.get_xlabel()
    assert axes.get_ylabel()


def test_a_forecast_is_drawn_beside_actual_and_persistence():
    series = ForecastSeries("XOM", "test", 5, DATES, PRICES, PRICES + 0.25, PRICES - 1)
    with figures.styled():
        whole, zoom, errors = plots.forecast_figure(series).axes
    np.testing.assert_array_equal(lines(whole)["actual"], PRICES)
    np.testing.assert_array_equal(lines(whole)["model"], PRICES + 0.25)
    np.testing.assert_array_equal(lines(zoom)["persistence"], PRICES[-plots.ZOOM :] - 1)
    np.testing.assert_allclose(errors.get_lines()[1].get_ydata(), 0.25)
    assert "5 rows ahead" in whole.get_title(loc="left")


def test_losses_that_are_no_numbers_are_left_out_and_the_best_is_marked(run_dir):
    entries = [json.loads(line) for line in (run_dir / "history.jsonl").read_text().splitlines()]
    with figures.styled():
        axes, rates = plots.history_figure(entries).axes
    assert lines(axes)["train"].tolist() == [0.9, 0.5]
    assert lines(axes)["validation"].tolist() == [0.8, 0.85]
    assert lines(axes)["best validation 0.8"].tolist() == [0.8]
    assert lines(rates)["learning rate"].tolist() == [0.001, 0.0005, 0.0001]


def test_a_long_history_is_thinned_by_means():
    entries = [
        {"kind": "train", "epoch": i / 1e4, "loss": float(i), "learning_rate": 1e-3} for i in range(10_000)
    ]
    with figures.styled():
        (axes,) = plots.history_figure(entries).axes
    drawn = lines(axes)["train"]
    assert len(drawn) == plots.MAX_POINTS
    assert drawn.mean() == pytest.approx(4999.5)


def test_bars_are_as_long_as_the_phases(run_dir):
    with figures.styled():
        (axes,) = plots.timing_figure(load_timing(run_dir)).axes
    bars = {c.get_label(): [(p.get_x(), p.get_width()) for p in c.patches] for c in axes.containers}
    assert bars == {
        "startup": [(0, 3), (0, 3)],
        "compute": [(3, 5), (3, 6)],
        "wait": [(8, 1), (9, 0)],
    }


def test_no_history_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="has no losses"):
        plots.plot_history(tmp_path, tmp_path / "p.png")


def test_svgs_of_one_page_share_no_ids():
    import re

    with figures.styled():
        figure = plots.prices_figure("A", "close", DATES, PRICES, {})
        texts = [figures.inline_svg(figure, name) for name in ("one", "two")]
        assert figures.inline_svg(figure, "one") == texts[0]
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in texts]
    assert ids[0]
    assert not ids[0] & ids[1]
    for text, known in zip(texts, ids, strict=True):
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= known


@pytest.fixture
def store(tmp_path):
    from hpc_lstm.market.store import StoreWriter

    with StoreWriter(tmp_path / "market.h5", ["open", "close"], "test") as writer:
        for symbol in ("AAPL", "XOM"):
            values = np.stack([PRICES - 1, PRICES], axis=1)
            writer.append(symbol, np.arange(100) + 14_000, values)
    return tmp_path / "market.h5"


def test_a_stores_prices_are_plotted_with_both_kinds_of_averages(store, tmp_path):
    plots.plot_prices(store, "XOM", tmp_path / "p.svg", sma=[5, 20], ema=[10])
    text = (tmp_path / "p.svg").read_text()
    for label in ("XOM: daily prices with moving averages", "close", "SMA 5", "SMA 20", "EMA 10", "2008"):
        assert label in text


def test_an_average_longer_than_the_history_is_refused(store, tmp_path):
    with pytest.raises(InputError, match="--sma 101: AAPL has only 100 rows"):
        plots.plot_prices(store, "AAPL", tmp_path / "p.png", sma=[101])
    with pytest.raises(InputError, match="AAPL"):
        plots.plot_prices(store, "AAPX", tmp_path / "p.png")
    assert not (tmp_path / "p.png").exists()


def test_a_symbol_is_no_formula_and_no_command():
    days = np.arange("2024-01-01", "2024-01-06", dtype="datetime64[D]")
    with figures.styled():
        figure = plots.prices_figure(
            "$x^2$ \x1b[31m", "$a$ \u202eb", days, np.arange(5.0), {"SMA 2": np.arange(5.0)}
        )
        svg = figures.inline_svg(figure, "prices")
    assert "$x^2$ \\x1b[31m: daily prices" in svg
    assert "$a$ \\u202eb" in svg
