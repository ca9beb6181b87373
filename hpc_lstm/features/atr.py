"""``atr(length)``: the average true range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.features.feature import Feature
from hpc_lstm.features.rows import SymbolRows
from hpc_lstm.features.wilder import wilder_average, wilder_rows


@dataclass(frozen=True)
class AverageTrueRange(Feature):
    """Wilder's average of max(high, close before) - min(low, close before), in price units.

    (Wilder, New Concepts in Technical Trading Systems, 1978.) In a symbol's first row the range is high - low.
    """

    kind = "atr"

    length: int

    @property
    def sources(self) -> tuple[str, ...]:
        """The day's range and close."""
        return ("high", "low", "close")

    @property
    def lookback(self) -> int:
        """Rows whose weight float64 can tell from 0, and the close before."""
        return wilder_rows(self.length)

    def values(self, rows: SymbolRows) -> np.ndarray:
        """Average ranges, float64 [n]."""
        high, low, close = (rows.prices[name] for name in self.sources)
        before = np.concatenate([[np.nan], close[:-1]])
        return wilder_average(np.fmax(high, before) - np.fmin(low, before), self.length)
