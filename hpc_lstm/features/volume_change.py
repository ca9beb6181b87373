"""``volume-change(NAME)``: how much more was traded than on the row before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.features.feature import ColumnFeature


@dataclass(frozen=True)
class VolumeChange(ColumnFeature):
    """log((1 + v[t]) / (1 + v[t - 1])), defined for days without trade; 0 in a symbol's first row.

    A volume below 0 counts as 0.
    """

    kind = "volume-change"

    column: str = "volume"

    @property
    def lookback(self) -> int:
        """One row."""
        return 1

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Changes over one row, float64 [n]."""
        return np.diff(np.log1p(np.maximum(prices, 0.0)), prepend=np.log1p(max(prices[0], 0.0)))
