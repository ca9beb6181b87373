"""Rows written as CSV into memory, or a temporary file if they are many, and read any number of times."""

from __future__ import annotations

import codecs
import csv
import io
import tempfile
from collections.abc import Iterable
from typing import Any

IN_MEMORY = 32 << 20  # bytes


class SpooledCsv:
    """The text of a table, a line a row.

    Args:
        in_memory: bytes that are held in memory; more go to a temporary file.
    """

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._file = tempfile.SpooledTemporaryFile(in_memory)  # noqa: SIM115

    def write(self, rows: Iterable[list[str]]) -> bool:
        """Add rows, those without cells as empty lines; whether any had a cell."""
        # Not by a TextIOWrapper: in Python 3.10 a spooled file lacks methods that it needs.
        writer = csv.writer(codecs.getwriter("utf-8")(self._file), lineterminator="\n")
        any_cell = False
        for cells in rows:
            filled = any(cells)
            any_cell = any_cell or filled
            writer.writerow(cells if filled else [])
        return any_cell

    def reader(self) -> Any:
        """The text as a binary file from its beginning."""
        self._file.seek(0)
        return _Unclosed(self._file)


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
