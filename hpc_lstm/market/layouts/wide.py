"""Wide tables: a row is a date, the first column has the dates and each other one a symbol's close."""

from __future__ import annotations

import numpy as np

from hpc_lstm.market.dates import Dates
from hpc_lstm.market.layouts.header import Header
from hpc_lstm.market.layouts.layout import Layout, PriceBatch, TableBatch
from hpc_lstm.market.layouts.no_prices import (
    holds_no_numbers,
    refuse_one_symbol,
    refuse_other_quantities,
    refuse_sides,
)
from hpc_lstm.market.layouts.symbol_column import LABELS
from hpc_lstm.market.layouts.vocabulary import words


class WideLayout(Layout):
    """A row per date and a column per symbol."""

    kind = "wide"
    columns = ("close",)

    @classmethod
    def recognizes(cls, header: Header) -> bool:
        """Whether a header has the date first, or behind a count of rows, and otherwise no names of price columns."""
        date = header.fields.get("date")
        if date is None or len(header.names) < 2:
            return False
        return not any(
            name for number, name in enumerate(header.names[:date]) if number not in header.date_parts
        )

    def __init__(self, header: Header) -> None:
        self.date, self.date_parts = header.fields.get("date", 0), header.date_parts
        self.time = header.fields.get("time")
        used = {self.date, *self.date_parts, self.time}
        columns: dict[str, int] = {}
        for number, name in enumerate(header.names):
            if number in used or not name or header.kind(number) == "date":
                continue
            if LABELS & {*words(name)} and header.kind(number) in (
                "text",
                "empty",
            ):  # flags of the Bundesbank
                continue
            if holds_no_numbers(header, number):
                continue
            if name in columns:
                raise header.twice(name)
            columns[name] = number
        if not columns:
            raise header.lacks(["close"])
        if header.options.layout is None:
            numbers = list(columns.values())
            refuse_one_symbol(header, numbers)
            refuse_other_quantities(header, numbers)
            refuse_sides(header, numbers)
        self._symbols, self.numbers = list(columns), list(columns.values())
        used |= {*columns.values()}
        self.ignored = tuple(
            name or "(unnamed)" for number, name in enumerate(header.names) if number not in used
        )
        self.origin = "symbols and closes from the columns"

    def prices(self, batch: TableBatch, dates: Dates, columns: list[str]) -> PriceBatch:
        """A price per cell that is not empty, symbol by symbol."""
        closes = np.stack([batch.floats(number) for number in self.numbers])
        symbol, row = np.nonzero(~np.isnan(closes))
        values = np.full((len(row), len(columns)), np.nan)
        values[:, columns.index("close")] = closes[symbol, row]
        return PriceBatch(self._symbols, symbol, dates, row, values, closes.size)
