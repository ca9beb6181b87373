"""A rank's windows of one part, cut from its rows when they are asked for, with the prices around them.

Windows are never stored: the rows of the slice lie in memory once, and a batch is copied out of them by the backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.features.columns import ModelColumns
from hpc_lstm.preprocess.prices import Prices, SlicePrices
from hpc_lstm.preprocess.sampler import ShuffledSampler
from hpc_lstm.preprocess.slices import Slice

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.preprocess.backend import Batch, ResidentRows


class Windows:
    """The windows of a slice, numbered from 0.

    Attributes:
        output: index of the target that is looked at, among those of a batch.

    Args:
        rows: the slice's rows, scaled, as a backend read them.
        symbols: int64 [U], indices of the index's symbols into ``Scaler.symbols``.
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
        self.output = columns.output
        self._price_column, self._target_horizon = columns.target.number, columns.target.horizon
        self._all_symbols, self._symbols = symbols, symbols[part.symbol]
        self._edges = np.concatenate([[0], np.cumsum(part.count)])
        self._prices: SlicePrices | None = None

    def __len__(self) -> int:
        return self.part.windows

    def batch(self, numbers: np.ndarray) -> Batch:
        """Copy windows out.

        Args:
            numbers: integers of any shape [..., B], each below ``len(self)``.

        Returns:
            Scaled inputs float32 [..., B, window, features] and scaled targets float32 [..., B, K], where
            the backend computes; on a GPU they are overwritten by the batch after the next.
        """
        numbers = np.asarray(numbers)
        self._check(numbers)
        return self._rows.batch(numbers)

    def next_batch(self, sampler: ShuffledSampler, steps: int, *, cut: bool = True) -> Batch:
        """The next ``steps`` batches of ``sampler``: as ``batch(sampler.take(steps))``.

        Args:
            cut: False: where kernels reach the rows, they are left to the engine: ``UncutWindows``, and None.
        """
        return self._rows.next_batch(sampler, steps, cut=cut)

    def of_output(self, columns: ModelColumns) -> Windows:
        """The same windows, with prices around the target that ``columns`` looks at."""
        return Windows(
            *(self._store, self.part, columns, self.window, self.horizon, self._all_symbols, self._rows)
        )

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
        """The sum of the squared errors of forecasts on a batch's targets [B, K], in scaled units."""
        return self._rows.squared_error(forecast, targets)

    def symbols(self, numbers: np.ndarray) -> np.ndarray:
        """Indices of windows' symbols into ``Scaler.symbols``, int64 [B]."""
        return self._symbols[self._segment(numbers)]

    def prices(self, numbers: np.ndarray, lookback: int = 0) -> Prices:
        """Prices around windows ``numbers`` [B] and the target that is looked at.

        The first call reads those of the slice from the store.

        Args:
            lookback: rows before each window's last row that ``Prices.history`` holds.
        """
        prices = self._slice_prices(lookback)
        segment = self._segment(numbers)
        return prices.around(numbers, segment, numbers - self._edges[segment], self._symbols[segment])

    def lowest_price(self, lookback: int = 0) -> float:
        """The smallest price around all windows of the slice; infinite where there is none."""
        return self._slice_prices(lookback).lowest

    def errors(
        self, forecast: np.ndarray, actual: np.ndarray, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The backend's sums of errors: see ``host.errors``."""
        return self._rows.errors(forecast, actual, offsets)

    @property
    def nbytes(self) -> int:
        """Bytes that stay in memory."""
        return self._rows.nbytes + (self._prices.nbytes if self._prices is not None else 0)

    def close(self) -> None:
        """Release the rows and what an engine may still hold of them."""
        self._rows.close()

    def _slice_prices(self, lookback: int) -> SlicePrices:
        if self._prices is None or self._prices.lookback != lookback:
            self._prices = SlicePrices(
                self._store, self.part, self._price_column, self.window, self._target_horizon, lookback
            )
        return self._prices

    def _segment(self, numbers: np.ndarray) -> np.ndarray:
        numbers = np.asarray(numbers)
        self._check(numbers)
        return np.searchsorted(self._edges, numbers, side="right") - 1

    def _check(self, numbers: np.ndarray) -> None:
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"windows {numbers.min()}..{numbers.max()} are not all in [0, {len(self)})")
