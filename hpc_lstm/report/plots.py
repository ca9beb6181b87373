"""Figures: prices with moving averages, forecasts, losses, where the time went.

``*_figure`` draws data; ``plot_*`` reads a store or a run and writes a file, .png, .svg or .pdf.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.errors import InputError, printable
from hpc_lstm.report import figures
from hpc_lstm.report.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, YELLOW
from hpc_lstm.report.series import ForecastSeries, open_and_forecast
from hpc_lstm.runs import directory
from hpc_lstm.timing.spans import Timing
from hpc_lstm.timing.timeline import PHASES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PHASE_COLOURS = dict(zip(PHASES, (GREY, SKY, BLUE, GREEN, ORANGE, RED, PINK, YELLOW, BLACK), strict=True))
# The column that is plotted as the price: the first of these that the store has.
PRICE_COLUMNS = ("close", "adj_close")
# A curve with more points than this is averaged: the figure has no more pixels.
MAX_POINTS = 2000
# Targets of the detail beside the whole part, in which single forecasts are visible.
ZOOM = 60


def plot_prices(
    store: str | Path, symbol: str, path: str | Path, *, sma: Sequence[int] = (), ema: Sequence[int] = ()
) -> None:
    """Write a symbol's prices with simple and exponential moving averages.

    Args:
        sma, ema: lengths in rows (trading days).

    Raises:
        InputError: store or symbol missing, an average longer than the symbol's history, an unknown suffix,
            or matplotlib is not installed.
    """
    path = Path(path)
    figures.check_suffix(path)
    from hpc_lstm.features.ema import exponential_moving_average
    from hpc_lstm.features.sma import simple_moving_average
    from hpc_lstm.market.store import MarketStore

    with figures.styled():
        with MarketStore(store) as market:
            number = market.symbol(symbol)
            start, stop = int(market.offsets[number]), int(market.offsets[number + 1])
            column = next((c for c in PRICE_COLUMNS if c in market.columns), market.columns[0])
            prices = market.rows(start, stop)[:, market.column(column)]
            dates = market.dates(start, stop).astype(f"datetime64[{market.date_unit}]")
        averages: dict[str, np.ndarray] = {}
        for kind, lengths, average in (
            ("SMA", sma, partial(simple_moving_average, whole=True)),
            ("EMA", ema, exponential_moving_average),
        ):
            for length in lengths:
                if length > len(prices):
                    raise InputError(
                        f"--{kind.lower()} {length}: {symbol} has only {len(prices)} rows; "
                        "choose a shorter average"
                    )
                averages[f"{kind} {length}"] = average(prices, length)
        figures.save(prices_figure(symbol, column, dates, prices, averages), path)


def plot_forecast(
    run_dir: str | Path, path: str | Path, *, symbol: str | None = None, part: str = "test"
) -> None:
    """Write a symbol's actual prices with the run's forecasts and persistence; default: the first symbol.

    Raises:
        InputError: the run was not completed, the symbol has no windows in the part, or as ``plot_prices``.
    """
    path = Path(path)
    figures.check_suffix(path)
    with figures.styled():
        figures.save(forecast_figure(open_and_forecast(run_dir, symbol, part)), path)


def plot_history(run_dir: str | Path, path: str | Path) -> None:
    """Write the losses over the epochs.

    Raises:
        InputError: the run has no history yet, or as ``plot_prices``.
    """
    from hpc_lstm.runs.history import read_history

    path = Path(path)
    figures.check_suffix(path)
    run = directory.at(run_dir)
    entries = read_history(run.history)
    if not entries:
        raise InputError(f"{run.history}: has no losses; train for longer, or give the folder of another run")
    with figures.styled():
        figures.save(history_figure(entries), path)


def prices_figure(
    symbol: str, column: str, dates: np.ndarray, prices: np.ndarray, averages: Mapping[str, np.ndarray]
) -> Figure:
    """Prices float64 [N] by dates datetime64 [N], and averages [N] by name, NaN before they begin."""
    figure = figures.new_figure()
    axes = figure.add_subplot()
    axes.plot(dates, prices, color=BLACK, linewidth=0.9, label=printable(column.replace("_", " ")))
    colours = (ORANGE, BLUE, GREEN, RED, SKY, PINK)
    for number, (name, values) in enumerate(averages.items()):
        dashes = "--" if name.startswith("EMA") else "-"
        axes.plot(dates, values, dashes, color=colours[number % len(colours)], label=name)
    title = f"{symbol}: daily prices" if dates.dtype == "datetime64[D]" else f"{symbol}: prices"
    figures.set_title(axes, f"{title} with moving averages" if averages else title)
    axes.set_ylabel("price (quote currency)")
    axes.set_xlabel("date")
    axes.margins(x=0.01)
    if averages:
        legend = axes.legend(
            loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=min(5, len(averages) + 1), borderaxespad=0
        )
        legend.get_texts()[0].set_parse_math(False)  # the column's name
    return figure


def forecast_figure(series: ForecastSeries) -> Figure:
    """The whole part on the left with the forecast errors below, and the last ``ZOOM`` targets on the right."""
    figure = figures.new_figure(11, 5.5)
    grid = figure.add_gridspec(2, 2, height_ratios=(2.2, 1), width_ratios=(1.6, 1))
    whole, zoom = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[:, 1])
    errors = figure.add_subplot(grid[1, 0], sharex=whole)
    last = slice(-ZOOM, None)
    for axes, part in ((whole, slice(None)), (zoom, last)):
        axes.plot(series.dates[part], series.actual[part], color=BLACK, linewidth=1.1, label="actual")
        axes.plot(series.dates[part], series.model[part], color=BLUE, linewidth=1.1, label="model")
        if axes is zoom:
            axes.plot(series.dates[part], series.persistence[part], ":", color=RED, label="persistence")
    errors.axhline(0, color=GREY, linewidth=0.8)
    errors.plot(series.dates, series.model - series.actual, color=BLUE, linewidth=0.6)
    steps = "1 row" if series.horizon == 1 else f"{series.horizon} rows"
    figures.set_title(whole, f"{series.symbol}: {series.part} part, forecast {steps} ahead")
    zoom.set_title(f"last {min(ZOOM, len(series.dates))} targets")
    whole.set_ylabel("price (quote currency)")
    errors.set_ylabel("model − actual")
    errors.set_xlabel("date of the target")
    zoom.set_xlabel("date of the target")
    whole.legend(loc="best")
    zoom.legend(loc="best")
    whole.tick_params(labelbottom=False)
    for axes in (errors, zoom):
        _short_dates(axes)
    return figure


def history_figure(entries: Sequence[Mapping[str, Any]]) -> Figure:
    """Losses and learning rate from the entries of ``history.jsonl``; missing values are left out."""
    figure = figures.new_figure()
    axes = figure.add_subplot()
    train = _points(entries, "train", "loss")
    validation = _points(entries, "validation", "loss")
    if len(train[0]) > MAX_POINTS:
        blocks = np.array_split(np.arange(len(train[0])), MAX_POINTS)
        train = np.array([[column[block].mean() for block in blocks] for column in train])
    axes.plot(*train, color=SKY, linewidth=0.9, label="train")
    axes.plot(*validation, "o-", color=BLUE, markersize=4, label="validation")
    if len(validation[0]):
        best = int(np.argmin(validation[1]))
        axes.plot(
            *validation[:, best],
            "*",
            color=RED,
            markersize=13,
            label=f"best validation {validation[1, best]:.4g}",
        )
    losses = np.concatenate([train[1], validation[1]])
    if len(losses) and losses.min() > 0 and losses.max() / losses.min() > 20:
        axes.set_yscale("log")
    axes.set_title("Loss over the run")
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean squared error (scaled units)")
    handles, labels = axes.get_legend_handles_labels()
    rates = _points(entries, "train", "learning_rate")
    if len(rates[0]) and np.ptp(rates[1]) > 0:
        right = axes.twinx()
        right.plot(*rates, "--", color=GREY, linewidth=0.9, label="learning rate")
        right.set_ylabel("learning rate")
        right.spines["right"].set_visible(True)
        right.grid(visible=False)
        right.set_ylim(bottom=0)
        handles, labels = (
            a + b for a, b in zip((handles, labels), right.get_legend_handles_labels(), strict=True)
        )
    axes.legend(handles, labels, loc="upper right")
    return figure


def timing_figure(timing: Timing) -> Figure:
    """A stacked bar per rank: seconds by phase; phases that took no time are left out."""
    seconds, ranks = timing.rank_seconds(), timing.ranks
    few = len(ranks) <= 32
    figure = figures.new_figure(9, max(2.2, 1.2 + 0.35 * len(ranks)) if few else 8)
    axes = figure.add_subplot()
    left = np.zeros(len(ranks))
    for number, phase in enumerate(PHASES):
        if seconds[:, number].sum() == 0:
            continue
        edge = {"edgecolor": "white", "linewidth": 0.5} if few else {"linewidth": 0}
        height = 0.75 if few else 1.0
        axes.barh(
            np.arange(len(ranks)),
            seconds[:, number],
            height,
            left,
            color=PHASE_COLOURS[phase],
            label=phase,
            **edge,
        )
        left += seconds[:, number]
    axes.set_title("Where each rank's time went")
    axes.set_xlabel("seconds in each phase" + ("" if timing.starts == 1 else ", sum over all starts"))
    axes.set_ylabel("rank")
    if few:
        axes.set_yticks(np.arange(len(ranks)), [str(rank) for rank in ranks])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.01)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _points(entries: Sequence[Mapping[str, Any]], kind: str, value: str) -> np.ndarray:
    """float64 [2, n]: epochs and finite values of the entries of a kind."""
    found = [
        (e["epoch"], e[value])
        for e in entries
        if e["kind"] == kind and e.get("epoch") is not None and e.get(value) is not None
    ]
    return np.array(found, np.float64).reshape(-1, 2).T


def _short_dates(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
