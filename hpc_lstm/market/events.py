"""Splits and dividends, kept beside the prices in a market store.

    /splits/offsets [S+1] int64    symbol s's are number offsets[s]..offsets[s+1]
    /splits/dates [n] int64        in the store's date_unit, ascending
    /splits/values [n] float64     new shares for an old one
    /dividends/...                 likewise; values are money for a share, as Yahoo gives it: adjusted for later splits

A store without them has none to tell of; nothing else in the store depends on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_lstm.market.store import MarketStore

KINDS = ("splits", "dividends")


@dataclass(frozen=True)
class Events:
    """Splits or dividends of one symbol: int64 dates [n], ascending, and float64 values [n]."""

    dates: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.dates)

    def between(self, first: int, stop: int) -> Events:
        """Those from ``first`` up to, not including, ``stop``."""
        inside = (self.dates >= first) & (self.dates < stop)
        return Events(self.dates[inside], self.values[inside])

    def after(self, date: int) -> Events:
        """Those later than ``date``."""
        return Events(self.dates[self.dates > date], self.values[self.dates > date])

    def joined(self, later: Events) -> Events:
        """These and others, all of which are later."""
        return Events(np.append(self.dates, later.dates), np.append(self.values, later.values))


def no_events() -> Events:
    """No event at all."""
    return Events(np.zeros(0, np.int64), np.zeros(0))


class StoredEvents:
    """The splits and dividends of all symbols of an open store, by symbol number."""

    def __init__(self, store: MarketStore) -> None:
        self._parts = {
            kind: [store.extra(f"{kind}/{part}") for part in ("offsets", "dates", "values")] for kind in KINDS
        }

    def of(self, kind: str, symbol: int) -> Events:
        """The "splits" or "dividends" of a symbol; none if the store does not tell."""
        offsets, dates, values = self._parts[kind]
        if offsets is None or dates is None or values is None or symbol + 1 >= len(offsets):
            return no_events()
        part = slice(int(offsets[symbol]), int(offsets[symbol + 1]))
        return Events(dates[part].astype(np.int64), values[part].astype(np.float64))


def event_datasets(events: Sequence[dict[str, Events]]) -> dict[str, Any]:
    """The datasets of a store whose symbol s has ``events[s]``, by kind; for ``StoreWriter.extras``."""
    datasets: dict[str, Any] = {}
    for kind in KINDS:
        each = [one[kind] for one in events]
        counts = np.array([len(one) for one in each], np.int64)
        datasets[f"{kind}/offsets"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        datasets[f"{kind}/dates"] = np.concatenate([np.zeros(0, np.int64), *(one.dates for one in each)])
        datasets[f"{kind}/values"] = np.concatenate([np.zeros(0), *(one.values for one in each)])
    return datasets
