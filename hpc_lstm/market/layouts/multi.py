"""Tables with a column per symbol and field: "AAPL.Close", "Close_AAPL", "('Close', 'AAPL')".

The headers of yfinance, of two or three rows, are read as such pairs.
"""

from __future__ import annotations

import re

import numpy as np

from hpc_lstm.market.dates import Dates
from hpc_lstm.market.layouts.header import COLUMNS, Header
from hpc_lstm.market.layouts.layout import Layout, PriceBatch, TableBatch
from hpc_lstm.market.layouts.single import symbol_of_file
from hpc_lstm.market.layouts.vocabulary import FIELD_OF, FILLER, OTHER, plain, words

_TUPLE = re.compile(r"""\(\s*(['"])(?P<first>.*?)\1\s*,\s*(['"])(?P<second>.*?)\3\s*\)""")
_UNIT = re.compile(r"(?P<field>.*\S)\s*\((?P<unit>[A-Za-z]{3,5})\)")
_SEPARATORS = r"[\s_.:|/\\-]+"
Parts = dict[tuple[str, str], int]  # (symbol, field) to the column's number


class MultiLayout(Layout):
    """A row per date, and a column for each symbol and field."""

    kind = "multi"

    @classmethod
    def recognizes(cls, header: Header) -> bool:
        """Whether the names are pairs of a symbol and a field, and there is no close of the table itself."""
        return "date" in header.fields and "close" not in header.fields and bool(_parts(header))

    def __init__(self, header: Header) -> None:
        header.require_fields("date")
        parts = _parts(header)
        if not parts:
            raise header.lacks(["close"])
        self.date = header.fields["date"]
        self._names = list(dict.fromkeys(symbol for symbol, _ in parts))
        self._parts = parts
        self.numbers = list(parts.values())
        self.columns = tuple(name for name in COLUMNS if any(field == name for _, field in parts))
        used = {self.date, *self.numbers}
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


def _parts(header: Header) -> Parts:
    """The columns by symbol and field, of symbols that have a close; the reading that takes most columns."""
    readings = []
    for field_first in (True, False):
        parts: Parts = {}
        for number, name in enumerate(header.names):
            if number == header.fields.get("date"):
                continue
            if found := _split(name, field_first, symbol_of_file(header.path)):
                symbol = found[0] or symbol_of_file(header.path)
                if (symbol, found[1]) in parts:
                    if _spelling_rank(header.names[parts[symbol, found[1]]], name) == 0:
                        raise header.twice(name)
                    continue
                parts[symbol, found[1]] = number
        closes = {symbol for symbol, field in parts if field == "close"}
        readings.append({key: number for key, number in parts.items() if key[0] in closes})
    return max(readings, key=len)


def _spelling_rank(first: str, second: str) -> int:
    """0 if two names are the same."""
    return int(plain(first) != plain(second))


def _split(name: str, field_first: bool, of_file: str) -> tuple[str, str] | None:
    """(symbol, field) of a column's name; an empty symbol if only filler such as "stock" stands beside the field."""
    if pair := _TUPLE.fullmatch(name.strip()):
        field, symbol = (pair["first"], pair["second"]) if field_first else (pair["second"], pair["first"])
        known = FIELD_OF.get(plain(re.sub(r"\.\d+$", "", field)))
        return (symbol.strip(), known) if known and symbol.strip() else None
    if header_unit := _UNIT.fullmatch(name):
        known = FIELD_OF.get(plain(header_unit["field"]))
        return (f"{of_file} {header_unit['unit']}", known) if known else None
    tokens = [match.span() for match in re.finditer(rf"(?:(?!{_SEPARATORS}).)+", name)]
    for count in range(min(3, len(tokens) - 1), 0, -1):
        if field_first:
            field, symbol = name[: tokens[count - 1][1]], name[tokens[count][0] :]
        else:
            field, symbol = name[tokens[-count][0] :], name[: tokens[-count - 1][1]]
        known = FIELD_OF.get(plain(field))
        if known:
            others = set(words(symbol))
            if others & OTHER and others <= OTHER | FILLER:
                return None
            return ("" if others <= FILLER else symbol.strip(), known)
    return None
