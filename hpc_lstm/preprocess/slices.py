"""Which windows there are, which part each belongs to and which rank takes it: arithmetic on row counts.

Window w of a symbol with n rows has input rows w..w+window-1 and target row w+window+horizon-1, so there are
W = n - window - horizon + 1 of them. They are split by their target, in order of date, per symbol: the
first share trains, the next validates, the rest tests. The windows of a part are numbered through all usable
symbols, and rank r of N takes numbers total*r//N .. total*(r+1)//N: equal within one.

Where a run knows only the first rows of each symbol, those alone are split, as they were for the run; windows whose
targets are later make a part of their own, "new".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpc_lstm.errors import InputError

PARTS = ("train", "validation", "test")
NEW = "new"
# Shares are decimal: 0.7 * 10 windows are 7, though the float product is just below.
ROUNDING = 1e-9


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
        symbols: numbers of the selected store symbols; taken in order of the store.
        window, horizon: rows in a window; rows from its last row to the target.
        split: shares of train, validation and test windows.
        lookback: rows before a window's first that its features need, where the symbol has them.
        known: int64 [S], how many of each store symbol's first rows are split; None: all.

    Attributes:
        symbols: int64 [U], store numbers of the usable symbols: those with a train window.
        skipped: int64, store numbers of the others.

    Raises:
        InputError: no symbol has a train window.
    """

    def __init__(
        self,
        offsets: np.ndarray,
        symbols: Sequence[int] | np.ndarray,
        window: int,
        horizon: int,
        split: Sequence[float],
        lookback: int = 0,
        known: np.ndarray | None = None,
    ) -> None:
        self.window, self.horizon, self.lookback = window, horizon, lookback
        chosen = np.unique(np.asarray(symbols, np.int64))
        offsets = np.asarray(offsets, np.int64)
        all_rows = offsets[chosen + 1] - offsets[chosen]
        rows = all_rows if known is None else np.minimum(known[chosen], all_rows)
        total, end = (np.maximum(0, count - window - horizon + 1) for count in (rows, all_rows))
        train = np.minimum(total, np.floor(total * split[0] + ROUNDING).astype(np.int64))
        seen = np.floor(total * (split[0] + split[1]) + ROUNDING).astype(np.int64)
        seen = total if split[2] == 0 else np.clip(seen, train, total)
        usable = train > 0
        if not usable.any():
            windows = math.ceil((1 - ROUNDING) / split[0])
            raise InputError(
                f"data.window = {window} and data.horizon = {horizon} need symbols of at least "
                f"{windows + window + horizon - 1} rows to have a train window at a share of {split[0]:g}, "
                f"but the longest of {len(chosen)} has {int(rows.max(initial=0))}; "
                "shorten data.window or take longer data"
            )
        self.symbols, self.skipped = chosen[usable], chosen[~usable]
        self._row = offsets[self.symbols]
        parts = (*PARTS, NEW)
        bounds = np.stack([np.zeros_like(train), train, seen, total, end])[:, usable]
        self._first = dict(zip(parts, bounds[:-1], strict=True))
        counts = np.diff(bounds, axis=0)
        self._edges = {
            part: np.concatenate([[0], np.cumsum(count)]) for part, count in zip(parts, counts, strict=True)
        }

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
