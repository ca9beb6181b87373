"""What trading on the forecasts would have earned after costs, beside holding everything: no advice.

On each date the money is spread evenly over all symbols that have a window: long where the price is forecast to rise,
short where it is forecast to fall, as a rule of ``positions`` says. Nothing is borrowed. With a horizon of h rows a
position is held for h rows, and a share 1 / h of the money is placed anew on each date. A change of position costs a
share of the money that is moved: once for a sale, once for a purchase. Dividends, taxes, interest, the cost of being
short and what orders do to prices are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_lstm.arrays import distinct
from hpc_lstm.evaluation.positions import POSITION_RULES, ForecastPrices, PositionRule
from hpc_lstm.parallel.world import World

# Fewer independent bets than this say nothing about a Sharpe ratio: its standard error is above 1 / sqrt(60) a bet.
FEWEST_BETS = 60
DAYS_PER_YEAR = 365.25
NS_PER_DAY = 86_400 * 10**9


@dataclass(frozen=True)
class BacktestSettings:
    """How to trade.

    Attributes:
        cost: of a change of position, as a share of the money that is moved.
        short: whether a falling price is sold short; otherwise the money rests.
        rule: a name of ``POSITION_RULES``: how forecasts become positions.
    """

    cost: float
    short: bool = True
    rule: str = "sign"

    @property
    def position_rule(self) -> PositionRule:
        """The rule of that name."""
        return POSITION_RULES[self.rule]


class Bets:
    """Collects the windows of a part for ``backtest``, symbol by symbol in order of date."""

    def __init__(self, settings: BacktestSettings) -> None:
        self.settings = settings
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, symbol: np.ndarray, actual: np.ndarray, dates: np.ndarray, prices: ForecastPrices) -> None:
        """Add windows: symbols int [B], prices of the target rows float64 [B], and what the model forecast."""
        settings = self.settings
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            gain = actual / prices.last - 1
            position = np.nan_to_num(settings.position_rule.positions(prices, settings.cost), nan=0.0)
        if not settings.short:
            position = np.maximum(position, 0.0)
        known = np.isfinite(gain) & (prices.last > 0)
        self._parts.append(
            (np.asarray(symbol)[known], np.asarray(dates)[known], position[known], gain[known])
        )

    def collected(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Symbol, date, position and gain of all windows of this rank."""
        none = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))
        symbol, date, position, gain = (
            np.concatenate(values) for values in zip(none, *self._parts, strict=True)
        )
        return symbol, date, position, gain


def backtest(bets: Bets, horizon: int, date_unit: str, world: World) -> dict[str, Any] | None:
    """What the bets of all ranks came to, ready for JSON; None without a bet. Collective.

    Args:
        horizon: rows from a window's last row to its target.
        date_unit: of the store, "D" or "ns".
    """
    settings = bets.settings
    symbol, date, position, gain = bets.collected()
    moved = np.abs(position - _positions_before(symbol, position, horizon, world))
    mine, index = np.unique(date, return_inverse=True)
    dates = distinct(np.concatenate(world.allgather(mine)))
    here = np.searchsorted(dates, mine)
    summed = (None, position * gain, gain, moved, np.abs(position))
    sums = np.zeros((len(summed), len(dates)))
    for row, values in enumerate(summed):
        sums[row, here] = np.bincount(index, values, len(mine))
    windows, earned, held, moved, invested = world.allreduce_sum(sums)
    if len(dates) < 2:
        return None
    turnover = moved / windows / horizon
    gross = earned / windows / horizon
    span = float(dates[-1] - dates[0]) / (1 if date_unit == "D" else NS_PER_DAY)
    per_year = (len(dates) - 1) / span * DAYS_PER_YEAR
    bought = np.zeros(len(dates))
    bought[0] = settings.cost
    bets_made = len(dates) // horizon
    return {
        "rule": settings.rule,
        "cost_bps": 1e4 * settings.cost,
        "short": settings.short,
        "dates": len(dates),
        "independent_bets": bets_made,
        "periods_per_year": per_year,
        "model": {
            **_figures(gross - settings.cost * turnover, per_year, bets_made),
            "invested": float((invested / windows).mean()),
            "turnover": float(turnover.mean()),
            "annual_cost": float(settings.cost * turnover.mean() * per_year),
        },
        "buy_and_hold": {
            **_figures(held / windows / horizon - bought, per_year, bets_made),
            "invested": 1.0,
            "turnover": 1 / len(dates),
            "annual_cost": settings.cost / len(dates) * per_year,
        },
    }


def _positions_before(symbol: np.ndarray, position: np.ndarray, horizon: int, world: World) -> np.ndarray:
    """Each window's position ``horizon`` windows earlier in its symbol, 0 where there is none; collective.

    Ranks take consecutive windows: the earlier positions of a rank's first symbol may lie on the ranks before it.
    """
    tails = world.allgather((symbol[-horizon:], position[-horizon:]))
    earlier = [(names, values) for names, values in tails[: world.rank]]
    names = np.concatenate([*(names for names, _ in earlier), symbol])
    values = np.concatenate([*(values for _, values in earlier), position])
    before = np.zeros(len(names))
    same = names[horizon:] == names[:-horizon]
    before[horizon:] = np.where(same, values[:-horizon], 0.0)
    return before[len(names) - len(symbol) :]


def _figures(returns: np.ndarray, per_year: float, bets: int) -> dict[str, float | None]:
    """Figures of a year from the returns of all dates; the standard error of the Sharpe ratio is Lo's (2002)."""
    mean, deviation = float(returns.mean()), float(returns.std(ddof=1))
    ratio = mean / deviation if deviation > 0 else math.nan
    error = math.sqrt((1 + ratio**2 / 2) / bets) if bets else math.nan
    wealth = np.cumprod(np.concatenate([[1.0], 1 + returns]))
    drawdown = float((1 - wealth / np.maximum.accumulate(wealth)).max())
    root = math.sqrt(per_year)
    return {
        "annual_return": mean * per_year,
        "volatility": deviation * root,
        "sharpe": None if math.isnan(ratio) else ratio * root,
        "sharpe_standard_error": None if math.isnan(error) else error * root,
        "maximum_drawdown": drawdown,
    }
