"""Tables with a column per symbol and field: "AAPL.Close", "Close_AAPL", "('Close', 'AAPL')".

The headers of yfinance, of two or three rows, are read as such pairs.
"""

from __future__ import annotations

import numpy as np

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.dates import Dates
from hpc_lstm.market.layouts.header import COLUMNS, Header
from hpc_lstm.market.layouts.layout import Layout, PriceBatch, TableBatch
from hpc_lstm.market.layouts.paired_names import UnsureOrder, paired_names
from hpc_lstm.market.layouts.single import symbol_of_file
from hpc_lstm.market.layouts.symbol_column import NONE, require_one_symbol

Parts = dict[tuple[str, str], int]  # (symbol, field) to the column's number


class MultiLayout(Layout):
    """A row per date, and a column for each symbol and field."""

    kind = "multi"

    @classmethod
    def recognizes(cls, header: Header) -> bool:
        """Whether the names are pairs of a symbol and a field, and the table has no close and no symbol of its own."""
        if header.options.symbol_column not in (None, NONE) or "symbol" in header.fields:
            return False
        if "date" not in header.fields or "close" in header.fields:
            return False
        parts = _parts(header)
        return bool(parts) and not _few_closes(header, parts)

    def __init__(self, header: Header) -> None:
        header.require_fields("date")
        parts = _parts(header)
        if not parts:
            raise PriceFileError(
                f"{header.path}: --layout multi: no column is called by a symbol and a field, such as AAPL.Close, in "
                f"{header.few_names()}; leave the option out, or give another layout"
            )
        self.date, self.date_parts = header.fields["date"], header.date_parts
        self.time = header.fields.get("time")
        self._names = list(dict.fromkeys(symbol for symbol, _ in parts))
        self._parts = parts
        self.numbers = list(parts.values())
        self.columns = tuple(name for name in COLUMNS if any(field == name for _, field in parts))
        self.constant = require_one_symbol(header) if len(self._names) == 1 else ()
        self.words = self.constant
        used = {self.date, *self.date_parts, self.time, *self.numbers}
        self.ignored = tuple(
            name or "(unnamed)" for number, name in enumerate(header.names) if number not in used
        )
        self.origin = "symbol and field from the columns' names"

    def prices(self, batch: TableBatch, dates: Dates, columns: list[str]) -> PriceBatch:
        """A price per symbol and row, where the row has any of its fields; symbol by symbol."""
        values = np.full((len(self._names), batch.num_rows, len(columns)), np.nan)
        for (name, field), number in self._parts.items():
            if field in columns:
                values[self._names.index(name), :, columns.index(field)] = batch.floats(number)
        symbol, row = np.nonzero(~np.isnan(values[:, :, columns.index("close")]))
        return PriceBatch(
            self._names, symbol, dates, row, values[symbol, row], len(self._names) * batch.num_rows
        )


def _few_closes(header: Header, parts: Parts) -> bool:
    """Whether only some columns are pairs, by words: "Real Price", "Long Interest Rate" beside SP500 and earnings."""
    if {field for _, field in parts} != {"close"} or all(symbol.isupper() for symbol, _ in parts):
        return False
    used = {header.fields.get("date"), header.fields.get("time"), *header.date_parts, *parts.values()}
    others = [n for n in range(len(header.names)) if n not in used and header.kind(n) == "number"]
    return len(others) >= len(parts)


def _parts(header: Header) -> Parts:
    """The columns by symbol and field, of symbols that have a close.

    Raises:
        PriceFileError: two columns are a symbol's same field, or which part of their names is the field is not clear.
    """
    try:
        pairs = paired_names(header.names)
    except UnsureOrder:
        raise header.unsure_order() from None
    own = symbol_of_file(header.path)
    chosen: dict[tuple[str, str], tuple[int, int]] = {}  # rank and number
    for number, pair in pairs.items():
        if number in (header.fields.get("date"), *header.date_parts):
            continue
        symbol = f"{own} {pair.symbol}" if pair.unit else pair.symbol or own
        rank, before = chosen.get((symbol, pair.field), (pair.rank + 1, number))
        if rank == pair.rank:
            raise header.twice(header.names[before], header.names[number])
        if pair.rank < rank:
            chosen[symbol, pair.field] = pair.rank, number
    parts = {key: number for key, (_, number) in chosen.items()}
    for symbol in {symbol for symbol, _ in parts}:  # adjusted closes alone are what there is
        if (symbol, "close") not in parts:
            parts[symbol, "close"] = parts.pop((symbol, "adj_close"))
    volume = header.fields.get("volume")
    if len({symbol for symbol, _ in parts}) == 1 and volume is not None:  # beside mid.o and mid.c
        parts.setdefault((next(iter(parts))[0], "volume"), volume)
    return dict(sorted(parts.items(), key=lambda item: item[1]))
