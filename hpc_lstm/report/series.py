"""One symbol's prices as a trained run forecast them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.errors import InputError
from hpc_lstm.parallel.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hpc_lstm.evaluation.trained_run import TrainedRun
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.preprocess.prepare import Prepared

BATCH_SIZE = 1024


@dataclass(frozen=True)
class ForecastSeries:
    """Forecasts of one part in order of date; N windows.

    Attributes:
        symbol, part: whose, and of which part of the windows.
        column: whose prices, in the store.
        horizon: rows from the last known price to the target.
        dates: datetime64 [N], of the targets.
        actual, model, persistence: float64 [N], in price units; persistence is the last known price.
        lower, upper: float64 [N], ends of the intervals; NaN where there is none.
        coverage: share of targets that the intervals are to contain.
    """

    symbol: str
    part: str
    column: str
    horizon: int
    dates: np.ndarray
    actual: np.ndarray
    model: np.ndarray
    persistence: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    coverage: float


def persistence_loss(trained: TrainedRun) -> float | None:
    """Persistence's mean squared error on all validation windows, in the scaled units of the losses.

    With several outputs it is the mean of theirs. None where there are no windows, where the run's loss is another, or
    where persistence cannot be told in the units of a target.

    Raises:
        InputError: the store is missing or damaged.
    """
    from hpc_lstm.config import DEFAULT_LOSS
    from hpc_lstm.evaluation.all_outputs import priced_outputs
    from hpc_lstm.features.feature import PRICE
    from hpc_lstm.market.store import MarketStore

    if trained.config.loss != DEFAULT_LOSS:
        return None
    with MarketStore(trained.config.data.store) as store:
        prepared = _prepared(trained, store, trained.scaler.symbols)
        if len(priced_outputs(prepared.columns)) < len(prepared.columns.targets):
            return None
        scaler, sum_, count = trained.scaler, 0.0, 0
        for output, target in enumerate(prepared.columns.targets):
            windows = prepared.of_output(output).validation
            for numbers in _batches(len(windows)):
                prices = windows.prices(numbers)
                # Of returns, no change is 0; of prices, it is the last one.
                value = prices.last if target.transform.unit == PRICE else np.zeros(len(numbers))
                column = target.column
                scaled = value * scaler.scale[prices.symbol, column] + scaler.shift[prices.symbol, column]
                sum_ += float(np.square(scaled - windows.batch(numbers)[1][:, output]).sum())
                count += len(numbers)
    return sum_ / count if count else None


def forecast_series(trained: TrainedRun, symbol: str | None = None, part: str = "test") -> ForecastSeries:
    """Forecast a symbol's windows of a part, each from known prices; only this symbol is read.

    Args:
        symbol: None: the first one of the run.

    Raises:
        InputError: the store is missing or damaged, or the symbol is not in it, was not trained on, or has no
            windows in the part.
    """
    from hpc_lstm.evaluation.all_outputs import priced_outputs
    from hpc_lstm.evaluation.prices import forecast_prices
    from hpc_lstm.market.store import MarketStore

    scaler = trained.scaler
    name = scaler.symbols[0] if symbol is None else symbol
    with MarketStore(trained.config.data.store) as store:
        store.symbol(name)
        if name not in scaler.symbols:
            raise InputError(
                f"{trained.files.path}: was not trained on {name}; it knows {', '.join(scaler.symbols[:5])}"
            )
        prepared = _prepared(trained, store, [name])
        if prepared.index.total(part) == 0:
            raise InputError(
                f"{trained.files.path}: {name} has no windows in the {part} part; see data.split"
            )
        priced = priced_outputs(prepared.columns)
        if not priced:
            raise InputError(
                f"{trained.files.path}: no price follows from data.target = {prepared.columns.target.name}, so there "
                "is nothing to plot"
            )
        output, head = priced[0], trained.head
        prepared = prepared.of_output(output)
        target, windows = prepared.columns.target, prepared.load_windows(part)
        dates, actual, last = [], [], []
        found: list[list[np.ndarray]] = [[], [], []]  # model, lower, upper
        for numbers in _batches(len(windows)):
            inputs, _ = windows.batch(numbers)
            prices = windows.prices(numbers)
            outputs = np.asarray(trained.predict(inputs))
            points = head.loss.point(head.by_target(outputs))
            for to, scaled in zip(found, (points, *trained.intervals.of(head, outputs)), strict=True):
                to.append(forecast_prices(scaled[:, output], prices.symbol, prices.last, scaler, target))
            dates.append(prices.date)
            actual.append(prices.actual)
            last.append(prices.last)
        when = np.concatenate(dates).astype(f"datetime64[{store.date_unit}]")
    model, lower, upper = map(np.concatenate, found)
    return ForecastSeries(
        symbol=name,
        part=part,
        column=prepared.columns.store_columns[target.number],
        horizon=prepared.horizon,
        dates=when,
        actual=np.concatenate(actual),
        model=model,
        persistence=np.concatenate(last),
        lower=lower,
        upper=upper,
        coverage=trained.intervals.coverage,
    )


def _prepared(trained: TrainedRun, store: MarketStore, symbols: list[str]) -> Prepared:
    """Some symbols' windows, split and scaled as the run did."""
    from hpc_lstm.evaluation.new_rows import compare_with_run
    from hpc_lstm.evaluation.trained_run import recorded_split
    from hpc_lstm.preprocess import prepare
    from hpc_lstm.preprocess.host_backend import HostBackend

    data = trained.config.data.model_copy(update={"symbols": symbols, "shard": ""})
    found = compare_with_run(trained.files, store, World(), symbols[0] if len(symbols) == 1 else None)
    return prepare.prepare(
        store,
        data,
        World(),
        HostBackend(),
        scaler=trained.scaler,
        known=found.growth.known if found is not None and found.growth is not None else None,
        split_dates=recorded_split(trained, store.date_unit),
        to_train=False,
    )


def _batches(windows: int) -> Iterator[np.ndarray]:
    for start in range(0, windows, BATCH_SIZE):
        yield np.arange(start, min(start + BATCH_SIZE, windows), dtype=np.int64)


def open_and_forecast(run_dir: str | Path, symbol: str | None = None, part: str = "test") -> ForecastSeries:
    """``forecast_series`` of the run at ``run_dir``.

    Raises:
        InputError: also if the run was not completed.
    """
    from hpc_lstm.evaluation.trained_run import open_run

    return forecast_series(open_run(run_dir), symbol, part)
