"""Fits the scaling on train rows alone, on all ranks together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from hpc_lstm.features.columns import ModelColumns
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import host
from hpc_lstm.preprocess.reading import Piece
from hpc_lstm.preprocess.scaler import Scaler, minmax, standard
from hpc_lstm.preprocess.slices import Slice


def owned_rows(part: Slice, lag: int) -> np.ndarray:
    """Which rows of each segment this rank counts, among all ranks that share the symbol.

    Args:
        lag: rows that a target looks back; 0: of a feature.

    Returns:
        int64 [2, G]: first row and the one after the last, counted from the first row of the segment's first window.
    """
    length = part.row_stop - part.first
    end = np.where(part.closes, length, np.minimum(length, part.count + lag))
    return np.stack([np.minimum(end, lag), end])


def owned_columns(part: Slice, columns: ModelColumns) -> list[tuple[slice, np.ndarray]]:
    """Ranges of model columns of which this rank counts the same rows, and which: ``owned_rows``."""
    lags = [0] * len(columns.features) + [target.lookback for target in columns.targets]
    found, start = [], 0
    for lag, same in itertools.groupby(lags):
        stop = start + len(list(same))
        found.append((slice(start, stop), owned_rows(part, lag)))
        start = stop
    return found


class ScalingFit:
    """Statistics of one rank's share of the train rows; every train row is counted by one rank.

    Where ranks share a symbol, each owns the rows from its first window's first row to the next rank's; a
    target that looks ``lag`` rows back is owned by the rank that owns the row it looks back to.

    Args:
        symbols: usable symbols, S.
    """

    def __init__(self, part: Slice, columns: ModelColumns, symbols: int, kind: str) -> None:
        self._part, self._columns, self.kind = part, columns, kind
        self._owned = owned_columns(part, columns)
        shape = (symbols, len(columns.features) + len(columns.targets))
        # minmax: low, high; standard: count, mean, squares about the mean
        self.low, self.high = np.full(shape, np.inf), np.full(shape, -np.inf)
        self.count, self.mean, self.squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    def add(self, pieces: list[Piece], offsets: np.ndarray, values: np.ndarray) -> None:
        """Add rows of ``read_values``; ``values`` float64 [n, F+K] of rows that others own are overwritten."""
        for piece, begin in zip(pieces, offsets[:-1], strict=True):
            rows = values[begin : begin + piece.stop - piece.start]
            before = piece.start - int(self._part.first[piece.segment])
            for columns, owned in self._owned:
                rows[: max(0, int(owned[0, piece.segment]) - before), columns] = np.nan
                rows[max(0, int(owned[1, piece.segment]) - before) :, columns] = np.nan
        symbol = self._part.symbol[[piece.segment for piece in pieces]]
        fit = host.fit_minmax if self.kind == "minmax" else host.fit_moments
        self.merge(symbol, fit(values, offsets))

    def merge(self, symbol: np.ndarray, found: tuple[np.ndarray, ...]) -> None:
        """Add the statistics of further rows.

        Args:
            symbol: int64 [k], each at most once.
            found: what ``fit_minmax`` or ``fit_moments`` of the host or a GPU returned, float64 [k, F+K] each.
        """
        if self.kind == "minmax":
            low, high = found
            self.low[symbol] = np.minimum(self.low[symbol], low)
            self.high[symbol] = np.maximum(self.high[symbol], high)
            return
        count, mean, squares = found
        old_count, old_mean = self.count[symbol], self.mean[symbol]
        total = old_count + count
        some = np.maximum(total, 1)
        change = mean - old_mean
        # Chan, Golub and LeVeque 1979: moments of two sets joined.
        self.mean[symbol] = old_mean + change * count / some
        self.squares[symbol] += squares + change**2 * old_count * count / some
        self.count[symbol] = total

    def combine(self, symbols: list[str], feature_range: Sequence[float], world: World) -> Scaler:
        """The scaler of all ranks' rows; collective."""
        scaler = self._combine(symbols, feature_range, world)
        unscaled = self._columns.unscaled
        return scaler.unscaled(unscaled) if unscaled else scaler

    def _combine(self, symbols: list[str], feature_range: Sequence[float], world: World) -> Scaler:
        names = self._columns.names
        if self.kind == "minmax":
            return minmax(
                symbols, names, world.allreduce_min(self.low), world.allreduce_max(self.high), feature_range
            )
        count = world.allreduce_sum(self.count.copy())
        mean = world.allreduce_sum(self.count * self.mean) / np.maximum(count, 1)
        squares = world.allreduce_sum(self.squares + self.count * (self.mean - mean) ** 2)
        return standard(symbols, names, count, mean, squares)
