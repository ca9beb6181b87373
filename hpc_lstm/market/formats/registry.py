"""The formats of price files, one line each; the first one that recognizes a file reads it."""

from __future__ import annotations

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.formats.cotahist import CotahistFile
from hpc_lstm.market.formats.csv import CsvFile
from hpc_lstm.market.formats.excel import ExcelFile
from hpc_lstm.market.formats.file_format import FileFormat
from hpc_lstm.market.formats.price_file import PriceFile
from hpc_lstm.market.formats.side_by_side import SideBySideFormat
from hpc_lstm.market.formats.source import SourceFile, open_source
from hpc_lstm.market.formats.tables import FeatherFile, ParquetFile
from hpc_lstm.market.formats.zip import ZipFormat
from hpc_lstm.market.options import ImportOptions

FORMATS: tuple[type[FileFormat], ...] = (
    ExcelFile,
    ZipFormat,
    ParquetFile,
    FeatherFile,
    CotahistFile,
    SideBySideFormat,
    CsvFile,
)


def open_price_files(path: str, options: ImportOptions | None = None) -> list[PriceFile]:
    """Open the tables of a file of prices with the format that recognizes it.

    Raises:
        PriceFileError: the file cannot be read, or no format recognizes it.
    """
    return open_tables(open_source(path, options))


def open_tables(source: SourceFile) -> list[PriceFile]:
    """Open the tables of a source.

    Raises:
        PriceFileError: it cannot be read, or no format recognizes it.
    """
    for format_ in FORMATS:
        if format_.recognizes(source):
            return format_.open_all(source, open_tables)
    if source.head.startswith(b"\xd0\xcf\x11\xe0"):
        raise PriceFileError(f"{source.path}: is a workbook of old Excel (.xls); save it as .xlsx or CSV")
    if source.head.startswith(b"\x89HDF\r\n"):
        raise PriceFileError(
            f"{source.path}: is an HDF5 file, as market stores are, which are not imported: name it as the store, or "
            "copy the file; export other tables as CSV or Parquet"
        )
    raise PriceFileError(
        f"{source.path}: holds binary data, not the text of a CSV, nor an .xlsx, .parquet, .feather or .zip file; "
        "export it as CSV in UTF-8"
    )
