"""Charts of prices: lines or candles, moving averages, volume and indicators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.errors import InputError
from hpc_lstm.report import figures
from hpc_lstm.report.chart_data import ChartData, joined_candles, read_chart_data
from hpc_lstm.report.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY
from hpc_lstm.report.indicators import macd, relative_strength_index

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (BLACK, BLUE, ORANGE, GREEN, RED, SKY, PINK, GREY)
AVERAGE_COLOURS = (ORANGE, BLUE, GREEN, RED, SKY, PINK)
# Okabe and Ito's blue and vermilion are told apart by all; red and green are not.
RISING, FALLING = BLUE, RED
PRICE = "price (quote currency)"


@dataclass(frozen=True)
class PriceChart:
    """What a chart of prices shows.

    Attributes:
        column: of the price; None: the adjusted close, or else the close.
        first, last: dates between which it is drawn, "YYYY-MM-DD"; None: all.
        log: a logarithmic axis, on which equal percentages are equally long.
        candles: open, high, low and close instead of a line, with the volume below.
        sma, ema: lengths of moving averages in rows.
        rsi, macd: draw the indicator below.

    Raises:
        InputError: an average has no length.
    """

    column: str | None = None
    first: str | None = None
    last: str | None = None
    log: bool = False
    candles: bool = False
    sma: Sequence[int] = ()
    ema: Sequence[int] = ()
    rsi: bool = False
    macd: bool = False

    def __post_init__(self) -> None:
        for name, lengths in (("sma", self.sma), ("ema", self.ema)):
            if not isinstance(lengths, Sequence) or not all(
                isinstance(length, Integral) and length > 0 for length in lengths
            ):
                raise InputError(f"{name}: must be lengths in rows, such as [20, 50], got {lengths!r}")


def plot_prices(
    store: str | Path, symbols: Sequence[str], path: str | Path, chart: PriceChart = PriceChart()
) -> None:
    """Write a chart of prices; several symbols are drawn as lines that begin at 100.

    Raises:
        InputError: store, symbol or column missing; no rows between the dates; an average longer than the symbol's
            history; what only one symbol can be drawn with; an unknown suffix; or matplotlib is not installed.
    """
    path = Path(path)
    figures.check_suffix(path)
    with figures.styled():
        figures.save(prices_figure(read_chart_data(store, list(symbols), chart.column), chart), path)


def prices_figure(symbols: Sequence[ChartData], chart: PriceChart = PriceChart()) -> Figure:
    """A figure with the prices, and a panel below for the volume and for each indicator.

    Raises:
        InputError: as ``plot_prices``.
    """
    if not symbols:
        raise InputError("plot: no symbol is given")
    if len(symbols) > 1 and (chart.candles or chart.sma or chart.ema or chart.rsi or chart.macd):
        raise InputError(
            f"plot: candles, averages and indicators are drawn of one symbol, but {len(symbols)} are given; give one "
            "--symbol, or leave them out"
        )
    first, last = (_day(option, text) for option, text in (("--from", chart.first), ("--to", chart.last)))
    rows = [data.between(first, last) for data in symbols]
    data, shown = symbols[0], rows[0]
    panels: list[Callable[[Axes], None]] = []
    if chart.candles and data.volume is not None:
        panels.append(partial(_draw_volume, data=data.only(shown)))
    if chart.rsi:
        panels.append(partial(_draw_rsi, data=data, shown=shown))
    if chart.macd:
        panels.append(partial(_draw_macd, data=data, shown=shown))
    figure = figures.new_figure(9.0, 4.5 + 1.4 * len(panels))
    grid = figure.add_gridspec(1 + len(panels), 1, height_ratios=[4, *([1.3] * len(panels))])
    axes = figure.add_subplot(grid[0])
    axes.margins(x=0.01)
    if chart.log:
        _logarithmic(axes)
    if len(symbols) > 1:
        _draw_together(axes, [one.only(inside) for one, inside in zip(symbols, rows, strict=True)])
    elif chart.candles:
        _draw_candles(axes, data.only(shown))
    else:
        label = figures.plain(data.column.replace("_", " "))
        axes.plot(data.dates[shown], data.prices[shown], color=BLACK, linewidth=0.9, label=label)
    averages = _averages(data, chart) if len(symbols) == 1 else {}
    for number, (name, values) in enumerate(averages.items()):
        dashes = "--" if name.startswith("EMA") else "-"
        colour = AVERAGE_COLOURS[number % len(AVERAGE_COLOURS)]
        axes.plot(data.dates[shown], values[shown], dashes, color=colour, label=name)
    if not axes.get_title(loc="left"):
        daily = "daily prices" if data.dates.dtype == "datetime64[D]" else "prices"
        figures.set_title(axes, f"{data.symbol}: {daily}{' with moving averages' if averages else ''}")
    if not axes.get_ylabel():
        axes.set_ylabel(PRICE)
    bottom = axes
    for row, draw in enumerate(panels, 1):
        bottom.tick_params(labelbottom=False)
        bottom = figure.add_subplot(grid[row], sharex=axes)
        draw(bottom)
    bottom.set_xlabel("date")
    if averages or len(symbols) > 1:
        # Beside the figure, where it covers neither the curves nor the title.
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _averages(data: ChartData, chart: PriceChart) -> dict[str, np.ndarray]:
    """Moving averages by name; of all rows, so that they do not begin anew where the chart does."""
    from hpc_lstm.features.ema import exponential_moving_average
    from hpc_lstm.features.sma import simple_moving_average

    averages = {}
    for kind, lengths, average in (
        ("SMA", chart.sma, partial(simple_moving_average, whole=True)),
        ("EMA", chart.ema, exponential_moving_average),
    ):
        for length in lengths:
            if length > len(data.prices):
                raise InputError(
                    f"--{kind.lower()} {length}: {data.symbol} has only {len(data.prices)} rows; "
                    "choose a shorter average"
                )
            averages[f"{kind} {length}"] = average(data.prices, length)
    return averages


def _draw_together(axes: Axes, symbols: Sequence[ChartData]) -> None:
    for number, data in enumerate(symbols):
        dashes = ("-", "--", ":", "-.")[number // len(COLOURS) % 4]
        colour = COLOURS[number % len(COLOURS)]
        start = data.prices[np.isfinite(data.prices) & (data.prices != 0)][:1]
        axes.plot(
            data.dates,
            100 * data.prices / start,
            dashes,
            color=colour,
            linewidth=1.0,
            label=figures.plain(data.symbol),
        )
    axes.axhline(100, color=GREY, linewidth=0.8)
    names = ", ".join(data.symbol for data in symbols[:6])
    figures.set_title(axes, f"{names}, ..." if len(symbols) > 6 else names)
    axes.set_ylabel("price, first = 100")


def _draw_candles(axes: Axes, data: ChartData) -> None:
    if data.candles is None:
        raise InputError(
            f"{data.symbol}: candles need open, high, low and close, which the store does not have"
        )
    dates, candles, _, unit = joined_candles(data)
    opens, highs, lows, closes = candles.T
    colours = np.where(closes >= opens, RISING, FALLING)
    axes.vlines(dates, lows, highs, colors=colours, linewidth=0.8)
    width = _width(dates)
    # A candle that ends where it began is a line.
    height = np.maximum(np.abs(closes - opens), 1e-3 * (highs - lows))
    axes.bar(dates, height, width, np.minimum(opens, closes), color=colours, linewidth=0)
    figures.set_title(axes, f"{data.symbol}: {unit} candles")


def _draw_volume(axes: Axes, data: ChartData) -> None:
    from matplotlib.ticker import EngFormatter

    dates, candles, volume, _ = joined_candles(data)
    assert volume is not None
    colours = np.where(candles[:, 3] >= candles[:, 0], RISING, FALLING)
    axes.bar(dates, volume, _width(dates), color=colours, alpha=0.6, linewidth=0)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_ylabel("volume")


def _draw_rsi(axes: Axes, data: ChartData, shown: np.ndarray) -> None:
    axes.plot(data.dates[shown], relative_strength_index(data.prices)[shown], color=BLUE, linewidth=0.9)
    for level in (30, 70):
        axes.axhline(level, color=GREY, linewidth=0.8, linestyle="--")
    axes.set_ylim(0, 100)
    axes.set_yticks((30, 70))
    axes.set_ylabel("RSI 14")


def _draw_macd(axes: Axes, data: ChartData, shown: np.ndarray) -> None:
    line, signal = (values[shown] for values in macd(data.prices))
    dates = data.dates[shown]
    axes.fill_between(dates, line - signal, color=GREY, alpha=0.5, linewidth=0)
    axes.plot(dates, line, color=BLUE, linewidth=0.9, label="MACD 12, 26")
    axes.plot(dates, signal, "--", color=ORANGE, linewidth=0.9, label="signal 9")
    axes.set_ylabel("MACD")
    axes.legend(loc="upper left", ncols=2, fontsize=8)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.35 * (high - low))  # room for the legend above the curves


def _width(dates: np.ndarray) -> np.ndarray | float:
    """Width of a bar in days: most of the least usual distance."""
    if len(dates) < 2:
        return 0.7
    return 0.7 * float(np.median(np.diff(dates) / np.timedelta64(1, "D")))


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _day(option: str, text: str | None) -> np.datetime64 | None:
    if text is None:
        return None
    try:
        return np.datetime64(text, "D")
    except ValueError:
        raise InputError(f"{option}: must be a date, YYYY-MM-DD, got {text}") from None
