"""Names for the columns of a table without a header, by what its numbers show: candles of exchanges, and plain rows."""

from __future__ import annotations

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.layouts.bar_columns import bar_columns
from hpc_lstm.market.layouts.cells import is_date, is_missing, is_number, is_time
from hpc_lstm.market.options import LEFT_OUT, columns_option

BINANCE = """open_time open high low close volume close_time quote_volume count taker_buy_volume
    taker_buy_quote_volume ignore"""

ORDERS = [
    text.split()
    for text in (
        "open high low close",
        "low high open close",  # Coinbase
        "open close high low",  # Bitfinex, KuCoin, Eastmoney
    )
]


def guess_names(path: str, rows: list[list[str]], row_word: str = "line") -> tuple[list[str], str]:
    """Names for the columns, and a note that says so.

    Of the four columns after the date, the highest and the lowest in every row are high and low. They tell which of the
    orders that exchanges use it is. Where opens are then no nearer to the closes before them than closes would be to
    the opens, open and close may be the other way round, and the table is refused.

    Raises:
        PriceFileError: the numbers show no known order.
    """
    width = len(rows[0])
    full = [cells for cells in rows if len(cells) == width]
    if width in (11, 12) and _counts(full, 0) and _counts(full, 6) and _fits(full, 1, ORDERS[0]):
        return BINANCE.split()[:width], "no header: taken for Binance's klines"
    date = next((n for n in range(min(6, width)) if all(is_date(cells[n]) for cells in full)), None)
    if width == 2 and date == 0 and all(is_number(cells[1]) for cells in full):
        return ["date", "close"], "no header: columns taken for date, close"
    if date is not None:
        names = [f"column {number + 1}" for number in range(width)]
        names[date] = "date"
        first = date + 1
        if (
            first < width
            and all(is_time(cells[first], digits=True) for cells in full)
            and not _order(full, first)
        ):
            names[first] = "time"
            first += 1
        elif first < width and all(len(cells[first]) == 1 and cells[first].isalpha() for cells in full):
            first += 1  # the period: D
        words = [
            n for n in range(date) if not any(is_number(cells[n]) or is_missing(cells[n]) for cells in full)
        ]
        if words:
            names[words[0]] = "symbol"
        order = _order(full, first)
        if order:
            names[first : first + 4] = order
            if first + 4 < width:
                names[first + 4] = "volume"
            note = "no header: columns taken for " + ", ".join(n for n in names if "column" not in n)
            if order != ORDERS[0] and not _opens_follow_closes(full, date, first, order):
                line = columns_option(["_" if name.startswith("column") else name for name in names])
                raise PriceFileError(
                    f"{path}: {row_word} 1: found a row of prices, expected a header; high and low are columns "
                    f"{first + order.index('high') + 1} and {first + order.index('low') + 1}, but which of the others "
                    f"is the open is not clear; give {line}, or with open and close the other way round"
                )
            return names, note
    raise PriceFileError(
        f"{path}: {row_word} 1: found a row of prices, expected a header; name the columns in their order, as by "
        f"{columns_option(_suggested(full, date))} (_ leaves one out)"
    )


def _suggested(rows: list[list[str]], date: int | None) -> list[str]:
    """Names for the columns: of the date, of the symbol if a column before it has words, and of prices."""
    names = [LEFT_OUT] * len(rows[0])
    names[date or 0] = "date"
    for number in range(date or 0):
        if "symbol" not in names and not any(is_number(cells[number]) for cells in rows):
            names[number] = "symbol"
    when = [cells[date or 0] for cells in rows]
    if "symbol" not in names and len({*when}) < len(rows):  # of several symbols
        for number in range(len(names)):
            keys = {(day, cells[number]) for day, cells in zip(when, rows, strict=True)}
            if names[number] == LEFT_OUT and len(keys) == len(rows):
                names[number] = "symbol"
                break
    prices = [
        number for number in range(len(names)) if names[number] == LEFT_OUT and is_number(rows[0][number])
    ]
    bars = bar_columns({number: [cells[number] for cells in rows] for number in prices})
    broken = [number for number in prices if all("." in cells[number] for cells in rows)]
    for number, name in (bars or {[*broken, *prices, -1][0]: "close"}).items():
        names[number] = name
    return names


def _order(rows: list[list[str]], first: int) -> list[str]:
    """The order of open, high, low and close in four columns, of those that exchanges use; [] if it is none."""
    return next((order for order in ORDERS if _fits(rows, first, order)), [])


def _opens_follow_closes(rows: list[list[str]], date: int, first: int, order: list[str]) -> bool:
    """Whether opens are nearer to the close before them than closes are to the next open, taken the other way round."""
    when = [cells[date] for cells in rows]
    if when != sorted(when):
        rows = rows[::-1]
        if when != sorted(when, reverse=True):
            return False
    try:
        values = {
            name: [float(cells[first + order.index(name)].replace(",", ".")) for cells in rows]
            for name in ("open", "close")
        }
    except ValueError:
        return False
    pairs = list(zip(values["open"][1:], values["close"], values["close"][1:], values["open"], strict=False))
    as_named = sum(abs(later - earlier) for later, earlier, _, _ in pairs)
    swapped = sum(abs(later - earlier) for _, _, later, earlier in pairs)
    return as_named < 0.5 * swapped


def _counts(rows: list[list[str]], number: int) -> bool:
    """Whether a column counts milliseconds or microseconds from 1970."""
    return all(cells[number].isdigit() and len(cells[number]) in (13, 16) for cells in rows)


def _fits(rows: list[list[str]], first: int, order: list[str]) -> bool:
    """Whether four columns may be open, high, low and close in this order."""
    if not rows or len(rows[0]) < first + 4:
        return False
    for cells in rows:
        texts = {name: cells[first + place].strip() for place, name in enumerate(order)}
        if any(is_missing(text) for text in texts.values()):
            continue
        try:
            value = {name: float(text.replace(",", ".")) for name, text in texts.items()}
        except ValueError:
            return False
        inner = sorted((value["open"], value["close"]))
        if not 0 < value["low"] <= inner[0] <= inner[1] <= value["high"]:
            return False
        if order != ORDERS[0] and value["high"] > 3 * value["low"]:  # bid, ask and volume of a trade
            return False
    return True
