"""What is wrong with a CSV, and in which line: found by reading the file again, row by row."""

from __future__ import annotations

import csv
import io
import re
import zlib

import numpy as np

from hpc_lstm.errors import CsvError
from hpc_lstm.market.dates import EXPECTED, BadDate
from hpc_lstm.market.formats.csv_header import CsvHeader
from hpc_lstm.market.formats.source import SourceFile, unreadable
from hpc_lstm.market.layouts.layout import Layout

# Fields that stand for a missing number.
MISSING = ("", "NA", "N/A", "#N/A", "nan", "NaN", "NAN", "null", "NULL", "None", "-", "--")
NUMBER = re.compile(r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*")


def first_bad_row(
    source: SourceFile, header: CsvHeader, layout: Layout, done: int, date: BadDate | None, fallback: str
) -> CsvError:
    """The error for the first bad row.

    Args:
        done: number of rows known to be good.
        date: a date in the file that cannot be read, if that is what is wrong.
        fallback: what to say if no row looks wrong.
    """
    try:
        with io.TextIOWrapper(source.open(), "utf-8-sig", errors="replace", newline="") as file:
            for _ in range(header.lines):
                file.readline()
            reader = csv.reader(file, delimiter=header.delimiter)
            seen = 0
            for row in reader:
                if not row:
                    continue
                seen += 1
                problem = _problem(header, layout, row, date) if seen > done else None
                if problem:
                    return CsvError(f"{source.path}: line {header.lines + reader.line_num}: {problem}")
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        return unreadable(source.path, error)
    what = " ".join((fallback or "a row cannot be read").split())[:160]
    return CsvError(f"{source.path}: {what}; expected {len(header.names)} columns, as in the header")


def _problem(header: CsvHeader, layout: Layout, row: list[str], date: BadDate | None) -> str | None:
    """What is wrong with a row."""
    if len(row) != len(header.names):
        return f"found {len(row)} columns, expected {len(header.names)} as in the header"
    if any("\N{REPLACEMENT CHARACTER}" in text for text in row):
        return "found bytes that are not UTF-8, expected UTF-8 text"
    when = row[layout.date]
    if not when.strip():
        return f"found no date, expected {EXPECTED}"
    if date is not None and when == date.text:
        return f'found the date "{_shortened(when)}", expected {date.expected}'
    if layout.symbol is not None and not row[layout.symbol].strip():
        return "found no symbol, expected one in each row"
    for number in layout.numbers:
        if not _is_number_or_missing(row[number]):
            text = _shortened(row[number])
            return (
                f'found "{text}" in column {number + 1}, expected a finite number such as 1234.5 or nothing'
            )
    return None


def _is_number_or_missing(text: str) -> bool:
    if text == "" or text.strip(" \t") in MISSING[1:]:
        return True
    return bool(NUMBER.fullmatch(text) and np.isfinite(float(text)))


def _shortened(text: str) -> str:
    """The beginning of a field, on one line."""
    return text[:40].replace("\n", "\\n").replace("\r", "\\r")
