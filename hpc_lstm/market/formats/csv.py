"""CSV files, plain or gzipped, read by pyarrow a few megabytes at a time."""

from __future__ import annotations

import csv as python_csv
import io
import zlib
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.dates import BadDate
from hpc_lstm.market.formats.csv_dialect import find_dialect, find_footer
from hpc_lstm.market.formats.csv_errors import first_bad_row, numbered_rows, shortened
from hpc_lstm.market.formats.encoding import find_encoding, is_text, is_utf8, is_western, runs_beyond_ascii
from hpc_lstm.market.formats.file_format import OneTableFormat
from hpc_lstm.market.formats.line_stream import LineStream
from hpc_lstm.market.formats.price_file import Reread
from hpc_lstm.market.formats.source import SourceFile, unreadable
from hpc_lstm.market.formats.stray_lines import TITLE, title_problem
from hpc_lstm.market.formats.table_file import Columns, TableFile
from hpc_lstm.market.number_forms import PLAIN_MISSING
from hpc_lstm.market.reading import TableHead

BLOCK = 4 << 20  # bytes that are parsed at a time


class CsvFile(TableFile, OneTableFormat):
    """A CSV whose header has been read."""

    format_name = "CSV"

    @classmethod
    def recognizes(cls, source: SourceFile) -> bool:
        """Whether the file is text."""
        return is_text(source.head)

    def _read_head(self) -> TableHead:
        self._dialect = find_dialect(self.source, find_encoding(self.source))
        found, self._dialect = self._dialect, replace(self._dialect, rows=[])
        self.source = replace(self.source, head=b"")
        self._strays: Counter[str] = Counter()
        self._refused: PriceFileError | None = None
        return TableHead(found.names, found.rows, self.source.whole, found.line, found.delimiter == ",")

    @property
    def lines_before(self) -> int:
        """Lines before the first row."""
        return self._dialect.lines

    @property
    def delimiter(self) -> str:
        """What separates the cells."""
        return self._dialect.delimiter

    @property
    def left_out(self) -> list[str]:
        """Lines after the last row and among the rows."""
        word, count = self.source.row_word, self._dialect.left_out
        after = [f"{count} {word}{'s' if count > 1 else ''} after the last row"] if count else []
        return after + [f"{word}s among the rows ({kind}): {count:,}" for kind, count in self._strays.items()]

    def place(self, row: int) -> str:
        """The line of a row, the first row being 0."""
        for number, (line, _) in enumerate(numbered_rows(self.source, self._dialect)):
            if number == row:
                return f"{self.source.row_word} {line}"
        return f"row {row + 1}"

    def _place_of_text(self, text: str) -> str:
        for line, row in numbered_rows(self.source, self._dialect):
            if text in row:
                return f"{self.source.row_word} {line}: "
        return ""

    def _note(self) -> str:
        encoding = self._dialect.encoding
        parts = [] if encoding.startswith("utf-8") else [f"text in {encoding}"]
        return "; ".join([*([self._dialect.note] if self._dialect.note else []), *parts])

    def _columns(self, texts: bool) -> Iterator[tuple[Columns, int]]:
        """Only the columns needed: numbers as float64 if they are plain, all others as distinct texts and codes."""
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        words, plain, decimal = self._types(texts)
        types: dict[int, Any] = dict.fromkeys(words, pa.dictionary(pa.int32(), pa.string()))
        for number in self.layout.numbers:
            types.setdefault(number, self._arrow_type(number) if number in plain else pa.string())
        read = arrow_csv.ReadOptions(
            column_names=[str(number) for number in range(len(self._dialect.names))],
            skip_rows=self._dialect.lines if self._is_direct else 0,
            block_size=BLOCK,
        )
        convert = arrow_csv.ConvertOptions(
            include_columns=[str(number) for number in sorted(types)],
            column_types={str(number): kind for number, kind in types.items()},
            null_values=list(PLAIN_MISSING),
            strings_can_be_null=False,  # "NA" and "NAN" are symbols
            decimal_point=decimal,
        )
        parsing = arrow_csv.ParseOptions(delimiter=self._dialect.delimiter)
        done = 0
        try:
            with self._stream() as stream:
                for batch in arrow_csv.open_csv(stream, read, parsing, convert):
                    arrays = {number: batch.column(place) for place, number in enumerate(sorted(types))}
                    yield arrays, batch.num_rows
                    done += batch.num_rows
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return
            self._find_encoding()
            self._find_strays()
            if not texts:
                self._reread()
            self._find_end()
            raise self._first_bad_row(done, fallback=str(error)) from None
        except (OSError, EOFError, zlib.error) as error:
            raise (self._refused or unreadable(self.path, error)) from None

    def _types(self, texts: bool) -> tuple[set[int], set[int], str]:
        """Columns that are read as distinct texts, those that Arrow reads as numbers, and their decimal mark."""
        words = self._stored - set(self.layout.numbers)
        if texts:
            return words, set(), "."
        forms = {number: form for number, form in self.reading.numbers.items() if form.plain}
        decimal = "," if any(form.decimal == "," for form in forms.values()) else "."
        plain = {number for number, form in forms.items() if form.decimal == decimal or form.whole}
        return words, plain, decimal

    def _arrow_type(self, number: int) -> Any:
        """A column of digits alone is read so while only its beginning is known: 1.234 may follow, and mean 1234."""
        import pyarrow as pa

        whole = self.reading.numbers[number].whole and not self._seen_whole
        return pa.int64() if whole else pa.float64()

    @property
    def _is_direct(self) -> bool:
        """Whether Arrow can read the file's own bytes."""
        found = self._dialect
        return (
            self.source.opener is None
            and found.encoding.startswith("utf-8")
            and found.end is None
            and not found.has_strays
        )

    def _stream(self) -> Any:
        """What Arrow reads."""
        import pyarrow as pa

        if self._is_direct:
            return pa.input_stream(self.path, compression="gzip" if self.source.gzipped else None)
        return pa.PythonFile(io.BufferedReader(LineStream(self._lines_for_arrow()), BLOCK), mode="r")

    def _lines_for_arrow(self) -> Iterator[bytes]:
        """The lines; what they are refused for is kept: Arrow cannot pass on a text that quotes what is not UTF-8."""
        try:
            yield from self._lines()
        except PriceFileError as error:
            self._refused = error
            raise OSError("refused") from None

    def _lines(self) -> Iterator[bytes]:
        """The lines of the rows, in UTF-8."""
        found = self._dialect
        strays = found.stray_lines()
        self._strays.clear()
        quoted = False  # whether a line begins inside a cell
        titles: list[tuple[int, str]] = []  # above rows, unless they turn out to be notes at the end
        # Arrow sees bytes that are not UTF-8 as they are, and refuses them.
        kept = "surrogateescape" if found.encoding.startswith("utf-8") else "replace"
        with (
            self.source.open() as raw,
            io.TextIOWrapper(raw, found.encoding, errors=kept, newline="") as file,
        ):
            for number, line in enumerate(_physical_lines(file), 1):
                if found.end is not None and number > found.end:
                    return
                if number <= found.lines:
                    continue
                if found.has_strays and not quoted and line.strip("\r\n"):
                    cells = next(python_csv.reader([line], delimiter=found.delimiter), [])
                    if (kind := strays.kind(cells)) == TITLE:
                        titles.append((number, line))
                        continue
                    if kind:
                        self._strays[kind] += 1
                        continue
                    for title in titles:
                        self._take_title(*title)
                    titles.clear()
                    if strays.order is not None:
                        line = _as_line(strays.in_order(cells), found.delimiter)
                quoted ^= line.count('"') % 2 == 1
                yield line.encode(errors="surrogateescape")
            for _, line in titles:
                yield line.encode(errors="surrogateescape")

    def _take_title(self, number: int, line: str) -> None:
        """Leave out a title above rows that name their symbols; refuse one that may be the only name."""
        if not self.layout.symbol:
            said = title_problem(shortened(line.strip()), self._dialect.delimiter, self._dialect.lines)
            raise PriceFileError(f"{self.path}: {self.source.row_word} {number}: {said}")
        self._strays[TITLE] += 1

    def _reread(self) -> None:
        before = self._dialect
        super()._reread()
        self._find_end()
        if self._dialect is not before:
            raise Reread

    def _find_strays(self) -> None:
        if self.source.whole or self._dialect.has_strays:
            return
        try:
            strays = self._dialect.stray_lines()
            deque(strays.rows(numbered_rows(self.source, self._dialect)), maxlen=0)
        except (OSError, EOFError, zlib.error, python_csv.Error):
            return
        if strays.found:
            self._dialect = replace(self._dialect, has_strays=True)
            self._seen_whole = False
            raise Reread

    def _find_encoding(self) -> None:
        """Find that a file whose beginning is ASCII is in cp1252; then it is read again."""
        if self.source.whole or self._dialect.encoding != "utf-8":
            return
        beyond = set()  # what is beyond ASCII, each once
        try:
            with self.source.open() as file:
                for line in file:
                    if not line.isascii():
                        beyond.add(runs_beyond_ascii(line))
        except (OSError, EOFError, zlib.error):
            return
        found = b" ".join(beyond)
        if not is_utf8(found, True) and is_western(found):
            self._dialect = replace(self._dialect, encoding="cp1252")
            raise Reread

    def _find_end(self) -> None:
        """Find lines after the last row of a file of which only the beginning was known; then it is read again."""
        if self.source.whole or self._dialect.end is not None:
            return
        tail: deque[tuple[int, list[str]]] = deque(maxlen=50)
        try:
            for line in numbered_rows(self.source, replace(self._dialect, has_strays=False)):
                tail.append(line)
        except (OSError, EOFError, zlib.error, python_csv.Error):
            return
        rows = list(self._dialect.stray_lines().rows(tail))
        end, _ = find_footer(list(tail), rows, self._dialect.names)
        if end is not None:
            left_out = sum(number > end for number, _ in tail)
            self._dialect = replace(self._dialect, end=end, left_out=left_out)
            raise Reread

    def _bad_row(self, arrays: Columns, done: int, error: Exception) -> PriceFileError:
        return self._first_bad_row(done, error if isinstance(error, BadDate) else None)

    def _first_bad_row(self, done: int, date: BadDate | None = None, fallback: str = "") -> PriceFileError:
        return first_bad_row(self.source, self._dialect, self.reading, done, date, fallback)


def _as_line(cells: list[str], delimiter: str) -> str:
    text = io.StringIO()
    python_csv.writer(text, delimiter=delimiter, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _physical_lines(file: io.TextIOWrapper) -> Iterator[str]:
    yield from file
