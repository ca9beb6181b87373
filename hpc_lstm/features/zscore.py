"""``zscore(NAME, length)``: a value in standard deviations from its recent mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.features.feature import TrailingFeature
from hpc_lstm.features.trailing_variance import trailing_variance


@dataclass(frozen=True)
class ZScore(TrailingFeature):
    """(x[t] - m) / s with mean and population standard deviation of the last ``length`` values; 0 where s is 0."""

    kind = "zscore"

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Scores, float64 [n]."""
        mean, variance = trailing_variance(prices, self.length)
        spread = np.sqrt(variance)
        return np.divide(prices - mean, spread, out=np.zeros(len(prices)), where=spread > 0)
