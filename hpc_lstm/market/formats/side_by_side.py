"""Tables side by side in one text file, each with dates of its own, as workbooks of Bloomberg and Refinitiv have them.

AAPL US Equity,,,MSFT US Equity,          Date,AAPL,Date,MSFT          AAPL,,MSFT,
Date,PX_LAST,,Date,PX_LAST                2024-01-02,1,2024-01-03,2    2024-01-02,1,2024-01-03,2
2024-01-02,1,,2024-01-03,2
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.formats.csv_dialect import find_delimiter, read_lines
from hpc_lstm.market.formats.encoding import find_encoding, is_text
from hpc_lstm.market.formats.file_format import FileFormat
from hpc_lstm.market.formats.price_file import PriceFile
from hpc_lstm.market.formats.source import SourceFile, unreadable, with_head
from hpc_lstm.market.formats.spooled_csv import SpooledCsv
from hpc_lstm.market.formats.stray_lines import Line
from hpc_lstm.market.layouts.cells import kind_of
from hpc_lstm.market.layouts.single import SingleLayout
from hpc_lstm.market.layouts.vocabulary import SPELLINGS, is_price_word, plain, words

LOOKED_AT = 100  # rows
IN_MEMORY = 256 << 20  # bytes of all tables' texts that are held in memory
_DATE = re.compile(rb"\d{1,4}[-/.]\w{1,3}[-/.]\d{2,4}")


@dataclass(frozen=True)
class _Table:
    """One of the tables: its columns, their names, and its symbol, "" if the names of the columns say it."""

    first: int
    stop: int
    names: list[str]
    symbol: str


@dataclass(frozen=True)
class _Sheet:
    """A file of tables side by side; ``header`` is the line above the first row."""

    encoding: str
    delimiter: str
    header: int
    tables: list[_Table]


class SideBySideFormat(FileFormat):
    """Text files with several columns of dates, each followed by prices of its own."""

    @classmethod
    def recognizes(cls, source: SourceFile) -> bool:
        """Whether a text has tables side by side."""
        if source.options.layout is not None or not is_text(source.head):
            return False
        lines = source.head[:20_000].replace(b"\0", b"").split(b"\n")
        few = (len(_DATE.findall(line)) > 1 for line in lines[:40])
        return any(few) and _find_tables(source) is not None

    @classmethod
    def open_all(
        cls, source: SourceFile, open_part: Callable[[SourceFile], list[PriceFile]]
    ) -> list[PriceFile]:
        """Each of the tables, with its symbol."""
        sheet = _find_tables(source)
        assert sheet is not None
        files: list[PriceFile] = []
        for table, text in zip(sheet.tables, _cut(source, sheet), strict=True):
            options = replace(source.options, layout="single") if table.symbol else source.options
            part = SourceFile(
                f"{source.path}/{table.symbol or table.names[1]}",
                False,
                b"",
                options=options,
                opener=text.reader,
                row_word=source.row_word,
            )
            opened = open_part(with_head(part))
            for file in opened:
                if isinstance(file.layout, SingleLayout):
                    file.layout.name = table.symbol
                    file.layout.origin = file.layout.origin.replace("the file's name", "the line above")
            files += opened
        return files


def _find_tables(source: SourceFile) -> _Sheet | None:
    """The tables side by side; None if there is one alone.

    Raises:
        PriceFileError: nothing says whose the tables are.
    """
    encoding = find_encoding(source)
    text = source.head.decode(encoding, errors="replace").removeprefix("\ufeff")
    delimiter = find_delimiter(text)
    lines = [line for line in read_lines(text, delimiter) if any(map(str.strip, line[1]))]
    data = next((n for n, (_, cells) in enumerate(lines[:60]) if _dates_in(cells) > 1), None)
    if not data:
        return None
    rows = [cells for _, cells in lines[data : data + LOOKED_AT]]
    width = max(map(len, rows))
    kinds = [kind_of(cells[n] for cells in rows if n < len(cells)) for n in range(width)]
    begins = [n for n, kind in enumerate(kinds) if kind == "date"]
    tables = list(zip(begins, [*begins[1:], width], strict=False))
    if len(tables) < 2 or any("number" not in kinds[first:stop] for first, stop in tables):
        return None
    if any(kind != "empty" for kind in kinds[: begins[0]]):
        return None
    above = [[cell.strip() for cell in cells] + [""] * (width - len(cells)) for _, cells in lines[:data]]
    found = _named_tables(tables, above, kinds)
    if found is None:
        return None
    if not all(_has_name(table) for table in found):
        raise PriceFileError(
            f"{source.path}: {source.row_word} {lines[data - 1][0]}: {len(found)} tables stand side by side, and "
            "nothing above them names their symbols; write the symbol above each column of dates"
        )
    return _Sheet(encoding, delimiter, lines[data - 1][0], found)


def _has_name(table: _Table) -> bool:
    """Whether it is known whose prices a table has."""
    return bool(table.symbol) or not any(
        is_price_word(word) for name in table.names[1:] for word in words(name)
    )


def _dates_in(cells: Sequence[str]) -> int:
    return sum(kind_of([cell]) == "date" for cell in cells)


def _named_tables(
    tables: list[tuple[int, int]], above: list[list[str]], kinds: list[str]
) -> list[_Table] | None:
    """The tables with their names; None if the columns of dates are of one table, such as trade date and expiry."""
    names = above[-1]
    dates = {re.sub(r"[._ ]?\d+$", "", plain(names[first])) for first, _ in tables}
    if dates == {""} or (len(dates) == 1 and dates <= set(SPELLINGS["date"])):
        symbols = _symbols_above(tables, above[:-1])
    elif not dates & set(SPELLINGS["date"]) and len(dates) == len(tables):
        symbols = [names[first] for first, _ in tables]
        fields = {tuple(filter(None, names[first + 1 : stop])) for first, stop in tables}
        if len(fields) > 1:
            return None
    else:
        return None
    if len(set(symbols)) < len(symbols) and any(symbols):
        return None
    found_tables = []
    for (first, stop), symbol in zip(tables, symbols, strict=True):
        columns = [n for n in range(first + 1, stop) if names[n] or kinds[n] == "number"]
        own = [re.sub(r"\.\d+$", "", names[n]) or ("Close" if len(columns) == 1 else "") for n in columns]
        stop = max(columns, default=first) + 1
        padded = dict(zip(columns, own, strict=True))
        found_tables.append(
            _Table(first, stop, ["Date", *(padded.get(n, "") for n in range(first + 1, stop))], symbol)
        )
    return found_tables


def _symbols_above(tables: list[tuple[int, int]], above: list[list[str]]) -> list[str]:
    """The symbols in the lowest line that has a cell for each table, all different; "" for each if there is none."""
    for line in reversed(above):
        cells = [[cell for cell in line[first:stop] if cell] for first, stop in tables]
        for found in zip(*cells, strict=False):  # Name,AAPL
            if len(set(found)) == len(tables):
                return list(found)
    return [""] * len(tables)


def _cut(source: SourceFile, sheet: _Sheet) -> list[SpooledCsv]:
    """The text of each table, each row at its line.

    Raises:
        PriceFileError: the file cannot be read, or a row has cells that belong to no table.
    """
    texts = [SpooledCsv(IN_MEMORY // len(sheet.tables)) for _ in sheet.tables]
    for text, table in zip(texts, sheet.tables, strict=True):
        text.write([[]] * (sheet.header - 1) + [table.names])
    block: list[Line] = []
    try:
        with io.TextIOWrapper(source.open(), sheet.encoding, errors="replace", newline="") as file:
            reader = csv.reader(file, delimiter=sheet.delimiter)
            line = 0
            for cells in reader:
                block += [(number, []) for number in range(line + 1, reader.line_num)]
                block.append((reader.line_num, cells))
                if any(map(str.strip, cells[sheet.tables[-1].stop :])):
                    raise PriceFileError(
                        f"{source.path}: {source.row_word} {reader.line_num}: found a cell to the right of the "
                        f"{len(sheet.tables)} tables that stand side by side; name its column in "
                        f"{source.row_word} {sheet.header}, or leave it out"
                    )
                line = reader.line_num
                if len(block) >= 1 << 14:
                    _write(texts, sheet, block)
                    block = []
    except (OSError, EOFError, csv.Error) as error:
        raise unreadable(source.path, error) from None
    _write(texts, sheet, block)
    return texts


def _write(texts: list[SpooledCsv], sheet: _Sheet, block: list[Line]) -> None:
    for text, table in zip(texts, sheet.tables, strict=True):
        width = table.stop - table.first
        parts = [cells[table.first : table.stop] for number, cells in block if number > sheet.header]
        text.write(part + [""] * (width - len(part)) if any(map(str.strip, part)) else [] for part in parts)
