"""``bollinger-width(NAME, length)``: how wide the Bollinger bands are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.features.feature import TrailingFeature
from hpc_lstm.features.trailing_variance import trailing_variance

# From the mean to each band, as is usual.
DEVIATIONS = 2.0


@dataclass(frozen=True)
class BollingerWidth(TrailingFeature):
    """Upper less lower band, over the middle: 4 s / m with mean and population standard deviation of the last values.

    (Bollinger, Bollinger on Bollinger Bands, 2001.) Where the symbol begins, of the values there are; 0 where m is 0.
    """

    kind = "bollinger-width"

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Widths as shares of the mean, float64 [n]."""
        mean, variance = trailing_variance(prices, self.length)
        width = 2 * DEVIATIONS * np.sqrt(variance)
        return np.divide(width, mean, out=np.zeros(len(prices)), where=mean != 0)
