"""Writing a market store; see ``store_format``."""

from __future__ import annotations

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

from hpc_lstm.errors import WAY_OUT, InputError, StoreError
from hpc_lstm.files import make_parent
from hpc_lstm.hdf5.writing import whole_hdf5
from hpc_lstm.market.store_format import (
    CHUNK_ROWS,
    DIGEST,
    FORMAT,
    VERSION,
    content_digest,
    is_plain,
    short,
)


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
        if not is_plain(symbol):
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
            raise StoreError(str(error)) from None

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
        file["symbols"].attrs[DIGEST] = content_digest("symbols", symbols)
        file.create_dataset("offsets", data=offsets)
        file["offsets"].attrs[DIGEST] = content_digest("offsets", offsets.tolist())
        with write_errors(self.path):
            _copy_scratch(self._dates, _create_rows(file, "dates", (rows,), np.int64))
            _copy_scratch(self._values, _create_rows(file, "values", (rows, len(self.columns)), np.float64))
        file["values"].attrs[DIGEST] = content_digest("values", [self.columns, self.date_unit])
        for name, data in self.extras.items():
            text = isinstance(data, list)
            dataset = file.create_dataset(name, data=data, dtype=h5py.string_dtype() if text else None)
            dataset.attrs[DIGEST] = content_digest(name, list(data) if text else np.asarray(data).tolist())

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
        reason = os.strerror(number) if number else short(error)
        raise StoreError(f"{path}: cannot be written: {reason}; {WAY_OUT}") from None


def _copy_scratch(scratch: Any, dataset: h5py.Dataset, bytes_at_once: int = 1 << 26) -> None:
    scratch.seek(0)
    row_bytes = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64))
    rows = max(1, bytes_at_once // row_bytes)
    for start in range(0, dataset.shape[0], rows):
        stop = min(start + rows, dataset.shape[0])
        block = np.empty((stop - start, *dataset.shape[1:]), dataset.dtype)
        scratch.readinto(block.data.cast("B"))
        dataset.write_direct(block, dest_sel=np.s_[start:stop])


def _create_rows(file: h5py.File, name: str, shape: tuple[int, ...], dtype: type) -> h5py.Dataset:
    """A dataset of rows with a checksum for every ``CHUNK_ROWS`` of them."""
    if not shape[0]:
        return file.create_dataset(name, shape, dtype)
    chunk = (min(shape[0], CHUNK_ROWS), *shape[1:])
    return file.create_dataset(name, shape, dtype, chunks=chunk, fletcher32=True)
