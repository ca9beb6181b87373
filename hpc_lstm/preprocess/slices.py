"""Which windows there are and which rank takes which: arithmetic on row counts.

Window w of a symbol with n rows has input rows w..w+window-1 and target row w+window+horizon-1, so there are
W = n - window - horizon + 1 of them. ``split`` says which of them train, validate and test. The windows of a part are
numbered through all usable symbols, and rank r of N takes numbers total*r//N .. total*(r+1)//N: equal within one.

Where a run knows only the first rows of each symbol, those alone are split, as they were for the run; windows whose
targets are later make a part of their own, "new".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpc_lstm.arrays import distinct
from hpc_lstm.errors import InputError
from hpc_lstm.preprocess.split import ROUNDING, Bounds, split_by_symbol

PARTS = ("train", "validation", "test")
NEW = "new"


@dataclass(frozen=True)
class Slice:
    """One rank's windows of one part, G segments of one symbol each; int64 [G] unless said otherwise.

    Attributes:
        part: "train", "validation", "test" or "new".
        start, stop: numbers of the windows among all of the part.
        symbol: index into ``WindowIndex.symbols``, ascending, each at most once.
        symbol_start: store row of the symbol's first row.
        first: store row of the first window's first input row.
        count: windows.
        row_start, row_stop: store rows that are needed: those before ``first`` are the lookback.
        closes: bool [G], the segment ends with the symbol's last window of the part.
    """

    part: str
    start: int
    stop: int
    symbol: np.ndarray
    symbol_start: np.ndarray
    first: np.ndarray
    count: np.ndarray
    row_start: np.ndarray
    row_stop: np.ndarray
    closes: np.ndarray

    @property
    def windows(self) -> int:
        """Windows in the slice."""
        return self.stop - self.start

    @property
    def rows(self) -> int:
        """Store rows that the slice needs."""
        return int((self.row_stop - self.row_start).sum())


class WindowIndex:
    """All windows of the selected symbols.

    Args:
        offsets: int64 [S+1], rows of store symbol s are offsets[s]..offsets[s+1].
        chosen: int64 [C], numbers of the selected store symbols, ascending.
        window, horizon: rows in a window; rows from its last row to the target.
        bounds: where each part of each selected symbol's windows begins and ends.
        lookback: rows before a window's first that its features need, where the symbol has them.
        to_train: symbols without a train window are of no use; otherwise those without any window.

    Attributes:
        symbols: int64 [U], store numbers of the usable symbols.
        skipped: int64, store numbers of the others.
    """

    def __init__(
        self,
        offsets: np.ndarray,
        chosen: np.ndarray,
        window: int,
        horizon: int,
        bounds: Bounds,
        lookback: int = 0,
        *,
        to_train: bool = True,
    ) -> None:
        self.window, self.horizon, self.lookback = window, horizon, lookback
        counts = bounds.stop - bounds.start
        usable = counts[0] > 0 if to_train else counts.any(axis=0)
        self.symbols, self.skipped = chosen[usable], chosen[~usable]
        self._row = np.asarray(offsets, np.int64)[self.symbols]
        parts = (*PARTS, NEW)
        self._first = dict(zip(parts, bounds.start[:, usable], strict=True))
        self._edges = {
            part: np.concatenate([[0], np.cumsum(count)])
            for part, count in zip(parts, counts[:, usable], strict=True)
        }

    @classmethod
    def by_symbol(
        cls,
        offsets: np.ndarray,
        symbols: Sequence[int] | np.ndarray,
        window: int,
        horizon: int,
        shares: Sequence[float],
        lookback: int = 0,
        known: np.ndarray | None = None,
        *,
        to_train: bool = True,
    ) -> WindowIndex:
        """Split each symbol's windows by themselves: ``split_by_symbol``.

        Args:
            symbols: numbers of the selected store symbols, in any order.
            shares: of train, validation and test windows.
            known: int64 [S], how many of each store symbol's first rows are split; None: all.

        Raises:
            InputError: no symbol is usable.
        """
        chosen = distinct(np.asarray(symbols, np.int64))
        rows, all_rows = known_rows(offsets, chosen, known)
        bounds = split_by_symbol(rows, all_rows, window, horizon, shares)
        index = cls(offsets, chosen, window, horizon, bounds, lookback, to_train=to_train)
        if not len(index.symbols):
            windows = math.ceil((1 - ROUNDING) / shares[0])
            raise InputError(
                f"data.window = {window} and data.horizon = {horizon} need symbols of at least "
                f"{windows + window + horizon - 1} rows to have a train window at a share of {shares[0]:g}, "
                f"but the longest of {len(chosen)} has {int(rows.max(initial=0))}; "
                "shorten data.window or take longer data"
            )
        return index

    def total(self, part: str) -> int:
        """Windows of a part, all ranks together."""
        return int(self._edges[part][-1])

    def slice(self, part: str, rank: int = 0, size: int = 1) -> Slice:
        """The windows of ``part`` that rank ``rank`` of ``size`` takes; may be none."""
        edges = self._edges[part]
        total = int(edges[-1])
        start, stop = total * rank // size, total * (rank + 1) // size
        low, high = np.maximum(edges[:-1], start), np.minimum(edges[1:], stop)
        symbol = np.flatnonzero(low < high)
        low, high = low[symbol], high[symbol]
        first = self._row[symbol] + self._first[part][symbol] + low - edges[symbol]
        count = high - low
        return Slice(
            part=part,
            start=start,
            stop=stop,
            symbol=symbol,
            symbol_start=self._row[symbol],
            first=first,
            count=count,
            row_start=np.maximum(self._row[symbol], first - self.lookback),
            row_stop=first + count + self.window + self.horizon - 1,
            closes=high == edges[symbol + 1],
        )


def known_rows(
    offsets: np.ndarray, chosen: np.ndarray, known: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """How many rows of each chosen symbol are split, and how many it has; int64 [C] each.

    Args:
        known: int64 [S], how many of each store symbol's first rows are split; None: all.
    """
    offsets = np.asarray(offsets, np.int64)
    rows = offsets[chosen + 1] - offsets[chosen]
    return rows if known is None else np.minimum(known[chosen], rows), rows
