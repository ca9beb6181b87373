"""Reads a slice's rows of the store in pieces of bounded size, so that raw prices never lie in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.errors import InputError
from hpc_lstm.features.columns import ModelColumns, compute_columns
from hpc_lstm.features.rows import RowDates
from hpc_lstm.preprocess.slices import Slice

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore

# Enough rows that a read is worth its call, few enough to stay in cache: 2.6 MB at 5 columns.
ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Piece:
    """Consecutive store rows of one segment.

    Attributes:
        segment: its number in the slice.
        start, stop: store rows.
        before: rows before ``start`` that are read too.
    """

    segment: int
    start: int
    stop: int
    before: int


def read_values(
    store: MarketStore, part: Slice, columns: ModelColumns
) -> Iterator[tuple[list[Piece], np.ndarray, np.ndarray]]:
    """Model columns of a slice's rows, from each segment's first window onwards.

    A batch holds at most ``ROWS_AT_ONCE`` rows besides lookbacks, and at most one piece of a segment.

    Yields:
        Pieces, int64 [pieces+1] where each begins in the values, and float64 [rows, F+K], features then
        targets. A target is NaN where it would look back beyond the segment.

    Raises:
        InputError: a value that is not finite, or not above 0 where a log return is taken.
    """
    for pieces in _piece_batches(part, columns):
        raw = _read_pieces(store, pieces)
        offsets = _offsets([p.before + p.stop - p.start for p in pieces])
        _check_values(store, raw, offsets, pieces, columns)
        values = compute_columns(
            raw, offsets, columns, _about_pieces(store, pieces) if columns.dated else None
        )
        if any(p.before for p in pieces):
            position = np.arange(len(raw)) - np.repeat(offsets[:-1], np.diff(offsets))
            values = values[position >= np.repeat([p.before for p in pieces], np.diff(offsets))]
            offsets = _offsets([p.stop - p.start for p in pieces])
        yield pieces, offsets, values


def read_column(store: MarketStore, starts: np.ndarray, stops: np.ndarray, number: int) -> np.ndarray:
    """One column of the store's row ranges, below each other, float64."""
    found = np.empty(int((stops - starts).sum()))
    filled = 0
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        for low in range(start, stop, ROWS_AT_ONCE):
            high = min(low + ROWS_AT_ONCE, stop)
            found[filled : filled + high - low] = store.rows(low, high)[:, number]
            filled += high - low
    return found


def _piece_batches(part: Slice, columns: ModelColumns) -> Iterator[list[Piece]]:
    pieces: list[Piece] = []
    room = ROWS_AT_ONCE
    for segment in range(len(part.symbol)):
        first, stop = int(part.first[segment]), int(part.row_stop[segment])
        row_start = int(part.row_start[segment])
        start = first
        while start < stop:
            end = min(stop, start + room)
            # The segment's first piece is preceded by the features' lookback alone: a target that looks back further
            # is that of no window here.
            before = first - row_start if start == first else min(columns.longest_lookback, start - row_start)
            pieces.append(Piece(segment, start, end, before))
            room -= end - start
            start = end
            if room == 0:
                yield pieces
                pieces, room = [], ROWS_AT_ONCE
    if pieces:
        yield pieces


def _read_pieces(store: MarketStore, pieces: list[Piece]) -> np.ndarray:
    """Raw rows of the pieces, lookbacks first; pieces that touch in the store are read at once."""
    ranges: list[list[int]] = []
    for piece in pieces:
        if ranges and ranges[-1][1] == piece.start - piece.before:
            ranges[-1][1] = piece.stop
        else:
            ranges.append([piece.start - piece.before, piece.stop])
    blocks = [store.rows(start, stop) for start, stop in ranges]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _about_pieces(store: MarketStore, pieces: list[Piece]) -> list[RowDates]:
    """Symbols and dates of the pieces, lookbacks included."""
    return [
        RowDates(
            store.symbols[int(np.searchsorted(store.offsets, piece.start, side="right")) - 1],
            store.dates(piece.start - piece.before, piece.stop),
            store.date_unit,
        )
        for piece in pieces
    ]


def _check_values(
    store: MarketStore, raw: np.ndarray, offsets: np.ndarray, pieces: list[Piece], columns: ModelColumns
) -> None:
    """Refuse values that cannot be scaled, naming the first."""
    for number in columns.numbers:
        usable = columns.usable(raw, number)
        if usable.all():
            continue
        row = int(np.argmin(usable))
        number_of_piece = int(np.searchsorted(offsets, row, side="right")) - 1
        piece = pieces[number_of_piece]
        store_row = piece.start - piece.before + row - int(offsets[number_of_piece])
        symbol = store.symbols[int(np.searchsorted(store.offsets, store_row, side="right")) - 1]
        date = store.dates(store_row, store_row + 1).astype(f"datetime64[{store.date_unit}]")[0]
        user = columns.positive.get(number)
        expected = f"a number above 0, which {user} needs" if user else "a finite number"
        raise InputError(
            f'{store.path}: symbol {symbol}, column "{columns.store_columns[number]}", {date}: '
            f"is {raw[row, number]}, must be {expected}; clean it and import again, "
            "or leave the symbol or the column out of [data]"
        )


def _offsets(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
