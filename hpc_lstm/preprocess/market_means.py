"""The mean log return of all symbols of a store on each of its dates: what ``market(NAME)`` looks up.

It takes a pass over the dates and one over the prices of all symbols before the slices are read, shared out over the
ranks. Log returns are summed as whole multiples of 2^-32, in which float64 is exact below 2^53: so the sums are the
same to the bit, whichever rank adds what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.features.columns import ModelColumns
from hpc_lstm.features.market_mean import MarketMean
from hpc_lstm.features.rows import DailyMean
from hpc_lstm.market.known_rows import KnownRows, know_rows
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.reading import read_column

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore

RESOLUTION = 2.0**32
# Dates that are collected before they are made distinct: 8 MB.
DATES_AT_ONCE = 1_000_000


def with_market(store: MarketStore, columns: ModelColumns, world: World) -> ModelColumns:
    """The columns with the means that their features look up; collective.

    Raises:
        InputError: the store cannot be read, on any rank.
    """
    wanted = _wanted(columns)
    if not wanted:
        return columns
    symbols = len(store.symbols)
    mine = range(symbols * world.rank // world.size, symbols * (world.rank + 1) // world.size)
    own = world.raise_on_all(lambda: _distinct_dates(store, mine))
    dates = np.unique(np.concatenate(world.allgather(own)))
    means = {}
    for name in wanted:
        number = list(columns.store_columns).index(name)
        sums = world.raise_on_all(lambda: _sums(store, mine, number, dates))  # noqa: B023
        total, count = world.allreduce_sum(sums)
        means[name] = DailyMean(dates, total / RESOLUTION / np.maximum(count, 1))
    return replace(columns, market=means)


def know_other_rows(
    store: MarketStore, columns: ModelColumns, own: Sequence[str], world: World
) -> KnownRows | None:
    """All rows that the means take from other symbols than a run's own; collective.

    Args:
        own: the run's symbols, whose rows it knows anyway.

    Returns:
        None if the features look up no mean, or there are no other symbols.

    Raises:
        StoreError: the store cannot be read, on some rank.
    """
    known = set(own)
    others = [number for number, name in enumerate(store.symbols) if name not in known]
    numbers = [list(columns.store_columns).index(name) for name in _wanted(columns)]
    return know_rows(store, numbers, others, world) if numbers and others else None


def _wanted(columns: ModelColumns) -> list[str]:
    """The store columns whose means the features look up."""
    features = (column.feature for column in columns.features)
    return sorted({feature.column for feature in features if isinstance(feature, MarketMean)})


def _distinct_dates(store: MarketStore, symbols: range) -> np.ndarray:
    """Dates of some symbols, int64, ascending."""
    found, collected, count = np.empty(0, np.int64), [], 0
    for symbol in symbols:
        collected.append(store.dates(*map(int, store.offsets[symbol : symbol + 2])))
        count += len(collected[-1])
        if count > DATES_AT_ONCE:
            found, collected, count = np.unique(np.concatenate([found, *collected])), [], 0
    return np.unique(np.concatenate([found, *collected]))


def _sums(store: MarketStore, symbols: range, number: int, dates: np.ndarray) -> np.ndarray:
    """Sums of the log returns of some symbols, in units of 1 / RESOLUTION, and how many, float64 [2, D]."""
    sums = np.zeros((2, len(dates)))
    for symbol in symbols:
        first, stop = (int(row) for row in store.offsets[symbol : symbol + 2])
        prices = read_column(store, np.array([first]), np.array([stop]), number)
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.log(prices[1:] / np.where(prices[:-1] > 0, prices[:-1], np.nan))
        known = np.isfinite(change)
        place = np.searchsorted(dates, store.dates(first, stop)[1:][known])
        np.add.at(sums[0], place, np.rint(change[known] * RESOLUTION))
        np.add.at(sums[1], place, 1.0)
    return sums
