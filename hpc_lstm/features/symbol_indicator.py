"""``symbol(NAME)``: which symbol a row is of; one for each symbol is a one-hot code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_lstm.features.feature import Feature
from hpc_lstm.features.rows import SymbolRows


@dataclass(frozen=True)
class SymbolIndicator(Feature):
    """1 in all rows of the symbol, 0 in those of others."""

    kind = "symbol"
    scaled: ClassVar[bool] = False
    dated: ClassVar[bool] = True

    name: str

    def values(self, rows: SymbolRows) -> np.ndarray:
        """0 or 1, float64 [n]."""
        about = rows.dated
        return np.full(len(about.dates), float(about.symbol == self.name))
