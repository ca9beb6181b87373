"""The header of a CSV: where it ends, its names, and the delimiter."""

from __future__ import annotations

import csv
from dataclasses import dataclass

from hpc_lstm.errors import CsvError
from hpc_lstm.market.formats.source import SourceFile


@dataclass(frozen=True)
class CsvHeader:
    """A CSV's header.

    Attributes:
        names: of the columns.
        delimiter: "," or ";" or a tab.
        lines: lines before the first row: blank ones and the header.
    """

    names: list[str]
    delimiter: str
    lines: int


def read_csv_header(source: SourceFile) -> CsvHeader:
    """Read the first line that is not blank.

    Raises:
        CsvError: the file is empty, or the line is not UTF-8.
    """
    blank = 0
    for line in source.head.splitlines(keepends=True):
        if line.strip(b"\r\n\xef\xbb\xbf"):
            break
        blank += 1
    else:
        raise CsvError(f"{source.path}: is empty; expected a header with date and close, and rows")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CsvError(
            f"{source.path}: line {blank + 1}: is not UTF-8 text; expected the CSV's header, plain or gzipped"
        ) from None
    delimiter = next((mark for mark in ",;\t" if mark in text), ",")
    names = [name.strip() for name in next(csv.reader([text], delimiter=delimiter))]
    return CsvHeader(names, delimiter, blank + 1)
