"""The host backend: the rows of a slice in memory, scaled, and batches copied out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.features.columns import ModelColumns
from hpc_lstm.preprocess import host
from hpc_lstm.preprocess.reading import read_values
from hpc_lstm.preprocess.sampler import ShuffledSampler
from hpc_lstm.preprocess.scaling_fit import ScalingFit
from hpc_lstm.preprocess.slices import Slice

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore


class HostBackend:
    """NumPy on this process's memory: see ``Backend``."""

    name = "host"
    device = None

    def read_rows(
        self, store: MarketStore, part: Slice, columns: ModelColumns, window: int, horizon: int
    ) -> HostRows:
        """The rows of a slice, to fit on and to cut windows from."""
        return HostRows(store, part, columns, window, horizon)


class HostRows:
    """The scaled rows of a slice in memory: see ``ResidentRows``.

    Unscaled ones are read from the store in pieces, once to fit on and once to scale, so that they never lie in
    memory all at once.
    """

    location = "memory"
    waited_ns = 0

    def __init__(
        self, store: MarketStore, part: Slice, columns: ModelColumns, window: int, horizon: int
    ) -> None:
        self._store, self._part, self._columns = store, part, columns
        self._window, self._horizon = window, horizon
        self._edges = np.concatenate([[0], np.cumsum(part.count)])
        self._rows = self._targets = np.empty(0, np.float32)

    def fit(self, fit: ScalingFit) -> None:
        """Add the rows that this rank counts to ``fit``.

        Raises:
            InputError: a value that cannot be scaled.
        """
        for batch in read_values(self._store, self._part, self._columns):
            fit.add(*batch)

    def scale(self, scale: np.ndarray, shift: np.ndarray) -> None:
        """Read the rows and scale them; float64 [U, F+K] of the index's symbols.

        Raises:
            InputError: a value that cannot be scaled.
        """
        part, window, segments = self._part, self._window, len(self._part.symbol)
        features, ahead = len(self._columns.features), self._columns.horizons
        self._rows = np.empty((part.windows + segments * (window - 1), features), np.float32)
        self._targets = np.empty((part.windows, len(ahead)), np.float32)
        for pieces, offsets, values in read_values(self._store, part, self._columns):
            symbol = part.symbol[[piece.segment for piece in pieces]]
            scaled = host.transform(values, offsets, scale[symbol], shift[symbol])
            for piece, begin in zip(pieces, offsets[:-1], strict=True):
                rows = scaled[begin : begin + piece.stop - piece.start]
                first, count = int(part.first[piece.segment]), int(part.count[piece.segment])
                # Rows are numbered from the segment's first; in memory a segment of n windows has n + window - 1 rows,
                # and its targets begin with the first window's.
                start, edge = piece.start - first, int(self._edges[piece.segment])
                base = edge + piece.segment * (window - 1)
                _copy_overlap(self._rows, base, count + window - 1, start, rows[:, :features])
                for number, horizon in enumerate(ahead):
                    column = rows[:, features + number]
                    _copy_overlap(self._targets[:, number], edge, count, start - window - horizon + 1, column)

    def batch(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Windows ``numbers`` [..., B]: inputs float32 [..., B, T, F] and targets float32 [..., B, K]."""
        segment = np.searchsorted(self._edges, numbers, side="right") - 1
        starts = numbers + segment * (self._window - 1)
        return host.gather(self._rows, starts, self._window), self._targets[numbers]

    def next_batch(
        self, sampler: ShuffledSampler, steps: int, *, cut: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """The next ``steps`` batches of ``sampler``: [steps, B, T, F] and [steps, B, K]; cut in any case."""
        return self.batch(sampler.take(steps))

    def used_by(self, result: Any) -> None:
        """Every batch here is an array of its own."""

    def errors(
        self, forecast: np.ndarray, actual: np.ndarray, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums of errors of segments: ``host.errors``."""
        return host.errors(forecast, actual, offsets)

    def squared_error(self, forecast: np.ndarray, targets: np.ndarray) -> float:
        """The sum of the squared errors of forecasts on targets [n, K]."""
        return float(np.square(np.reshape(forecast, targets.shape) - targets, dtype=np.float64).sum())

    @property
    def nbytes(self) -> int:
        """Bytes that stay in memory."""
        return self._rows.nbytes + self._targets.nbytes

    def close(self) -> None:
        """Nothing to release."""


def _copy_overlap(target: np.ndarray, base: int, length: int, start: int, rows: np.ndarray) -> None:
    """Copy ``rows``, numbered from ``start``, to ``target[base:]`` as far as their numbers are in 0..length."""
    low, high = max(0, start), min(length, start + len(rows))
    if low < high:
        target[base + low : base + high] = rows[low - start : high - start]
