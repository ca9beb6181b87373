"""Excel workbooks (.xlsx): each sheet with prices is a table, read by openpyxl and then as a CSV is."""

from __future__ import annotations

import csv
import io
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from typing import Any

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.formats.csv import CsvFile
from hpc_lstm.market.formats.price_file import PriceFile
from hpc_lstm.market.formats.source import SourceFile, unreadable, with_head

IN_MEMORY = 32 << 20  # bytes of a sheet's text that are held in memory


class ExcelFile(CsvFile):
    """A sheet of a workbook."""

    format_name = "Excel"
    sheets_left_out: tuple[str, ...] = ()

    @classmethod
    def recognizes(cls, source: SourceFile) -> bool:
        """Whether the file is a ZIP with the parts of a workbook."""
        if not source.head.startswith(b"PK\3\4"):
            return False
        try:
            with source.open() as file, zipfile.ZipFile(file) as parts:
                return "xl/workbook.xml" in parts.namelist()
        except (zipfile.BadZipFile, OSError):
            return False

    @classmethod
    def open_all(
        cls, source: SourceFile, open_part: Callable[[SourceFile], list[PriceFile]]
    ) -> list[PriceFile]:
        """The sheets with prices; others, such as one with notes, are left out if there is one."""
        tables: list[ExcelFile] = []
        errors: list[PriceFileError] = []
        sheets = _sheets(source)
        for _, part in sheets:
            try:
                tables.append(cls(part))
            except PriceFileError as error:
                if "in the header" not in str(error) and "is empty" not in str(error):
                    raise
                errors.append(error)
        if not tables:
            raise errors[0] if errors else PriceFileError(f"{source.path}: has no sheet with cells")
        left = [name for name, part in sheets if part.path not in {table.path for table in tables}]
        tables[0].sheets_left_out = tuple(left)
        if len(tables) == 1:
            tables[0].rename(source.path)
        return [*tables]

    def rename(self, path: str) -> None:
        """Name the only table of a workbook by the file."""
        from hpc_lstm.market.layouts.single import SingleLayout, symbol_of_file

        self.path = path
        if isinstance(self.layout, SingleLayout):
            self.layout.name = symbol_of_file(path)

    @property
    def left_out(self) -> list[str]:
        """Lines after the last row, and sheets that hold no prices."""
        return [*super().left_out, *(f'sheet "{name}"' for name in self.sheets_left_out)]


def _sheets(source: SourceFile) -> list[tuple[str, SourceFile]]:
    """The sheets that have cells, each as a source of CSV."""
    try:
        import openpyxl
    except ImportError:
        raise PriceFileError(
            f'{source.path}: reading Excel files needs openpyxl, which is missing: pip install "hpc-lstm[files]"'
        ) from None
    sheets = []
    try:
        with source.open() as file:
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            for sheet in book.worksheets:
                text = _Text()
                if _write(sheet.iter_rows(values_only=True), text):
                    part = SourceFile(
                        f"{source.path}/{sheet.title}",
                        False,
                        b"",
                        options=source.options,
                        opener=text.reader,
                        row_word="row",
                    )
                    sheets.append((sheet.title, with_head(part)))
            book.close()
    except PriceFileError:
        raise
    except Exception as error:  # openpyxl raises many kinds for a damaged file
        raise unreadable(source.path, error) from None
    return sheets


class _Text:
    """The text of a sheet, in memory or a temporary file; read any number of times."""

    def __init__(self) -> None:
        self.file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115

    def reader(self) -> Any:
        """The text as a binary file from its beginning."""
        self.file.seek(0)
        return _Unclosed(self.file)


class _Unclosed(io.RawIOBase):
    """A file that stays open when this view of it is closed."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        return bytes(self._file.read(-1 if size is None else size))

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _write(rows: Iterator[tuple[Any, ...]], text: _Text) -> bool:
    """Write rows as CSV, a line each; whether any had a cell."""
    wrapper = io.TextIOWrapper(text.file, "utf-8", newline="", write_through=True)
    writer = csv.writer(wrapper, lineterminator="\n")
    any_cell = False
    for cells in rows:
        texts = [_text(cell) for cell in cells]
        any_cell = any_cell or any(texts)
        writer.writerow(texts if any(texts) else [])
    wrapper.flush()
    wrapper.detach()
    return any_cell


def _text(cell: Any) -> str:
    """A cell as the text that a CSV would have."""
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == time() else cell.isoformat(" ")
    if isinstance(cell, (date, time)):
        return cell.isoformat()
    if isinstance(cell, float):
        return repr(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
    return " ".join(str(cell).split("\n"))
