"""The market store: one HDF5 file with the prices of many symbols, laid out for reading contiguous slices of rows.

    /symbols [S] utf-8          /offsets [S+1] int64: rows offsets[s]..offsets[s+1] are symbol s's, by date
    /dates [R] int64            days since 1970-01-01 ("D"), or nanoseconds ("ns"): attribute date_unit
    /values [R, C] float64      one column per name in the attribute columns
    attributes                  format, version, columns, source, created, date_unit, and what the writer adds
    more datasets               are optional, as the writer adds them: see ``events`` and ``fetching/history``

``/values`` and ``/dates`` lie in chunks of ``CHUNK_ROWS`` rows, each with a checksum (HDF5's Fletcher-32) that is
verified when it is read; most of the file's structure has checksums, too (HDF5 1.10). An attribute ``digest`` of
symbols, offsets and each further dataset is the SHA-256 of its content, that of values of its columns' names. What has
no digest, such as a store of an older version, is read unverified. A store is written under a temporary name in its
folder and renamed when it is complete.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from hpc_lstm.errors import InputError, StoreError, printable
from hpc_lstm.files import make_parent
from hpc_lstm.hdf5.reading import UNREADABLE, own_dataset, require_sound
from hpc_lstm.hdf5.writing import whole_hdf5

FORMAT = "hpc_lstm market store"
VERSION = 1
DATE_UNITS = ("D", "ns")
# Rows that share a checksum: 200 kB of six columns.
CHUNK_ROWS = 4096
# The attribute of a dataset that tells what it holds.
DIGEST = "digest"


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
            raise StoreError(
                f'{self.path}: not a market store: its attribute "format" is {_short(attributes.get("format"))!r}, '
                f'not "{FORMAT}"'
            )
        if not _is_equal(attributes["version"], VERSION):
            raise StoreError(
                f"{self.path}: market store of version {_short(attributes['version'])}; this program reads version "
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
        if odd := [name for name in (*self.symbols, *self.columns) if not _is_plain(name)]:
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
        if recorded is not None and not _is_equal(recorded, _digest(name, content)):
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
            raise StoreError(f"{self.path}: {name} cannot be read: {_short(error)}; make it again") from None

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
            reason = "their checksum is wrong" if "filter returned failure" in str(error) else _short(error)
            raise StoreError(
                f"{self.path}: rows {start} to {stop} cannot be read: {reason}; put back a whole copy, or make it again"
            ) from None


class StoreWriter:
    """Write a market store symbol by symbol, completely or not at all; a context manager.

    Values go to a scratch file first, so that only one symbol is held in memory and the number of rows need not be
    known in advance.

    Args:
        path: the store; an existing one is replaced when the new one is complete.
        columns: names of the values' columns.
        source: where the prices come from, for people to read.
        date_unit: "D" (days since 1970-01-01) or "ns".
        attributes: further attributes of the store; texts and numbers.

    Attributes:
        extras: optional datasets by name, small enough for memory; may be set until the store is complete.

    Raises:
        StoreError: the folder cannot be made or written, or the disk is full.
    """

    def __init__(
        self,
        path: str | Path,
        columns: Sequence[str],
        source: str,
        *,
        date_unit: str = "D",
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = output_path(path)
        self.columns, self.source, self.date_unit = list(columns), source, date_unit
        self.attributes = dict(attributes or {})
        self.extras: dict[str, Any] = {}
        self._symbols: dict[str, int] = {}  # name to rows
        self._scratch = ExitStack()
        with write_errors(self.path):
            self._values = self._scratch.enter_context(self._scratch_file())
            self._dates = self._scratch.enter_context(self._scratch_file())

    def __enter__(self) -> StoreWriter:
        return self

    def append(self, symbol: str, dates: np.ndarray, values: np.ndarray) -> None:
        """Add a symbol's rows.

        Args:
            symbol: a name not yet in the store.
            dates: int64 [n], ascending, in ``date_unit``.
            values: float64 [n, C].

        Raises:
            StoreError: the symbol is there already, or the disk is full.
            ValueError: shapes or order are wrong.
        """
        dates = np.ascontiguousarray(dates, np.int64)
        values = np.ascontiguousarray(values, np.float64)
        if symbol in self._symbols:
            raise StoreError(f"{self.path}: symbol {symbol!r} is there already")
        if not _is_plain(symbol):
            raise StoreError(
                f"{self.path}: symbol {symbol[:40]!a} has control characters or marks of direction; rename it"
            )
        if values.shape != (len(dates), len(self.columns)):
            raise ValueError(
                f"{symbol}: {len(dates)} dates and values {values.shape} do not match {self.columns}"
            )
        if (dates[1:] <= dates[:-1]).any():  # differences might not fit
            raise ValueError(f"{symbol}: dates must be strictly ascending")
        with write_errors(self.path):
            self._dates.write(dates.data)
            self._values.write(values.data)
        self._symbols[symbol] = len(dates)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._write_file()
        finally:
            with suppress(OSError):  # from flushing buffers to a full disk
                self._scratch.close()

    def _write_file(self) -> None:
        offsets = np.concatenate([[0], np.cumsum(list(self._symbols.values()), dtype=np.int64)])
        try:
            with whole_hdf5(self.path, libver=("v110", "v110"), sync=True) as file:
                self._write_into(file, offsets)
        except StoreError:
            raise
        except InputError as error:
            raise StoreError(f"{error}; free some space or choose another file") from None

    def _write_into(self, file: h5py.File, offsets: np.ndarray) -> None:
        rows = int(offsets[-1])
        file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
        file.attrs["source"], file.attrs["date_unit"] = self.source, self.date_unit
        file.attrs["created"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
        for key, value in self.attributes.items():
            file.attrs[key] = value
        file.attrs["columns"] = self.columns
        symbols = list(self._symbols)
        file.create_dataset("symbols", data=symbols, dtype=h5py.string_dtype())
        file["symbols"].attrs[DIGEST] = _digest("symbols", symbols)
        file.create_dataset("offsets", data=offsets)
        file["offsets"].attrs[DIGEST] = _digest("offsets", offsets.tolist())
        with write_errors(self.path):
            _copy_scratch(self._dates, _create_rows(file, "dates", (rows,), np.int64))
            _copy_scratch(self._values, _create_rows(file, "values", (rows, len(self.columns)), np.float64))
        file["values"].attrs[DIGEST] = _digest("values", [self.columns, self.date_unit])
        for name, data in self.extras.items():
            text = isinstance(data, list)
            dataset = file.create_dataset(name, data=data, dtype=h5py.string_dtype() if text else None)
            dataset.attrs[DIGEST] = _digest(name, list(data) if text else np.asarray(data).tolist())

    def _scratch_file(self) -> Any:
        return tempfile.TemporaryFile(dir=self.path.parent)


def output_path(path: str | Path) -> Path:
    """The absolute path of a store to write, whose folder is made if it is missing.

    Raises:
        InputError: its folder cannot be made, it is a folder itself, or it names no home folder.
    """
    output = make_parent(path)
    if output.is_dir():
        raise StoreError(f"{path}: is a folder; name a file to write the market store to")
    return output


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn an error of the operating system or HDF5 during the block into a ``StoreError`` about ``path``."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # HDF5 has the number in its text only, and raises a RuntimeError if closing the file fails.
        found = re.search(r"errno = (\d+)", str(error))
        if not found and isinstance(error, RuntimeError):
            raise
        number = int(found[1]) if found else getattr(error, "errno", None)
        reason = os.strerror(number) if number else _short(error)
        raise StoreError(
            f"{path}: cannot be written: {reason}; free some space or choose another file"
        ) from None


def _copy_scratch(scratch: Any, dataset: h5py.Dataset, bytes_at_once: int = 1 << 26) -> None:
    scratch.seek(0)
    row_bytes = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64))
    rows = max(1, bytes_at_once // row_bytes)
    for start in range(0, dataset.shape[0], rows):
        stop = min(start + rows, dataset.shape[0])
        block = np.empty((stop - start, *dataset.shape[1:]), dataset.dtype)
        scratch.readinto(block.data.cast("B"))
        dataset.write_direct(block, dest_sel=np.s_[start:stop])


def _index_of_name(name: str, known: list[str], kind: str, path: Path) -> int:
    if name in known:
        return known.index(name)
    import difflib

    close = difflib.get_close_matches(name, known, 1) or difflib.get_close_matches(name.upper(), known, 1)
    few = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
    hint = f'did you mean "{close[0]}"?' if close else f"it has {few}"
    raise StoreError(f'{path}: no {kind} "{name}"; {hint}')


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


def _create_rows(file: h5py.File, name: str, shape: tuple[int, ...], dtype: type) -> h5py.Dataset:
    """A dataset of rows with a checksum for every ``CHUNK_ROWS`` of them."""
    if not shape[0]:
        return file.create_dataset(name, shape, dtype)
    chunk = (min(shape[0], CHUNK_ROWS), *shape[1:])
    return file.create_dataset(name, shape, dtype, chunks=chunk, fletcher32=True)


def _digest(name: str, content: list[Any]) -> str:
    """SHA-256, in hex, of what a dataset holds, or of what is known of it."""
    return hashlib.sha256(json.dumps([name, content]).encode()).hexdigest()


def _is_equal(found: Any, expected: str | int) -> bool:
    """Whether an attribute, which may be anything, is one value."""
    return isinstance(found, type(expected)) and found == expected


def _is_plain(name: str) -> bool:
    """Whether a name has no control characters, which a terminal would obey."""
    return "\n" not in name and printable(name) == name


def _damaged(path: Path, error: BaseException) -> StoreError:
    return StoreError(f"{path}: damaged market store ({_short(error)}); make it again")


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


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _short(value: object) -> str:
    return " ".join(str(value).split())[:120]
