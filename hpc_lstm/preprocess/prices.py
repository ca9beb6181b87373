"""The prices around windows: those known when a window ends, and the target row's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.preprocess.reading import read_column
from hpc_lstm.preprocess.slices import Slice

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore


@dataclass(frozen=True)
class Prices:
    """Prices around B windows, in the target's price column.

    Attributes:
        symbol: int64 [B], indices into ``Scaler.symbols``.
        history: float64 [B, lookback + 1], up to each window's last row, which comes last; NaN before a symbol's
            first row.
        actual: float64 [B], of the target row.
        date: int64 [B], of the target row, in the store's unit.
        first: float64 [B], of the symbol's first row.
        age: int64 [B], rows from the symbol's first row to the window's last.
        before: float64 [B], of the row before the target row.
    """

    symbol: np.ndarray
    history: np.ndarray
    actual: np.ndarray
    date: np.ndarray
    first: np.ndarray
    age: np.ndarray
    before: np.ndarray

    @property
    def last(self) -> np.ndarray:
        """float64 [B], of each window's last row: the last known price."""
        return self.history[:, -1]


class SlicePrices:
    """The prices around all windows of a slice, read from the store.

    Args:
        column: index of the price column among the store's.
        lookback: rows before a window's last row that ``history`` holds.
    """

    def __init__(
        self, store: MarketStore, part: Slice, column: int, window: int, horizon: int, lookback: int
    ) -> None:
        self.lookback, self._horizon = lookback, horizon
        last = part.first + window - 1  # of each segment's first window
        start = np.maximum(part.symbol_start, last - lookback)
        stop = last + part.count + horizon
        self._prices = read_column(store, start, stop, column)
        self._rows_before = last - start
        self._age = last - part.symbol_start
        self._first = read_column(store, part.symbol_start, part.symbol_start + 1, column)
        # The segments are concatenated: index in ``_prices`` of the last row of each segment's first window.
        self._base = np.concatenate([[0], np.cumsum(stop - start)])[:-1] + self._rows_before
        targets = zip((last + horizon).tolist(), stop.tolist(), strict=True)
        self._dates = np.concatenate([np.empty(0, np.int64), *(store.dates(*rows) for rows in targets)])

    def around(
        self, numbers: np.ndarray, segment: np.ndarray, within: np.ndarray, symbol: np.ndarray
    ) -> Prices:
        """Prices around B windows.

        Args:
            numbers: int64 [B], windows of the slice.
            segment, within: int64 [B], each one's segment, and its number among the segment's windows.
            symbol: int64 [B], indices into ``Scaler.symbols``.
        """
        row = self._base[segment] + within
        age = np.arange(self.lookback, -1, -1)
        known = age <= (self._rows_before[segment] + within)[:, None]
        history = np.where(known, self._prices[np.maximum(row[:, None] - age, 0)], np.nan)
        return Prices(
            symbol,
            history,
            self._prices[row + self._horizon],
            self._dates[numbers],
            self._first[segment],
            self._age[segment] + within,
            self._prices[row + self._horizon - 1],
        )

    @property
    def lowest(self) -> float:
        """The smallest price among those that were read; infinite where there is none."""
        return float(np.min(self._prices, initial=np.inf))

    @property
    def nbytes(self) -> int:
        """Bytes that stay in memory."""
        return self._prices.nbytes + self._dates.nbytes + self._first.nbytes + self._age.nbytes
