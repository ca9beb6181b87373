"""What a baseline is: a forecast from known prices and from sums over the train windows, without a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class KnownPrices:
    """What is known when the targets of B windows are forecast; it holds no price after a window's last row.

    Attributes:
        horizon: rows from a window's last row to its target.
        history: float64 [B, H], prices up to each window's last row, which comes last; NaN before a symbol's first
            row. H is at least 1 + the ``lookback`` of the baseline.
        first: float64 [B], the price of the symbol's first row.
        age: int64 [B], rows from the symbol's first row to the window's last.
        logarithmic: whether changes are of the logarithm, because all prices are above 0.
    """

    horizon: int
    history: np.ndarray
    first: np.ndarray
    age: np.ndarray
    logarithmic: bool

    @property
    def last(self) -> np.ndarray:
        """float64 [B], prices of the windows' last rows."""
        return self.history[:, -1]

    def level(self, prices: np.ndarray) -> np.ndarray:
        """Logarithms of prices, or the prices themselves; NaN where there is no logarithm."""
        if not self.logarithmic:
            return prices
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(prices > 0, np.log(prices), np.nan)

    def moved_by(self, change: np.ndarray) -> np.ndarray:
        """The last known prices, float64 [B], after changes of their levels [B]; unmoved where one is not finite."""
        with np.errstate(over="ignore"):
            found = self.last * np.exp(change) if self.logarithmic else self.last + change
        return np.where(np.isfinite(found), found, self.last)


class Baseline(ABC):
    """A simple forecast of the target row's price.

    What it learns from the train windows are sums over them, one for each symbol. Ranks add their own, so that the
    forecasts do not depend on how many ranks there are.
    """

    name: ClassVar[str]
    """Its key in ``metrics.json`` and its name in tables."""

    def lookback(self, horizon: int) -> int:
        """Rows before a window's last row whose prices it needs."""
        return 0

    def statistics(self, known: KnownPrices, actual: np.ndarray) -> np.ndarray:
        """What B train windows add to their symbols' sums, float64 [B, K].

        Args:
            actual: float64 [B], prices of the target rows.
        """
        return np.empty((len(actual), 0))

    def learn(self, sums: np.ndarray) -> np.ndarray:
        """Parameters float64 [S, P] of S symbols from their sums [S, K]; NaN of a symbol that teaches nothing."""
        return sums

    @abstractmethod
    def forecast(self, known: KnownPrices, parameters: np.ndarray) -> np.ndarray:
        """Prices of the target rows, float64 [B].

        Args:
            parameters: float64 [B, P], of each window's symbol.
        """
