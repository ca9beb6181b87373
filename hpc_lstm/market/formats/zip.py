"""ZIP files with one or many files of prices, each read by the format that recognizes it."""

from __future__ import annotations

import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath, PurePosixPath
from typing import IO, Any

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.formats.file_format import FileFormat
from hpc_lstm.market.formats.price_file import PriceFile
from hpc_lstm.market.formats.source import SourceFile, unreadable, with_head
from hpc_lstm.market.import_summary import shortened_list

# Of a damaged ZIP, as zipfile raises them; ValueError: names that are not in the encoding that they say.
ZIP_ERRORS = (zipfile.BadZipFile, NotImplementedError, ValueError, OSError)
_LEFTOVERS = ("thumbs.db", "desktop.ini")
_DOCUMENTS = (
    ".md",
    ".rst",
    ".pdf",
    ".htm",
    ".html",
    ".doc",
    ".docx",
    ".rtf",
    ".png",
    ".jpg",
    ".jpeg",
    ".gif",
    ".svg",
)
_NOTES = (
    *("readme", "read_me", "license", "licence", "copying", "copyright", "notice", "changelog", "disclaimer"),
    *("terms", "about", "citation"),
)


class ZipFormat(FileFormat):
    """ZIP files; what is read are the files inside."""

    @classmethod
    def recognizes(cls, source: SourceFile) -> bool:
        """Whether the file begins as a ZIP does."""
        return source.head.startswith(b"PK\3\4")

    @classmethod
    def open_all(
        cls, source: SourceFile, open_part: Callable[[SourceFile], list[PriceFile]]
    ) -> list[PriceFile]:
        """The tables of all its files; files that are no tables, by their names or as they are empty, are left out."""
        tables: list[PriceFile] = []
        members, others = _members(source)
        for name in members:
            part = SourceFile(
                f"{source.path}/{name}", False, b"", options=source.options, opener=_Opener(source, name)
            )
            tables += open_part(with_head(part))
        if not tables:
            held = f"no table, only {shortened_list(others)}" if others else "no files"
            raise PriceFileError(
                f"{source.path}: holds {held}; import a ZIP with files of prices such as CSV"
            )
        if others:
            tables[0].beside = f"{shortened_list(others)} in {PurePath(source.path).name}"
        return tables


def _members(source: SourceFile) -> tuple[list[str], list[str]]:
    """The names of its files that may be tables; and the others, for people."""
    try:
        with source.open() as file, zipfile.ZipFile(file) as archive:
            files = [info for info in archive.infolist() if not info.filename.endswith("/")]
            if any(info.flag_bits & 1 for info in files):
                raise PriceFileError(f"{source.path}: is encrypted; unpack it first")
    except ZIP_ERRORS as error:
        raise unreadable(source.path, error) from None
    tables: list[str] = []
    others: list[str] = []
    for info in files:
        if _is_no_table(info.filename):
            others.append(info.filename or "a file without a name")
        elif not info.file_size:
            others.append(f"{info.filename} (empty)")
        else:
            tables.append(info.filename)
    return tables, others


def _is_no_table(name: str) -> bool:
    """Whether a file's name says that it is no table: notes, documents, pictures, and what desktops leave behind."""
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    if (
        not path.name
        or path.parts[0] == "__MACOSX"
        or path.name.startswith(".")
        or path.name.lower() in _LEFTOVERS
    ):
        return True
    return suffix in _DOCUMENTS or (path.stem.lower() in _NOTES and suffix in ("", ".txt"))


class _Part(io.RawIOBase):
    """A file inside a ZIP that tells of damage as files on a damaged disk do, by an OSError."""

    def __init__(self, part: IO[bytes]) -> None:
        self._part = part

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._part.seekable()

    def readinto(self, buffer: Any) -> int:
        with _damage_as_os_error():
            data = self._part.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _damage_as_os_error():
            return self._part.seek(offset, whence)


@contextmanager
def _damage_as_os_error() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise OSError(str(error)) from None


class _Opener:
    """Opens a file inside a ZIP."""

    def __init__(self, source: SourceFile, name: str) -> None:
        self._source, self._name = source, name

    def __call__(self) -> Any:
        try:
            archive = zipfile.ZipFile(self._source.open())
            part = io.BufferedReader(_Part(archive.open(self._name)))
            return gzip.open(part, "rb") if self._name.lower().endswith(".gz") else part
        except (*ZIP_ERRORS, RuntimeError) as error:
            raise unreadable(f"{self._source.path}/{self._name}", error) from None
