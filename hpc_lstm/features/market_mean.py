"""``market(NAME)``: how all symbols moved that day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_lstm.features.feature import Feature
from hpc_lstm.features.rows import SymbolRows


@dataclass(frozen=True)
class MarketMean(Feature):
    """The mean over all symbols of the store of the log return of a column from their row before to this day's.

    Symbols without a row that day, or without a value above 0 in one of the two rows, are left out; 0 where none is
    left.
    """

    kind = "market"
    dated: ClassVar[bool] = True

    column: str = "close"

    @property
    def sources(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def values(self, rows: SymbolRows) -> np.ndarray:
        """Mean log returns, float64 [n]."""
        return rows.market[self.column].at(rows.dated.dates)
