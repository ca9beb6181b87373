"""Scaling of each symbol's columns, fitted on train rows alone, on all ranks together.

A value is scaled to ``x * scale + shift``. Constant columns count as of range or deviation 1, NaN is left
out of the fit and a column without any value gives NaN: as scikit-learn's MinMaxScaler and StandardScaler do.

``scaler.h5``: attributes ``format``, ``version``, ``kind``, ``feature_range``; data sets ``symbols`` [S] and
``columns`` [C] as text, ``scale``, ``shift``, ``first`` and ``second`` float64 [S, C].
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_lstm.errors import InputError, from_os_error
from hpc_lstm.features.columns import ModelColumns
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.reading import Piece
from hpc_lstm.preprocess.slices import Slice

FORMAT = "hpc_lstm scaler"
VERSION = 1
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Scaler:
    """Scale and shift of S symbols and C columns.

    Attributes:
        symbols: S names.
        columns: C names: the features, then the target.
        kind: "minmax" or "standard".
        feature_range: what min-max scaling maps train values to.
        scale, shift: float64 [S, C].
        first, second: float64 [S, C]: extremes of train values ("minmax"), or mean and variance.
    """

    symbols: list[str]
    columns: list[str]
    kind: str
    feature_range: tuple[float, float]
    scale: np.ndarray
    shift: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def inverse_target(self, scaled: np.ndarray, symbol: np.ndarray | int) -> np.ndarray:
        """Target values in their own unit.

        Args:
            scaled: [...] scaled values.
            symbol: place in ``symbols`` of each, or of all.

        Returns:
            float64 [...].
        """
        return (np.asarray(scaled, np.float64) - self.shift[symbol, -1]) / self.scale[symbol, -1]

    def select(self, names: Sequence[str]) -> np.ndarray:
        """Places of ``names`` in ``symbols``, int64.

        Raises:
            InputError: a symbol that was not scaled.
        """
        places = {name: place for place, name in enumerate(self.symbols)}
        for name in names:
            if name not in places:
                raise InputError(
                    f"symbol {name}: the run was not trained on it, so its scaling is not known; "
                    f"name symbols of the run in data.symbols ({', '.join(self.symbols[:5])}, ...)"
                )
        return np.array([places[name] for name in names], np.int64)

    def save(self, path: str | Path) -> None:
        """Write to a temporary name beside ``path``, then rename.

        Raises:
            InputError: disk full or no permission.
        """
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with h5py.File(temporary, "w") as file:
                file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
                file.attrs["kind"], file.attrs["feature_range"] = self.kind, self.feature_range
                text = h5py.string_dtype()
                file.create_dataset("symbols", data=self.symbols, dtype=text)
                file.create_dataset("columns", data=self.columns, dtype=text)
                for name in ("scale", "shift", "first", "second"):
                    file.create_dataset(name, data=getattr(self, name))
            temporary.replace(path)
        except OSError as error:
            known = from_os_error(error)
            raise InputError(f"{path}: cannot be written: {known or error}") from None
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> Scaler:
        """Read what ``save`` wrote.

        Raises:
            InputError: missing, not a scaler, of a newer version, or damaged.
        """
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != FORMAT:
                    raise InputError(f'{path}: not a scaler: its format is not "{FORMAT}"; train again')
                if int(file.attrs["version"]) > VERSION:
                    raise InputError(
                        f"{path}: scaler version {file.attrs['version']}, this program reads {VERSION}; "
                        "update hpc_lstm"
                    )
                low, high = (float(bound) for bound in file.attrs["feature_range"])
                scaler = cls(
                    symbols=list(file["symbols"].asstr()[:]),
                    columns=list(file["columns"].asstr()[:]),
                    kind=str(file.attrs["kind"]),
                    feature_range=(low, high),
                    **{name: file[name][:] for name in ("scale", "shift", "first", "second")},
                )
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"{path}: cannot be read as a scaler ({error}); train again, or restore it"
            ) from None
        shape = (len(scaler.symbols), len(scaler.columns))
        if any(a.shape != shape for a in (scaler.scale, scaler.shift, scaler.first, scaler.second)):
            raise InputError(f"{path}: a damaged scaler: arrays must be {shape[0]} x {shape[1]}; train again")
        return scaler


def minmax(
    symbols: list[str], columns: list[str], low: np.ndarray, high: np.ndarray, feature_range: Sequence[float]
) -> Scaler:
    """Min-max scaling from smallest and largest values float64 [S, C]; infinity, minus infinity: no value."""
    none = low > high
    low, high = np.where(none, np.nan, low), np.where(none, np.nan, high)
    spread = high - low
    bottom, top = float(feature_range[0]), float(feature_range[1])
    scale = (top - bottom) / np.where(spread < 10 * EPSILON, 1.0, spread)
    return Scaler(symbols, columns, "minmax", (bottom, top), scale, bottom - low * scale, low, high)


def standard(
    symbols: list[str], columns: list[str], count: np.ndarray, mean: np.ndarray, squares: np.ndarray
) -> Scaler:
    """Zero mean and unit variance from counts, means and squares about the mean, float64 [S, C]."""
    with np.errstate(invalid="ignore"):
        variance = squares / count
    mean = np.where(count == 0, np.nan, mean)
    # A variance within the rounding of the sums it comes from is that of a constant.
    constant = variance <= count * EPSILON * variance + (count * mean * EPSILON) ** 2
    scale = 1 / np.where(constant, 1.0, np.sqrt(variance))
    return Scaler(symbols, columns, "standard", (0.0, 1.0), scale, -mean * scale, mean, variance)


def owned_rows(part: Slice, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Which rows of each segment this rank counts, among all ranks that share the symbol.

    Args:
        lag: rows that the target looks back.

    Returns:
        Two int64 [2, G], of the features and of the target: first row and the one after the last, counted from
        the first row of the segment's first window.
    """
    length = part.row_stop - part.first
    features = np.stack([np.zeros_like(length), np.where(part.closes, length, part.count)])
    end = np.where(part.closes, length, np.minimum(length, part.count + lag))
    return features, np.stack([np.minimum(end, lag), end])


