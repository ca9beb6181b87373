"""The formats of price files, one line each; the first one that recognizes a file reads it."""

from __future__ import annotations

from hpc_lstm.errors import CsvError
from hpc_lstm.market.formats.csv import CsvFile
from hpc_lstm.market.formats.price_file import PriceFile
from hpc_lstm.market.formats.source import open_source

FORMATS: tuple[type[PriceFile], ...] = (CsvFile,)


def open_price_file(path: str) -> PriceFile:
    """Open a file of prices with the format that recognizes it.

    Raises:
        CsvError: the file cannot be read, or no format recognizes it.
    """
    source = open_source(path)
    for format_ in FORMATS:
        if format_.recognizes(source):
            return format_(source)
    raise CsvError(f"{path}: holds binary data, not the text of a CSV; expected UTF-8 text, plain or gzipped")
