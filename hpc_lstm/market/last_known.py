"""The last values that a market store knows of a symbol, with which a series that continues it begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpc_lstm.market.store import MarketStore


class LastKnown:
    """The stored values before a symbol's new rows.

    Args:
        store: that the rows will be added to.
        names: of the symbols of the new rows, by number.
        columns: of the new rows.
    """

    def __init__(self, store: MarketStore, names: Sequence[str], columns: Sequence[str]) -> None:
        self._store, self._names, self._columns = store, names, columns
        self._numbers = {name: number for number, name in enumerate(store.symbols)}

    def __call__(self, symbol: int, date: int) -> np.ndarray:
        """The last values, float64 [C], before a date in the store's unit; NaN where the store knows none.

        A price that is the row's close throughout was never known.
        """
        values = np.full(len(self._columns), np.nan)
        number = self._numbers.get(self._names[symbol])
        if number is None:
            return values
        begin, end = (int(offset) for offset in self._store.offsets[number : number + 2])
        rows = self._store.rows(begin, begin + int(np.searchsorted(self._store.dates(begin, end), date)))
        stored = list(self._store.columns)
        if not len(rows):
            return values
        close = rows[:, stored.index("close")]
        for place, name in enumerate(self._columns):
            if name in stored:
                column = rows[:, stored.index(name)]
                if name in ("close", "volume") or (column != close).any():
                    values[place] = column[-1]
        return values
