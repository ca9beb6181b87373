"""Group rows of many symbols, in any order, by symbol on disk, in bounded memory.

Rows are written to a scratch file as they come. If they came symbol by symbol they are read back from it. Otherwise
they are first copied, in one more pass, to a second scratch file where the rows of neighbouring symbols are contiguous.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np


class Spill:
    """Scratch space for rows on disk; a context manager that leaves no files behind.

    Args:
        folder: for the scratch files.
        columns: number of values in a row.
        rows_at_once: rows held in memory; a symbol with more rows is held whole.

    Raises:
        OSError: by any method, if the disk is full or cannot be written.
    """

    def __init__(self, folder: Path, columns: int, rows_at_once: int) -> None:
        self.dtype = np.dtype(
            [("symbol", np.int32), ("zone", np.int32), ("wall", np.int64), ("values", np.float64, (columns,))]
        )
        self._folder, self._rows_at_once = folder, rows_at_once
        self._files = ExitStack()
        self._file = self._scratch()
        self._counts: np.ndarray = np.zeros(0, np.int64)
        self._last = 0
        self._grouped = True  # symbol numbers have never decreased

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # from flushing buffers to a full disk
            self._files.close()

    def append(self, symbol: np.ndarray, zone: np.ndarray, wall: np.ndarray, values: np.ndarray) -> None:
        """Add n rows: symbol numbers (from 0, by first appearance), zones, dates, values [n, columns]."""
        if not len(symbol):
            return
        records = np.empty(len(symbol), self.dtype)
        records["symbol"], records["zone"], records["wall"] = symbol, zone, wall
        records["values"] = values
        counts = np.bincount(symbol, minlength=len(self._counts))
        counts[: len(self._counts)] += self._counts
        self._counts = counts
        self._grouped = self._grouped and bool(symbol[0] >= self._last and (np.diff(symbol) >= 0).all())
        self._last = int(symbol[-1])
        self._file.write(records.view(np.uint8).data)

    def mark(self) -> tuple[int, np.ndarray, int, bool]:
        """The state, to go back to."""
        return self._file.tell(), self._counts, self._last, self._grouped

    def go_back(self, mark: tuple[int, np.ndarray, int, bool]) -> None:
        """Forget the rows that were added since a mark."""
        position, self._counts, self._last, self._grouped = mark
        self._file.seek(position)
        self._file.truncate()

    def groups(self) -> Iterator[np.ndarray]:
        """Records of one or more whole symbols at a time, ascending; each symbol's in the order in which they came."""
        if not len(self._counts):
            return
        ends = self._group_ends()
        if not self._grouped and len(ends) > 1:
            self._regroup(ends)
            self._grouped = True  # as far as groups go, if they are asked for again
        start = 0
        for rows in np.diff(np.concatenate([[0], np.cumsum(self._counts)[ends - 1]])):
            records = self._read(start, int(rows))
            start += int(rows)
            yield records

    def _group_ends(self) -> np.ndarray:
        """Symbol numbers at which groups end: as many symbols as fit in memory, or a single larger one."""
        totals = np.cumsum(self._counts)
        ends: list[int] = []
        while not ends or ends[-1] < len(totals):
            first = ends[-1] if ends else 0
            before = totals[first - 1] if first else 0
            fitting = int(np.searchsorted(totals, before + self._rows_at_once, side="right"))
            ends.append(max(fitting, first + 1))
        return np.array(ends)

    def _regroup(self, ends: np.ndarray) -> None:
        """Copy the rows to a second file, where each group has its place: a counting sort by group."""
        group_of = np.searchsorted(ends, np.arange(len(self._counts)), side="right")
        sizes = np.add.reduceat(self._counts, np.concatenate([[0], ends[:-1]]))
        cursors = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        target = self._scratch()
        total = int(self._counts.sum())
        for start in range(0, total, self._rows_at_once):
            records = self._read(start, min(self._rows_at_once, total - start))
            group = group_of[records["symbol"]]
            records = records[np.argsort(group, kind="stable")]
            counts = np.bincount(group, minlength=len(ends))
            stops = np.cumsum(counts)
            for number in np.flatnonzero(counts):
                target.seek(int(cursors[number]) * self.dtype.itemsize)
                run = records[stops[number] - counts[number] : stops[number]]
                target.write(run.view(np.uint8).data)
            cursors = cursors + counts
        self._file.close()  # frees its space on the disk
        self._file = target

    def _read(self, start: int, rows: int) -> np.ndarray:
        self._file.flush()
        self._file.seek(start * self.dtype.itemsize)
        return np.fromfile(self._file, self.dtype, rows)

    def _scratch(self) -> Any:
        return self._files.enter_context(tempfile.TemporaryFile(dir=self._folder))
