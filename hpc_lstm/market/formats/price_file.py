"""What a file of prices offers, whatever its format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from hpc_lstm.market.layouts.layout import Layout, PriceBatch


class Reread(Exception):
    """The beginning of a file did not show how it is written, now its whole has: its prices must be read again."""


class PriceFile(ABC):
    """A table of prices in a file.

    Attributes:
        format_name: the format, for people.
        path: the file.
        layout: what its columns mean.
        zone: where its times without an offset were taken, None if it does not say.
        beside: files in the same archive that are no tables, for people.
    """

    format_name: str
    path: str
    layout: Layout
    zone: str | None = None
    beside: str = ""

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
    def zone_to_be_told(self) -> str:
        """A zone that the file may mean by what it says of its times; "" if nothing is unclear."""
        return ""

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
