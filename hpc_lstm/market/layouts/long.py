"""Long tables: a row is one symbol's day, with columns date, symbol, close, and any other price columns."""

from __future__ import annotations

import numpy as np

from hpc_lstm.errors import in_shell
from hpc_lstm.market.dates import Dates
from hpc_lstm.market.layouts.header import COLUMNS, Header
from hpc_lstm.market.layouts.layout import Layout, MissingSymbol, PriceBatch, TableBatch
from hpc_lstm.market.layouts.no_prices import refuse_orders
from hpc_lstm.market.layouts.symbol_column import candidates, instrument_columns, symbol_columns

# Series of the National Stock Exchange of India that are shares; the others are warrants, bonds, rights.
SHARES = ("EQ", "BE", "BZ", "SM", "ST", "SZ")


class LongLayout(Layout):
    """A row per symbol and date, and a column that names the symbol."""

    kind = "long"

    @classmethod
    def recognizes(cls, header: Header) -> bool:
        """Whether a header has price columns and a symbol."""
        return bool(symbol_columns(header)) and _is_price_table(header)

    def __init__(self, header: Header) -> None:
        header.require_fields("date", "close")
        self.date, self.time = header.fields["date"], header.fields.get("time")
        self.date_parts = header.date_parts
        self._values = {name: header.fields[name] for name in COLUMNS if name in header.fields}
        self.columns, self.numbers = tuple(self._values), list(self._values.values())
        prices = ("open", "high", "low", "close")
        self.alike = tuple(number for name, number in self._values.items() if name in prices)
        self._series = self._series_of_shares(header)
        self._find_symbol(header)
        used = {self.date, *self.date_parts, self.time, self._series, *self.numbers, *self.symbol}
        self.ignored = tuple(
            name or "(unnamed)" for number, name in enumerate(header.names) if number not in used
        )
        self._instruments = {header.names[number]: number for number in self._instrument_columns(header)}
        series = [] if self._series is None else [self._series]
        self.words = tuple({*self.constant, *series, *self._instruments.values()})
        self.origin = f'{self.origin}, close from "{header.names[self._values["close"]]}"'
        if header.volume_instead:
            self.origin += (
                f', volume from "{header.names[self._values["volume"]]}", as {header.volume_instead}'
            )
        if header.options.layout is None:
            refuse_orders(header)

    def _find_symbol(self, header: Header) -> None:
        self.symbol = symbol_columns(header)
        if not self.symbol:
            others = [in_shell(header.names[number]) for number in candidates(header)]
            way = f"name it with --symbol-column{''.join(f' {name}' for name in others[:1])}"
            raise header.lacks(["symbol"], f"{way}, or give --layout single if all rows are of one symbol")
        names = " and ".join(f'"{header.names[number]}"' for number in self.symbol)
        self.origin = f"symbol from column {names}"

    def _instrument_columns(self, header: Header) -> tuple[int, ...]:
        series = header.fields.get("series") if header.options.symbol_column is None else None
        others = [] if series is None or series == self._series else [series]
        return (*instrument_columns(header), *others)

    @staticmethod
    def _series_of_shares(header: Header) -> int | None:
        """The column of the series, where it tells shares from other securities of the same symbol."""
        series = header.fields.get("series")
        if series is None or not {"EQ", "BE", "BZ"} & {text.strip() for text in header.cells(series)}:
            return None
        return series

    def prices(self, batch: TableBatch, dates: Dates, columns: list[str]) -> PriceBatch:
        """A price per row."""
        symbols, symbol = self._symbols(batch)
        values = np.full((batch.num_rows, len(columns)), np.nan)
        for place, name in enumerate(columns):
            if name in self._values:
                values[:, place] = batch.floats(self._values[name])
        rows = np.arange(batch.num_rows)
        if self._series is not None:
            names, series = batch.texts(self._series)
            rows = rows[np.array([name.strip() in SHARES for name in names], bool)[series]]
        instruments = {name: batch.texts(number) for name, number in self._instruments.items()}
        if len(rows) == batch.num_rows:
            return PriceBatch(symbols, symbol, dates, rows, values, batch.num_rows, instruments=instruments)
        return PriceBatch(
            symbols,
            symbol[rows],
            dates,
            rows,
            values[rows],
            len(rows),
            batch.num_rows - len(rows),
            {name: (texts, codes[rows]) for name, (texts, codes) in instruments.items()},
        )

    def _symbols(self, batch: TableBatch) -> tuple[list[str], np.ndarray]:
        names, symbol = _names(batch, self.symbol[0])
        for number in self.symbol[1:]:
            more, code = _names(batch, number)
            pairs, symbol = np.unique(symbol.astype(np.int64) * len(more) + code, return_inverse=True)
            names = [f"{names[pair // len(more)]} {more[pair % len(more)]}" for pair in pairs.tolist()]
        return names, symbol


def _names(batch: TableBatch, number: int) -> tuple[list[str], np.ndarray]:
    names, code = batch.texts(number)
    names = [name.strip().removeprefix("'") for name in names]  # '600519 keeps a number a text in Excel
    if "" in names:
        raise MissingSymbol
    return names, code


def _is_price_table(header: Header) -> bool:
    """Whether the columns are fields of one symbol's row, rather than one column per symbol."""
    return "close" in header.fields or "symbol" in header.fields or len(header.price_words) > 1
