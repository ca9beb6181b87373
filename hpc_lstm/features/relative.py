"""``relative(NAME, length)``: how far a value is above its moving average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.features.feature import TrailingFeature
from hpc_lstm.features.trailing_mean import trailing_mean


@dataclass(frozen=True)
class Relative(TrailingFeature):
    """x[t] / m - 1, m being the mean of the last ``length`` values, or of those there are; 0 where m is 0."""

    kind = "relative"

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Shares above the average, float64 [n]."""
        mean, _ = trailing_mean(prices, self.length)
        return np.divide(prices, mean, out=np.ones(len(prices)), where=mean != 0) - 1.0
