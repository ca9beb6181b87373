"""Where the header of a table is: one row, or the two or three of a pandas table with columns in levels.

Price,Close,Close,Open,Open        Ticker,AAPL,AAPL,MSFT,MSFT        Date,Close,Open
Ticker,AAPL,MSFT,AAPL,MSFT         Price,Open,Close,Open,Close       ,AAPL,AAPL
Date,,,,                           Date,,,,
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hpc_lstm.market.layouts.cells import is_date, is_missing, is_number, is_time
from hpc_lstm.market.layouts.paired_names import FIELD_LEVELS, SYMBOL_LEVELS, pair_name
from hpc_lstm.market.layouts.vocabulary import FIELD_OF, SPELLINGS, TIMES, plain, word_set, words

Rows = Sequence[list[str]]
UNITS = word_set(
    r"""usd eur gbp jpy chf cny inr cad aud hkd krw brl shares stk stuck pcs percent pct points"""
)
_BEFORE = word_set(  # Start Date,2024-01-02, of Bloomberg; Stand vom, of the Bundesbank
    "startdate enddate start end from to asof asofdate standvom"
)
_UNIT_WORDS = word_set("unit units einheit egyseg unite unidad liczbajednostek")
_LEVELS = word_set("universe instrument instruments security securities field fields")  # Refinitiv, xbbg
_DATES = frozenset(SPELLINGS["date"]) | frozenset(TIMES)


@dataclass(frozen=True)
class HeaderRows:
    """Rows of a header.

    Attributes:
        header: number of the row that names the fields.
        tickers: of the one that names the symbols, None if there is none.
        index: of the one that names the dates alone, None if there is none.
        first_row: number of the first row after the header.
        named: the first cells of the rows of fields and symbols say which is which.
    """

    header: int
    tickers: int | None = None
    index: int | None = None
    first_row: int = 1
    named: bool = False


def find_header(rows: Rows, at_most: int = 60) -> HeaderRows | None:
    """The header of a table; None if its first row is one of prices already."""
    if (levels := _named_levels(rows[:at_most])) is not None:
        return levels
    data = _first_data(rows[:at_most])
    named = [n for n, cells in enumerate(rows[: at_most if data is None else data]) if _names_fields(cells)]
    if named:
        widths = Counter(len(cells) for cells in rows[named[0] + 1 : named[0] + 200])
        usual = widths.most_common(1)[0][0] if widths else 0
        near = [n for n in named if abs(len(rows[n]) - usual) <= 1 and names_date(rows[n])]
        near = near or [n for n in named if abs(len(rows[n]) - usual) <= 1]
        return _with_levels(rows, (near or named)[0])
    if data is None:
        numbers = len(rows[0]) > 1 and all(is_number(cell) for cell in rows[0])
        return None if numbers else HeaderRows(0)
    if data == 0:
        return None
    before = rows[data - 1]
    if len(before) == 1 < len(rows[data]) or len(before) < len(rows[data]) - 1:
        return None if data == 1 else HeaderRows(0)
    if (top := _nameless(rows, data)) is not None:
        return HeaderRows(top, first_row=data)
    if data > 1 and _is_index(before, rows[data - 2]):  # only the symbols stand above: Ticker,AAPL,MSFT
        return HeaderRows(data - 2, None, data - 1, data)
    labelled = [n for n, cells in enumerate(rows[: data - 1]) if _names_symbols(cells, len(rows[data]))]
    if labelled and plain(before[0]) not in ("", *_DATES):  # Name,APPLE; Code,@AAPL; CURRENCY,U$
        return HeaderRows(labelled[0], first_row=data)
    return _with_levels(rows, data - 1)


def _named_levels(rows: Rows) -> HeaderRows | None:
    """Two rows that begin with Price and Ticker, or the like, in either order."""
    for upper, (first, second) in enumerate(pairwise(rows)):
        if not len(first) == len(second) > 1:
            continue
        header, tickers = (upper, upper + 1) if plain(first[0]) in FIELD_LEVELS else (upper + 1, upper)
        if plain(rows[header][0]) not in FIELD_LEVELS or plain(rows[tickers][0]) not in SYMBOL_LEVELS:
            continue
        cells = [plain(cell) for cell in rows[header][1:]]
        if any(cell in FIELD_OF for cell in cells) and not any(map(is_number, cells)):
            after = upper + 2
            index = after if after < len(rows) and _is_index(rows[after], rows[header]) else None
            return HeaderRows(header, tickers, index, after + (index is not None), named=True)
    return None


def _first_data(rows: Rows) -> int | None:
    """Number of the first row of prices; None if there is none.

    A line above the header may hold a date, too (Exported, 2024-03-01): that of a row is where that of the next one is.
    """
    dated = [n for n, cells in enumerate(rows) if is_row(cells) and plain(cells[0]) not in _BEFORE]
    columns = [next(c for c, cell in enumerate(rows[n]) if is_date(cell)) for n in dated]
    pairs = zip(dated, columns, columns[1:], strict=False)
    return next((n for n, own, following in pairs if own == following), dated[-1] if dated else None)


def _names_symbols(cells: list[str], width: int) -> bool:
    """Whether a row that begins with a word for symbols has one for each column."""
    return (
        len(cells) == width
        and plain(cells[0]) in SPELLINGS["symbol"]
        and len({*cells}) == width
        and all(cells)
    )


def _nameless(rows: Rows, data: int) -> int | None:
    """The header that only leaves out a name for the dates, above lines that say more of its columns (Bundesbank)."""
    first = rows[0]
    if data < 3 or len(first) != len(rows[data]) or first[0].strip() or not all(map(str.strip, first[1:])):
        return None
    return 0 if any(len(cells) > 1 and cells[0].strip() for cells in rows[1:data]) else None


def is_row(cells: list[str]) -> bool:
    """Whether a row has a date or time, and a number besides it."""
    dates = [n for n, cell in enumerate(cells[:6]) if is_date(cell)]
    return bool(dates) and any(
        n != dates[0] and (is_number(cell) or (is_missing(cell) and len(cells) > 2))
        for n, cell in enumerate(cells)
    )


def names_of(rows: Rows, found: HeaderRows) -> list[str]:
    """The names of the columns; of two levels, as a pair such as ``('Close', 'AAPL')``."""
    if _is_counted(rows, found):  # read by pandas as if it had one header row, and saved again
        trimmed = [cells[1:] for cells in rows[: found.first_row]]
        return ["", *names_of(trimmed, found)]
    header = [cell.strip() for cell in rows[found.header]]
    if found.tickers is None:
        names = header
    else:
        tickers = _filled([cell.strip() for cell in rows[found.tickers]])
        tickers += [""] * (len(header) - len(tickers))
        if (
            found.tickers > found.header
        ):  # merged cells of a workbook: Close stands above the first of its symbols
            header = [header[0], *_filled(["", *header[1:]])[1:]]
        names = []
        for field, ticker in zip(header, tickers, strict=False):
            pair = bool(field and ticker and plain(field) not in _DATES)
            names.append(pair_name(field, ticker, found.named) if pair else field or ticker)
        if plain(names[0]) not in _DATES:  # the names of the levels: Price, Ticker
            names[0] = "" if any(plain(name) in _DATES for name in names) else "Date"
    if found.index is not None:
        names = [rows[found.index][0].strip() or "Date", *names[1:]]
    return names


def _counts(header: list[str], below: list[str]) -> bool:
    """Whether the first column counts rows, those of the header included."""
    return len(below) == len(header) > 2 and header[0].strip() == "" and below[0].strip() == "0"


def _is_counted(rows: Rows, found: HeaderRows) -> bool:
    return found.tickers == found.header + 1 and _counts(rows[found.header], rows[found.tickers])


def _names_fields(cells: list[str]) -> bool:
    """Whether a row names a date and something else, or two different prices."""
    if len(cells) < 2 or any(is_date(cell) for cell in cells):
        return False
    filled = [plain(cell) for cell in cells if cell.strip() and len(cell) < 60 and not cell.strip().isdigit()]
    fields = {FIELD_OF[name] for name in filled if name in FIELD_OF}
    others = {
        word
        for cell in cells
        for word in words(cell)
        if FIELD_OF.get(word) in ("open", "high", "low", "close")
    }
    return (names_date(cells) and len(filled) > 1) or len(fields) > 1 or len(others) > 3


def names_date(cells: list[str]) -> bool:
    """Whether a row has a name of a date."""
    return any(plain(cell) in _DATES for cell in cells)


def _with_levels(rows: Rows, header: int) -> HeaderRows:
    """The header with the rows of symbols above or below it."""
    after = header + 1
    tickers = None
    if header + 2 < len(rows) and _counts(rows[header], rows[after]):
        found = _with_levels([cells[1:] for cells in rows[: header + 4]], header)
        if found.tickers is not None:
            return found
    below = rows[after] if after < len(rows) else []
    if _is_level(below, rows[header]):
        units = {cell.strip().lower() for cell in below if cell.strip()} <= UNITS
        if not units and not _describes(below, rows[header]):
            tickers = after
        after += 1
    if after < len(rows) and plain(rows[after][0]) in _UNIT_WORDS:
        after += 1
    index = after if after < len(rows) and _is_index(rows[after], rows[header]) else None
    if index is not None:
        after += 1
    fields = [plain(cell) for cell in rows[header] if plain(cell) in FIELD_OF]
    repeated = len(set(fields)) < len(fields)
    above = rows[header - 1][:1] if header else []
    named = bool(above) and plain(above[0]) in {"ticker", "tickers", *_LEVELS}
    if tickers is None and header > 0 and (repeated or named or index is not None):
        above = rows[header - 1]
        if _is_level(above, rows[header], gaps=True):
            tickers = header - 1
    return HeaderRows(header, tickers, index, after)


def _is_level(cells: list[str], header: list[str], gaps: bool = False) -> bool:
    """Whether a row beside the header has a word for each column, or for each group of columns if ``gaps``."""
    if len(cells) != len(header) or len(cells) < 2:
        return False
    first, rest = cells[0].strip(), [cell.strip() for cell in cells[1:]]
    if plain(first) not in ("", "ticker", "tickers", "symbol", "symbols", "price", *_LEVELS, *_DATES):
        return False
    filled = [cell for cell in rest if cell]
    if not filled or any(
        is_date(cell) or is_time(cell) or ("." in cell and is_number(cell)) for cell in filled
    ):
        return False
    if all(is_number(cell) or is_missing(cell) for cell in filled) and plain(first) not in (
        "ticker",
        "symbol",
    ):
        return False
    known = sum(plain(cell) in FIELD_OF for cell in filled)
    return known < len(filled) and (len(filled) == len(rest) or gaps or _date_cell_blank(rest, header[1:]))


def _describes(cells: list[str], header: list[str]) -> bool:
    """Whether a row says the names of the header in another language, or what its symbols are."""
    pairs = [(plain(name), plain(cell)) for name, cell in zip(header[1:], cells[1:], strict=True)]
    if not any(name in FIELD_OF for name, _ in pairs):
        return len({*header}) == len(header)
    return sum(FIELD_OF.get(name, "-") == FIELD_OF.get(cell, "+") for name, cell in pairs) > 1


def _date_cell_blank(cells: list[str], names: list[str]) -> bool:
    """Whether only columns that are no prices have no word."""
    return all(cell or plain(name) not in FIELD_OF for cell, name in zip(cells, names, strict=True))


def _is_index(cells: list[str], header: list[str]) -> bool:
    """Whether a row names the dates and nothing else."""
    return (
        1 <= len(cells) <= len(header)
        and plain(cells[0]) in (*_DATES, "index")
        and not any(cell.strip() for cell in cells[1:])
    )


def _filled(cells: list[str]) -> list[str]:
    """Cells with empty ones, but for the first two, taken from their left neighbours, as where cells were merged."""
    filled = list(cells)
    if cells and "" in cells[1:] and len(set(cells[1:])) > 1:
        for number in range(2, len(filled)):
            filled[number] = filled[number] or filled[number - 1]
    return filled
