"""What a layout offers: a test for the headers that it fits, and the prices in a batch of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from hpc_lstm.market.dates import Dates
from hpc_lstm.market.layouts.header import Header


class MissingSymbol(ValueError):
    """A row names no symbol."""


class TableBatch(Protocol):
    """Some rows of a table, columns by their number in the header; m rows."""

    num_rows: int

    def floats(self, number: int) -> np.ndarray:
        """A column's numbers, float64 [m], NaN where missing."""

    def texts(self, number: int) -> tuple[list[str], np.ndarray]:
        """A column's distinct texts, and for each row the index of its own, int [m]."""


@dataclass(frozen=True)
class PriceBatch:
    """The prices in m rows of a file: n prices.

    Attributes:
        symbols: distinct names, in the order in which they appear.
        symbol: int [n], index into ``symbols``.
        dates: of the m rows.
        row: int [n], the row that each price comes from.
        values: float64 [n, C], columns as requested, NaN where missing.
        cells: number of prices that the rows have room for; n of them are present.
        other_series: rows left out as no shares.
        instruments: by name of a column that tells instruments of one symbol apart: its distinct texts, and for each
            price the index of its own, int [n].
    """

    symbols: list[str]
    symbol: np.ndarray
    dates: Dates
    row: np.ndarray
    values: np.ndarray
    cells: int
    other_series: int = 0
    instruments: Mapping[str, tuple[list[str], np.ndarray]] = field(default_factory=dict)


class Layout(ABC):
    """What each column of one table is.

    Attributes:
        kind: the layout's name.
        date: number of the date column.
        date_parts: numbers of the columns of the month and the day, if ``date`` is that of the year; without a day, the
            first of the month is meant.
        time: number of a second column with the time of day, None if there is none.
        symbol: numbers of the columns that hold the symbol, joined if several; empty if there is none.
        words: numbers of other columns whose texts are needed.
        constant: of these, columns that must not change: if they do, the file may hold several symbols.
        numbers: numbers of the columns that hold numbers.
        alike: of these, columns with prices of the same rows, which are of about the same size.
        columns: those of the store's columns that the table has.
        ignored: names of columns that are not imported.
        origin: for people, where symbol and close come from.

    Raises:
        PriceFileError: a column is missing, or two have the same name.
    """

    kind: str
    date: int
    date_parts: tuple[int, ...] = ()
    time: int | None = None
    symbol: tuple[int, ...] = ()
    words: tuple[int, ...] = ()
    constant: tuple[int, ...] = ()
    numbers: list[int]
    alike: tuple[int, ...] = ()
    columns: tuple[str, ...]
    ignored: tuple[str, ...]
    origin: str = ""

    @property
    def needed(self) -> set[int]:
        """Numbers of all columns that are read."""
        time = () if self.time is None else (self.time,)
        return {self.date, *self.date_parts, *time, *self.symbol, *self.words, *self.numbers}

    @classmethod
    @abstractmethod
    def recognizes(cls, header: Header) -> bool:
        """Whether a header looks like this layout."""

    @abstractmethod
    def __init__(self, header: Header) -> None: ...

    @abstractmethod
    def prices(self, batch: TableBatch, dates: Dates, columns: list[str]) -> PriceBatch:
        """The prices in some rows.

        Args:
            columns: names of the store's columns to return values for.

        Raises:
            MissingSymbol: a row has no symbol.
        """
