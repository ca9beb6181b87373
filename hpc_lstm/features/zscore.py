"""``zscore(NAME, length)``: a value in standard deviations from its recent mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.features.feature import ColumnFeature
from hpc_lstm.features.trailing_variance import trailing_variance


@dataclass(frozen=True)
class ZScore(ColumnFeature):
    """(x[t] - m) / s with mean and population standard deviation of the last ``length`` values; 0 where s is 0."""

    kind = "zscore"

    length: int

    @property
    def lookback(self) -> int:
        """All but its own row."""
        return self.length - 1

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Scores, float64 [n]."""
        mean, variance = trailing_variance(prices, self.length)
        spread = np.sqrt(variance)
        return np.divide(prices - mean, spread, out=np.zeros(len(prices)), where=spread > 0)
