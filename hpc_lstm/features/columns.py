"""What the network sees and forecasts: columns of the store, or log returns of one.

NAME                   the store's column
log-returns(NAME)      log of a row's value over an earlier one's: one row earlier as a feature,
                       ``horizon`` rows earlier as the target
log-returns            the same of ``close``
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpc_lstm.errors import ConfigError

LOG_RETURNS = re.compile(r"log-returns(?:\((.*)\))?")


@dataclass(frozen=True)
class Column:
    """One model column.

    Attributes:
        name: as the settings say it.
        number: place of the price column among the store's.
        lag: rows that a log return looks back; 0: the price column itself.
    """

    name: str
    number: int
    lag: int = 0


@dataclass(frozen=True)
class ModelColumns:
    """The features and the target, found in a store.

    Attributes:
        features: F columns.
        target: what is forecast.
        store_columns: the store's names.
    """

    features: tuple[Column, ...]
    target: Column
    store_columns: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Features, then the target."""
        return [column.name for column in (*self.features, self.target)]

    @property
    def lookback(self) -> int:
        """Rows before a window's first that its features need."""
        return max(column.lag for column in self.features)

    @property
    def longest_lag(self) -> int:
        """Rows before a row that its features and its target value need."""
        return max(self.lookback, self.target.lag)

    @property
    def numbers(self) -> list[int]:
        """Store columns that are used, ascending."""
        return sorted({column.number for column in (*self.features, self.target)})

    @property
    def logarithmic(self) -> list[int]:
        """Store columns whose logarithm is taken, ascending."""
        return sorted({column.number for column in (*self.features, self.target) if column.lag})


def find(
    features: Sequence[str], target: str, horizon: int, store_columns: Sequence[str], where: str
) -> ModelColumns:
    """Find the settings' features and target among a store's columns.

    Args:
        where: the store's path, for messages.

    Raises:
        ConfigError: a column that the store lacks (the nearest is named), or a feature given twice.
    """
    found = tuple(_column("data.features", name, 1, store_columns, where) for name in features)
    meanings = [(column.number, column.lag) for column in found]
    for place, meaning in enumerate(meanings):
        if meaning in meanings[:place]:
            raise ConfigError(f'data.features: "{features[place]}" is given twice; remove one')
    forecast = _column("data.target", target, horizon, store_columns, where)
    return ModelColumns(found, forecast, tuple(store_columns))


def compute(raw: np.ndarray, offsets: np.ndarray, columns: ModelColumns) -> np.ndarray:
    """Model columns of rows of the store.

    Args:
        raw: float64 [n, store columns]; pieces of consecutive rows below each other.
        offsets: int64 [k+1], rows of piece i are offsets[i]..offsets[i+1].

    Returns:
        float64 [n, F+1], features then target. Where a log return looks back beyond its piece, a
        feature is 0 and the target NaN.
    """
    values = np.empty((len(raw), len(columns.features) + 1))
    position: np.ndarray | None = None
    for place, column in enumerate((*columns.features, columns.target)):
        if column.lag == 0:
            values[:, place] = raw[:, column.number]
            continue
        if position is None:
            position = np.arange(len(raw)) - np.repeat(offsets[:-1], np.diff(offsets))
        price = raw[:, column.number]
        with np.errstate(divide="ignore", invalid="ignore"):
            values[column.lag :, place] = np.log(price[column.lag :] / price[: -column.lag])
        values[position < column.lag, place] = np.nan if column is columns.target else 0.0
    return values


def _column(key: str, name: str, lag: int, store_columns: Sequence[str], where: str) -> Column:
    match = LOG_RETURNS.fullmatch(name)
    source = (match[1] or "close") if match else name
    if source not in store_columns:
        near = difflib.get_close_matches(name, [*store_columns, "log-returns"], n=1, cutoff=0.5)
        hint = f'did you mean "{near[0]}"? ' if near and near[0] != name else ""
        raise ConfigError(
            f'{key}: {where} has no column "{source}"; {hint}it has {", ".join(store_columns)}, '
            'and "log-returns" of each'
        )
    return Column(name, list(store_columns).index(source), lag if match else 0)
