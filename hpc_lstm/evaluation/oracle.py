"""The best forecast that there can be, of synthetic prices: by one who knows how they were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.arrays import distinct
from hpc_lstm.features.columns import ModelColumns
from hpc_lstm.market.universes.autoregressive import Autoregressive
from hpc_lstm.market.universes.registry import names, universe_named
from hpc_lstm.market.universes.universe import Universe
from hpc_lstm.preprocess.reading import read_column
from hpc_lstm.preprocess.slices import Slice

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore

# Symbols that are filtered at a time.
SYMBOLS_AT_ONCE = 256


@dataclass(frozen=True)
class Oracle:
    """The best forecast of a universe's closes.

    Attributes:
        universe: how the prices were made.
        column: number of the store's close.
    """

    universe: Universe
    column: int

    def forecasts(self, store: MarketStore, part: Slice, window: int, horizon: int) -> np.ndarray:
        """Prices of the target rows of a slice's windows, float64 [windows]; each symbol is read from its first row."""
        found = np.empty(part.windows)
        edges = np.concatenate([[0], np.cumsum(part.count)])
        last = part.first + window - 1  # of each segment's first window
        rows = last + part.count + horizon - part.symbol_start
        for segments in self._alike(rows):
            begin = part.symbol_start[segments]
            stop = begin + rows[segments]
            close = read_column(store, begin, stop, self.column).reshape(len(segments), -1).T
            dates = store.dates(int(begin[0]), int(stop[0]))
            ahead = np.exp(self.universe.forecast(np.log(close), dates, horizon))
            for position, segment in enumerate(segments.tolist()):
                known = int(last[segment] - part.symbol_start[segment])
                found[edges[segment] : edges[segment + 1]] = ahead[known:, position]
        return found

    @staticmethod
    def _alike(rows: np.ndarray) -> list[np.ndarray]:
        """Segments with as many rows, of which all symbols of a universe have the same dates; some at a time."""
        groups = []
        for count in distinct(rows):
            alike = np.flatnonzero(rows == count)
            groups += [alike[low : low + SYMBOLS_AT_ONCE] for low in range(0, len(alike), SYMBOLS_AT_ONCE)]
        return groups


def find_oracle(store: MarketStore, columns: ModelColumns) -> Oracle | None:
    """The oracle of a synthetic store's close; None of other prices, and of other columns."""
    # An older version knew one kind, and did not name it.
    made = str(store.attributes.get("source", "")).startswith("synthetic, seed ")
    kind = store.attributes.get("kind", Autoregressive.name if "best_rmse_log" in store.attributes else "")
    target = columns.target.number
    if not made or kind not in names() or store.columns[target] != "close":
        return None
    return Oracle(universe_named(kind), target)
