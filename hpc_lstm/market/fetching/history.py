"""What is known of each symbol: from the store that is to be brought up to date, and from the journal.

Beside the prices a fetched store has

    /fetched/starts [S] int64    first day that was asked for, days since 1970
    /fetched/ends [S] int64      the day before which nothing is missing; -1: the symbol was not fetched
    /fetched/zones [S] utf-8     the exchange's time zone

and ``events``. In a store that an older version fetched, the attributes start and end stand for all symbols.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from hpc_lstm.errors import StoreError
from hpc_lstm.market.events import StoredEvents, event_datasets, no_events
from hpc_lstm.market.fetching.journal import Journal, Record
from hpc_lstm.market.fetching.request import Request
from hpc_lstm.market.fetching.series import COLUMNS, Series
from hpc_lstm.market.fetching.update import Known, overlap_rows
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter

SOURCE = "Yahoo Finance through yfinance"
_EPOCH = date(1970, 1, 1)
_DAY_NS = 86_400_000_000_000


class StoredHistory:
    """The symbols of a store that is to be brought up to date, or of none.

    Args:
        store: open; None: there is none yet.

    Raises:
        StoreError: it has other columns, or prices of another interval.
    """

    def __init__(self, store: MarketStore | None, request: Request) -> None:
        self._store, self._unit = store, request.date_unit
        self.symbols: list[str] = list(store.symbols) if store else []
        self._numbers = {name: number for number, name in enumerate(self.symbols)}
        if store is None:
            return
        _require_alike(store, request)
        self._order = [store.columns.index(name) for name in COLUMNS]
        self._events = StoredEvents(store)
        starts, ends, zones = (store.extra(f"fetched/{name}") for name in ("starts", "ends", "zones"))
        count = len(store.symbols)
        if (
            starts is None
            or ends is None
            or zones is None
            or not len(starts) == len(ends) == len(zones) == count
        ):
            ours = store.attributes.get("source") == SOURCE
            starts, ends = (
                np.full(count, _day_number(store.attributes.get(name)) if ours else -1)
                for name in ("start", "end")
            )
            zones = np.full(count, "", object)
        self._starts, self._ends, self._zones = starts, ends, zones

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._numbers

    @property
    def attributes(self) -> dict[str, Any]:
        """The store's attributes; none without a store."""
        return dict(self._store.attributes) if self._store else {}

    def known(self, symbol: str) -> Known | None:
        """What is known of a symbol; None if it is not in the store, or has no rows there."""
        if symbol not in self or self._store is None:
            return None
        number = self._numbers[symbol]
        first, stop = (int(at) for at in self._store.offsets[number : number + 2])
        if first == stop:
            return None
        tail = self._rows(number, stop - overlap_rows(stop - first), stop)
        return Known(self._start(number), tail, stop - first, fetched=int(self._ends[number]) >= 0)

    def series(self, symbol: str) -> tuple[Series, date]:
        """All that is stored of a symbol, and the first day that was asked for."""
        assert self._store is not None
        number = self._numbers[symbol]
        first, stop = (int(at) for at in self._store.offsets[number : number + 2])
        series = self._rows(number, first, stop)
        series = replace(
            series,
            splits=self._events.of("splits", number),
            dividends=self._events.of("dividends", number),
        )
        return series, self._start(number)

    def _rows(self, number: int, first: int, stop: int) -> Series:
        assert self._store is not None
        dates = self._store.dates(first, stop)
        values = self._store.rows(first, stop)[:, self._order]
        end = int(self._ends[number])
        if end < 0 and len(dates):
            end = int(dates[-1]) // (1 if self._unit == "D" else _DAY_NS) + 1
        return Series(dates, values, no_events(), no_events(), str(self._zones[number]), end)

    def _start(self, number: int) -> date:
        """The first day that was asked for; of imported rows, the first day."""
        assert self._store is not None
        day = int(self._starts[number])
        first, stop = (int(at) for at in self._store.offsets[number : number + 2])
        if self._ends[number] < 0 and first < stop:
            day = int(self._store.dates(first, first + 1)[0]) // (1 if self._unit == "D" else _DAY_NS)
        return _EPOCH + timedelta(days=day)


