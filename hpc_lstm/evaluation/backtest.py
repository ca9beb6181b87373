"""What trading on the forecasts would have earned after costs, beside holding everything: no advice.

On each date the money is spread evenly over all symbols that trade at that time: long where the price is forecast to
rise, short where it is forecast to fall, as a rule of ``positions`` says. A symbol without a row on a date keeps its
share, and earns when it has the next one. Nothing is borrowed. With a horizon of h rows a position is held for h rows,
and a share 1 / h of the money is placed anew on each row: what is held over a row is the mean of the h positions that
are open, and earns the change of the price over that row alone. A change of what is held costs a share of the money
that is moved: once for a sale, once for a purchase. Dividends, taxes, interest, the cost of being short and what orders
do to prices are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_lstm.arrays import distinct
from hpc_lstm.evaluation.positions import POSITION_RULES, ForecastPrices, PositionRule
from hpc_lstm.parallel.world import World

# Fewer independent bets than this, dates over the horizon, say nothing about what a model earns.
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

    def add(
        self,
        symbol: np.ndarray,
        dates: np.ndarray,
        around: tuple[np.ndarray, np.ndarray],
        prices: ForecastPrices,
    ) -> None:
        """Add windows.

        Args:
            symbol: int [B].
            dates: int64 [B], of the target rows.
            around: float64 [B] each, prices of the rows before the target rows, and of these.
            prices: what the model forecast.
        """
        settings = self.settings
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            gain = around[1] / around[0] - 1
            position = np.nan_to_num(settings.position_rule.positions(prices, settings.cost), nan=0.0)
        if not settings.short:
            position = np.maximum(position, 0.0)
        known = np.isfinite(gain) & (around[0] > 0) & (prices.last > 0)
        self._parts.append(
            (np.asarray(symbol)[known], np.asarray(dates)[known], position[known], gain[known])
        )

    def collected(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of all windows of this rank: symbol, date, position, and gain over the target row."""
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
    held = _mean_of_open(symbol, position, horizon, world)
    moved = np.abs(held - _held_before(symbol, held, world))
    mine, index = np.unique(date, return_inverse=True)
    dates = distinct(np.concatenate(world.allgather(mine)))
    here = np.searchsorted(dates, mine)
    summed = (None, held * gain, gain, moved, np.abs(held))
    sums = np.zeros((len(summed), len(dates)))
    for row, values in enumerate(summed):
        sums[row, here] = np.bincount(index, values, len(mine))
    windows, earned, gained, moved, invested = world.allreduce_sum(sums)
    traded = _traded(symbol, date, dates, world)
    if len(dates) < 2:
        return None
    turnover = moved / traded
    gross = earned / traded
    span = float(dates[-1] - dates[0]) / (1 if date_unit == "D" else NS_PER_DAY)
    per_year = (len(dates) - 1) / span * DAYS_PER_YEAR
    bought = np.zeros(len(dates))
    bought[0] = settings.cost
    return {
        "rule": settings.rule,
        "cost_bps": 1e4 * settings.cost,
        "short": settings.short,
        "dates": len(dates),
        "independent_bets": len(dates) // horizon,
        "periods_per_year": per_year,
        "model": {
            **_figures(gross - settings.cost * turnover, per_year),
            "invested": float((invested / windows).mean()),
            "turnover": float(turnover.mean()),
            "annual_cost": float(settings.cost * turnover.mean() * per_year),
        },
        "buy_and_hold": {
            **_figures(gained / traded - bought, per_year),
            "invested": 1.0,
            "turnover": 1 / len(dates),
            "annual_cost": settings.cost / len(dates) * per_year,
        },
    }


def _mean_of_open(symbol: np.ndarray, position: np.ndarray, horizon: int, world: World) -> np.ndarray:
    """What is held over each window's target row, float64 [B]; collective.

    Open over that row are the positions of the window and of the ``horizon - 1`` after it in its symbol, all of which
    begin before the row. Ranks take consecutive windows: the positions after a rank's last ones lie on later ranks.
    """
    heads = world.allgather((symbol[: horizon - 1], position[: horizon - 1]))[world.rank + 1 :]
    names = np.concatenate([symbol, *(names for names, _ in heads)])
    values = np.concatenate([position, *(values for _, values in heads)])
    count = len(symbol)
    total, opened = position.copy(), np.ones(count)
    for ahead in range(1, min(horizon, len(names))):
        later = values[ahead : ahead + count]
        same = names[ahead : ahead + count] == symbol[: len(later)]
        total[: len(later)] += np.where(same, later, 0.0)
        opened[: len(later)] += same
    return total / opened


def _held_before(symbol: np.ndarray, held: np.ndarray, world: World) -> np.ndarray:
    """What is held over the row before each window's target row, 0 where the symbol begins; collective."""
    tails = world.allgather((symbol[-1:], held[-1:]))[: world.rank]
    names = np.concatenate([*(names for names, _ in tails), symbol])
    values = np.concatenate([*(values for _, values in tails), held])
    before = np.zeros(len(names))
    before[1:] = np.where(names[1:] == names[:-1], values[:-1], 0.0)
    return before[len(names) - len(symbol) :]


def _traded(symbol: np.ndarray, date: np.ndarray, dates: np.ndarray, world: World) -> np.ndarray:
    """How many symbols trade at the time of each of ``dates``, float64 [D]; collective.

    They are those whose first date is not later and whose last is not earlier: exchanges have other holidays, and
    some trade at weekends, but money that lies in a symbol is not free on the days on which it rests.
    """
    starts = np.flatnonzero(np.diff(symbol, prepend=-1))
    stops = np.append(starts, len(symbol))[1:] - 1
    own = np.stack([symbol[starts], date[starts], date[stops]])
    # A rank has each of its symbols once, in order, and the ranks are in order.
    names, first, last = np.concatenate(world.allgather(own), axis=1)
    is_first, is_last = np.diff(names, prepend=-1) != 0, np.diff(names, append=-1) != 0
    begun = np.searchsorted(np.sort(first[is_first]), dates, side="right")
    ended = np.searchsorted(np.sort(last[is_last]), dates, side="left")
    return (begun - ended).astype(np.float64)


def _figures(returns: np.ndarray, per_year: float) -> dict[str, float | None]:
    """Figures of a year from the returns of all dates; the standard error of the Sharpe ratio is Lo's (2002)."""
    mean, deviation = float(returns.mean()), float(returns.std(ddof=1))
    ratio = mean / deviation if deviation > 0 else math.nan
    error = math.sqrt((1 + ratio**2 / 2) / len(returns))
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
