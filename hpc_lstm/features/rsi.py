"""``rsi(NAME, length)``: the relative strength index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.features.feature import ColumnFeature
from hpc_lstm.features.wilder import wilder_average, wilder_rows


@dataclass(frozen=True)
class RelativeStrengthIndex(ColumnFeature):
    """100 u / (u + d), u and d being Wilder's averages of the rises and of the falls from row to row.

    (Wilder, New Concepts in Technical Trading Systems, 1978.) 50 where the price has not moved yet.
    """

    kind = "rsi"

    length: int

    @property
    def lookback(self) -> int:
        """Rows whose weight float64 can tell from 0: each change takes two prices."""
        return wilder_rows(self.length)

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Indices from 0 to 100, float64 [n]."""
        change = np.diff(prices, prepend=np.nan)
        ups = wilder_average(np.maximum(change, 0.0), self.length)
        downs = wilder_average(np.maximum(-change, 0.0), self.length)
        moved = ups + downs > 0
        return 100.0 * np.divide(ups, ups + downs, out=np.full(len(prices), 0.5), where=moved)
