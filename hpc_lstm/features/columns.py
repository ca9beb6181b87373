"""The features and the targets of a model, found among a store's columns and computed for rows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hpc_lstm.errors import ConfigError
from hpc_lstm.features.feature import DIRECTION, ColumnFeature, Feature, Target
from hpc_lstm.features.market_mean import MarketMean
from hpc_lstm.features.registry import (
    FEATURES,
    TARGETS,
    feature_classes,
    parse_feature,
    parse_target,
    unknown_feature,
    usages,
)
from hpc_lstm.features.rows import DailyMean, RowDates, SymbolRows

# Stands for the closes that do not jump at splits: the first of these columns that the store has.
ADJUSTED = "adjusted"
ADJUSTED_COLUMNS = ("adj_close", "close")


@dataclass(frozen=True)
class FeatureColumn:
    """One feature.

    Attributes:
        name: as in the settings.
        numbers: indices of its price columns among the store's.
        feature: how it is computed.
    """

    name: str
    numbers: tuple[int, ...]
    feature: Feature


@dataclass(frozen=True)
class TargetColumn:
    """What is forecast.

    Attributes:
        name: as in the settings.
        number: index of its price column among the store's.
        horizon: rows from a window's last row to this target.
        column: its index among the model's columns: features, then targets.
        transform: how it is computed from prices and turned back into a price.
        positive: whether prices must be above 0.
    """

    name: str
    number: int
    horizon: int
    column: int
    transform: Target
    positive: bool

    @property
    def lookback(self) -> int:
        """Rows before its own that a value depends on."""
        return self.transform.lookback


@dataclass(frozen=True)
class ModelColumns:
    """The features and the targets, found in a store.

    Attributes:
        features: F columns.
        targets: what is forecast, K: each target of the settings at each of their horizons, in that order.
        store_columns: the store's names.
        output: index of the target that is looked at where only one can be.
        market: the mean log returns that features look up, by store column; ``preprocess.market_means`` finds them.
    """

    features: tuple[FeatureColumn, ...]
    targets: tuple[TargetColumn, ...]
    store_columns: tuple[str, ...]
    output: int = 0
    market: Mapping[str, DailyMean] = field(default_factory=dict)

    @property
    def target(self) -> TargetColumn:
        """The target that is looked at."""
        return self.targets[self.output]

    @property
    def names(self) -> list[str]:
        """Features, then targets; where a target has several horizons, each with its own."""
        several = len({target.horizon for target in self.targets}) > 1
        targets = [f"{target.name}@{target.horizon}" if several else target.name for target in self.targets]
        return [*(column.name for column in self.features), *targets]

    @property
    def horizons(self) -> list[int]:
        """Rows from a window's last row to each target."""
        return [target.horizon for target in self.targets]

    @property
    def lookback(self) -> int:
        """Rows before a window's first that its features need."""
        return max(column.feature.lookback for column in self.features)

    @property
    def longest_lookback(self) -> int:
        """Rows before a row that its features and its target values need."""
        return max(self.lookback, *(target.lookback for target in self.targets))

    @property
    def numbers(self) -> list[int]:
        """Store columns that are used, ascending."""
        return sorted(
            {
                *(n for column in self.features for n in column.numbers),
                *(target.number for target in self.targets),
            }
        )

    @property
    def positive(self) -> dict[int, str]:
        """Store columns whose values must be above 0, and the name of a model column that needs it."""
        needing = [column for column in self.features if column.feature.positive]
        found = {target.number: target.name for target in reversed(self.targets) if target.positive}
        return found | {number: column.name for column in reversed(needing) for number in column.numbers}

    @property
    def dated(self) -> bool:
        """Whether a feature looks at dates or symbols."""
        return any(column.feature.dated for column in self.features)

    @property
    def unscaled(self) -> list[int]:
        """Indices of the columns that are not scaled."""
        features = [index for index, column in enumerate(self.features) if not column.feature.scaled]
        return features + [t.column for t in self.targets if t.transform.unit == DIRECTION]

    def usable(self, rows: np.ndarray, number: int) -> np.ndarray:
        """Which values of a store column can be computed with: bool [n] of ``rows`` float64 [n, store columns]."""
        return self.usable_values(rows[:, number], number)

    def usable_values(self, values: np.ndarray, number: int) -> np.ndarray:
        """The same of the column's own values, float64 [n]."""
        finite = np.isfinite(values)
        return finite & (values > 0) if number in self.positive else finite


