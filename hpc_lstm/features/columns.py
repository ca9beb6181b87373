"""The features and the target of a model, found among a store's columns and computed for rows of it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpc_lstm.errors import ConfigError
from hpc_lstm.features.feature import Feature, Target
from hpc_lstm.features.registry import FEATURES, parse_feature, unknown_feature, usages


@dataclass(frozen=True)
class FeatureColumn:
    """One feature.

    Attributes:
        name: as in the settings.
        number: index of its price column among the store's.
        feature: how it is computed.
    """

    name: str
    number: int
    feature: Feature


@dataclass(frozen=True)
class TargetColumn:
    """What is forecast.

    Attributes:
        name: as in the settings.
        number: index of its price column among the store's.
        transform: how it is computed from prices and turned back into a price.
        positive: whether prices must be above 0.
    """

    name: str
    number: int
    transform: Target
    positive: bool

    @property
    def lookback(self) -> int:
        """Rows before its own that a value depends on."""
        return self.transform.lookback


@dataclass(frozen=True)
class ModelColumns:
    """The features and the target, found in a store.

    Attributes:
        features: F columns.
        target: what is forecast.
        store_columns: the store's names.
    """

    features: tuple[FeatureColumn, ...]
    target: TargetColumn
    store_columns: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Features, then the target."""
        return [*(column.name for column in self.features), self.target.name]

    @property
    def lookback(self) -> int:
        """Rows before a window's first that its features need."""
        return max(column.feature.lookback for column in self.features)

    @property
    def longest_lookback(self) -> int:
        """Rows before a row that its features and its target value need."""
        return max(self.lookback, self.target.lookback)

    @property
    def numbers(self) -> list[int]:
        """Store columns that are used, ascending."""
        return sorted({*(column.number for column in self.features), self.target.number})

    @property
    def positive(self) -> dict[int, str]:
        """Store columns whose values must be above 0, and the name of a model column that needs it."""
        needing = [column for column in self.features if column.feature.positive]
        found = {self.target.number: self.target.name} if self.target.positive else {}
        return found | {column.number: column.name for column in reversed(needing)}

    def usable(self, rows: np.ndarray, number: int) -> np.ndarray:
        """Which values of a store column can be computed with: bool [n] of ``rows`` float64 [n, store columns]."""
        return self.usable_values(rows[:, number], number)

    def usable_values(self, values: np.ndarray, number: int) -> np.ndarray:
        """The same of the column's own values, float64 [n]."""
        finite = np.isfinite(values)
        return finite & (values > 0) if number in self.positive else finite


def find_columns(
    features: Sequence[str], target: str, horizon: int, store_columns: Sequence[str], where: str
) -> ModelColumns:
    """Find the settings' features and target among a store's columns.

    Args:
        where: the store's path, for messages.

    Raises:
        ConfigError: a column that the store lacks or a feature that does not exist (the nearest is named), wrong
            arguments, a feature given twice, or a target from which no price follows.
    """
    found: list[FeatureColumn] = []
    for name in features:
        feature = _known_feature("data.features", name, store_columns, where)
        if any(feature == column.feature for column in found):
            raise ConfigError(f'data.features: "{name}" is given twice; remove one')
        found.append(FeatureColumn(name, list(store_columns).index(feature.column), feature))
    source = _known_feature("data.target", target, store_columns, where)
    forecast = source.as_target(horizon)
    if forecast is None:
        able = [kind.usage() for kind in FEATURES if kind.as_target is not Feature.as_target]
        raise ConfigError(
            f'data.target: "{target}" cannot be a target, because no price follows from it; '
            f"take {' or '.join(able)}"
        )
    number = list(store_columns).index(source.column)
    return ModelColumns(
        tuple(found), TargetColumn(target, number, forecast, source.positive), tuple(store_columns)
    )


def compute_columns(raw: np.ndarray, offsets: np.ndarray, columns: ModelColumns) -> np.ndarray:
    """Model columns of rows of the store.

    Args:
        raw: float64 [n, store columns]; pieces of consecutive rows of one symbol, below each other.
        offsets: int64 [k+1], rows of piece i are offsets[i]..offsets[i+1].

    Returns:
        float64 [n, F+1], features then target. Where a piece is not the beginning of its symbol, its first
        ``columns.lookback`` rows have other features than they have in the symbol. Where the target looks back
        beyond its piece, it is NaN.
    """
    values = np.empty((len(raw), len(columns.features) + 1))
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        prices = {number: np.ascontiguousarray(raw[begin:end, number]) for number in columns.numbers}
        for index, column in enumerate(columns.features):
            values[begin:end, index] = column.feature.compute(prices[column.number])
        values[begin:end, -1] = columns.target.transform.compute(prices[columns.target.number])
    return values


def _known_feature(key: str, name: str, store_columns: Sequence[str], where: str) -> Feature:
    try:
        feature = parse_feature(name)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None
    if feature.column in store_columns:
        return feature
    if problem := unknown_feature(name) if feature.column == name else "":
        raise ConfigError(f"{key}: {problem}")
    kinds = [kind.kind for kind in FEATURES] if feature.column == name else []
    near = difflib.get_close_matches(feature.column, [*store_columns, *kinds], n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    raise ConfigError(
        f'{key}: {where} has no column "{feature.column}"; {hint}it has {", ".join(store_columns)}, '
        f"and features may be {usages()}"
    )
