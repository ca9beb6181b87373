"""Hashes of the rows of a market store, by which a later start sees whether they are still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_lstm.market.store import MarketStore
from hpc_lstm.parallel.world import World

# Rows in one read; symbols whose rows lie closer than this share of it are read together: a read costs as much as that.
ROWS_AT_ONCE = 65_536
GAP = ROWS_AT_ONCE // 64
HASH_BYTES = hashlib.sha256().digest_size
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: multiplication spreads low bits upwards


@dataclass(frozen=True)
class RowHashes:
    """Hashes of the first rows of S symbols, dates included.

    Attributes:
        digests: uint8 [S, 32], SHA-256 of each symbol's rows.
        last: int64 [S], date of the last of them; 0 where there is none.
        checks: uint16 [R], one of each row, of all symbols below each other, to find a row that differs; on rank 0,
            empty on others.
        unusable: int64 [S], each one's first row that cannot be computed with, counted from its own first; -1: none.
    """

    digests: np.ndarray
    last: np.ndarray
    checks: np.ndarray
    unusable: np.ndarray


def hash_rows(
    store: MarketStore,
    columns: Sequence[int],
    symbols: Sequence[int],
    counts: np.ndarray,
    world: World,
    usable: Callable[[np.ndarray], np.ndarray] | None = None,
) -> RowHashes:
    """Hash the first rows of symbols; collective: each rank reads its share of the rows.

    Args:
        columns: numbers of the store's columns that are hashed, in this order.
        symbols: S numbers of the store's symbols.
        counts: int64 [S], rows of each.
        usable: which rows can be computed with: bool [n] of values float64 [n, columns]; None: all.

    Raises:
        StoreError: the store cannot be read, on some rank.
    """
    starts = store.offsets[np.asarray(symbols, np.int64)]
    low, high = _share(counts, world)

    def work() -> tuple[list[Any], np.ndarray, np.ndarray, np.ndarray]:
        hashes = [hashlib.sha256() for _ in range(low, high)]
        last = np.zeros(high - low, np.int64)
        checks = np.empty(int(counts[low:high].sum()), np.uint16)
        filled = 0
        seen, unusable = np.zeros(high - low, np.int64), np.full(high - low, -1)
        for number, block in _symbol_blocks(store, columns, starts[low:high], counts[low:high]):
            if usable is not None and unusable[number] < 0:
                good = usable(block[:, 1:].view(np.float64))
                unusable[number] = -1 if good.all() else seen[number] + int(np.argmin(good))
            seen[number] += len(block)
            hashes[number].update(block.data)
            last[number] = block[-1, 0]
            checks[filled : filled + len(block)] = row_checks(block)
            filled += len(block)
        return hashes, last, checks, unusable

    hashes, own_last, checks, own_unusable = world.raise_on_all(work)
    digests = np.zeros((len(starts), HASH_BYTES), np.int32)
    last = np.zeros(len(starts), np.int64)
    for number, one in enumerate(hashes, low):
        digests[number] = np.frombuffer(one.digest(), np.uint8)
    last[low:high] = own_last
    unusable = np.zeros(len(starts), np.int64)
    unusable[low:high] = own_unusable
    return RowHashes(
        digests=world.allreduce_sum(digests).astype(np.uint8),
        last=world.allreduce_sum(last),
        checks=world.gather_array(checks),
        unusable=world.allreduce_sum(unusable),
    )


def first_difference(
    store: MarketStore, columns: Sequence[int], symbol: int, checks: np.ndarray
) -> int | None:
    """The first row of a symbol, counted from its own first, that is not as ``checks`` uint16 [n] say; None: none."""
    start, stop = (int(row) for row in store.offsets[symbol : symbol + 2])
    count = min(len(checks), stop - start)
    seen = 0
    for _, block in _symbol_blocks(store, columns, np.array([start]), np.array([count])):
        different = np.flatnonzero(row_checks(block) != checks[seen : seen + len(block)])
        if len(different):
            return seen + int(different[0])
        seen += len(block)
    return None


def row_checks(block: np.ndarray) -> np.ndarray:
    """A hash of each row, uint16 [n], of a block of 64-bit integers [n, k]."""
    mixed = np.full(len(block), _ODD)
    for column in np.ascontiguousarray(block.T).view(np.uint64):
        mixed ^= column
        mixed *= _ODD
        mixed ^= mixed >> np.uint64(32)
    return (mixed * _ODD >> np.uint64(48)).astype(np.uint16)


def _symbol_blocks(
    store: MarketStore, columns: Sequence[int], starts: np.ndarray, counts: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Rows ``starts[i]`` to ``starts[i] + counts[i]`` of the store, in order of i, in blocks of one i each.

    Yields:
        i, and int64 [n, 1 + columns]: the date, then the bits of the values; row-major, so that cuts do not matter.
    """
    stops = starts + counts
    span, begin, end = (
        np.empty((0, 1 + len(columns)), np.int64),
        0,
        0,
    )  # rows ``begin`` to ``end`` have been read
    for number, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        while start < stop:
            if not begin <= start < end:
                begin, end = start, _end_of_read(starts, stops, number, start)
                span = _read(store, columns, begin, end)
            upto = min(stop, end)
            yield number, span[start - begin : upto - begin]
            start = upto


def _end_of_read(starts: np.ndarray, stops: np.ndarray, number: int, start: int) -> int:
    """Where a read from row ``start`` of symbol ``number`` ends: it takes neighbours along as far as it has room."""
    limit, end = start + ROWS_AT_ONCE, int(stops[number])
    while end < limit and number + 1 < len(starts) and 0 <= int(starts[number + 1]) - end <= GAP:
        number += 1
        end = max(end, int(stops[number]))
    return min(end, limit)


def _read(store: MarketStore, columns: Sequence[int], start: int, stop: int) -> np.ndarray:
    block = np.empty((stop - start, 1 + len(columns)), np.int64)
    block[:, 0] = store.dates(start, stop)
    block[:, 1:] = store.rows(start, stop)[:, columns].view(np.int64)
    return block


def _share(counts: np.ndarray, world: World) -> tuple[int, int]:
    """First and last + 1 of the symbols that this rank reads: consecutive ones, of about as many rows on each rank."""
    middles = np.cumsum(counts) - counts / 2
    edges = np.searchsorted(middles, np.arange(world.size + 1) * (counts.sum() / world.size))
    edges[0], edges[-1] = 0, len(counts)
    return int(edges[world.rank]), int(edges[world.rank + 1])
