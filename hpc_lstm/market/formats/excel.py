"""Excel workbooks (.xlsx): each sheet with prices is a table, read by openpyxl and then as a CSV is."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.formats.csv import CsvFile
from hpc_lstm.market.formats.price_file import PriceFile
from hpc_lstm.market.formats.side_by_side import SideBySideFormat
from hpc_lstm.market.formats.source import SourceFile, unreadable, with_head
from hpc_lstm.market.formats.spooled_csv import SpooledCsv
from hpc_lstm.market.formats.zip import ZIP_ERRORS


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
        except ZIP_ERRORS:
            return False

    @classmethod
    def open_all(
        cls, source: SourceFile, open_part: Callable[[SourceFile], list[PriceFile]]
    ) -> list[PriceFile]:
        """The sheets with prices; others, such as one with notes, are left out if there is one."""
        tables: list[PriceFile] = []
        errors: list[PriceFileError] = []
        sheets = _sheets(source)
        used: set[str] = set()
        for name, part in sheets:
            try:
                if SideBySideFormat.recognizes(part):
                    tables += SideBySideFormat.open_all(part, lambda table: [cls(table)])
                else:
                    tables.append(cls(part))
                used.add(name)
            except PriceFileError as error:
                if "in the header" not in str(error) and "is empty" not in str(error):
                    raise
                errors.append(error)
        if not tables:
            raise errors[0] if errors else PriceFileError(f"{source.path}: has no sheet with cells")
        first = tables[0]
        assert isinstance(first, ExcelFile)
        first.sheets_left_out = tuple(name for name, _ in sheets if name not in used)
        if len(tables) == 1:
            first.rename(source.path)
        return tables

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
                text = SpooledCsv()
                if text.write([_text(cell) for cell in cells] for cells in sheet.iter_rows(values_only=True)):
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
