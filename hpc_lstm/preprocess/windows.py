"""A rank's windows of one part, cut from its rows when they are asked for, with the prices around them.

Windows are never stored: the rows of the slice lie in memory once, and a batch is copied out of them by the backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.features.columns import ModelColumns
from hpc_lstm.preprocess.backend import Batch, ResidentRows
from hpc_lstm.preprocess.reading import read_column
from hpc_lstm.preprocess.sampler import ShuffledSampler
from hpc_lstm.preprocess.slices import Slice

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore


@dataclass(frozen=True)
class Prices:
    """Prices around B windows, in the target's price column.

    Attributes:
        symbol: int64 [B], places in ``Scaler.symbols``.
        anchor: float64 [B], of each window's last row: the last known price.
        actual: float64 [B], of the target row.
        date: int64 [B], of the target row, in the store's unit.
    """

    symbol: np.ndarray
    anchor: np.ndarray
    actual: np.ndarray
    date: np.ndarray


class Windows:
    """The windows of a slice, numbered from 0.

    Args:
        rows: the slice's rows, scaled, as a backend read them.
        symbols: int64 [U], places of the index's symbols in ``Scaler.symbols``.
    """

    def __init__(
        self,
        store: MarketStore,
        part: Slice,
        columns: ModelColumns,
        window: int,
        horizon: int,
        symbols: np.ndarray,
        rows: ResidentRows,
    ) -> None:
        self.part, self.window, self.horizon, self.features = part, window, horizon, len(columns.features)
        self._store, self._rows = store, rows
        self._price_column = columns.target.number
        self._symbols = symbols[part.symbol]
        self._edges = np.concatenate([[0], np.cumsum(part.count)])
        self._prices: np.ndarray | None = None
        self._dates: np.ndarray | None = None

    def __len__(self) -> int:
        return self.part.windows

    def batch(self, numbers: np.ndarray) -> Batch:
        """Copy windows out.

        Args:
            numbers: integers of any shape [..., B], each below ``len(self)``.

        Returns:
            Scaled inputs float32 [..., B, window, features] and scaled targets float32 [..., B, 1], where
            the backend computes; on a GPU they are overwritten by the batch after the next.
        """
        numbers = np.asarray(numbers)
        self._check(numbers)
        return self._rows.batch(numbers)

    def next_batch(self, sampler: ShuffledSampler, steps: int) -> Batch:
        """The next ``steps`` batches of ``sampler``: as ``batch(sampler.take(steps))``."""
        return self._rows.next_batch(sampler, steps)

    def used_by(self, result: Any) -> None:
        """The last batch may be overwritten once ``float(result)`` is known."""
        self._rows.used_by(result)

    @property
    def location(self) -> str:
        """Where the rows lie, in words."""
        return self._rows.location

    @property
    def waited_ns(self) -> int:
        """Time of the last batch in which the rank waited for the GPU to finish other work."""
        return self._rows.waited_ns

    def squared_error(self, forecast: Any, targets: Any) -> float:
        """The sum of the squared errors of forecasts [B] on a batch's targets [B, 1], in scaled units."""
        return self._rows.squared_error(forecast, targets)

    def prices(self, numbers: np.ndarray) -> Prices:
        """Prices around windows ``numbers`` [B]; the first call reads them from the store."""
        if self._prices is None or self._dates is None:
            last = self.part.first + self.window - 1
            stop = last + self.part.count + self.horizon
            self._prices = read_column(self._store, last, stop, self._price_column)
            targets = zip((last + self.horizon).tolist(), stop.tolist(), strict=True)
            self._dates = np.concatenate(
                [np.empty(0, np.int64), *(self._store.dates(start, end) for start, end in targets)]
            )
        segment = self._segment(numbers)
        place = numbers + segment * self.horizon
        return Prices(
            symbol=self._symbols[segment],
            anchor=self._prices[place],
            actual=self._prices[place + self.horizon],
            date=self._dates[numbers],
        )

    def errors(
        self, forecast: np.ndarray, actual: np.ndarray, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The backend's sums of errors: see ``host.errors``."""
        return self._rows.errors(forecast, actual, offsets)

    @property
    def nbytes(self) -> int:
        """Bytes that stay in memory."""
        held = (self._prices, self._dates)
        return self._rows.nbytes + sum(array.nbytes for array in held if array is not None)

    def close(self) -> None:
        """Release the rows and what an engine may still hold of them."""
        self._rows.close()

    def _segment(self, numbers: np.ndarray) -> np.ndarray:
        numbers = np.asarray(numbers)
        self._check(numbers)
        return np.searchsorted(self._edges, numbers, side="right") - 1

    def _check(self, numbers: np.ndarray) -> None:
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"windows {numbers.min()}..{numbers.max()} are not all in [0, {len(self)})")
