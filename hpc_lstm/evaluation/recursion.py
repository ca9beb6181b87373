"""Forecasts of several steps: the network takes its own as inputs.

The network forecasts the row ``horizon`` rows after its window. One step of a prediction is one horizon, and
a row beyond the last known one is always forecast from the window that ends ``horizon`` rows before it: the
first step sees known prices only, later ones also forecasts. In a row so forecast the price column, and what
is derived from it, is the forecast; every other column keeps its last known value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hpc_lstm.errors import HpcLstmError
from hpc_lstm.evaluation.all_outputs import point_forecasts
from hpc_lstm.evaluation.dates import future_dates
from hpc_lstm.evaluation.prices import forecast_prices
from hpc_lstm.evaluation.together import Asking
from hpc_lstm.evaluation.trained_run import TrainedRun
from hpc_lstm.features.columns import ModelColumns, compute_columns
from hpc_lstm.features.rows import RowDates


def forecast_recursively(
    rows: np.ndarray,
    price: int,
    forecast: Callable[[np.ndarray, np.ndarray], Asking[np.ndarray]],
    horizon: int,
    steps: int,
) -> Asking[np.ndarray]:
    """Forecast several steps, each from the window that the ones before fill up.

    Args:
        rows: float64 [n, C], a symbol's last known rows.
        price: the column that is forecast.
        forecast: (rows, ends int64 [B]) to prices float64 [B] of the rows ``horizon`` after each of ``ends``,
            from the windows that end there.

    Returns:
        float64 [steps], the prices ``horizon``, ``2 * horizon``, ... rows after the last known one.

    Raises:
        HpcLstmError: a forecast is not a finite number.
    """
    found = np.empty(steps)
    for step in range(steps):
        block = horizon if step + 1 < steps else 1  # the rows between are asked for only where a step follows
        ahead = yield from forecast(rows, np.arange(len(rows) - block, len(rows), dtype=np.int64))
        if not np.isfinite(ahead).all():
            raise HpcLstmError(
                f"the forecast of step {step + 1} is not a finite number: the model diverged in training, or "
                "cannot take its earlier forecasts as inputs; ask for fewer steps or train again"
            )
        found[step] = ahead[-1]
        future = np.repeat(rows[-1:], block, axis=0)
        future[:, price] = ahead
        rows = np.concatenate([rows, future])
    return found


def recursive_forecaster(
    trained: TrainedRun, columns: ModelColumns, scaler_index: int, known: RowDates, recent: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], Asking[np.ndarray]]:
    """The network as ``forecast_recursively`` calls it.

    Args:
        scaler_index: the symbol's in the scaler.
        known: whose rows, and of when.
        recent: int64 [n], the last known dates, whose spacing goes on.
    """
    scaler, window, features = trained.scaler, trained.config.data.window, len(columns.features)
    scale, shift = scaler.scale[scaler_index, :features], scaler.shift[scaler_index, :features]

    def forecast(rows: np.ndarray, ends: np.ndarray) -> Asking[np.ndarray]:
        ahead, _ = future_dates(recent, known.unit, np.arange(1, 1 + len(rows) - len(known.dates)))
        about = replace(known, dates=np.concatenate([known.dates, ahead]))
        values = compute_columns(rows, np.array([0, len(rows)]), columns, [about])[:, :features]
        scaled = (values * scale + shift).astype(np.float32)
        inputs = scaled[ends[:, None] + np.arange(1 - window, 1)]
        last = rows[ends, columns.target.number]
        point = point_forecasts(trained.head, (yield inputs), columns.output)
        return forecast_prices(point, np.full(len(ends), scaler_index), last, scaler, columns.target)

    return forecast
