"""``lag(NAME, rows)``: an earlier row's value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.features.feature import ColumnFeature


@dataclass(frozen=True)
class Lag(ColumnFeature):
    """x[t - rows]; where the symbol begins, its first value."""

    kind = "lag"

    rows: int

    @property
    def lookback(self) -> int:
        """The rows."""
        return self.rows

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Earlier values, float64 [n]."""
        return prices[np.maximum(np.arange(len(prices)) - self.rows, 0)]
