"""What a format of files offers: a test for the files that it can read, and their prices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from hpc_lstm.market.formats.source import SourceFile
from hpc_lstm.market.layouts.layout import Layout, PriceBatch


class Reread(Exception):
    """The beginning of a file did not show how it is written, now its whole has: its prices must be read again."""


class PriceFile(ABC):
    """A file of prices in one format.

    Attributes:
        format_name: the format, for people.
        path: the file.
        layout: what its columns mean.
        beside: files in the same archive that are no tables, for people.

    Raises:
        PriceFileError: the file cannot be read, or its columns are not understood.
    """

    format_name: str
    path: str
    layout: Layout
    beside: str = ""

    @classmethod
    @abstractmethod
    def recognizes(cls, source: SourceFile) -> bool:
        """Whether this format can read the file."""

    @abstractmethod
    def __init__(self, source: SourceFile) -> None: ...

    @classmethod
    def open_all(
        cls, source: SourceFile, open_part: Callable[[SourceFile], list[PriceFile]]
    ) -> list[PriceFile]:
        """The tables of a file; most formats hold one.

        Args:
            open_part: opens a file inside this one, of whatever format.
        """
        return [cls(source)]

    @abstractmethod
    def batches(self, columns: list[str]) -> Iterator[PriceBatch]:
        """The file's prices, a few megabytes at a time.

        Args:
            columns: names of the store's columns to return values for.

        Raises:
            PriceFileError: a row is bad, or there is none.
            Reread: the prices so far are to be forgotten, and asked for again.
        """

    def place(self, row: int) -> str:
        """Where a row stands, the first being 0, for messages."""
        return f"row {row + 1}"

    @property
    def symbol_name(self) -> str:
        """The name of the column that holds the symbol."""
        return "symbol"

    def understood(self) -> str:
        """What was understood of the file, for people."""
        return f"{self.layout.kind}; {self.layout.origin}"

    @property
    def left_out(self) -> list[str]:
        """What is left out of the file besides columns, for people."""
        return []
