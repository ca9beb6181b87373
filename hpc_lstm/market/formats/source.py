"""A file of prices that has been opened: its beginning, and its bytes without their compression."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc_lstm.errors import CsvError

HEAD = 4 << 20  # bytes by which a format recognizes a file


@dataclass(frozen=True)
class SourceFile:
    """A file to import.

    Attributes:
        head: its first ``HEAD`` bytes, decompressed.
    """

    path: str
    gzipped: bool
    head: bytes

    def open(self) -> Any:
        """Open the file for reading its decompressed bytes."""
        return gzip.open(self.path, "rb") if self.gzipped else open(self.path, "rb")


def open_source(path: str) -> SourceFile:
    """Read the beginning of a file.

    Raises:
        CsvError: the file is missing, no regular file, unreadable or not what its name says.
    """
    if not Path(path).exists():
        raise CsvError(f"{path}: no such file")
    if not Path(path).is_file():
        raise CsvError(f"{path}: is a folder or not a regular file; name a CSV file, plain or gzipped")
    try:
        with open(path, "rb") as file:
            gzipped = file.read(2) == b"\x1f\x8b"
        if path.lower().endswith(".gz") and not gzipped and Path(path).stat().st_size:
            raise CsvError(f"{path}: is named .gz but is not gzipped; rename it or compress it again")
        with gzip.open(path, "rb") if gzipped else open(path, "rb") as file:
            return SourceFile(path, gzipped, file.read(HEAD))
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from None


def unreadable(path: str, error: BaseException) -> CsvError:
    """The error for a file that cannot be read."""
    if isinstance(error, PermissionError):
        return CsvError(f"{path}: no permission to read it")
    reason = " ".join(str(error).split())[:120]
    return CsvError(f"{path}: cannot be read: {reason}; the file is damaged or cut short, copy it again")
