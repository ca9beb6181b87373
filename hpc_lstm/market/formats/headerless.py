"""Names for the columns of a table without a header: Binance's klines, or date, open, high, low, close and volume."""

from __future__ import annotations

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.layouts.cells import is_date, is_missing, is_number, is_time

BINANCE = """open_time open high low close volume close_time quote_volume count taker_buy_volume
    taker_buy_quote_volume ignore"""


def guess_names(path: str, rows: list[list[str]], row_word: str = "line") -> tuple[list[str], str]:
    """Names for the columns, and a note that says so.

    The columns after the date are open, high, low and close if the second is the highest and the third the lowest
    in every row.

    Raises:
        PriceFileError: they are not.
    """
    width = len(rows[0])
    full = [cells for cells in rows if len(cells) == width]
    if width in (11, 12) and _counts(full, 0) and _counts(full, 6) and _is_ohlc(full, 1):
        return BINANCE.split()[:width], "no header: taken for Binance's klines"
    date = next((n for n in range(min(3, width)) if all(is_date(cells[n]) for cells in full)), None)
    if date is not None:
        names = [f"column {number + 1}" for number in range(width)]
        names[date] = "date"
        first = date + 1
        if (
            first < width
            and all(is_time(cells[first], digits=True) for cells in full)
            and not _is_ohlc(full, first)
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
        if _is_ohlc(full, first):
            names[first : first + 4] = ["open", "high", "low", "close"]
            if first + 4 < width:
                names[first + 4] = "volume"
            return names, "no header: columns taken for " + ", ".join(n for n in names if "column" not in n)
    raise PriceFileError(
        f"{path}: {row_word} 1: found a row of prices, expected a header; put a line above it that names the columns, "
        "such as date,open,high,low,close,volume"
    )


def _counts(rows: list[list[str]], number: int) -> bool:
    """Whether a column counts milliseconds or microseconds from 1970."""
    return all(cells[number].isdigit() and len(cells[number]) in (13, 16) for cells in rows)


def _is_ohlc(rows: list[list[str]], first: int) -> bool:
    """Whether four columns may be open, high, low and close."""
    if not rows or len(rows[0]) < first + 4:
        return False
    for cells in rows:
        texts = [text.strip() for text in cells[first : first + 4]]
        if any(is_missing(text) for text in texts):
            continue
        try:
            low, high = (float(texts[place].replace(",", ".")) for place in (2, 1))
            others = [float(texts[place].replace(",", ".")) for place in (0, 3)]
        except ValueError:
            return False
        if not low <= min(others) <= max(others) <= high or low <= 0:
            return False
    return True
