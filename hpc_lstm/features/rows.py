"""Rows of one symbol, as features see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
class DailyMean:
    """A number for each date of a store.

    Attributes:
        dates: int64 [D], ascending.
        values: float64 [D].
    """

    dates: np.ndarray
    values: np.ndarray

    def at(self, dates: np.ndarray) -> np.ndarray:
        """The numbers of dates int64 [n], float64 [n]; 0 of a date that is not among them."""
        if not len(self.dates):
            return np.zeros(len(dates))
        place = np.minimum(np.searchsorted(self.dates, dates), len(self.dates) - 1)
        return np.where(self.dates[place] == dates, self.values[place], 0.0)


@dataclass(frozen=True)
class SymbolRows:
    """Consecutive rows of one symbol.

    Attributes:
        prices: float64 [n] of each store column that is used, by name; contiguous, not to be changed.
        about: symbol and dates; None where no feature looks at them.
        market: the mean log return of all symbols, by store column, where a feature looks at it.
    """

    prices: Mapping[str, np.ndarray]
    about: RowDates | None
    market: Mapping[str, DailyMean] = field(default_factory=dict)

    @property
    def dated(self) -> RowDates:
        """Symbol and dates.

        Raises:
            ValueError: they were not given.
        """
        if self.about is None:
            raise ValueError("a feature looks at dates or symbols, and there are none")
        return self.about
