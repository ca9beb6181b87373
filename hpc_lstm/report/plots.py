"""Figures of a run: forecasts, losses, where the time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.errors import InputError
from hpc_lstm.report import figures
from hpc_lstm.report.figures import BLACK, BLUE, GREEN, GREY, RED, SKY
from hpc_lstm.report.page_losses import epoch_means, points, thinned
from hpc_lstm.report.series import ForecastSeries, open_and_forecast
from hpc_lstm.runs import directory
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.text.counts import counted
from hpc_lstm.timing.spans import Timing, load_timing
from hpc_lstm.timing.timeline import PHASES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Targets of the detail beside the whole part, in which single forecasts are visible.
ZOOM = 60


def write_figures(
    run_dir: str | Path, folder: str | Path, suffix: str, symbols: Sequence[str] = ()
) -> list[Path]:
    """Write a run's figures as files: forecasts, losses and timing.

    Args:
        folder: it is made if it is missing.
        suffix: "png", "svg" or "pdf".
        symbols: whose forecasts; none: the first one's.

    Returns:
        The paths that were written.

    Raises:
        InputError: the run was not completed, or a symbol has no windows in the test part.
    """
    run, target = directory.at(run_dir), Path(folder)
    written = []
    with figures.styled():
        for symbol in symbols or (None,):
            series = open_and_forecast(run.path, symbol)
            written.append(target / f"forecast-{series.symbol.replace('/', '_')}.{suffix}")
            figures.save(forecast_figure(series), written[-1])
        for name, figure in (
            ("losses", history_figure(losses_of(run))),
            ("timing", timing_figure(load_timing(run.path))),
        ):
            written.append(target / f"{name}.{suffix}")
            figures.save(figure, written[-1])
    return written


def losses_of(run: RunDirectory) -> list[dict[str, Any]]:
    """The entries of a run's history.

    Raises:
        InputError: it has none yet.
    """
    from hpc_lstm.runs.history import read_history

    entries = read_history(run.history)
    if not entries:
        raise InputError(f"{run.history}: has no losses; train for longer, or give the folder of another run")
    return entries


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
        axes.plot(
            series.dates[part], series.persistence[part], ":", color=RED, linewidth=1.1, label="persistence"
        )
        if np.isfinite(series.lower).any():
            axes.fill_between(
                series.dates[part],
                series.lower[part],
                series.upper[part],
                color=BLUE,
                alpha=0.15,
                linewidth=0,
                label=f"{series.coverage:.0%} interval",
            )
    errors.axhline(0, color=GREY, linewidth=0.8)
    errors.plot(series.dates, series.model - series.actual, color=BLUE, linewidth=0.6)
    steps = counted(series.horizon, "row")
    figures.set_title(whole, f"{series.symbol}: {series.part} part, forecast {steps} ahead")
    zoom.set_title(f"last {min(ZOOM, len(series.dates))} targets")
    whole.set_ylabel("price (quote currency)")
    errors.set_ylabel("model − actual")
    errors.set_xlabel("date of the target")
    zoom.set_xlabel("date of the target")
    figure.legend(*zoom.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    whole.tick_params(labelbottom=False)
    for axes in (errors, zoom):
        _short_dates(axes)
    return figure


def history_figure(entries: Sequence[Mapping[str, Any]]) -> Figure:
    """Losses and learning rate from the entries of ``history.jsonl``; missing values are left out."""
    figure = figures.new_figure()
    axes = figure.add_subplot()
    train = points(entries, "train", "loss")
    validation = points(entries, "validation", "loss")
    axes.plot(*thinned(train), color=SKY, linewidth=0.9, label="train")
    axes.plot(*epoch_means(train), "o-", color=GREEN, markersize=4, label="train, mean of the epoch")
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
    losses = np.concatenate([epoch_means(train)[1], validation[1]])
    if len(losses) and losses.min() > 0 and losses.max() / losses.min() > 20:
        axes.set_yscale("log")
    axes.set_title("Loss over the run")
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss (scaled units)")
    handles, labels = axes.get_legend_handles_labels()
    rates = points(entries, "train", "learning_rate")
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
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
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
            color=figures.PHASE_COLOURS[phase],
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


def _short_dates(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
