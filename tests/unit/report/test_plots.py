"""Pictures hold the data they were given and are written whole or refused."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from rank_files import one_by_one, write_part

from hpc_lstm.errors import InputError
from hpc_lstm.report import figures, plots, price_plot
from hpc_lstm.report.chart_data import ChartData
from hpc_lstm.report.page_losses import MAX_POINTS
from hpc_lstm.report.series import ForecastSeries
from hpc_lstm.runs import directory
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


def draw_prices(path):
    with figures.styled():
        figures.save(price_plot.prices_figure([ChartData("A", "close", DATES, PRICES)]), path)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_the_suffix_says_the_format(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    draw_prices(path)
    assert path.read_bytes().startswith(MAGIC[suffix.lower()])


@pytest.mark.parametrize("name", ["picture.jpg", "picture", "picture.txt"])
def test_another_suffix_is_refused_before_anything_is_read(tmp_path, name):
    with pytest.raises(InputError, match=r"\.png, \.svg, \.pdf"):
        price_plot.plot_prices(tmp_path / "no such store", ["A"], tmp_path / name)


def test_a_pictures_folder_is_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="folder cannot be made"):
        draw_prices(tmp_path / "file" / "p.png")
    draw_prices(tmp_path / "new" / "p.png")
    assert (tmp_path / "new" / "p.png").exists()


def test_without_matplotlib_the_extra_is_named(run_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r'pip install "hpc-lstm\[report\]"'):
        plots.write_figures(run_dir, run_dir / "figures", "png")


def test_a_forecast_is_drawn_beside_actual_and_persistence():
    series = ForecastSeries(
        *("XOM", "test", "close", 5, DATES, PRICES, PRICES + 0.25, PRICES - 1),
        lower=PRICES - 2,
        upper=PRICES + 3,
        coverage=0.9,
    )
    with figures.styled():
        whole, zoom, errors = plots.forecast_figure(series).axes
    np.testing.assert_array_equal(lines(whole)["actual"], PRICES)
    np.testing.assert_array_equal(lines(whole)["model"], PRICES + 0.25)
    np.testing.assert_array_equal(lines(whole)["persistence"], PRICES - 1)
    np.testing.assert_array_equal(lines(zoom)["persistence"], PRICES[-plots.ZOOM :] - 1)
    np.testing.assert_allclose(errors.get_lines()[1].get_ydata(), 0.25)
    (band,) = whole.collections
    assert band.get_label() == "90% interval"
    drawn = band.get_paths()[0].vertices[:, 1]
    assert (drawn.min(), drawn.max()) == (PRICES.min() - 2, PRICES.max() + 3)
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
    assert len(drawn) == MAX_POINTS
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
        plots.losses_of(directory.at(tmp_path))