class FetchedHistory:
    """Store and journal together."""

    def __init__(self, stored: StoredHistory, journal: Journal, request: Request) -> None:
        self._stored, self._journal, self._request = stored, journal, request

    def known(self, symbol: str) -> Known | None:
        """What is known of a symbol so far."""
        if not self.news(symbol):
            return self._stored.known(symbol)
        series, start = self._merged(symbol, True)
        stored = self._stored.known(symbol)
        return Known(
            start,
            series.tail(overlap_rows(len(series))),
            len(series),
            fetched=stored is None or stored.fetched,
        )

    def news(self, symbol: str) -> list[Record]:
        """The journal's records that continue, or replace, what the store has; others are of another command."""
        records = self._journal.records(symbol)
        if not records:
            return []
        known = self._stored.known(symbol)
        end = known.tail.end if known and known.fetched else -1
        last = int(known.tail.dates[-1]) if known else None
        wanted = min(known.start, self._request.start) if known else self._request.start
        found = []
        for record in records:
            if record.whole:
                fits = record.start == wanted and record.end >= end
            else:
                fits = last is not None and record.after == last and record.end > end
            if fits:
                end, last = record.end, record.last if record.last is not None else last
                found.append(record)
        return found

    def write(self, writer: StoreWriter, new: list[str], fresh: set[str]) -> dict[str, int]:
        """Write the store's symbols, then ``new`` ones; those in ``fresh`` as the journal has them. Rows by symbol."""
        rows: dict[str, int] = {}
        events, starts, ends, zones = [], [], [], []
        for symbol in [*self._stored.symbols, *new]:
            series, start = self._merged(symbol, symbol in fresh)
            known = self._stored.known(symbol)
            writer.append(symbol, series.dates, series.values)
            events.append({"splits": series.splits, "dividends": series.dividends})
            starts.append((start - _EPOCH).days)
            # Imported rows stay imported: what continues them does not allow to replace them.
            fetched = known.fetched if known else symbol in fresh
            ends.append(series.end if fetched else -1)
            zones.append(series.zone)
            rows[symbol] = len(series)
        writer.extras = {
            **event_datasets(events),
            "fetched/starts": np.array(starts, np.int64),
            "fetched/ends": np.array(ends, np.int64),
            "fetched/zones": zones,
        }
        return rows

    def _merged(self, symbol: str, with_news: bool) -> tuple[Series, date]:
        """All prices of a symbol, and the first day that was asked for."""
        series, start = None, self._request.start
        if symbol in self._stored:
            series, start = self._stored.series(symbol)
        for record in self.news(symbol) if with_news else ():
            start, later = record.start, self._journal.read(record)
            series = later if record.whole or series is None else series.joined(later)
        assert series is not None
        return series, start


@contextmanager
def open_stored_history(path: Path, request: Request) -> Iterator[StoredHistory]:
    """The store at ``path``, if there is one, to be brought up to date.

    Raises:
        StoreError: there is something else, or a store with which Yahoo's prices do not go together.
    """
    if not path.exists():
        yield StoredHistory(None, request)
        return
    try:
        store = MarketStore(path)
    except StoreError as error:
        raise StoreError(f"{error}, or choose another output than this file") from None
    with store:
        yield StoredHistory(store, request)


def _require_alike(store: MarketStore, request: Request) -> None:
    if sorted(store.columns) != sorted(COLUMNS):
        raise StoreError(
            f"{store.path}: has the columns {', '.join(store.columns)}, Yahoo's prices have {', '.join(COLUMNS)}; "
            "fetch into another store"
        )
    interval = store.attributes.get("interval", "1d" if store.date_unit == "D" else None)
    if interval != request.interval or store.date_unit != request.date_unit:
        has = f"prices of every {interval}" if interval else "intraday prices that were not fetched"
        raise StoreError(
            f"{store.path}: has {'daily prices' if interval == '1d' else has}, not of --interval "
            f"{request.interval}; fetch into another store"
        )
    if (
        bool(store.attributes.get("allow_negative")) != request.allow_negative
        and "interval" in store.attributes
    ):
        how = "without" if request.allow_negative else "with"
        raise StoreError(
            f"{store.path}: was fetched {how} --allow-negative; do so again, or fetch into another store"
        )


def _day_number(text: Any) -> int:
    try:
        return (date.fromisoformat(str(text)) - _EPOCH).days
    except ValueError:
        return -1
