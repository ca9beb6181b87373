"""``sma(NAME, length)``: the simple moving average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.features.feature import TrailingFeature
from hpc_lstm.features.trailing_mean import trailing_mean


def simple_moving_average(prices: np.ndarray, length: int, *, whole: bool = False) -> np.ndarray:
    """The mean of each row's price and the ``length - 1`` before it, float64 [n]; NaN prices are left out.

    Args:
        prices: float64 [n].
        length: rows, at least 1.
        whole: NaN wherever one of the ``length`` prices is missing, as charts show it. Otherwise the mean is over the
            prices there are, and NaN where there is none.
    """
    mean, count = trailing_mean(prices, length)
    return np.where(count == length, mean, np.nan) if whole else mean


@dataclass(frozen=True)
class SimpleMovingAverage(TrailingFeature):
    """The mean of the last ``length`` prices; where a symbol begins, of those there are. NaN prices are left out."""

    kind = "sma"

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Moving averages, float64 [n]."""
        return simple_moving_average(prices, self.length)
