"""All outputs of a network for the window that ends now: a forecast and an interval for each target at each horizon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.evaluation.intervals import constant_targets
from hpc_lstm.evaluation.together import Asking
from hpc_lstm.evaluation.trained_run import TrainedRun
from hpc_lstm.features.columns import ModelColumns, compute_columns
from hpc_lstm.features.feature import DIRECTION, PRICED, VOLATILITY
from hpc_lstm.features.rows import RowDates


@dataclass(frozen=True)
class OutputForecast:
    """K forecasts, float64 [K] each: prices where prices follow from a target, else values of the target.

    Attributes:
        values: point forecasts.
        low, high: ends of the intervals; NaN where there is none.
    """

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray


def forecast_outputs(
    trained: TrainedRun, columns: ModelColumns, rows: np.ndarray, scaler_index: int, about: RowDates
) -> Asking[OutputForecast]:
    """The outputs for a symbol's last window.

    Args:
        rows: float64 [n, C], the symbol's last known rows, as many as the window and its features need.
        scaler_index: the symbol's in the scaler.
        about: whose rows, and of when.
    """
    scaler, features = trained.scaler, len(columns.features)
    values = compute_columns(rows, np.array([0, len(rows)]), columns, [about])[
        -trained.config.data.window :, :features
    ]
    scaled = values * scaler.scale[scaler_index, :features] + scaler.shift[scaler_index, :features]
    outputs = yield scaled.astype(np.float32)[None]
    head = trained.head
    point = head.loss.point(head.by_target(outputs))
    found = np.empty((3, len(columns.targets)))
    constant = constant_targets(scaler, columns, scaler_index)
    for kind, ends in enumerate((point, *trained.intervals.of(head, outputs, constant))):
        for number, target in enumerate(columns.targets):
            value = scaler.inverse_target(ends[:, number], scaler_index, target.column)
            if target.transform.unit in PRICED:
                value = target.transform.price(value, rows[-1:, target.number])
            elif target.transform.unit == VOLATILITY:
                value = np.maximum(value, 0.0)
            found[kind, number] = np.nan if kind and target.transform.unit == DIRECTION else value[0]
    return OutputForecast(*found)
