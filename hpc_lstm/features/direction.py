"""``direction(NAME)``: whether a price rises over the horizon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_lstm.features.feature import DIRECTION


@dataclass(frozen=True)
class DirectionTarget:
    """1 where the price is above that of ``lookback`` rows before, else 0: the network forecasts the probability of 1.

    Attributes:
        lookback: the horizon.
    """

    kind: ClassVar[str] = "direction"
    unit: ClassVar[str] = DIRECTION
    positive: ClassVar[bool] = False

    lookback: int

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """0 or 1, float64 [n]; NaN for the first rows and where a price is NaN."""
        found = np.full(len(prices), np.nan)
        change = prices[self.lookback :] - prices[: -self.lookback]
        found[self.lookback :] = np.where(np.isnan(change), np.nan, change > 0)
        return found

    def price(self, value: np.ndarray, last: np.ndarray) -> np.ndarray:
        """No price follows from a direction."""
        raise NotImplementedError("no price follows from a direction; see ``PRICED``")