def find_columns(
    features: Sequence[str],
    targets: Sequence[str],
    horizons: Sequence[int],
    store_columns: Sequence[str],
    where: str,
) -> ModelColumns:
    """Find the settings' features and targets among a store's columns.

    Args:
        where: the store's path, for messages.

    Raises:
        ConfigError: a column that the store lacks or a feature that does not exist (the nearest is named), wrong
            arguments, a feature given twice, or a target that cannot be one.
    """
    found: list[FeatureColumn] = []
    for name in features:
        feature = _known_feature("data.features", name, store_columns, where)
        if any(feature == column.feature for column in found):
            raise ConfigError(f'data.features: "{name}" is given twice; remove one')
        numbers = tuple(list(store_columns).index(source) for source in feature.sources)
        found.append(FeatureColumn(name, numbers, feature))
    forecast: list[TargetColumn] = []
    for name in targets:
        kind, column = parse_target(name)
        source = _known_feature("data.target", column if kind else name, store_columns, where)
        (column, *_) = source.sources or ("",)
        number = list(store_columns).index(column) if column else -1
        for horizon in horizons:
            transform: Target | None = kind(horizon) if kind else source.as_target(horizon)
            if transform is None:
                able = [each.usage() for each in feature_classes() if each.as_target is not Feature.as_target]
                able += [f"{each}(NAME)" for each in TARGETS]
                raise ConfigError(f'data.target: "{name}" cannot be a target; take {" or ".join(able)}')
            place = len(found) + len(forecast)
            positive = kind.positive if kind else source.positive
            forecast.append(TargetColumn(name, number, horizon, place, transform, positive))
    return ModelColumns(tuple(found), tuple(forecast), tuple(store_columns))


def compute_columns(
    raw: np.ndarray, offsets: np.ndarray, columns: ModelColumns, about: Sequence[RowDates] | None = None
) -> np.ndarray:
    """Model columns of rows of the store.

    Args:
        raw: float64 [n, store columns]; pieces of consecutive rows of one symbol, below each other.
        offsets: int64 [k+1], rows of piece i are offsets[i]..offsets[i+1].
        about: of each piece; needed where ``columns.dated``.

    Returns:
        float64 [n, F+K], features then targets. Where a piece is not the beginning of its symbol, its first
        ``columns.lookback`` rows have other features than they have in the symbol. Where a target looks back
        beyond its piece, it is NaN.
    """
    values = np.empty((len(raw), len(columns.features) + len(columns.targets)))
    for piece, (begin, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        prices = {
            columns.store_columns[number]: np.ascontiguousarray(raw[begin:end, number])
            for number in columns.numbers
        }
        rows = SymbolRows(prices, about[piece] if about is not None else None, columns.market)
        for index, column in enumerate(columns.features):
            values[begin:end, index] = column.feature.values(rows)
        for target in columns.targets:
            of_target = prices[columns.store_columns[target.number]]
            values[begin:end, target.column] = target.transform.compute(of_target)
    return values


def _known_feature(key: str, name: str, store_columns: Sequence[str], where: str) -> Feature:
    try:
        feature = parse_feature(name)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None
    wanted = ""
    if isinstance(feature, (ColumnFeature, MarketMean)):
        wanted = feature.column
        if wanted == ADJUSTED and ADJUSTED not in store_columns:
            known = [column for column in ADJUSTED_COLUMNS if column in store_columns]
            feature = replace(feature, column=known[0]) if known else feature
    lacking = [source for source in feature.sources if source not in store_columns]
    if not lacking:
        return feature
    if problem := unknown_feature(name) if wanted == name else "":
        raise ConfigError(f"{key}: {problem}")
    import difflib

    kinds = FEATURES if wanted == name else ()
    near = difflib.get_close_matches(lacking[0], [*store_columns, *kinds], n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    missing = ADJUSTED_COLUMNS if lacking[0] == ADJUSTED else (lacking[0],)
    raise ConfigError(
        f"{key}: {where} has no column "
        + " or ".join(f'"{column}"' for column in missing)
        + f"; {hint}it has {', '.join(store_columns)}, and features may be {usages()}"
    )
