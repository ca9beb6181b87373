"""The scaling of each symbol's columns, and its file; ``scaling_fit`` fits it on the ranks' train rows.

A value is scaled to ``x * scale + shift``. Constant columns count as of range or deviation 1, NaN is left
out of the fit and a column without any value gives NaN: as scikit-learn's MinMaxScaler and StandardScaler do.

``scaler.h5``: attributes ``format``, ``version``, ``kind``, ``feature_range``; data sets ``symbols`` [S] and
``columns`` [C] as text, ``scale``, ``shift``, ``first`` and ``second`` float64 [S, C].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from hpc_lstm.errors import InputError, why_unreadable
from hpc_lstm.hdf5.reading import UNREADABLE, own_dataset, sound_hdf5
from hpc_lstm.hdf5.writing import whole_hdf5

FORMAT = "hpc_lstm scaler"
VERSION = 1
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Scaler:
    """Scale and shift of S symbols and C columns.

    Attributes:
        symbols: S names.
        columns: C names: the features, then the targets.
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

    @cached_property
    def constant(self) -> np.ndarray:
        """Which columns did not vary in train, bool [S, C]; their scale says nothing of how they may vary."""
        if self.kind == "minmax":
            return np.asarray(self.second - self.first < 10 * EPSILON)
        # A scale of 1 that is not that of the variance; columns that are left as they are have no shift.
        not_of_variance = np.abs(self.second - 1) > 10 * EPSILON
        return np.asarray((self.scale == 1) & not_of_variance & (self.shift == -self.first))

    def inverse_target(self, scaled: np.ndarray, symbol: np.ndarray | int, column: int = -1) -> np.ndarray:
        """Target values in their own unit.

        Args:
            scaled: [...] scaled values.
            symbol: index into ``symbols`` of each value, or of all.
            column: index of the target among ``columns``.

        Returns:
            float64 [...].
        """
        return (np.asarray(scaled, np.float64) - self.shift[symbol, column]) / self.scale[symbol, column]

    def unscaled(self, columns: Sequence[int]) -> Scaler:
        """The same, with some columns left as they are."""
        scale, shift = self.scale.copy(), self.shift.copy()
        scale[:, columns], shift[:, columns] = 1.0, 0.0
        return replace(self, scale=scale, shift=shift)

    def select(
        self, names: Sequence[str], remedy: str = "name symbols of the run in data.symbols"
    ) -> np.ndarray:
        """Indices of ``names`` into ``symbols``, int64.

        Args:
            remedy: what to do where there is no such symbol, for the message.

        Raises:
            InputError: a symbol that was not scaled.
        """
        indices = {name: index for index, name in enumerate(self.symbols)}
        few = ", ".join(self.symbols[:5]) + (", ..." if len(self.symbols) > 5 else "")
        for name in names:
            if name not in indices:
                raise InputError(
                    f"symbol {name}: the run was not trained on it, so its scaling is not known; "
                    f"{remedy} ({few})"
                )
        return np.array([indices[name] for name in names], np.int64)

    def save(self, path: str | Path) -> None:
        """Write the file whole or not at all.

        Raises:
            InputError: disk full or no permission.
        """
        with whole_hdf5(path) as file:
            file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
            file.attrs["kind"], file.attrs["feature_range"] = self.kind, self.feature_range
            text = h5py.string_dtype()
            file.create_dataset("symbols", data=self.symbols, dtype=text)
            file.create_dataset("columns", data=self.columns, dtype=text)
            for name in ("scale", "shift", "first", "second"):
                file.create_dataset(name, data=getattr(self, name))

    @classmethod
    def load(cls, path: str | Path) -> Scaler:
        """Read what ``save`` wrote.

        Raises:
            InputError: missing, not a scaler, of a newer version, or damaged.
        """
        try:
            with sound_hdf5(path) as file:
                if str(file.attrs.get("format")) != FORMAT:
                    raise InputError(f'{path}: not a scaler: its format is not "{FORMAT}"; train again')
                if int(file.attrs["version"]) > VERSION:
                    raise InputError(
                        f"{path}: scaler version {file.attrs['version']}, this program reads {VERSION}; "
                        "update hpc_lstm"
                    )
                low, high = (float(bound) for bound in file.attrs["feature_range"])
                scaler = cls(
                    symbols=own_dataset(file, "symbols").asstr()[:].tolist(),
                    columns=own_dataset(file, "columns").asstr()[:].tolist(),
                    kind=str(file.attrs["kind"]),
                    feature_range=(low, high),
                    **{
                        name: own_dataset(file, name)[:].astype(np.float64)
                        for name in ("scale", "shift", "first", "second")
                    },
                )
        except UNREADABLE as error:
            reason = " ".join(str(error).split())
            damaged = f"cannot be read as a scaler ({reason}); train again, or restore it"
            raise InputError(f"{path}: {why_unreadable(error, damaged)}") from None
        shape = (len(scaler.symbols), len(scaler.columns))
        if any(a.shape != shape for a in (scaler.scale, scaler.shift, scaler.first, scaler.second)):
            raise InputError(f"{path}: a damaged scaler: arrays must be {shape[0]} x {shape[1]}; train again")
        if scaler.kind not in ("minmax", "standard") or not all(map(math.isfinite, scaler.feature_range)):
            raise InputError(f"{path}: a damaged scaler: its kind or range is unknown; train again")
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
