"""Rows of one symbol, as features see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RowDates:
    """Whose rows, and of when.

    Attributes:
        symbol: its name.
        dates: int64 [n], in the store's unit.
        unit: "D" or "ns".
    """

    symbol: str
    dates: np.ndarray
    unit: str


@dataclass(frozen=True)
class SymbolRows:
    """Consecutive rows of one symbol.

    Attributes:
        prices: float64 [n] of each store column that is used, by name; contiguous, not to be changed.
        about: symbol and dates; None where no feature looks at them.
    """

    prices: Mapping[str, np.ndarray]
    about: RowDates | None

    @property
    def dated(self) -> RowDates:
        """Symbol and dates.

        Raises:
            ValueError: they were not given.
        """
        if self.about is None:
            raise ValueError("a feature looks at dates or symbols, and there are none")
        return self.about
