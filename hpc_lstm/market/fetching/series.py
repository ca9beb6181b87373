"""The prices of one symbol in memory, cleaned, with its splits and dividends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hpc_lstm.market.cleaning import CleaningCounts, PriceRows, clean_rows
from hpc_lstm.market.events import Events, no_events
from hpc_lstm.market.fetching import periods

# Columns of the store, and their names in yfinance.
COLUMNS = {
    "open": "Open",
    "high": "High",
    "low": "Low",
    "close": "Close",
    "volume": "Volume",
    "adj_close": "Adj Close",
}


@dataclass(frozen=True)
class Series:
    """Prices of one symbol.

    Attributes:
        dates: int64 [n], ascending: days, or nanoseconds in UTC. values: float64 [n, 6], as ``COLUMNS``.
        splits, dividends: in the same unit of time.
        zone: of the exchange; "" if unknown.
        end: the day before which nothing is missing, in days since 1970 where the exchange is.
        dropped: rows left out for want of a usable close.
    """

    dates: np.ndarray
    values: np.ndarray
    splits: Events
    dividends: Events
    zone: str
    end: int
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.dates)

    def after(self, date: int) -> Series:
        """What is later than ``date``."""
        later = self.dates > date
        return replace(
            self,
            dates=self.dates[later],
            values=self.values[later],
            splits=self.splits.after(date),
            dividends=self.dividends.after(date),
        )

    def tail(self, rows: int) -> Series:
        """The last rows, without events."""
        dates, values = self.dates[-rows:], self.values[-rows:]
        return replace(self, dates=dates, values=values, splits=no_events(), dividends=no_events())

    def joined(self, later: Series) -> Series:
        """This and a later series of the same symbol."""
        return Series(
            np.append(self.dates, later.dates),
            np.concatenate([self.values, later.values]),
            self.splits.joined(later.splits),
            self.dividends.joined(later.dividends),
            later.zone or self.zone,
            later.end,
            self.dropped + later.dropped,
        )


def frame_series(
    frame: Any, interval: str, zone: str, first: int, end: int, *, allow_negative: bool = False
) -> Series:
    """A table of yfinance's, cleaned.

    A row of a day, week or month is dated by the exchange's calendar; a time is kept in UTC. Only what begins on
    ``first`` or later, and has ended before ``end``, is kept: Yahoo adds the session, week or month in progress,
    wherever the request ends. An open, high, low or
    adj_close that is not positive is missing, which costs the value, not the row; with ``allow_negative`` it is kept.

    Raises:
        KeyError: a column is missing.
    """
    if interval in periods.INTERVALS:
        dates = frame.index.tz_localize(None).to_numpy("datetime64[D]").astype(np.int64)
        day = dates
    else:
        dates = frame.index.tz_convert("UTC").tz_localize(None).to_numpy("datetime64[ns]").astype(np.int64)
        day = frame.index.tz_localize(None).to_numpy("datetime64[D]").astype(np.int64)
    wanted = (day >= first) & (periods.period_ends(day, interval) <= end)
    frame, dates = frame[wanted], dates[wanted]
    values = frame[list(COLUMNS.values())].to_numpy(np.float64, copy=True)
    splits, dividends = _events(frame, dates, "Stock Splits"), _events(frame, dates, "Dividends")
    # An event on a day without prices comes as a row without prices, of which nothing is lost.
    of_event = np.isin(dates, np.append(splits.dates, dividends.dates)) & np.isnan(values[:, :4]).all(axis=1)
    values, dates = values[~of_event], dates[~of_event]

    names = list(COLUMNS)
    for number, name in enumerate(names):
        if name not in ("close", "volume"):
            column = values[:, number]
            column[~(np.isfinite(column) & (allow_negative | (column > 0)))] = np.nan
    close = values[:, names.index("close")]
    close[~np.isfinite(close)] = np.nan
    rows = PriceRows(np.zeros(len(dates), np.int64), dates, values)
    rows = clean_rows(rows, names, CleaningCounts(), allow_negative=allow_negative)
    return Series(rows.date, rows.values, splits, dividends, zone, end, len(dates) - len(rows.date))


def _events(frame: Any, dates: np.ndarray, column: str) -> Events:
    if column not in frame.columns:
        return no_events()
    values = frame[column].to_numpy(np.float64)
    order = np.argsort(dates, kind="stable")
    dates, values = dates[order], values[order]
    real = np.isfinite(values) & (values != 0)
    return Events(dates[real], values[real])
