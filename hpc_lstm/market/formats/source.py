"""A file of prices that has been opened: its beginning, and its bytes without their compression."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.options import ImportOptions

HEAD = 1 << 16  # bytes by which a file is understood
FEW_LINES = 30  # in these bytes: then more are read


@dataclass(frozen=True)
class SourceFile:
    """A file to import, or a part of one.

    Attributes:
        path: of the file; of a part, such as a file inside a ZIP, behind that of the whole: "prices.zip/AAPL.csv".
        head: its first ``HEAD`` bytes, decompressed; more if its lines are very long.
        whole: whether that is all of it.
        options: of the user.
        opener: opens a part; None for a file.
        row_word: what a row is called in messages.
    """

    path: str
    gzipped: bool
    head: bytes
    whole: bool = False
    options: ImportOptions = field(default_factory=ImportOptions)
    opener: Callable[[], Any] | None = None
    row_word: str = "line"

    def open(self) -> Any:
        """Open the file for reading its decompressed bytes."""
        if self.opener is not None:
            return self.opener()
        return gzip.open(self.path, "rb") if self.gzipped else open(self.path, "rb")


def open_source(path: str, options: ImportOptions | None = None) -> SourceFile:
    """Read the beginning of a file.

    Raises:
        PriceFileError: the file is missing, not a regular file, unreadable or not what its name says.
    """
    if not Path(path).exists():
        raise PriceFileError(f"{path}: no such file")
    if not Path(path).is_file():
        raise PriceFileError(
            f"{path}: is a folder or not a regular file; name a file of prices, such as a CSV"
        )
    try:
        with open(path, "rb") as file:
            gzipped = file.read(2) == b"\x1f\x8b"
        if path.lower().endswith(".gz") and not gzipped and Path(path).stat().st_size:
            raise PriceFileError(f"{path}: is named .gz but is not gzipped; rename it or compress it again")
    except OSError as error:
        raise unreadable(path, error) from None
    return with_head(SourceFile(path, gzipped, b"", options=options or ImportOptions()))


def with_head(source: SourceFile) -> SourceFile:
    """The source with its beginning read.

    Raises:
        PriceFileError: it cannot be read.
    """
    limit = HEAD
    try:
        with source.open() as file:
            head = file.read(HEAD + 1)
            if len(head) > HEAD and head.count(b"\n") < FEW_LINES:  # thousands of columns
                limit = HEAD * 32
                head += file.read(limit - HEAD)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(source.path, error) from None
    return replace(source, head=head[:limit], whole=len(head) <= limit)


def unreadable(path: str, error: BaseException) -> PriceFileError:
    """The error for a file that cannot be read."""
    if isinstance(error, PermissionError):
        return PriceFileError(f"{path}: no permission to read it")
    reason = " ".join(str(error).split())[:120]
    return PriceFileError(
        f"{path}: cannot be read: {reason}; the file is damaged or cut short, copy it again"
    )
