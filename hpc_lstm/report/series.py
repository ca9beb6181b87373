"""One symbol's prices as a trained run forecast them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.errors import InputError

if TYPE_CHECKING:
    from hpc_lstm.evaluation.trained_run import TrainedRun


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
    from hpc_lstm.evaluation.past_forecasts import batches, prepared_as_trained
    from hpc_lstm.features.feature import PRICE
    from hpc_lstm.market.store import MarketStore

    if trained.config.loss != DEFAULT_LOSS:
        return None
    with MarketStore(trained.config.data.store) as store:
        prepared = prepared_as_trained(trained, store, trained.scaler.symbols)
        if len(priced_outputs(prepared.columns)) < len(prepared.columns.targets):
            return None
        scaler, sum_, count = trained.scaler, 0.0, 0
        for output, target in enumerate(prepared.columns.targets):
            windows = prepared.of_output(output).validation
            for numbers in batches(len(windows)):
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
        InputError: there is no such part; the store is missing or damaged, or the symbol is not in it, was not
            trained on, or has no windows in the part.
    """
    from hpc_lstm.evaluation.all_outputs import priced_outputs
    from hpc_lstm.evaluation.past_forecasts import (
        forecast_part,
        known_symbols,
        prepared_as_trained,
        require_part,
    )
    from hpc_lstm.market.store import MarketStore

    require_part(part)
    with MarketStore(trained.config.data.store) as store:
        (name,) = known_symbols(trained, store, [trained.scaler.symbols[0] if symbol is None else symbol])
        prepared = prepared_as_trained(trained, store, [name])
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
        (found,) = forecast_part(trained, prepared, part, priced[:1])
    return ForecastSeries(
        symbol=name,
        part=part,
        column=found.column,
        horizon=found.horizon,
        dates=found.date,
        actual=found.actual,
        model=found.forecast,
        persistence=found.last,
        lower=found.low,
        upper=found.high,
        coverage=found.coverage,
    )


def open_and_forecast(run_dir: str | Path, symbol: str | None = None, part: str = "test") -> ForecastSeries:
    """``forecast_series`` of the run at ``run_dir``.

    Raises:
        InputError: also if the run was not completed.
    """
    from hpc_lstm.evaluation.trained_run import open_run

    return forecast_series(open_run(run_dir), symbol, part)
