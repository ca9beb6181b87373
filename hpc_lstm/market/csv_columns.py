"""What the columns of a price CSV are: its layout and the spellings that its header may use.

    long      a row is one symbol's day: date, symbol, close, and any of open, high, low, volume, adj_close
    single    the same without a symbol column: the file's name, less .csv and .gz, is the symbol
    wide      the first column is the date, each other one a symbol's close

Case, spaces, underscores, dots, hyphens and asterisks in a header do not matter: "Adj. Close**" is "adj_close".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hpc_lstm.errors import CsvError

COLUMNS = ("open", "high", "low", "close", "volume", "adj_close")  # the store's order

# The first spelling found wins, so that "Symbol" is the symbol where a file has a company's "Name" too.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "date": ("date", "datetime", "timestamp", "tradedate", "tradingday", "day", "time"),
    "symbol": ("symbol", "ticker", "tic", "sym", "instrument", "stock", "name"),
    "open": ("open", "openprice", "openingprice"),
    "high": ("high", "highprice"),
    "low": ("low", "lowprice"),
    "close": ("close", "closeprice", "closingprice", "close/last", "last", "price"),
    "volume": ("volume", "vol", "tradedvolume"),
    "adj_close": ("adjclose", "adjustedclose", "adjcloseprice", "closeadj", "closeadjusted"),
}


@dataclass(frozen=True)
class Layout:
    """What each column of one file is.

    Attributes:
        kind: "long", "single" or "wide".
        date: the number of the date column.
        symbol: the number of the symbol column; None but in a long file.
        values: column number of each of the store's columns that the file has; empty in a wide file.
        symbols: column number of each symbol of a wide file; of a single file, its symbol without a number.
        ignored: headers of columns that are not imported.
    """

    kind: str
    date: int
    symbol: int | None
    values: dict[str, int]
    symbols: dict[str, int | None]
    ignored: tuple[str, ...]


def layout(path: str, header: list[str]) -> Layout:
    """Read a header.

    Raises:
        CsvError: a needed column is missing, or two columns have the same name.
    """
    names = [re.sub(r"[\s_.\-*]+", "", name).lower() for name in header]
    found: dict[str, int] = {}
    for field, spellings in SPELLINGS.items():
        for spelling in spellings:
            if names.count(spelling) > 1:
                raise CsvError(
                    f'{path}: line 1: two columns are called "{header[names.index(spelling)]}"; keep one'
                )
            if spelling in names and field not in found:
                found[field] = names.index(spelling)
    if "date" not in found and names[0] == "":  # an index written without its name
        found["date"] = 0
    prices = [field for field in COLUMNS if field in found]
    others = len(header) - ("date" in found)
    known = len(prices) + ("symbol" in found)
    if "close" in found or "symbol" in found or 2 * known > others:
        return _long(path, header, names, found)
    if found.get("date") != 0 or len(header) < 2:
        raise _missing(path, header, [field for field in ("date", "close") if field not in found])
    return _wide(path, header)


def symbol_of(path: str) -> str:
    """The symbol that a file's name stands for: "data/AAPL.csv.gz" is "AAPL"."""
    name = re.sub(r"\.gz$", "", Path(path).name, flags=re.IGNORECASE)
    return re.sub(r"\.(csv|txt|tsv)$", "", name, flags=re.IGNORECASE)


def _long(path: str, header: list[str], names: list[str], found: dict[str, int]) -> Layout:
    missing = [field for field in ("date", "close") if field not in found]
    if missing:
        raise _missing(path, header, missing)
    if "time" in names and names.index("time") != found["date"]:
        raise CsvError(
            f'{path}: line 1: the columns "{header[found["date"]]}" and "{header[names.index("time")]}" both say '
            f"when; join them into one, such as 2020-01-31T15:59:00"
        )
    used = set(found.values())
    symbol = found.get("symbol")
    return Layout(
        kind="single" if symbol is None else "long",
        date=found["date"],
        symbol=symbol,
        values={field: found[field] for field in COLUMNS if field in found},
        symbols={symbol_of(path): None} if symbol is None else {},
        ignored=tuple(name for number, name in enumerate(header) if number not in used),
    )


def _wide(path: str, header: list[str]) -> Layout:
    symbols: dict[str, int | None] = {}
    for number, name in enumerate(header[1:], 1):
        if name in symbols:
            raise CsvError(f'{path}: line 1: two columns are called "{name}"; keep one')
        if name:
            symbols[name] = number
    ignored = ("(unnamed)",) * (len(header) - 1 - len(symbols))
    return Layout(kind="wide", date=0, symbol=None, values={}, symbols=symbols, ignored=ignored)


def _missing(path: str, header: list[str], fields: list[str]) -> CsvError:
    wanted = " and ".join(
        f"no {field} column (accepted names: {', '.join(SPELLINGS[field])})" for field in fields
    )
    few = ", ".join(repr(name) for name in header[:8]) + (", ..." if len(header) > 8 else "")
    return CsvError(
        f"{path}: line 1: {wanted} in the header {few}; rename one. A wide file has the date in its first column"
    )
