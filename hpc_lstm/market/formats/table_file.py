"""A table of prices in any format: understood by its first rows, read batch by batch, and checked on its whole."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.date_check import DateCheck
from hpc_lstm.market.dates import BadDate
from hpc_lstm.market.file_dates import date_in_name
from hpc_lstm.market.formats.arrow_batch import ArrowBatch, BadNumber, as_texts, is_text
from hpc_lstm.market.formats.csv_errors import row_problem
from hpc_lstm.market.formats.price_file import PriceFile, Reread
from hpc_lstm.market.formats.source import SourceFile, unreadable
from hpc_lstm.market.layouts.layout import MissingSymbol, PriceBatch
from hpc_lstm.market.layouts.registry import choose_layout
from hpc_lstm.market.layouts.symbol_column import changes
from hpc_lstm.market.number_forms import AmbiguousNumber
from hpc_lstm.market.options import FILE_NAME
from hpc_lstm.market.reading import Evidence, Reading, TableHead
from hpc_lstm.market.zone_marks import zone_of_column

LOOKED_AT = 200  # rows by which dates and numbers are decided at first
Columns = Mapping[int, Any]  # pyarrow arrays by number of the column


class TableFile(PriceFile):
    """A table whose beginning has been understood.

    Attributes:
        reading: how it is read.
    """

    reading: Reading

    def __init__(self, source: SourceFile) -> None:
        self.path, self.source, self.options = source.path, source, source.options
        self.head = self._named(self._read_head())
        self._width = len(self.head.names)
        self._file_date = ""
        if self.options.date_column == FILE_NAME:
            self._file_date = date_in_name(self.path, self.options.date_format)
            rows = [[*row, self._file_date] for row in self.head.rows]
            self.head = replace(self.head, names=[*self.head.names, FILE_NAME], rows=rows)
        self._unsure_zone = ""
        self.layout = choose_layout(self.path, self.head.names, self.head.rows, self.options, self.head.line)
        self._find_zone()
        self._seen_whole = self.head.whole and len(self.head.rows) <= LOOKED_AT
        evidence = self._evidence_of_head()
        try:
            self.reading = self._decide(evidence)
        except (BadDate, AmbiguousNumber) as error:
            if self._seen_whole:
                raise self._undecided(error) from None
            self._study()
        else:
            if not self._seen_whole and any(column.is_weak for column in evidence.numbers.values()):
                self._study()
        self.head = replace(self.head, rows=self.head.rows[:LOOKED_AT])  # memory, where files are many

    @abstractmethod
    def _read_head(self) -> TableHead:
        """The beginning of the table."""

    def _named(self, head: TableHead) -> TableHead:
        """The beginning with the names that the user gives to the columns."""
        names = self.options.column_names
        if names and len(names) != len(head.names):
            own = ", ".join(repr(name[:30]) for name in head.names[:8])
            raise PriceFileError(
                f"{self.path}: --columns names {len(names)} columns, the table has {len(head.names)}: {own}"
                f'{", ..." if len(head.names) > 8 else ""}; write "_" for one that is to be left out'
            )
        return replace(head, names=names) if names else head

    @property
    def _stored(self) -> set[int]:
        """Numbers of the columns that are read from the file."""
        return {number for number in self.layout.needed if number < self._width}

    def _columns_and_date(self, texts: bool) -> Iterator[tuple[Columns, int]]:
        """As ``_columns``, with the date in the file's name."""
        import pyarrow as pa

        for arrays, count in self._columns(texts):
            if self._file_date:
                codes = pa.repeat(pa.scalar(0, pa.int32()), count)
                dates = pa.DictionaryArray.from_arrays(codes, pa.array([self._file_date]))
                arrays = {**arrays, self._width: dates}
            yield arrays, count

    @abstractmethod
    def _columns(self, texts: bool) -> Iterator[tuple[Columns, int]]:
        """The columns that the layout needs, and their length, some rows at a time.

        Args:
            texts: give columns of numbers as they are written, too.

        Raises:
            PriceFileError, Reread: a row cannot be read.
        """

    def place(self, row: int) -> str:
        """Where a row stands, the first being 0, for messages."""
        return f"row {row + 1}"

    def _find_zone(self) -> None:
        """The zone that the names of the columns of date and time tell, or the first interval."""
        if self.head.rows and not self.layout.date_parts:
            self.zone = zone_of_column(self.head.rows[0][self.layout.date])[0]
        for number in (self.layout.date, self.layout.time):
            zone, unsure = (None, "") if number is None else zone_of_column(self.head.names[number])
            self.zone = self.zone or zone
            self._unsure_zone = self._unsure_zone or unsure

    @property
    def zone_to_be_told(self) -> str:
        """The zone that the name of the column of times may mean."""
        return "" if self.zone else self._unsure_zone

    @property
    def symbol_name(self) -> str:
        """The names of the columns that hold the symbol, separated by commas."""
        return ",".join(self.head.names[number] for number in self.layout.symbol)

    def understood(self) -> str:
        """What was understood of the file, for people."""
        said = self.reading.describe()
        return f"{said}; times in {self.zone}" if self.zone and not self.options.timezone else said

    def batches(self, columns: list[str]) -> Iterator[PriceBatch]:
        """The table's prices."""
        import pyarrow as pa

        done = 0
        same: dict[int, str] = {}
        check = DateCheck(self.reading.dates)
        for arrays, count in self._columns_and_date(texts=False):
            batch = ArrowBatch(arrays, count, self.reading)
            try:
                dates = batch.dates(self.layout)
                check.update(dates)
                for number in self.layout.constant:
                    self._require_constant(batch, number, same)
                prices = self.layout.prices(batch, dates, columns)
            except (BadDate, BadNumber, MissingSymbol) as error:
                self._reread()
                raise self._bad_row(arrays, done, error) from None
            except pa.ArrowException as error:  # columns of lists and other types without numbers
                raise unreadable(self.path, error) from None
            yield prices
            done += count
        if not done:
            raise PriceFileError(f"{self.path}: has a header but no rows")
        if problem := check.problem(self.place):
            raise PriceFileError(f"{self.path}: {problem}")

    def _require_constant(self, batch: ArrowBatch, number: int, same: dict[int, str]) -> None:
        values = {text for text in batch.texts(number)[0] if text.strip()} | {same.get(number, "")} - {""}
        if len(values) > 1:
            raise changes(self.path, self.head.names[number], values)
        same.update((number, value) for value in values)

    def _reread(self) -> None:
        """Look at the whole file if only its beginning has been: its rows may be read in another way."""
        self._find_strays()
        if self._seen_whole:
            return
        before = self.reading
        self._study()
        if self.reading != before or any(form.whole for form in before.numbers.values()):
            raise Reread

    def _study(self) -> None:
        """Decide by the whole file."""
        while True:
            evidence = Evidence(self.layout)
            try:
                for arrays, _ in self._columns_and_date(texts=True):
                    evidence.update(_texts(arrays))
                self.reading = self._decide_or_find_strays(evidence)
            except Reread:  # its end, its encoding or lines that are no rows have been found
                continue
            break
        self._seen_whole = True

    def _decide_or_find_strays(self, evidence: Evidence) -> Reading:
        try:
            return self._decide(evidence)
        except (BadDate, AmbiguousNumber) as error:
            self._find_strays()
            raise self._undecided(error) from None

    def _find_strays(self) -> None:
        """Look for lines that are no rows, where the beginning of a file showed none.

        Raises:
            Reread: there are some, and they will be left out.
        """

    def _evidence_of_head(self) -> Evidence:
        evidence = Evidence(self.layout)
        rows = self.head.rows[:: max(1, len(self.head.rows) // LOOKED_AT)]
        evidence.update_few({number: [row[number] for row in rows] for number in self.layout.needed})
        return evidence

    def _decide(self, evidence: Evidence) -> Reading:
        reading = evidence.decide(self.options, comma_separated=self.head.comma_separated, note=self._note())
        if not self._file_date:
            return reading
        return replace(reading, dates=replace(reading.dates, label="in the file's name"))

    def _note(self) -> str:
        return ""

    def _undecided(self, error: BadDate | AmbiguousNumber) -> PriceFileError:
        """The error for texts that can be read in two ways."""
        if isinstance(error, BadDate):
            what = f'found the date "{error.text.strip()}", expected {error.expected}'
        else:
            what = f'found "{error.text.strip()}", expected {error.why}'
        return PriceFileError(f"{self.path}: {self._place_of_text(error.text)}{what}")

    def _place_of_text(self, text: str) -> str:
        """Where a text stands first: "line 3: "; nothing if that is not known."""
        for number, row in enumerate(self.head.rows):
            if text in row:
                return f"{self.place(number)}: "
        return ""

    def _bad_row(self, arrays: Columns, done: int, error: Exception) -> PriceFileError:
        """The error for the first bad row of a batch."""
        columns = {number: as_texts(array).to_pylist() for number, array in arrays.items()}
        numbers = [n for n in self.layout.numbers if n in arrays and not is_text(arrays[n])]
        date = error if isinstance(error, BadDate) else None
        for row in range(len(next(iter(columns.values())))):
            cells = [""] * len(self.head.names)
            for number, texts in columns.items():
                # A number that is one has no notation that could be wrong.
                sound = number in numbers and texts[row] not in ("inf", "-inf")
                cells[number] = "" if sound else texts[row] or ""
            if problem := row_problem(self.reading, cells, len(cells), date):
                return PriceFileError(f"{self.path}: {self.place(done + row)}: {problem}")
        return PriceFileError(f"{self.path}: a row after {self.place(done)} cannot be read: {error}")


def _texts(arrays: Columns) -> dict[int, Any]:
    """The columns that are texts, as strings."""
    return {number: as_texts(array) for number, array in arrays.items() if is_text(array)}
