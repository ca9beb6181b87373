"""CSV files, plain or gzipped, read by pyarrow a few megabytes at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from hpc_lstm.errors import CsvError
from hpc_lstm.market.dates import BadDate, Dates, parse_dates
from hpc_lstm.market.formats.csv_errors import MISSING, first_bad_row
from hpc_lstm.market.formats.csv_header import read_csv_header
from hpc_lstm.market.formats.price_file import PriceFile
from hpc_lstm.market.formats.source import SourceFile, unreadable
from hpc_lstm.market.layouts.layout import MissingSymbol, PriceBatch
from hpc_lstm.market.layouts.registry import choose_layout

BLOCK = 4 << 20  # bytes that are parsed at a time


class CsvFile(PriceFile):
    """A CSV whose header has been read."""

    format_name = "CSV"

    @classmethod
    def recognizes(cls, source: SourceFile) -> bool:
        """Whether the file is text."""
        return b"\0" not in source.head

    def __init__(self, source: SourceFile) -> None:
        self.path = source.path
        self._source, self._header = source, read_csv_header(source)
        self.layout = choose_layout(source.path, self._header.names)

    def batches(self, columns: list[str]) -> Iterator[PriceBatch]:
        """The file's prices; dates that may mean two days are refused once all rows are read."""
        done = 0
        month_first: str | None = None
        day_above_12 = False
        for batch in self._record_batches():
            try:
                dates = batch.dates(self.layout.date)
                if any(np.isinf(batch.floats(number)).any() for number in self.layout.numbers):
                    raise self._bad_row(done)
                prices = self.layout.prices(batch, dates, columns)
            except BadDate as error:
                raise self._bad_row(done, error) from None
            except MissingSymbol:
                raise self._bad_row(done) from None
            month_first = month_first or dates.month_first
            day_above_12 = day_above_12 or dates.day_above_12
            yield prices
            done += batch.num_rows
        if not done:
            raise CsvError(f"{self.path}: has a header but no rows")
        if month_first is not None and not day_above_12:
            expected = "YYYY-MM-DD, since no date of the file tells month/day from day/month"
            raise self._bad_row(0, BadDate(month_first, expected))

    def _record_batches(self) -> Iterator[_CsvBatch]:
        """The file's rows, only the columns needed: float64 numbers, dates and symbols as distinct texts and codes."""
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        types: dict[int, Any] = {self.layout.date: pa.dictionary(pa.int32(), pa.string())}
        if self.layout.symbol is not None:
            types[self.layout.symbol] = pa.dictionary(pa.int32(), pa.string())
        types |= dict.fromkeys(self.layout.numbers, pa.float64())
        read = arrow_csv.ReadOptions(
            column_names=[str(number) for number in range(len(self._header.names))],
            skip_rows=self._header.lines,
            block_size=BLOCK,
        )
        convert = arrow_csv.ConvertOptions(
            include_columns=[str(number) for number in sorted(types)],
            column_types={str(number): kind for number, kind in types.items()},
            null_values=list(MISSING),
            strings_can_be_null=False,  # "NA" and "NAN" are symbols
        )
        parsing = arrow_csv.ParseOptions(delimiter=self._header.delimiter)
        done = 0
        try:
            with pa.input_stream(self.path, compression="gzip" if self._source.gzipped else None) as stream:
                for batch in arrow_csv.open_csv(stream, read, parsing, convert):
                    yield _CsvBatch(batch, sorted(types))
                    done += batch.num_rows
        except pa.ArrowInvalid as error:
            raise self._bad_row(done, fallback=str(error)) from None
        except OSError as error:
            raise unreadable(self.path, error) from None

    def _bad_row(self, done: int, date: BadDate | None = None, fallback: str = "") -> CsvError:
        return first_bad_row(self._source, self._header, self.layout, done, date, fallback)


class _CsvBatch:
    """A record batch whose columns are found by their number in the file."""

    def __init__(self, batch: Any, numbers: list[int]) -> None:
        self._columns = {number: batch.column(place) for place, number in enumerate(numbers)}
        self.num_rows: int = batch.num_rows

    def floats(self, number: int) -> np.ndarray:
        return np.asarray(self._columns[number].to_numpy(zero_copy_only=False))

    def texts(self, number: int) -> tuple[list[str], np.ndarray]:
        column = self._columns[number]
        return column.dictionary.to_pylist(), column.indices.to_numpy()

    def dates(self, number: int) -> Dates:
        """A column's dates; each distinct text is parsed once."""
        column = self._columns[number]
        distinct, codes = parse_dates(column.dictionary), column.indices.to_numpy()
        return Dates(distinct.wall[codes], distinct.zone[codes], distinct.month_first, distinct.day_above_12)
