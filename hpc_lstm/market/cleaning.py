"""The rules that turn raw rows of prices into a store's rows, and how often each was applied.

In this order, for each symbol:

    row without close                          dropped
    price that is zero or negative             row dropped; open, high, low, close and adj_close are prices
    negative volume                            treated as missing
    rows out of order                          sorted by date
    several rows with the same date            the last one is kept (of those not dropped)
    any other missing value                    the symbol's last known value of that column
    missing value with none before it          open, high, low, adj_close: the row's own close; volume: 0

No rule looks at a later row, so that no value depends on the future. Symbols may have different dates: they are not
aligned, each keeps its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class CleaningCounts:
    """How often each rule was applied, in rows; in values where the name says so."""

    without_close: int = 0
    bad_price: int = 0
    negative_volume: int = 0
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


def clean_rows(rows: PriceRows, columns: list[str], counts: CleaningCounts) -> PriceRows:
    """Apply the rules.

    Args:
        rows: symbols ascending or mixed, each symbol's rows as they came; may be changed in place.
        columns: names of the values' columns; "close" is one.
        counts: increased.

    Returns:
        Rows by symbol, then date, each date once, every value finite.
    """
    close = columns.index("close")
    rows = _keep(rows, ~np.isnan(rows.values[:, close]), counts, "without_close")
    prices = [number for number, name in enumerate(columns) if name != "volume"]
    bad = np.zeros(len(rows.date), bool)
    for number in prices:
        bad |= rows.values[:, number] <= 0
    rows = _keep(rows, ~bad, counts, "bad_price")
    if "volume" in columns:
        volume = rows.values[:, columns.index("volume")]
        negative = volume < 0
        counts.negative_volume += int(negative.sum())
        volume[negative] = np.nan
    rows = _by_date(rows, counts)
    same = (rows.symbol[1:] == rows.symbol[:-1]) & (rows.date[1:] == rows.date[:-1])
    rows = _keep(rows, np.append(~same, True)[: len(rows.date)], counts, "duplicated")
    _fill(rows, columns, counts)
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


def _fill(rows: PriceRows, columns: list[str], counts: CleaningCounts) -> None:
    first = symbol_starts(rows.symbol)
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
