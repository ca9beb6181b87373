"""The metrics of forecasts and how they are shown. docs/metrics.md defines them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_lstm.evaluation.error_sums import PartErrors
from hpc_lstm.evaluation.verdict import rivals


@dataclass(frozen=True)
class Metric:
    """One number that says how good a forecast is: a mean over windows, or its square root.

    Attributes:
        key: its name in ``metrics.json``.
        title, unit: what tables call it.
        form: how tables format it.
        width: of its column in text.
        sums: (errors, index of the method) to what is averaged and over how many windows, float64 [S] each.
        root: take the root of the mean.
        factor: what tables multiply it by.
        meaningless_for: methods for which tables show none.
    """

    key: str
    title: str
    unit: str
    form: str
    width: int
    sums: Callable[[PartErrors, int], tuple[np.ndarray, np.ndarray]]
    root: bool = False
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

    def of_all(self, errors: PartErrors, method: int) -> float | None:
        """Over all windows; None where it is not defined."""
        total, count = (part.sum() for part in self.sums(errors, method))
        return finite(self._mean(total, count))

    def of_each(self, errors: PartErrors, method: int) -> np.ndarray:
        """For each symbol, float64 [S]; NaN where it is not defined."""
        return np.asarray(self._mean(*self.sums(errors, method)))

    def _mean(self, total: Any, count: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(count > 0, np.divide(total, count), np.nan)
            return np.sqrt(mean) if self.root else mean


# In the order of tables.
METRICS = (
    Metric(
        *("rmsse", "RMSSE", "", ".4f", 8),
        lambda errors, method: (errors.scaled_squared[method], errors.comparable),
        root=True,
    ),
    Metric(
        *("mase", "MASE", "", ".4f", 8),
        lambda errors, method: (errors.scaled_absolute[method], errors.comparable),
    ),
    Metric(
        *("rmse", "RMSE", "price", ".5g", 11),
        lambda errors, method: (errors.squared[method], errors.windows),
        root=True,
    ),
    Metric(
        *("mae", "MAE", "price", ".5g", 11), lambda errors, method: (errors.absolute[method], errors.windows)
    ),
    Metric(
        *("mape", "MAPE", "%", ".3f", 9),
        lambda errors, method: (100 * errors.relative[method], errors.nonzero),
    ),
    Metric(
        *("directional_accuracy", "direction", "%", ".1f", 12),
        lambda errors, method: (errors.hits[method], errors.windows),
        factor=100.0,
        meaningless_for=("persistence",),  # which never says up or down
    ),
)


def method_metrics(errors: PartErrors, method: str) -> dict[str, float | None]:
    """One method's metrics over all windows of ``errors``; None where a metric is not defined.

    Args:
        method: one of ``errors.methods``.
    """
    index = errors.methods.index(method)
    with np.errstate(over="ignore", invalid="ignore"):
        return {metric.key: metric.of_all(errors, index) for metric in METRICS}


def best_baseline(errors: PartErrors) -> str:
    """The baseline with the smallest scaled error, the first of equally good ones; the oracle is none."""
    names = rivals(errors.methods)
    totals = [float(errors.scaled_squared[errors.methods.index(name)].sum()) for name in names]
    return names[int(np.nanargmin(totals))] if np.isfinite(totals).any() else names[0]


def finite(value: float | None) -> float | None:
    """``value`` as a float, or None where JSON has no number for it."""
    return None if value is None or not math.isfinite(value) else float(value)
