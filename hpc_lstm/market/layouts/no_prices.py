"""Tables of other things than prices: orders, returns, indicators, moods and weather, and the sides of a market."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.layouts.bar_columns import bar_columns
from hpc_lstm.market.layouts.header import Header
from hpc_lstm.market.layouts.vocabulary import OTHER, SIDES, plain, word_set, words
from hpc_lstm.market.options import LEFT_OUT, columns_option

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

_COUNTS = word_set("nr no num numer number numero id row lp lfd zeile")


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


def holds_no_numbers(header: Header, number: int) -> bool:
    """Whether a column is one of words, or counts the rows, by its name and cells: table numbers of a central bank."""
    name, cells = header.names[number], [text.strip() for text in header.cells(number) if text.strip()]
    if not cells or _is_ticker(name):
        return False
    if all(any(map(str.isalpha, text)) for text in cells) and header.kind(number) == "text":
        return True
    return bool(_COUNTS & {*words(name)}) and all(map(str.isdigit, cells))


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

    Raises:
        PriceFileError: the columns, and what to do.
    """
    if not 4 <= len(numbers) <= 8 or len(header.rows) < 2:
        return
    bars = bar_columns({number: header.cells(number) for number in numbers})
    if bars:
        date = header.fields.get("date")
        names = ["date" if n == date else bars.get(n, LEFT_OUT) for n in range(len(header.names))]
        raise PriceFileError(
            f"{header.path}: {header.line}: the columns {header.few_names()} look like open, high, low and close of "
            f"one symbol, under names that are not known; give {columns_option(names)}, or with open and close the "
            "other way round (_ leaves a column out), or --layout wide if each is a symbol"
        )
