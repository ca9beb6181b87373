"""The kinds of features there are, and how settings name them.

To add one: a file with a subclass of ``Feature``, a line here, and a line in docs/features.md.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from importlib import import_module
from typing import TYPE_CHECKING, cast

from hpc_lstm.errors import ConfigError
from hpc_lstm.features.feature import Feature
from hpc_lstm.features.store_column import StoreColumn

if TYPE_CHECKING:
    from hpc_lstm.features.direction import DirectionTarget
    from hpc_lstm.features.volatility import VolatilityTarget

# Module and class by the name of the kind; a module is imported when settings name its kind.
FEATURES = {
    "log-returns": "log_returns.LogReturns",
    "sma": "sma.SimpleMovingAverage",
    "ema": "ema.ExponentialMovingAverage",
    "returns": "returns.Returns",
    "rsi": "rsi.RelativeStrengthIndex",
    "macd": "macd.Macd",
    "macd-signal": "macd.MacdSignal",
    "bollinger-width": "bollinger_width.BollingerWidth",
    "volatility": "volatility.Volatility",
    "volume-change": "volume_change.VolumeChange",
    "zscore": "zscore.ZScore",
    "lag": "lag.Lag",
    "relative": "relative.Relative",
    "atr": "atr.AverageTrueRange",
    "weekday-sine": "calendar.WeekdaySine",
    "weekday-cosine": "calendar.WeekdayCosine",
    "month-sine": "calendar.MonthSine",
    "month-cosine": "calendar.MonthCosine",
    "day-of-year-sine": "calendar.DayOfYearSine",
    "day-of-year-cosine": "calendar.DayOfYearCosine",
    "month-end": "calendar.MonthEnd",
    "symbol": "symbol_indicator.SymbolIndicator",
    "market": "market_mean.MarketMean",
}

# Beside features that can be targets: what can only be forecast.
TARGETS = {
    "direction": "direction.DirectionTarget",
    "volatility": "volatility.VolatilityTarget",
}

# Of any use far below this, and safe in the integer arithmetic of arrays.
LARGEST_NUMBER = 10**6
_CALL = re.compile(r"\s*([A-Za-z][A-Za-z0-9_-]*)\s*(?:\((.*)\)\s*)?", re.DOTALL)


def feature_class(kind: str) -> type[Feature]:
    """The class of a kind in ``FEATURES``."""
    return cast("type[Feature]", _imported(FEATURES[kind]))


def target_class(kind: str) -> type[DirectionTarget] | type[VolatilityTarget]:
    """The class of a kind in ``TARGETS``."""
    return cast("type[DirectionTarget] | type[VolatilityTarget]", _imported(TARGETS[kind]))


def feature_classes() -> list[type[Feature]]:
    """The classes of all features, the store's own columns first."""
    return [StoreColumn, *map(feature_class, FEATURES)]


def parse_feature(name: str) -> Feature:
    """The feature that settings name: ``close``, ``log-returns``, ``sma(close, 20)``.

    A name that is no call of a known kind is that of a store column.

    Raises:
        ConfigError: wrong arguments of a known kind; the message begins with ``name`` and lacks the key.
    """
    match = _CALL.fullmatch(name)
    if match is None or match[1] not in FEATURES:
        return StoreColumn(name)
    return _parse_arguments(feature_class(match[1]), match[2] or "", name)


def parse_target(name: str) -> tuple[type[DirectionTarget] | type[VolatilityTarget] | None, str]:
    """The kind of target that settings name, and its store column: ``direction``, ``volatility(close)``.

    No kind, and an empty text, where ``name`` may be a feature.
    """
    match = _CALL.fullmatch(name)
    if match is None or match[1] not in TARGETS:
        return None, ""
    return target_class(match[1]), (match[2] or "").strip() or "close"


def unknown_feature(name: str) -> str:
    """Why ``name`` is no feature, if it looks like a call of one; else an empty text."""
    match = _CALL.fullmatch(name)
    if match is None or match[2] is None:
        return ""
    import difflib

    near = difflib.get_close_matches(match[1].lower(), FEATURES, n=1, cutoff=0.5)
    hint = f'did you mean "{feature_class(near[0]).usage()}"? ' if near else ""
    return f'there is no feature "{match[1]}"; {hint}there are {usages()}'


def usages() -> str:
    """All kinds, as settings write them."""
    return ", ".join(kind.usage() for kind in feature_classes())


def _imported(place: str) -> object:
    module, _, name = place.partition(".")
    return getattr(import_module(f"hpc_lstm.features.{module}"), name)


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
                f'write it like "{_example(kind)}"'
            )
        values[number.name] = int(value)
    if texts and first:
        values[texts[0].name] = first
    return kind(**values)


def _example(kind: type[Feature]) -> str:
    words = ["close" if field.type == "str" else "20" for field in fields(kind)]
    return f"{kind.kind}({', '.join(words)})" if words else kind.kind
