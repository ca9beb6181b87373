"""Reading a market store: contiguous slices of rows; see ``store_format``."""

from __future__ import annotations

import errno
import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_lstm.errors import NotAStoreError, StoreError
from hpc_lstm.hdf5.reading import UNREADABLE, own_dataset, require_sound
from hpc_lstm.market.store_format import (
    DATE_UNITS,
    DIGEST,
    FORMAT,
    VERSION,
    content_digest,
    is_plain,
    short,
)

# What HDF5 1.14.2 and 1.14.6 say of a checksum that does not match.
WRONG_CHECKSUM = ("Fletcher32 checksum", "filter returned failure")


class MarketStore:
    """A market store open for reading; a context manager.

    Attributes:
        path: of the file.
        symbols: S names. offsets: int64 [S+1]. columns: C names.
        attributes: all other attributes of the file.
        date_unit: "D" or "ns".
        bytes_read: bytes of ``/values`` read so far.

    Raises:
        StoreError: the file is missing, not a market store, of another version, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.bytes_read = 0
        require_sound_store(self.path)
        try:
            self._file = _open_for_reading(self.path)
        except OSError as error:
            raise StoreError(f"{path}: {_why_unreadable(error)}") from None
        try:
            self._open()
        except StoreError:
            self._file.close()
            raise
        except UNREADABLE as error:
            self._file.close()
            raise _damaged(self.path, error) from None

    def _open(self) -> None:
        attributes = {key: _plain(value) for key, value in self._file.attrs.items()}
        if not _is_equal(attributes.get("format"), FORMAT):
            raise NotAStoreError(
                f'{self.path}: not a market store: its attribute "format" is {short(attributes.get("format"))!r}, '
                f'not "{FORMAT}"'
            )
        if not _is_equal(attributes["version"], VERSION):
            raise StoreError(
                f"{self.path}: market store of version {short(attributes['version'])}; this program reads version "
                f"{VERSION}"
            )
        self.columns = [str(name) for name in attributes.pop("columns")]
        self.date_unit = str(attributes.get("date_unit", "D"))
        self.attributes: dict[str, Any] = attributes
        self.symbols = [str(name) for name in own_dataset(self._file, "symbols").asstr()[:]]
        self.offsets = own_dataset(self._file, "offsets")[:].astype(np.int64)
        self._dates, self._values = (own_dataset(self._file, name) for name in ("dates", "values"))
        rows = int(self.offsets[-1])
        sound = (
            self.offsets.shape == (len(self.symbols) + 1,)
            and self.offsets[0] == 0
            and (np.diff(self.offsets) >= 0).all()
            and len(set(self.symbols)) == len(self.symbols)
            and len(set(self.columns)) == len(self.columns) > 0
            and self._values.shape == (rows, len(self.columns))
            and self._dates.shape == (rows,)
            and self._values.dtype.kind in "fiu"
            and self._dates.dtype.kind in "iu"
            and self.date_unit in DATE_UNITS
        )
        if not sound:
            raise ValueError("its parts do not match")
        if odd := [name for name in (*self.symbols, *self.columns) if not is_plain(name)]:
            raise ValueError(f"the name {odd[0][:40]!a} has control characters")
        self._check_digest("symbols", self.symbols)
        self._check_digest("offsets", self.offsets.tolist())
        self._check_digest("values", [self.columns, self.date_unit])

    def _check_digest(self, name: str, content: list[Any]) -> None:
        """Refuse content that is not what was written beside a dataset, if it has a digest.

        Raises:
            ValueError: it is not.
        """
        recorded = self._file[name].attrs.get(DIGEST)
        if recorded is not None and not _is_equal(recorded, content_digest(name, content)):
            raise ValueError(f"{name} is not what was written")

    def __enter__(self) -> MarketStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Values of rows ``start`` to ``stop``, float64 [stop - start, C]."""
        values = np.empty((stop - start, len(self.columns)))
        if len(values):
            self._read(self._values, values, start, stop)
            self.bytes_read += values.nbytes
        return values

    def dates(self, start: int, stop: int) -> np.ndarray:
        """Dates of rows ``start`` to ``stop``, int64 [stop - start]."""
        dates = np.empty(stop - start, np.int64)
        if len(dates):
            self._read(self._dates, dates, start, stop)
        return dates

    @cached_property
    def outline_digest(self) -> str:
        """SHA-256, in hex, of what tells one store's contents from another's without reading all of it.

        It covers the columns, the symbols, how many rows each has, and the first and last row of the store. Every
        checkpoint holds it, so it is read once.
        """
        rows = int(self.offsets[-1])
        digest = hashlib.sha256()
        for text in (*self.columns, *self.symbols):
            digest.update(text.encode() + b"\0")
        digest.update(np.ascontiguousarray(self.offsets, dtype=np.int64).tobytes())
        for row in (0, rows - 1):
            digest.update(self.rows(row, row + 1).tobytes() + self.dates(row, row + 1).tobytes())
        return digest.hexdigest()

    def extra(self, name: str) -> np.ndarray | None:
        """An optional dataset as a whole, texts as str; None if the store does not have it.

        Raises:
            StoreError: it cannot be read.
        """
        try:
            if name not in self._file:
                return None
            dataset = own_dataset(self._file, name)
            texts = h5py.check_string_dtype(dataset.dtype) is not None
            data = np.asarray(dataset.asstr()[:] if texts else dataset[:])
            self._check_digest(name, data.tolist())
            return data
        except UNREADABLE as error:
            raise StoreError(f"{self.path}: {name} cannot be read: {short(error)}; make it again") from None

    def column(self, name: str) -> int:
        """The number of a column.

        Raises:
            StoreError: there is none of this name; the message has the nearest one.
        """
        return _index_of_name(name, self.columns, "column", self.path)

    def symbol(self, name: str) -> int:
        """The number of a symbol.

        Raises:
            StoreError: there is none of this name; the message has the nearest one.
        """
        return _index_of_name(name, self.symbols, "symbol", self.path)

    def _read(self, dataset: h5py.Dataset, target: np.ndarray, start: int, stop: int) -> None:
        try:
            dataset.read_direct(target, np.s_[start:stop])
        except UNREADABLE as error:
            wrong = any(words in str(error) for words in WRONG_CHECKSUM)
            reason = "their checksum is wrong" if wrong else short(error)
            raise StoreError(
                f"{self.path}: rows {start} to {stop} cannot be read: {reason}; restore an intact copy, or "
                "make it again"
            ) from None


