"""``ema(NAME, span)``: the exponential moving average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.features.feature import ColumnFeature
from hpc_lstm.features.trailing_mean import trailing_mean

# Rows that an average takes, as a multiple of its span. The rows before them weigh less than
# exp(-2 * 19) = 3e-17 of all, which float64 (1e-16) cannot tell from nothing.
SPANS = 19


def exponential_moving_average(prices: np.ndarray, span: int) -> np.ndarray:
    """The mean of all prices so far, one that is i rows old weighing (1 - 2 / (span + 1))**i; float64 [n].

    That is pandas' ``ewm(span=span).mean()``: the weights are divided by their sum, so that the average is unbiased
    from the first row on. Only the last ``SPANS * span`` rows are looked at: older ones could not change the result. A
    NaN price is left out, so that the average keeps its value over it; NaN where all prices are.

    Args:
        prices: float64 [n].
        span: at least 1; charts call it the average's length.
    """
    return trailing_mean(prices, SPANS * span, 1.0 - 2.0 / (span + 1.0))[0]


@dataclass(frozen=True)
class ExponentialMovingAverage(ColumnFeature):
    """The exponentially weighted mean of the prices so far; where a symbol begins, of those there are."""

    kind = "ema"

    span: int

    @property
    def lookback(self) -> int:
        """Rows whose weight float64 can tell from 0, less its own."""
        return SPANS * self.span - 1

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Moving averages, float64 [n]."""
        return exponential_moving_average(prices, self.span)
