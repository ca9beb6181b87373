"""The rules that turn raw rows of prices into a store's rows, and how often each was applied.

In this order, for each symbol:

    row without close                          dropped
    close that is zero or negative             row dropped
    other price that is zero or negative       treated as missing; prices are open, high, low, close and adj_close
    negative volume                            treated as missing
    high below the low                         both treated as missing
    rows out of order                          sorted by date
    several rows with the same date            one is kept if they agree; if they differ the import is refused
    any other missing value                    the symbol's last known value of that column
    missing value with none before it          open, high, low, adj_close: the row's own close; volume: 0; in a series
                                               that continues a stored one, the last value stored

Prices that are zero or negative, such as those of spreads and yields, are kept if the user says so.

No rule looks at a later row, so that no value depends on the future. Symbols may have different dates: they are not
aligned, each keeps its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass
class CleaningCounts:
    """How often each rule was applied, in rows; in values where the name says so."""

    without_close: int = 0
    bad_price: int = 0
    bad_cells: int = 0
    negative_volume: int = 0
    inverted: int = 0
    unsorted: int = 0
    duplicated: int = 0
    filled_values: int = 0
    leading_values: int = 0


@dataclass
class PriceRows:
    """Rows of some symbols; the rows of each symbol are contiguous.

    Attributes:
        symbol: int [n]. date: int64 [n]. values: float64 [n, C].
    """

    symbol: np.ndarray
    date: np.ndarray
    values: np.ndarray

    def take(self, which: np.ndarray) -> PriceRows:
        """The rows of a mask or of row numbers."""
        return PriceRows(self.symbol[which], self.date[which], self.values[which])


class DifferingRows(ValueError):
    """Two rows of one symbol and date differ.

    Attributes:
        symbol: its number. date: in the rows' unit.
    """

    def __init__(self, symbol: int, date: int) -> None:
        super().__init__(symbol, date)
        self.symbol, self.date = symbol, date


def clean_rows(
    rows: PriceRows,
    columns: list[str],
    counts: CleaningCounts,
    *,
    allow_negative: bool = False,
    keep_last: bool = False,
    last_known: Callable[[int, int], np.ndarray] | None = None,
) -> PriceRows:
    """Apply the rules.

    Args:
        rows: symbols ascending or mixed, each symbol's rows as they came; may be changed in place.
        columns: names of the values' columns; "close" is one.
        counts: increased.
        allow_negative: keep prices that are zero or negative.
        keep_last: of rows of one symbol and date that differ, keep the last one.
        last_known: of a symbol's number and the date of its first row, the values known before that, float64 [C], NaN
            where there are none; None: nothing is known of any.

    Returns:
        Rows by symbol, then date, each date once, every value finite.

    Raises:
        DifferingRows: two rows of one symbol and date differ.
    """
    close = columns.index("close")
    rows = _keep(rows, ~np.isnan(rows.values[:, close]), counts, "without_close")
    if not allow_negative:
        rows = _keep(rows, ~(rows.values[:, close] <= 0), counts, "bad_price")
        for number, name in enumerate(columns):
            if name not in ("volume", "close"):
                column = rows.values[:, number]
                bad = column <= 0
                counts.bad_cells += int(bad.sum())
                column[bad] = np.nan
    if "volume" in columns:
        volume = rows.values[:, columns.index("volume")]
        negative = volume < 0
        counts.negative_volume += int(negative.sum())
        volume[negative] = np.nan
    if "high" in columns and "low" in columns:
        high, low = (rows.values[:, columns.index(name)] for name in ("high", "low"))
        inverted = high < low
        counts.inverted += int(inverted.sum())
        high[inverted] = low[inverted] = np.nan
    rows = _by_date(rows, counts)
    rows = _each_date_once(rows, counts, keep_last)
    _fill(rows, columns, counts, last_known)
    return rows


def symbol_starts(symbol: np.ndarray) -> np.ndarray:
    """Row numbers at which a symbol begins; the rows of each symbol are contiguous."""
    if not len(symbol):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.concatenate([[True], symbol[1:] != symbol[:-1]]))


def _keep(rows: PriceRows, mask: np.ndarray, counts: CleaningCounts, name: str) -> PriceRows:
    dropped = int(len(mask) - mask.sum())
    if not dropped:
        return rows
    setattr(counts, name, getattr(counts, name) + dropped)
    return rows.take(mask)


def _by_date(rows: PriceRows, counts: CleaningCounts) -> PriceRows:
    if (np.diff(rows.symbol) < 0).any():
        rows = rows.take(np.argsort(rows.symbol, kind="stable"))
    back = (rows.symbol[1:] == rows.symbol[:-1]) & (rows.date[1:] < rows.date[:-1])
    if not back.any():
        return rows
    counts.unsorted += int(back.sum())
    return rows.take(np.lexsort((rows.date, rows.symbol)))  # stable: the last of a date stays the last


SAME = 1e-6  # relative: Yahoo's adjusted prices of two days differ by float32's rounding


def _each_date_once(rows: PriceRows, counts: CleaningCounts, keep_last: bool) -> PriceRows:
    """Join the rows of a symbol and date, two by two until there is one of each; the last known values count."""
    while True:
        same = (rows.symbol[1:] == rows.symbol[:-1]) & (rows.date[1:] == rows.date[:-1])
        if not same.any():
            return rows
        begin = np.concatenate([[True], ~same])  # of the rows of a date
        place = np.arange(len(begin)) - np.maximum.accumulate(np.where(begin, np.arange(len(begin)), 0))
        first = np.flatnonzero(same & (place[:-1] % 2 == 0))
        earlier, later = rows.values[first], rows.values[first + 1]
        if not keep_last:
            apart = np.abs(earlier - later) > SAME * np.maximum(
                np.abs(earlier), np.abs(later)
            )  # False where missing
            if apart.any():
                row = first[int(np.argmax(apart.any(axis=1)))]
                raise DifferingRows(int(rows.symbol[row]), int(rows.date[row]))
            rows.values[first + 1] = np.where(np.isnan(later), earlier, later)
        mask = np.ones(len(rows.date), bool)
        mask[first] = False
        rows = _keep(rows, mask, counts, "duplicated")


def _fill(
    rows: PriceRows,
    columns: list[str],
    counts: CleaningCounts,
    last_known: Callable[[int, int], np.ndarray] | None,
) -> None:
    first = symbol_starts(rows.symbol)
    if last_known is not None:
        for row in first[np.isnan(rows.values[first]).any(axis=1)].tolist():
            before = last_known(int(rows.symbol[row]), int(rows.date[row]))
            missing = np.isnan(rows.values[row])
            rows.values[row, missing] = before[missing]
            counts.filled_values += int((missing & ~np.isnan(before)).sum())
    begin = np.repeat(first, np.diff(np.append(first, len(rows.symbol))))
    own = rows.values[:, columns.index("close")]
    for number, name in enumerate(columns):
        column = rows.values[:, number]
        missing = np.isnan(column)
        if not missing.any():
            continue
        known = np.maximum.accumulate(np.where(missing, -1, np.arange(len(column))))
        leading = missing & (known < begin)
        later = missing & ~leading
        column[later] = column[known[later]]
        column[leading] = 0.0 if name == "volume" else own[leading]
        counts.filled_values += int(later.sum())
        counts.leading_values += int(leading.sum())
