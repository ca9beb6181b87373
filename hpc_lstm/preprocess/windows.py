"""A rank's windows of one part, cut from scaled rows when they are asked for, and the order of training.

Windows are never stored: the scaled rows of the slice lie in memory once, and a batch is copied out of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.preprocess.features import ModelColumns
from hpc_lstm.preprocess.order import permute
from hpc_lstm.preprocess.partition import Slice
from hpc_lstm.preprocess.reading import read_column, read_values

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore

# Positions permuted at once: a call costs as much for one as for a thousand.
POSITIONS_AT_ONCE = 16_384


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
        scale, shift: float64 [U, F+1] of the index's symbols.
        symbols: int64 [U], places of the index's symbols in ``Scaler.symbols``.

    Raises:
        InputError: a value of a row that is needed cannot be scaled.
    """

    def __init__(
        self,
        store: MarketStore,
        part: Slice,
        columns: ModelColumns,
        window: int,
        horizon: int,
        scale: np.ndarray,
        shift: np.ndarray,
        symbols: np.ndarray,
        backend: ModuleType,
    ) -> None:
        self.part, self.window, self.horizon, self.features = part, window, horizon, len(columns.features)
        self._store, self._backend = store, backend
        self._price_column = columns.target.number
        self._symbols = symbols[part.symbol]
        self._edges = np.concatenate([[0], np.cumsum(part.count)])
        self._prices: np.ndarray | None = None
        self._dates: np.ndarray | None = None
        segments = len(part.symbol)
        self._rows = np.empty((part.windows + segments * (window - 1), self.features), np.float32)
        self._targets = np.empty((part.windows, 1), np.float32)
        for pieces, offsets, values in read_values(store, part, columns):
            symbol = part.symbol[[piece.segment for piece in pieces]]
            scaled = backend.transform(values, offsets, scale[symbol], shift[symbol])
            for piece, begin in zip(pieces, offsets[:-1], strict=True):
                rows = scaled[begin : begin + piece.stop - piece.start]
                first, count = int(part.first[piece.segment]), int(part.count[piece.segment])
                place, edge = piece.start - first, int(self._edges[piece.segment])
                base = edge + piece.segment * (window - 1)
                _put(self._rows, base, count + window - 1, place, rows[:, :-1])
                _put(self._targets, edge, count, place - window - horizon + 1, rows[:, -1:])

    def __len__(self) -> int:
        return self.part.windows

    def batch(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Copy windows out.

        Args:
            numbers: integers of any shape [..., B], each below ``len(self)``.

        Returns:
            Scaled inputs float32 [..., B, window, features] and scaled targets float32 [..., B, 1].
        """
        starts = numbers + self._segment(numbers) * (self.window - 1)
        return self._backend.gather(self._rows, starts, self.window), self._targets[numbers]

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

    @property
    def nbytes(self) -> int:
        """Bytes that stay in memory."""
        held = (self._rows, self._targets, self._prices, self._dates)
        return sum(array.nbytes for array in held if array is not None)

    def _segment(self, numbers: np.ndarray) -> np.ndarray:
        numbers = np.asarray(numbers)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"windows {numbers.min()}..{numbers.max()} are not all in [0, {len(self)})")
        return np.searchsorted(self._edges, numbers, side="right") - 1


class TrainOrder:
    """Endless order of a rank's train windows: each pass takes every window once, in another random order.

    The order depends on the seed, the rank and the number of windows alone, not on how it is asked for.

    Args:
        length: windows, at least 1.
        batch_size: windows a step; a batch may begin in one pass and end in the next.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int = 0) -> None:
        if length < 1:
            raise ValueError("an order needs at least one window")
        self._length, self._batch_size, self._seed, self._rank = length, batch_size, seed, rank
        self._pass, self._position = 0, 0
        self._block = (-1, -1)  # pass and number of the block of positions that is held
        self._held = np.empty(0, np.int64)

    def take(self, steps: int) -> np.ndarray:
        """Window numbers of the next ``steps`` batches, int64 [steps, batch_size]."""
        wanted = steps * self._batch_size
        numbers = np.empty(wanted, np.int64)
        done = 0
        while done < wanted:
            block, inside = divmod(self._position, POSITIONS_AT_ONCE)
            if self._block != (self._pass, block):
                start = block * POSITIONS_AT_ONCE
                positions = np.arange(start, min(start + POSITIONS_AT_ONCE, self._length))
                self._held = permute(positions, self._length, self._seed, self._rank, self._pass)
                self._block = (self._pass, block)
            found = self._held[inside : inside + wanted - done]
            numbers[done : done + len(found)] = found
            done += len(found)
            self._position += len(found)
            if self._position == self._length:
                self._pass, self._position = self._pass + 1, 0
        return numbers.reshape(steps, self._batch_size)

    def state(self) -> tuple[int, int]:
        """Pass and position in it of the next window."""
        return self._pass, self._position

    def set_state(self, state: tuple[int, int]) -> None:
        """Go on from a ``state``."""
        if state[0] < 0 or not 0 <= state[1] < self._length:
            raise ValueError(f"no such place in an order of {self._length} windows: {state}")
        self._pass, self._position = state


def _put(target: np.ndarray, base: int, length: int, place: int, rows: np.ndarray) -> None:
    """Copy those of ``rows`` that fall into places 0..length, the first of them being ``place``."""
    low, high = max(0, place), min(length, place + len(rows))
    if low < high:
        target[base + low : base + high] = rows[low - place : high - place]
