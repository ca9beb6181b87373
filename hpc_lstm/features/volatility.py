"""``volatility(NAME, length)`` and, as a target, ``volatility(NAME)``: how much a price moves from row to row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_lstm.features.feature import VOLATILITY, ColumnFeature
from hpc_lstm.features.log_returns import log_returns
from hpc_lstm.features.trailing_mean import trailing_mean


@dataclass(frozen=True)
class Volatility(ColumnFeature):
    """The realized volatility of the last ``length`` log returns: their root mean square, not annualized.

    (Andersen, Bollerslev, Diebold and Labys 2003, "Modeling and forecasting realized volatility"; the mean is taken
    as 0.) Where the symbol begins, of those there are; 0 in its first row.
    """

    kind = "volatility"
    positive = True

    length: int

    @property
    def lookback(self) -> int:
        """A return takes two prices."""
        return self.length

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Volatilities, float64 [n]."""
        mean, count = trailing_mean(log_returns(prices, 1) ** 2, self.length)
        return np.where(count > 0, np.sqrt(mean), 0.0)


@dataclass(frozen=True)
class VolatilityTarget:
    """The volatility over the horizon, as ``Volatility`` defines it; with a horizon of 1 the absolute log return.

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
        raise NotImplementedError("no price follows from a volatility; see ``PRICED``")
