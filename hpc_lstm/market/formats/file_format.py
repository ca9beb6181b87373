"""What a format of files offers: a test for the files that it can read, and their tables of prices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from hpc_lstm.market.formats.price_file import PriceFile
from hpc_lstm.market.formats.source import SourceFile


class FileFormat(ABC):
    """A format of files; no instance of it is needed."""

    @classmethod
    @abstractmethod
    def recognizes(cls, source: SourceFile) -> bool:
        """Whether this format can read the file."""

    @classmethod
    @abstractmethod
    def open_all(
        cls, source: SourceFile, open_part: Callable[[SourceFile], list[PriceFile]]
    ) -> list[PriceFile]:
        """The tables of a file.

        Args:
            open_part: opens a file inside this one, of whatever format.

        Raises:
            PriceFileError: the file cannot be read, or its columns are not understood.
        """


class OneTableFormat(PriceFile, FileFormat):
    """A format whose files hold one table each: an instance is the table."""

    @abstractmethod
    def __init__(self, source: SourceFile) -> None: ...

    @classmethod
    def open_all(
        cls, source: SourceFile, open_part: Callable[[SourceFile], list[PriceFile]]
    ) -> list[PriceFile]:
        """The one table of the file."""
        return [cls(source)]
