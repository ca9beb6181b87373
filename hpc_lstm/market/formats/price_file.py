"""What a format of files offers: a test for the files that it can read, and their prices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from hpc_lstm.market.formats.source import SourceFile
from hpc_lstm.market.layouts.layout import Layout, PriceBatch


class PriceFile(ABC):
    """A file of prices in one format.

    Attributes:
        format_name: the format, for people.
        path: the file.
        layout: what its columns mean.

    Raises:
        CsvError: the file cannot be read, or its columns are not understood.
    """

    format_name: str
    path: str
    layout: Layout

    @classmethod
    @abstractmethod
    def recognizes(cls, source: SourceFile) -> bool:
        """Whether this format can read the file."""

    @abstractmethod
    def __init__(self, source: SourceFile) -> None: ...

    @abstractmethod
    def batches(self, columns: list[str]) -> Iterator[PriceBatch]:
        """The file's prices, a few megabytes at a time.

        Args:
            columns: names of the store's columns to return values for.

        Raises:
            CsvError: a row is bad, or there is none.
        """
