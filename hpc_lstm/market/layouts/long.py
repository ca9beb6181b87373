"""Long tables: a row is one symbol's day, with columns date, symbol, close, and any other price columns."""

from __future__ import annotations

import numpy as np

from hpc_lstm.market.dates import Dates
from hpc_lstm.market.layouts.header import COLUMNS, Header
from hpc_lstm.market.layouts.layout import Layout, MissingSymbol, PriceBatch, TableBatch


class LongLayout(Layout):
    """A row per symbol and date, and a column that names the symbol."""

    kind = "long"

    @classmethod
    def recognizes(cls, header: Header) -> bool:
        """Whether a header has price columns and a symbol."""
        return header.names_prices and "symbol" in header.fields

    def __init__(self, header: Header) -> None:
        header.require_fields("date", "close")
        self.date, self.symbol = header.fields["date"], header.fields.get("symbol")
        self._values = {name: header.fields[name] for name in COLUMNS if name in header.fields}
        self.columns, self.numbers = tuple(self._values), list(self._values.values())
        used = set(header.fields.values())
        self.ignored = tuple(name for number, name in enumerate(header.names) if number not in used)

    def prices(self, batch: TableBatch, dates: Dates, columns: list[str]) -> PriceBatch:
        """A price per row."""
        symbols, symbol = self._symbols(batch)
        values = np.full((batch.num_rows, len(columns)), np.nan)
        for place, name in enumerate(columns):
            if name in self._values:
                values[:, place] = batch.floats(self._values[name])
        return PriceBatch(symbols, symbol, dates, np.arange(batch.num_rows), values, batch.num_rows)

    def _symbols(self, batch: TableBatch) -> tuple[list[str], np.ndarray]:
        assert self.symbol is not None
        names, symbol = batch.texts(self.symbol)
        names = [name.strip() for name in names]
        if "" in names:
            raise MissingSymbol
        return names, symbol
