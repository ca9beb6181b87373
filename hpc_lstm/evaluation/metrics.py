"""The metrics of forecasts, in price units, and how they are shown. docs/metrics.md defines them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_lstm.evaluation.error_sums import PartErrors
from hpc_lstm.evaluation.significance import diebold_mariano
from hpc_lstm.evaluation.train_changes import TrainChanges
from hpc_lstm.evaluation.verdict import verdict


@dataclass(frozen=True)
class Metric:
    """One number that says how good a forecast is.

    Attributes:
        key: its name in ``metrics.json``.
        title, unit: what tables call it.
        form: how tables format it.
        width: of its column in text.
        measure: (errors, mean absolute change in training float64 [S], index of the method) to the number; NaN where
            it is not defined.
        factor: what tables multiply it by.
        meaningless_for: methods for which tables show none.
    """

    key: str
    title: str
    unit: str
    form: str
    width: int
    measure: Callable[[PartErrors, np.ndarray, int], float]
    factor: float = 1.0
    meaningless_for: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """Title, and the unit if it is not that of prices."""
        return self.title if self.unit in ("", "price") else f"{self.title} {self.unit}"

    def text(self, method: str, values: dict[str, Any]) -> str:
        """This metric among a method's values of ``metrics.json`` as tables show it; "-" where it says nothing."""
        value = values.get(self.key)
        if method in self.meaningless_for or not isinstance(value, (int, float)) or not math.isfinite(value):
            return "-"
        return format(self.factor * value, self.form)


def _rmse(errors: PartErrors, scale: np.ndarray, method: int) -> float:
    return math.sqrt(_ratio(errors.squared[method].sum(), errors.windows.sum()))


def _mae(errors: PartErrors, scale: np.ndarray, method: int) -> float:
    return _ratio(errors.absolute[method].sum(), errors.windows.sum())


def _mape(errors: PartErrors, scale: np.ndarray, method: int) -> float:
    return 100 * _ratio(errors.relative[method].sum(), errors.nonzero.sum())


def _mase(errors: PartErrors, scale: np.ndarray, method: int) -> float:
    """The mean of |error| over its symbol's scale (Hyndman and Koehler 2006), over symbols whose train price moved."""
    scaled = (errors.windows > 0) & (scale > 0)
    return _ratio((errors.absolute[method][scaled] / scale[scaled]).sum(), errors.windows[scaled].sum())


def _directional_accuracy(errors: PartErrors, scale: np.ndarray, method: int) -> float:
    return _ratio(errors.hits[method].sum(), errors.windows.sum())


# In the order of tables.
METRICS = (
    Metric("rmse", "RMSE", "price", ".5g", 12, _rmse),
    Metric("mae", "MAE", "price", ".5g", 12, _mae),
    Metric("mape", "MAPE", "%", ".3f", 10, _mape),
    Metric("mase", "MASE", "", ".4f", 10, _mase),
    Metric(
        *("directional_accuracy", "direction", "%", ".1f", 13, _directional_accuracy),
        factor=100.0,
        meaningless_for=("persistence",),  # which never says up or down
    ),
)


def method_metrics(errors: PartErrors, scale: np.ndarray, method: str) -> dict[str, float | None]:
    """One method's metrics over all windows of ``errors``; None where a metric is not defined.

    Args:
        scale: float64 [S], ``TrainChanges.mean_absolute`` of the same symbols.
        method: one of ``errors.methods``.
    """
    index = errors.methods.index(method)
    with np.errstate(over="ignore", invalid="ignore"):
        return {metric.key: finite(metric.measure(errors, scale, index)) for metric in METRICS}


def part_metrics(errors: PartErrors, train: TrainChanges, horizon: int, name: str) -> dict[str, Any]:
    """All metrics of a part, ready for JSON, with the verdict in words.

    Args:
        name: the part's name in the verdict.
    """
    comparison = diebold_mariano(errors.differential, errors.date_windows, horizon)
    table: dict[str, Any] = {"windows": int(errors.windows.sum()), "symbols": int((errors.windows > 0).sum())}
    table |= {method: method_metrics(errors, train.mean_absolute, method) for method in errors.methods}
    table["against_persistence"] = {
        "squared_error_difference": finite(comparison.difference),
        "standard_error": comparison.standard_error,
        "p_value": comparison.p_value,
        "dates": comparison.dates,
    }
    table["verdict"] = verdict(table, name)
    return table


def symbol_metrics(errors: PartErrors, train: TrainChanges, symbol: int) -> dict[str, Any] | None:
    """One symbol's metrics in a part, ready for JSON; None if it has no window there."""
    one = errors.only(symbol)
    if not one.windows.sum():
        return None
    scale = train.mean_absolute[symbol : symbol + 1]
    methods = {method: method_metrics(one, scale, method) for method in errors.methods}
    return {"windows": int(one.windows.sum()), **methods}


def finite(value: float | None) -> float | None:
    """``value`` as a float, or None where JSON has no number for it."""
    return None if value is None or not math.isfinite(value) else float(value)


def _ratio(sum_: float, count: float) -> float:
    return float(sum_) / float(count) if count else math.nan
