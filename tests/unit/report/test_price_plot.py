"""Charts of prices: what is drawn is what the store has, and nothing overprints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hpc_lstm.errors import InputError
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.report import figures
from hpc_lstm.report.chart_data import ChartData, joined_candles, read_chart_data
from hpc_lstm.report.indicators import macd, relative_strength_index
from hpc_lstm.report.price_plot import PriceChart, plot_prices, prices_figure

DATES = np.datetime64("2010-01-04") + np.arange(400)
PRICES = 50 + np.cumsum(np.random.default_rng(1).normal(size=400))
CANDLES = np.stack([PRICES - 0.5, PRICES + 1, PRICES - 1, PRICES], axis=1)


def lines(axes) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_ydata() for line in axes.get_lines()}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    columns = ["open", "high", "low", "close", "volume", "adj_close"]
    with StoreWriter(tmp_path / "market.h5", columns, "test") as writer:
        for symbol in ("AAPL", "XOM"):
            split = np.where(np.arange(400) < 200, 0.5, 1.0)  # a split in the middle
            raw = CANDLES / split[:, None]
            values = np.column_stack([raw, np.arange(400.0), PRICES])
            writer.append(symbol, np.arange(400) + 14_613, values)
    return tmp_path / "market.h5"


def test_adjusted_prices_and_averages_are_drawn(store: Path) -> None:
    with figures.styled():
        figure = prices_figure(read_chart_data(store, ["AAPL"], None), PriceChart(sma=[5], ema=[10]))
    (axes,) = figure.axes
    drawn = lines(axes)
    np.testing.assert_array_equal(drawn["adj close"], PRICES)
    np.testing.assert_allclose(drawn["SMA 5"], pd.Series(PRICES).rolling(5).mean())
    np.testing.assert_allclose(drawn["EMA 10"], pd.Series(PRICES).ewm(span=10).mean())
    assert axes.get_title(loc="left") == "AAPL: daily prices with moving averages"
    assert axes.get_xlabel() == "date"
    assert axes.get_ylabel()


def test_column_dates_and_a_logarithmic_axis(store: Path) -> None:
    chart = PriceChart(column="close", first="2010-02-01", last="2010-02-28", log=True, sma=[20])
    with figures.styled():
        (axes,) = prices_figure(read_chart_data(store, ["AAPL"], "close"), chart).axes
    drawn = lines(axes)
    np.testing.assert_array_equal(drawn["close"], 2 * PRICES[28:56])
    assert np.isfinite(drawn["SMA 20"]).all(), "an average knows the days before the chart"
    assert axes.get_yscale() == "log"


def test_several_symbols_begin_at_100(store: Path) -> None:
    with figures.styled():
        (axes,) = prices_figure(read_chart_data(store, ["AAPL", "XOM"], None)).axes
    drawn = lines(axes)
    np.testing.assert_allclose(drawn["AAPL"], 100 * PRICES / PRICES[0])
    styles = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}
    assert len(styles) == len(axes.get_lines())


def test_candles_are_adjusted_and_joined(store: Path) -> None:
    (data,) = read_chart_data(store, ["AAPL"], None)
    np.testing.assert_allclose(data.candles, CANDLES)
    dates, candles, volume, unit = joined_candles(data)
    assert unit == "weekly"
    table = pd.DataFrame(CANDLES, index=pd.to_datetime(DATES), columns=["o", "h", "l", "c"])
    weekly = table.resample("W").agg({"o": "first", "h": "max", "l": "min", "c": "last"})
    np.testing.assert_allclose(candles, weekly)
    assert volume is not None
    assert volume.sum() == np.arange(400).sum()
    assert (dates == dates.astype("datetime64[D]")).all()
    single = data.only(np.arange(400) < 100)
    assert joined_candles(single)[3] == "daily"


def test_panels_below(store: Path) -> None:
    chart = PriceChart(candles=True, rsi=True, macd=True, first="2011-01-01")
    with figures.styled():
        figure = prices_figure(read_chart_data(store, ["AAPL"], None), chart)
    assert [axes.get_ylabel() for axes in figure.axes[1:]] == ["volume", "RSI 14", "MACD"]
    assert len(figure.axes[1].patches) == (np.datetime64("2011-01-01") <= DATES).sum()


@pytest.mark.parametrize(
    "chart",
    [
        PriceChart(sma=[5, 20, 50], ema=[5, 10, 20, 30]),
        PriceChart(candles=True, sma=[20], rsi=True, macd=True),
    ],
)
def test_title_and_legend_do_not_overprint(store: Path, chart: PriceChart) -> None:
    with figures.styled():
        figure = prices_figure(read_chart_data(store, ["AAPL"], None), chart)
        figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    for axes in figure.axes:
        assert not box.overlaps(axes.get_window_extent())
        for text in (axes._left_title, axes.xaxis.label):
            if text.get_text():
                assert not box.overlaps(text.get_window_extent())
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


def test_indicators_are_those_of_their_definitions() -> None:
    # Wilder's smoothing is pandas' ewm with alpha 1/14, started from the mean of the first 14 changes.
    changes = np.diff(PRICES)
    gains, losses = np.maximum(changes, 0), np.maximum(-changes, 0)

    def smoothed(values: np.ndarray) -> np.ndarray:
        seeded = np.concatenate([[values[:14].mean()], values[14:]])
        return pd.Series(seeded).ewm(alpha=1 / 14, adjust=False).mean().to_numpy()

    expected = 100 - 100 / (1 + smoothed(gains) / smoothed(losses))
    found = relative_strength_index(PRICES)
    assert np.isnan(found[:14]).all()
    np.testing.assert_allclose(found[14:], expected)
    assert relative_strength_index(np.full(20, 3.0))[-1] == 50
    assert np.isnan(relative_strength_index(PRICES[:14])).all()
    line, signal = macd(PRICES)
    series = pd.Series(PRICES)
    np.testing.assert_allclose(line, series.ewm(span=12).mean() - series.ewm(span=26).mean(), atol=1e-9)
    np.testing.assert_allclose(signal, pd.Series(line).ewm(span=9).mean(), atol=1e-9)


def test_a_picture_is_written(store: Path, tmp_path: Path) -> None:
    plot_prices(store, ["XOM"], tmp_path / "p.svg", PriceChart(sma=[5, 20], ema=[10]))
    text = (tmp_path / "p.svg").read_text()
    for label in ("XOM: daily prices with moving averages", "adj close", "SMA 5", "SMA 20", "EMA 10"):
        assert label in text


@pytest.mark.parametrize(
    ("symbols", "chart", "message"),
    [
        (["AAPL"], PriceChart(sma=[401]), "--sma 401: AAPL has only 400 rows"),
        (["AAPX"], PriceChart(), "AAPL"),
        (["AAPL"], PriceChart(column="clsoe"), "close"),
        (["AAPL"], PriceChart(first="2020-01-01"), "AAPL: has no rows between .* 2010-01-04 to 2011-02-07"),
        (["AAPL"], PriceChart(first="yesterday"), "--from: must be a date"),
        (["AAPL", "XOM"], PriceChart(candles=True), "one --symbol"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    store: Path, tmp_path: Path, symbols: list[str], chart: PriceChart, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        plot_prices(store, symbols, tmp_path / "p.png", chart)
    assert not (tmp_path / "p.png").exists()
    with pytest.raises(InputError, match=r"\.png, \.svg, \.pdf"):
        plot_prices(store, symbols, tmp_path / "p.jpg", chart)


def test_candles_need_their_columns() -> None:
    data = ChartData("A", "close", DATES, PRICES)
    with figures.styled(), pytest.raises(InputError, match="open, high, low and close"):
        prices_figure([data], PriceChart(candles=True))


def test_a_symbol_is_no_formula_and_no_command(tmp_path: Path) -> None:
    data = ChartData("$x^2$ \x1b[31m", "$a$ \u202eb", DATES, PRICES)
    with figures.styled():
        figures.save(prices_figure([data], PriceChart(sma=[2])), tmp_path / "prices.svg")
    svg = (tmp_path / "prices.svg").read_text()
    assert "$x^2$ \\x1b[31m: daily prices" in svg
    assert "$a$ \\u202eb" in svg
