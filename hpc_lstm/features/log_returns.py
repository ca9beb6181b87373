"""``log-returns(NAME)``: the logarithm of a row's price over an earlier one's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_lstm.features.feature import RETURN, ColumnFeature, Target


def log_returns(prices: np.ndarray, lag: int) -> np.ndarray:
    """log(price[t] / price[t - lag]), float64 [n]; NaN for the first ``lag`` rows and where a price is NaN."""
    found = np.full(len(prices), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        found[lag:] = np.log(prices[lag:] / prices[:-lag])
    return found


@dataclass(frozen=True)
class LogReturns(ColumnFeature):
    """The log return over one row; 0 in a symbol's first row, NaN where one of its two prices is."""

    kind = "log-returns"
    positive = True

    column: str = "close"

    @property
    def lookback(self) -> int:
        """One row."""
        return 1

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Log returns over one row, float64 [n]."""
        found = log_returns(prices, 1)
        found[:1] = 0.0
        return found

    def as_target(self, horizon: int) -> Target | None:
        """The log return over the horizon."""
        return LogReturnTarget(horizon)


@dataclass(frozen=True)
class LogReturnTarget:
    """The log return from a window's last row to the target row.

    Attributes:
        lookback: the horizon.
    """

    unit: ClassVar[str] = RETURN

    lookback: int

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Log returns over the horizon, float64 [n]; NaN for the first rows."""
        return log_returns(prices, self.lookback)

    def price(self, value: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The last price times the exponential of the log return; infinite where that overflows."""
        with np.errstate(over="ignore"):
            return last * np.exp(value)
