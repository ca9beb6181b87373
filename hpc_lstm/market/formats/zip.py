"""ZIP files with one or many files of prices, each read by the format that recognizes it."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.formats.price_file import PriceFile
from hpc_lstm.market.formats.source import SourceFile, unreadable, with_head
from hpc_lstm.market.layouts.layout import PriceBatch


class ZipFile(PriceFile):
    """A ZIP file; its files are what is read."""

    format_name = "ZIP"

    @classmethod
    def recognizes(cls, source: SourceFile) -> bool:
        """Whether the file begins as a ZIP does."""
        return source.head.startswith(b"PK\3\4")

    @classmethod
    def open_all(
        cls, source: SourceFile, open_part: Callable[[SourceFile], list[PriceFile]]
    ) -> list[PriceFile]:
        """The tables of all its files; what macOS and folders leave in a ZIP is passed over."""
        tables: list[PriceFile] = []
        for name in _members(source):
            part = SourceFile(
                f"{source.path}/{name}", False, b"", options=source.options, opener=_Opener(source, name)
            )
            tables += open_part(with_head(part))
        if not tables:
            raise PriceFileError(f"{source.path}: holds no files; expected CSV files")
        return tables

    def __init__(self, source: SourceFile) -> None:
        raise NotImplementedError("a ZIP is opened as its files")

    def batches(self, columns: list[str]) -> Iterator[PriceBatch]:
        """A ZIP has no rows of its own."""
        raise NotImplementedError


def _members(source: SourceFile) -> list[str]:
    try:
        with source.open() as file, zipfile.ZipFile(file) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            if any(info.flag_bits & 1 for info in archive.infolist()):
                raise PriceFileError(f"{source.path}: is encrypted; unpack it first")
    except (zipfile.BadZipFile, OSError) as error:
        raise unreadable(source.path, error) from None
    hidden = ("__MACOSX/", ".")
    return [
        name for name in names if not name.startswith(hidden) and not PurePosixPath(name).name.startswith(".")
    ]


class _Opener:
    """Opens a file inside a ZIP."""

    def __init__(self, source: SourceFile, name: str) -> None:
        self._source, self._name = source, name

    def __call__(self) -> Any:
        try:
            archive = zipfile.ZipFile(self._source.open())
            part = archive.open(self._name)
            return gzip.open(part, "rb") if self._name.lower().endswith(".gz") else part
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
            raise unreadable(f"{self._source.path}/{self._name}", error) from None