class LocalFit:
    """Statistics of one rank's share of the train rows; every train row is counted by one rank.

    Where ranks share a symbol, each owns the rows from its first window's first row to the next rank's; a
    target that looks ``lag`` rows back is owned by whoever owns the row it looks back on.

    Args:
        symbols: usable symbols, S.
    """

    def __init__(self, part: Slice, columns: ModelColumns, symbols: int, kind: str, backend: Any) -> None:
        self._part, self._columns, self.kind, self._backend = part, columns, kind, backend
        self._features, self._target = owned_rows(part, columns.target.lookback)
        shape = (symbols, len(columns.features) + 1)
        # minmax: low, high; standard: count, mean, squares about the mean
        self.low, self.high = np.full(shape, np.inf), np.full(shape, -np.inf)
        self.count, self.mean, self.squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    def add(self, pieces: list[Piece], offsets: np.ndarray, values: np.ndarray) -> None:
        """Take a batch of rows; ``values`` float64 [n, F+1] of rows that others own are overwritten."""
        for piece, begin in zip(pieces, offsets[:-1], strict=True):
            rows = values[begin : begin + piece.stop - piece.start]
            before = piece.start - int(self._part.first[piece.segment])
            for owned, place in ((self._features, slice(None, -1)), (self._target, slice(-1, None))):
                rows[: max(0, int(owned[0, piece.segment]) - before), place] = np.nan
                rows[max(0, int(owned[1, piece.segment]) - before) :, place] = np.nan
        symbol = self._part.symbol[[piece.segment for piece in pieces]]
        fit = self._backend.fit_minmax if self.kind == "minmax" else self._backend.fit_moments
        self.merge(symbol, fit(values, offsets))

    def merge(self, symbol: np.ndarray, found: tuple[np.ndarray, ...]) -> None:
        """Take statistics of further rows.

        Args:
            symbol: int64 [k], each at most once.
            found: what the backend's ``fit_minmax`` or ``fit_moments`` returned, float64 [k, F+1] each.
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
        names = self._columns.names
        if self.kind == "minmax":
            return minmax(
                symbols, names, world.allreduce_min(self.low), world.allreduce_max(self.high), feature_range
            )
        count = world.allreduce_sum(self.count.copy())
        mean = world.allreduce_sum(self.count * self.mean) / np.maximum(count, 1)
        squares = world.allreduce_sum(self.squares + self.count * (self.mean - mean) ** 2)
        return standard(symbols, names, count, mean, squares)
