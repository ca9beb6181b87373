"""Bring one symbol up to date: ask only for what is new, and see by the overlap whether history has changed.

A split or a dividend changes Yahoo's closes or adjusted closes of all the days before it. The request for new rows
therefore begins some rows before the last one known; where those differ, or a day has prices that had none, all rows
are fetched anew. Revisions of the other columns, such as of yesterday's volume, change nothing that is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any, Protocol

import numpy as np

from hpc_lstm.market.fetching.request import INTRADAY_LIMITS, Request, zone_info
from hpc_lstm.market.fetching.series import COLUMNS, Series

# Yahoo's closes are float32 in float64, its adjusted ones are computed anew each time.
_TOLERANCE = 2e-5
_EPOCH = date(1970, 1, 1)


class Contradicts(Exception):
    """Yahoo's prices contradict rows that cannot be replaced: the reason, with the time and both values."""


class Client(Protocol):
    """What is needed of ``client.YahooClient``."""

    def series(self, symbol: str, first: date, end: date | None, zone: str = "") -> Series:
        """Prices from ``first`` on, before ``end``."""
        ...


@dataclass(frozen=True)
class Known:
    """What is known of a symbol before it is fetched.

    Attributes:
        start: first day that was asked for. tail: its last ``overlap_rows``, with the zone and ``end``.
        rows: number in all. fetched: whether they came from Yahoo, so that they may be replaced.
    """

    start: date
    tail: Series
    rows: int
    fetched: bool


@dataclass(frozen=True)
class Update:
    """What a symbol's fetch gave.

    Attributes:
        series: rows later than the last known one, or all rows. whole: all, in place of what was known.
        start: first day asked for. after: the last date known before, if only newer rows came.
        reason: why history was fetched anew; "" if it was not.
    """

    series: Series
    whole: bool
    start: date
    after: int | None = None
    reason: str = ""


def overlap_rows(rows: int) -> int:
    """Number of the last rows, of so many known ones, that are asked for again."""
    return min(10, max(2, rows // 4), rows)


def is_up_to_date(known: Known | None, request: Request) -> bool:
    """Whether there is nothing to ask for."""
    if known is None or (known.fetched and request.start < known.start):
        return False
    return _day(known.tail.end) >= request.end_in(known.tail.zone)


def bring_up_to_date(client: Client, symbol: str, known: Known | None, request: Request) -> Update:
    """Fetch what is missing of a symbol.

    Raises:
        NoPrices, NotAnswered: by the client. Contradicts: prices differ from rows that must stay.
    """
    if known is None:
        return Update(client.series(symbol, request.start, request.end), True, request.start)
    start, end = request.start, request.end
    if end is not None:
        end = max(end, _day(known.tail.end))
    reason = ""
    if not known.fetched or known.start <= start:
        start = min(start, known.start)
        tail = known.tail
        overlap = _first_day(tail, request)
        newest = client.series(symbol, overlap, request.end, tail.zone)
        reason = _difference(tail, newest, request.date_unit)
        last = int(tail.dates[-1])
        if not reason:
            return Update(newest.after(last), False, known.start, last)
        if not known.fetched:
            raise Contradicts(f"{reason}; its rows in the store stay as they are")
        if start < request.earliest:
            kept = INTRADAY_LIMITS[request.interval][0]
            raise Contradicts(
                f"{reason}, and Yahoo keeps its prices of every {request.interval} for {kept} days only; its "
                "rows stay as they are: fetch it into another store"
            )
    return Update(client.series(symbol, start, end), True, start, reason=reason)


def _difference(tail: Series, newest: Series, unit: str) -> str:
    """Where the overlap shows that history has changed; "" if it has not."""
    common, old, new = np.intersect1d(tail.dates, newest.dates, return_indices=True)
    if not len(common):
        return f"none of its rows since {_text(tail.dates[0], unit)} comes from Yahoo any more"
    names = list(COLUMNS)
    for name in ("close", "adj_close"):
        number = names.index(name)
        before, now = tail.values[old, number], newest.values[new, number]
        wrong = np.flatnonzero(~np.isclose(before, now, rtol=_TOLERANCE, atol=0))
        if len(wrong):
            at = wrong[0]
            split = newest.splits.after(int(tail.dates[-1]))
            cause = f" (split {split.values[0]:g}:1 on {_text(split.dates[0], unit)})" if len(split) else ""
            return (
                f"{name} of {_text(common[at], unit)} was {before[at]:.10g} and is now {now[at]:.10g}{cause}"
            )
    last = int(tail.dates[-1])
    between = newest.dates[(newest.dates > tail.dates[0]) & (newest.dates < last)]
    came = np.setdiff1d(between, tail.dates)
    if unit == "D" and len(came):
        return f"{_text(came[0], unit)} has prices now"
    for kind, events in (("split", newest.splits), ("dividend", newest.dividends)):
        later = events.after(last)
        if unit == "D" and len(later):
            return f"{kind} of {later.values[0]:g} on {_text(later.dates[0], unit)}"
    return ""


def _first_day(tail: Series, request: Request) -> date:
    """The exchange's day of the first row of the tail that Yahoo still has."""
    first = int(tail.dates[0])
    if request.date_unit == "D":
        return _day(first)
    # A day earlier where the zone is unknown, as the exchange may be behind UTC.
    day = datetime.fromtimestamp(first / 1e9, zone_info(tail.zone) if tail.zone else timezone.utc).date()
    return max(day - timedelta(days=0 if tail.zone else 1), request.earliest)


def _day(number: int) -> date:
    return _EPOCH + timedelta(days=int(number))


def _text(number: Any, unit: str) -> str:
    return str(np.array(int(number)).astype(f"datetime64[{unit}]")).removesuffix(".000000000")
