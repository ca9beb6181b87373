"""What is wrong with a row of a table; in a CSV, found by reading the file again, row by row."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterator, Sequence

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.dates import EXPECTED, BadDate, joined_parts
from hpc_lstm.market.formats.csv_dialect import ALIGNED, CsvDialect
from hpc_lstm.market.formats.header_rows import names_date
from hpc_lstm.market.formats.source import SourceFile, unreadable
from hpc_lstm.market.formats.stray_lines import Line, title_problem
from hpc_lstm.market.number_forms import PLAIN_MISSING
from hpc_lstm.market.price_fractions import fraction_mark, to_decimals
from hpc_lstm.market.reading import Reading


def first_bad_row(
    source: SourceFile, dialect: CsvDialect, reading: Reading, done: int, date: BadDate | None, fallback: str
) -> PriceFileError:
    """The error for the first bad row.

    Args:
        done: number of rows known to be good.
        date: a date in the file that cannot be read, if that is what is wrong.
        fallback: what to say if no row looks wrong.
    """
    try:
        for seen, (line, row) in enumerate(numbered_rows(source, dialect), 1):
            if seen <= done:
                continue
            problem = _other_width(dialect, line, row) or row_problem(reading, row, len(dialect.names), date)
            if problem:
                return PriceFileError(f"{source.path}: {source.row_word} {line}: {problem}")
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        return unreadable(source.path, error)
    what = " ".join((fallback or "a row cannot be read").split())[:160]
    return PriceFileError(f"{source.path}: {what}; expected {len(dialect.names)} columns, as in the header")


def numbered_rows(source: SourceFile, dialect: CsvDialect) -> Iterator[Line]:
    """The rows of a CSV, each with the number of its last line; without what is left out of it."""
    with io.TextIOWrapper(source.open(), dialect.encoding, errors="replace", newline="") as file:
        for _ in range(dialect.lines):
            file.readline()
        lines = _numbered_lines(file, dialect)
        yield from dialect.stray_lines().rows(lines) if dialect.has_strays else lines


def _numbered_lines(file: io.TextIOWrapper, dialect: CsvDialect) -> Iterator[Line]:
    reader = csv.reader(file, delimiter=dialect.delimiter)
    for row in reader:
        line = dialect.lines + reader.line_num
        if dialect.end is not None and line > dialect.end:
            return
        if row:
            yield line, row


def _other_width(dialect: CsvDialect, line: int, row: list[str]) -> str:
    """Why a row has more or fewer columns than the header, where that is known."""
    if len(row) == len(dialect.names):
        return ""
    if dialect.delimiter == " " and "" in row:
        return ALIGNED
    if len(row) == 1 < len(dialect.names) - 1 and row[0][:1].isalpha():
        return title_problem(shortened(row[0].strip()), dialect.delimiter, dialect.lines)
    if names_date(row):
        return (
            f"found another header, with {len(row)} columns instead of {len(dialect.names)}; cut the file above it, as "
            f"by head -n {line - 1} FILE > A and tail -n +{line} FILE > B, and import both"
        )
    return ""


def row_problem(reading: Reading, row: Sequence[str], width: int, date: BadDate | None) -> str | None:
    """What is wrong with a row."""
    layout = reading.layout
    if len(row) != width:
        return f"found {len(row)} columns, expected {width} as in the header"
    if any("\N{REPLACEMENT CHARACTER}" in text for text in row):
        return "found bytes that are not UTF-8, expected UTF-8 text; save the file as CSV UTF-8"
    when = row[layout.date] if layout.date < len(row) else "the file's name"
    if not when.strip():
        return f"found no date, expected {EXPECTED}"
    day = when
    if layout.date_parts:
        when = joined_parts([row[number].strip() for number in (layout.date, *layout.date_parts)])
    if layout.time is not None:
        when = f"{when.strip()} {row[layout.time].strip()}"
    if date is not None and date.text.strip() in (when.strip(), day.strip()):
        return f'found the date "{shortened(when)}", expected {date.expected}'
    for number in layout.symbol:
        if not row[number].strip():
            return "found no symbol, expected one in each row"
    for number in layout.numbers:
        if not _is_number_or_missing(reading, number, row[number]):
            text = shortened(row[number])
            if mark := fraction_mark(text):
                return (
                    f'found "{text}", a price in fractions; make decimals of them, as by {to_decimals(mark)}'
                )
            return (
                f'found "{text}" in column {number + 1}, expected a finite number such as 1234.5 or nothing'
                + _other_notation(reading, number)
            )
    return None


def _is_number_or_missing(reading: Reading, number: int, text: str) -> bool:
    if text == "" or text.strip(" \t") in PLAIN_MISSING[1:]:
        return True
    form = reading.numbers.get(number)
    return form is not None and form.accepts(text)


def _other_notation(reading: Reading, number: int) -> str:
    form = reading.numbers.get(number)
    return "" if form is None or form.label == "1234.5" else f", as the column is written: {form.label}"


def shortened(text: str) -> str:
    """The beginning of a field, on one line."""
    return text[:40].replace("\n", "\\n").replace("\r", "\\r")
