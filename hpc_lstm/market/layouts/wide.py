"""Wide tables: a row is a date, the first column has the dates and each other one a symbol's close."""

from __future__ import annotations

import numpy as np

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.dates import Dates
from hpc_lstm.market.layouts.header import Header
from hpc_lstm.market.layouts.layout import Layout, PriceBatch, TableBatch
from hpc_lstm.market.layouts.vocabulary import OTHER, SIDES, plain, words


class WideLayout(Layout):
    """A row per date and a column per symbol."""

    kind = "wide"
    columns = ("close",)

    @classmethod
    def recognizes(cls, header: Header) -> bool:
        """Whether a header has the date first and otherwise names that are no price columns."""
        return header.fields.get("date") == 0 and len(header.names) >= 2

    def __init__(self, header: Header) -> None:
        self.date = header.fields.get("date", 0)
        columns: dict[str, int] = {}
        for number, name in enumerate(header.names):
            if number == self.date or not name or header.kind(number) == "date":
                continue
            if name in columns:
                raise header.twice(name)
            columns[name] = number
        if not columns:
            raise header.lacks(["close"])
        if header.options.layout is None:
            _refuse_one_symbol(header, list(columns.values()))
        self._symbols, self.numbers = list(columns), list(columns.values())
        self.ignored = ("(unnamed)",) * (len(header.names) - 1 - len(columns))
        self.origin = "symbols and closes from the columns"

    def prices(self, batch: TableBatch, dates: Dates, columns: list[str]) -> PriceBatch:
        """A price per cell that is not empty, symbol by symbol."""
        closes = np.stack([batch.floats(number) for number in self.numbers])
        symbol, row = np.nonzero(~np.isnan(closes))
        values = np.full((len(row), len(columns)), np.nan)
        values[:, columns.index("close")] = closes[symbol, row]
        return PriceBatch(self._symbols, symbol, dates, row, values, closes.size)


def _refuse_one_symbol(header: Header, numbers: list[int]) -> None:
    """Refuse columns whose numbers are those of open, high, low and close under names in a language not known.

    Of four columns one is the highest and one the lowest in every row, and they are close together: prices of four
    companies are not.
    """
    for number in numbers:
        name = header.names[number]
        if set(words(name)) <= OTHER and not name.isupper():
            raise PriceFileError(
                f'{header.path}: {header.line}: the column "{name}" holds no prices by its name; leave it out, or give '
                "--layout wide if each column is a symbol"
            )
    if {plain(header.names[number]) for number in numbers} <= SIDES:
        raise PriceFileError(
            f"{header.path}: {header.line}: the columns {header.few_names()} are sides of one market; name one of them "
            '"close" and leave the others out'
        )
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
