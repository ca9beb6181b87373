"""``macd(NAME, fast, slow)`` and its signal line: moving average convergence/divergence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.features.ema import SPANS, exponential_moving_average
from hpc_lstm.features.feature import ColumnFeature


@dataclass(frozen=True)
class Macd(ColumnFeature):
    """The exponential moving average of span ``fast`` less that of span ``slow`` (Appel); charts take 12 and 26."""

    kind = "macd"

    fast: int
    slow: int

    @property
    def lookback(self) -> int:
        """Of the longer average."""
        return SPANS * max(self.fast, self.slow) - 1

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Differences, float64 [n]."""
        return exponential_moving_average(prices, self.fast) - exponential_moving_average(prices, self.slow)


@dataclass(frozen=True)
class MacdSignal(ColumnFeature):
    """The exponential moving average of span ``smoothing`` of ``macd(NAME, fast, slow)``; charts take 9."""

    kind = "macd-signal"

    fast: int
    slow: int
    smoothing: int

    @property
    def lookback(self) -> int:
        """Of the longer average, and of that over it."""
        return self._macd.lookback + SPANS * self.smoothing - 1

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Signal lines, float64 [n]."""
        return exponential_moving_average(self._macd.compute(prices), self.smoothing)

    @property
    def _macd(self) -> Macd:
        return Macd(self.column, self.fast, self.slow)
