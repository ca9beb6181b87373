"""What a chart of prices draws: a symbol's rows from a market store, adjusted, between two dates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpc_lstm.arrays import distinct
from hpc_lstm.errors import InputError
from hpc_lstm.market.store import MarketStore

# The column that is taken as the price: the first of these that the store has. Adjusted prices do not jump at splits.
PRICE_COLUMNS = ("adj_close", "close")
OHLC = ("open", "high", "low", "close")
# More candles than this are too thin to be told apart: they are joined to longer ones.
MAX_CANDLES = 250


@dataclass(frozen=True)
class ChartData:
    """A symbol's rows; N of them.

    Attributes:
        column: name of the price.
        dates: datetime64 [N].
        prices: float64 [N].
        candles: float64 [N, 4], open, high, low and close, on the scale of the price; None where the store lacks them.
        volume: float64 [N]; None where the store has none.
    """

    symbol: str
    column: str
    dates: np.ndarray
    prices: np.ndarray
    candles: np.ndarray | None = None
    volume: np.ndarray | None = None

    def between(self, first: np.datetime64 | None, last: np.datetime64 | None) -> np.ndarray:
        """The rows from one date to another, both included: bool [N].

        Raises:
            InputError: there is none.
        """
        inside = np.ones(len(self.dates), bool)
        if first is not None:
            inside &= self.dates >= first
        if last is not None:
            inside &= self.dates < last + np.timedelta64(1, "D")
        if not inside.any():
            ends = " to ".join(str(date.astype("datetime64[D]")) for date in self.dates[[0, -1]])
            raise InputError(f"{self.symbol}: has no rows between --from and --to; it has {ends}")
        return inside

    def only(self, rows: np.ndarray) -> ChartData:
        """The same with some of the rows."""
        return replace(
            self,
            dates=self.dates[rows],
            prices=self.prices[rows],
            candles=None if self.candles is None else self.candles[rows],
            volume=None if self.volume is None else self.volume[rows],
        )


def read_chart_data(store: str | Path, symbols: list[str], column: str | None) -> list[ChartData]:
    """The rows of symbols.

    Args:
        column: of the price; None: the adjusted close, or else the close.

    Raises:
        InputError: store, symbol or column is missing, or a symbol has no rows.
    """
    with MarketStore(store) as market:
        default = next((name for name in PRICE_COLUMNS if name in market.columns), market.columns[0])
        return [_read(market, symbol, column or default) for symbol in symbols]


def _read(market: MarketStore, symbol: str, column: str) -> ChartData:
    number, price = market.symbol(symbol), market.column(column)
    start, stop = (int(row) for row in market.offsets[number : number + 2])
    if start == stop:
        raise InputError(f"{market.path}: {symbol} has no rows")
    values = market.rows(start, stop)
    prices = values[:, price]
    candles = None
    if all(name in market.columns for name in OHLC):
        candles = values[:, [market.column(name) for name in OHLC]]
        if column == "adj_close":  # splits and dividends are taken out of all four
            with np.errstate(divide="ignore", invalid="ignore"):
                candles = candles * (prices / candles[:, 3])[:, None]
    volume = values[:, market.column("volume")] if "volume" in market.columns else None
    dates = market.dates(start, stop).astype(f"datetime64[{market.date_unit}]")
    return ChartData(symbol, column, dates, prices, candles, volume)


def joined_candles(
    data: ChartData, at_most: int = MAX_CANDLES
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, str]:
    """Candles few enough to be told apart: of single rows, else of weeks, months, quarters or years.

    Returns:
        Dates [C] of the first row of each, candles float64 [C, 4], volumes [C] or None, and what they are: "daily".
    """
    assert data.candles is not None
    if len(data.dates) <= at_most:
        unit = "daily" if data.dates.dtype == "datetime64[D]" else "single"
        return data.dates, data.candles, data.volume, unit
    months = data.dates.astype("datetime64[M]").astype(np.int64)
    weeks = (data.dates.astype("datetime64[D]").astype(np.int64) + 3) // 7  # from Monday on
    keys = (("weekly", weeks), ("monthly", months), ("quarterly", months // 3), ("yearly", months // 12))
    unit, key = next(((unit, key) for unit, key in keys if len(distinct(key)) <= at_most), keys[-1])
    starts = np.flatnonzero(np.diff(key, prepend=key[0] - 1))
    ends = np.append(starts[1:], len(key)) - 1
    opens, highs, lows, closes = data.candles.T
    candles = np.stack(
        [opens[starts], np.maximum.reduceat(highs, starts), np.minimum.reduceat(lows, starts), closes[ends]],
        axis=1,
    )
    volume = None if data.volume is None else np.add.reduceat(data.volume, starts)
    return data.dates[starts], candles, volume, unit
