"""What a backtest holds: the share of a symbol's money that a forecast puts on a rise or a fall of its price.

``sign`` bets on every forecast. ``interval`` bets only where the whole forecast interval lies beyond the cost of
entering, above or below. ``scaled`` bets the more, the nearer the interval is to that: the distance of the forecast
from the last price over its distance from the interval's end on that side, at most 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np


@dataclass(frozen=True)
class ForecastPrices:
    """A model's forecasts of B windows, as prices.

    Attributes:
        last: float64 [B], prices of the windows' last rows, above 0.
        forecast: float64 [B].
        low, high: float64 [B], the ends of the interval; NaN where there is none.
    """

    last: np.ndarray
    forecast: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class PositionRule:
    """How forecasts become positions.

    Attributes:
        needs_interval: whether forecasts need an interval.
        words: what is traded on, for a table.
        positions: from forecasts and the cost of a change of position, -1 (short) to 1 (long); NaN: none.
    """

    needs_interval: bool
    words: str
    positions: Callable[[ForecastPrices, float], np.ndarray]


def _sign(of: ForecastPrices, cost: float) -> np.ndarray:
    return np.sign(of.forecast - of.last)


def _interval(of: ForecastPrices, cost: float) -> np.ndarray:
    rises, falls = of.low > of.last * (1 + cost), of.high < of.last * (1 - cost)
    return rises.astype(np.float64) - falls


def _scaled(of: ForecastPrices, cost: float) -> np.ndarray:
    change = of.forecast - of.last
    room = np.where(change > 0, of.forecast - of.low, of.high - of.forecast)
    # Without room the whole interval is on the forecast's side.
    share = np.divide(np.abs(change), room, out=np.ones_like(change), where=room > 0)
    return np.where(np.isnan(room), np.nan, np.sign(change) * np.clip(share, 0.0, 1.0))


POSITION_RULES: Mapping[str, PositionRule] = MappingProxyType(
    {
        "sign": PositionRule(False, "the sign of the forecast", _sign),
        "interval": PositionRule(True, "intervals that lie wholly above or below the last price", _interval),
        "scaled": PositionRule(True, "the forecast over its distance from the interval's end", _scaled),
    }
)
