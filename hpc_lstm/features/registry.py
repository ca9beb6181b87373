"""The kinds of features there are, and how settings name them.

To add one: a file with a subclass of ``Feature``, a line here, and a line in docs/features.md.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import MISSING, fields

from hpc_lstm.errors import ConfigError
from hpc_lstm.features.atr import AverageTrueRange
from hpc_lstm.features.bollinger_width import BollingerWidth
from hpc_lstm.features.calendar import (
    DayOfYearCosine,
    DayOfYearSine,
    MonthCosine,
    MonthEnd,
    MonthSine,
    WeekdayCosine,
    WeekdaySine,
)
from hpc_lstm.features.direction import DirectionTarget
from hpc_lstm.features.ema import ExponentialMovingAverage
from hpc_lstm.features.feature import Feature
from hpc_lstm.features.lag import Lag
from hpc_lstm.features.log_returns import LogReturns
from hpc_lstm.features.macd import Macd, MacdSignal
from hpc_lstm.features.market_mean import MarketMean
from hpc_lstm.features.relative import Relative
from hpc_lstm.features.returns import Returns
from hpc_lstm.features.rsi import RelativeStrengthIndex
from hpc_lstm.features.sma import SimpleMovingAverage
from hpc_lstm.features.store_column import StoreColumn
from hpc_lstm.features.symbol_indicator import SymbolIndicator
from hpc_lstm.features.volatility import Volatility, VolatilityTarget
from hpc_lstm.features.volume_change import VolumeChange
from hpc_lstm.features.zscore import ZScore

FEATURES: tuple[type[Feature], ...] = (
    StoreColumn,
    LogReturns,
    SimpleMovingAverage,
    ExponentialMovingAverage,
    Returns,
    RelativeStrengthIndex,
    Macd,
    MacdSignal,
    BollingerWidth,
    Volatility,
    VolumeChange,
    ZScore,
    Lag,
    Relative,
    AverageTrueRange,
    WeekdaySine,
    WeekdayCosine,
    MonthSine,
    MonthCosine,
    DayOfYearSine,
    DayOfYearCosine,
    MonthEnd,
    SymbolIndicator,
    MarketMean,
)

# Beside features that can be targets: what can only be forecast.
TARGETS: tuple[type[DirectionTarget] | type[VolatilityTarget], ...] = (
    DirectionTarget,
    VolatilityTarget,
)

# Of any use far below this, and safe in the integer arithmetic of arrays.
LARGEST_NUMBER = 10**6
_CALL = re.compile(r"\s*([A-Za-z][A-Za-z0-9_-]*)\s*(?:\((.*)\)\s*)?", re.DOTALL)


def parse_feature(name: str) -> Feature:
    """The feature that settings name: ``close``, ``log-returns``, ``sma(close, 20)``.

    A name that is no call of a known kind is that of a store column.

    Raises:
        ConfigError: wrong arguments of a known kind; the message begins with ``name`` and lacks the key.
    """
    kinds = {kind.kind: kind for kind in FEATURES if kind is not StoreColumn}
    match = _CALL.fullmatch(name)
    if match is None or match[1] not in kinds:
        return StoreColumn(name)
    return _parse_arguments(kinds[match[1]], match[2] or "", name)


def parse_target(name: str) -> tuple[type[DirectionTarget] | type[VolatilityTarget] | None, str]:
    """The kind of target that settings name, and its store column: ``direction``, ``volatility(close)``.

    No kind, and an empty text, where ``name`` may be a feature.
    """
    match = _CALL.fullmatch(name)
    kind = {kind.kind: kind for kind in TARGETS}.get(match[1]) if match is not None else None
    column = (match[2] or "").strip() if match is not None else ""
    return (kind, column or "close") if kind is not None else (None, "")


def unknown_feature(name: str) -> str:
    """Why ``name`` is no feature, if it looks like a call of one; else an empty text."""
    match = _CALL.fullmatch(name)
    if match is None or match[2] is None:
        return ""
    known = {kind.kind: kind for kind in FEATURES if kind is not StoreColumn}
    near = difflib.get_close_matches(match[1].lower(), known, n=1, cutoff=0.5)
    hint = f'did you mean "{known[near[0]].usage()}"? ' if near else ""
    return f'there is no feature "{match[1]}"; {hint}there are {usages()}'


def usages() -> str:
    """All kinds, as settings write them."""
    return ", ".join(kind.usage() for kind in FEATURES)


def _parse_arguments(kind: type[Feature], text: str, name: str) -> Feature:
    texts = [field for field in fields(kind) if field.type == "str"]
    numbers = fields(kind)[len(texts) :]
    # The text comes first, and may have commas in its own name.
    parts = text.rsplit(",", len(numbers)) if texts else ["", *text.split(",")]
    first, number_texts = parts[0].strip(), parts[1:] if text.strip() else []
    needed = [field.default is MISSING for field in texts]
    if len(number_texts) != len(numbers) or (any(needed) and not first):
        raise ConfigError(f'"{name}": must be written {kind.usage()}, such as "{_example(kind)}"')
    values: dict[str, str | int] = {}
    for number, value in zip(numbers, map(str.strip, number_texts), strict=True):
        if not re.fullmatch(r"[0-9]{1,7}", value) or not 1 <= int(value) <= LARGEST_NUMBER:
            raise ConfigError(
                f'"{name}": {number.name} must be a whole number from 1 to {LARGEST_NUMBER:,}, got "{value}"; '
                f'write it such as "{_example(kind)}"'
            )
        values[number.name] = int(value)
    if texts and first:
        values[texts[0].name] = first
    return kind(**values)


def _example(kind: type[Feature]) -> str:
    words = ["close" if field.type == "str" else "20" for field in fields(kind)]
    return f"{kind.kind}({', '.join(words)})" if words else kind.kind
