"""``volatility(NAME)``: how much a price moves from row to row over the horizon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_lstm.features.feature import VOLATILITY
from hpc_lstm.features.log_returns import log_returns
from hpc_lstm.features.trailing_mean import trailing_mean


@dataclass(frozen=True)
class VolatilityTarget:
    """The realized volatility over the horizon: the root mean square of the log returns of its rows, not annualized.

    (Andersen, Bollerslev, Diebold and Labys 2003, "Modeling and forecasting realized volatility"; the mean is taken
    as 0.) With a horizon of 1 it is the absolute log return.

    Attributes:
        lookback: the horizon.
    """

    kind: ClassVar[str] = "volatility"
    unit: ClassVar[str] = VOLATILITY
    positive: ClassVar[bool] = True

    lookback: int

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Volatilities, float64 [n]; NaN for the first rows and where a price is NaN."""
        squares = log_returns(prices, 1) ** 2
        mean, count = trailing_mean(squares, self.lookback)
        return np.where(count == self.lookback, np.sqrt(mean), np.nan)

    def price(self, value: np.ndarray, last: np.ndarray) -> np.ndarray:
        """No price follows from a volatility."""
        raise NotImplementedError
