"""Tables of other things than prices: orders, returns, indicators, moods and weather, and the sides of a market."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.layouts.header import Header
from hpc_lstm.market.layouts.vocabulary import OTHER, SIDES, plain, word_set, words

# Columns that say in which direction an order went, and what stands in them.
_DIRECTIONS = word_set("side action buysell transaction transactiontype tradetype ordertype direction type")
_TRADES = word_set(
    "buy sell bot sld bought sold b s short cover purchase sale buytoopen selltoclose compra venta kauf verkauf"
)
# Words of names whose columns hold no prices, whatever stands beside them.
_OTHER_QUANTITIES = word_set(
    r"""ret rets return returns logret logreturn logreturns pct percent percentage change chg diff delta zscore
    sentiment mood score polarity tweets tweet news temperature temp humidity rainfall rain weather wind pressure
    weekday dayofweek month quarter holiday sma ema wma rsi macd atr adx obv bollinger stochastic volatility
    correlation beta weight weights signal target label prediction predictions predicted pred forecast
    total sum average mean count"""
)


def refuse_orders(header: Header) -> None:
    """Refuse a list of orders: what somebody paid is no price of every day.

    Raises:
        PriceFileError: the column that tells buying from selling.
    """
    for number, name in enumerate(header.names):
        if plain(name) not in _DIRECTIONS:
            continue
        values = {plain(text) for text in header.cells(number) if text.strip()}
        if values and values <= _TRADES and values != {"s"}:
            some = ", ".join(sorted({text.strip() for text in header.cells(number)})[:2])
            raise PriceFileError(
                f'{header.path}: {header.line}: looks like a list of orders, as "{name}" says {some}; if each row is a '
                "trade of the market, give --layout long, or --layout single without a symbol"
            )


def refuse_other_quantities(header: Header, numbers: Sequence[int]) -> None:
    """Refuse columns that hold other things than prices, by their names or by many negative values.

    Raises:
        PriceFileError: the column, and what to do.
    """
    tickers = [number for number in numbers if _is_ticker(header.names[number])]
    for number in numbers:
        name = header.names[number]
        parts = set(words(name))
        lone = len(parts) == 1 and name.isupper()  # the tickers TEMP and RSI
        if (parts & _OTHER_QUANTITIES or parts <= OTHER) and not lone:
            raise _holds_no_prices(header, name, "by its name")
        if 2 * len(tickers) >= len(numbers) and re.fullmatch("[A-Z]?[a-z]{3,}( [a-z]{3,})*", name):
            raise _holds_no_prices(header, name, f'beside "{header.names[tickers[0]]}"')
        if not header.options.allow_negative and _negative(header.cells(number)):
            way = "--allow-negative if it holds spreads or yields"
            raise _holds_no_prices(header, name, "as many of its values are negative", way)


def _holds_no_prices(
    header: Header, name: str, why: str, way: str = "--layout wide if each column is a symbol"
) -> PriceFileError:
    return PriceFileError(
        f'{header.path}: {header.line}: the column "{name}" seems to hold no prices, {why}; leave it out, or give {way}'
    )


def _is_ticker(name: str) -> bool:
    return re.fullmatch(r"[A-Z0-9.^=\-/]{1,12}", name) is not None and any(map(str.isalpha, name))


def _negative(cells: Sequence[str]) -> bool:
    """Whether at least a fifth of a column's values are negative, as those of returns are."""
    filled = [text.strip() for text in cells if text.strip()]
    return 5 * sum(text.startswith("-") and len(text) > 1 for text in filled) >= len(filled) > 0


def refuse_sides(header: Header, numbers: Sequence[int]) -> None:
    """Refuse columns that are bid and ask of one market.

    Raises:
        PriceFileError: what to do.
    """
    if {plain(header.names[number]) for number in numbers} <= SIDES:
        raise PriceFileError(
            f"{header.path}: {header.line}: the columns {header.few_names()} are sides of one market; name one of them "
            '"close" and leave the others out'
        )


def refuse_one_symbol(header: Header, numbers: Sequence[int]) -> None:
    """Refuse columns whose numbers are those of open, high, low and close under names in a language not known.

    Of four columns one is the highest and one the lowest in every row, and they are close together: prices of four
    companies are not.

    Raises:
        PriceFileError: the columns, and what to do.
    """
    if not 4 <= len(numbers) <= 8 or len(header.rows) < 2:
        return
    try:
        values = np.array([[float(row[number]) for number in numbers[:4]] for row in header.rows[:100]])
    except (ValueError, IndexError):
        return
    high, low = values.max(axis=1), values.min(axis=1)
    bounds = [(values[:, number] == bound).all() for bound in (high, low) for number in range(4)]
    if sum(bounds) >= 2 and (low > 0).all() and (high / low < 1.25).all():
        raise PriceFileError(
            f"{header.path}: {header.line}: the columns {header.few_names()} look like open, high, low and close of "
            "one symbol, under names that are not known; rename them, or give --layout wide if each is a symbol"
        )