def require_sound_store(path: Path) -> None:
    """Refuse a market store that would keep this process busy for ever, crash it, or fill its memory.

    Raises:
        StoreError: it is one, or there is none.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such market store; make one with `hpc-lstm import`, `fetch` or `synth`")
    try:
        require_sound(path)
    except OSError as error:
        raise StoreError(f"{path}: {_why_unreadable(error)}") from None
    except ValueError as error:
        raise _damaged(path, error) from None


def _open_for_reading(path: Path) -> h5py.File:
    """Open a store whose file system may have no locks, such as NFS without its daemon, or some Lustre.

    Raises:
        OSError: it cannot be opened, or another program has it open for writing.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        # HDF5 tells the number of the error in its text alone.
        if any(f"errno = {number}," in str(error) for number in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)):
            return h5py.File(path, "r", locking=False)
        raise


def _why_unreadable(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if error.errno in (errno.EAGAIN, errno.EACCES) or "unable to lock" in str(error):
        return (
            "another program has it open for writing, such as a notebook; close it there, or set "
            "HDF5_USE_FILE_LOCKING=FALSE if nothing is writing"
        )
    if "truncated" in str(error):
        return "truncated market store: its end is missing; make or copy it again"
    return "not a market store: no HDF5 file"


def _damaged(path: Path, error: BaseException) -> StoreError:
    return StoreError(f"{path}: damaged market store ({short(error)}); make it again")


def _index_of_name(name: str, known: list[str], kind: str, path: Path) -> int:
    if name in known:
        return known.index(name)
    import difflib

    close = difflib.get_close_matches(name, known, 1) or difflib.get_close_matches(name.upper(), known, 1)
    few = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
    hint = f'did you mean "{close[0]}"?' if close else f"it has {few}"
    raise StoreError(f'{path}: no {kind} "{name}"; {hint}')


def _is_equal(found: Any, expected: str | int) -> bool:
    """Whether an attribute, which may be anything, is one value."""
    return isinstance(found, type(expected)) and found == expected


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
