"""What a fetch has got so far, in a file beside the output, so that the same command takes up where it was.

One record a symbol: a line of JSON, then the bytes of its arrays. A record that was cut short, as by a killed job, is
dropped when the journal is opened again; the file goes when the store is complete.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hpc_lstm.errors import InputError
from hpc_lstm.market.events import Events
from hpc_lstm.market.fetching.series import COLUMNS, Series
from hpc_lstm.market.fetching.update import Update
from hpc_lstm.market.store_writer import write_errors

_VERSION = 2  # the checksum of 1 is of the arrays alone


@dataclass(frozen=True)
class Record:
    """A symbol's update, without its prices.

    Attributes:
        update's: start, whole, after, reason. series': end, and its last date, None if it has no row.
        offset: of its arrays. header: its line.
    """

    start: date
    whole: bool
    after: int | None
    reason: str
    end: int
    last: int | None
    offset: int
    header: dict[str, Any]


class Journal:
    """Updates of symbols, in the order in which they came.

    Args:
        file: open for reading and writing. interval: ``Request.kind`` of the rows; records of others are passed over.
    """

    def __init__(self, path: Path, file: BinaryIO, interval: str) -> None:
        self._path, self._file, self._interval = path, file, interval
        self._records: dict[str, list[Record]] = {}
        self._scan()

    def __len__(self) -> int:
        return len(self._records)

    def records(self, symbol: str) -> list[Record]:
        """A symbol's records, in order."""
        return list(self._records.get(symbol, []))

    def append(self, symbol: str, update: Update) -> None:
        """Add a record.

        Raises:
            StoreError: the disk is full.
        """
        series = update.series
        arrays = (
            series.dates.astype(np.int64),
            np.ascontiguousarray(series.values, np.float64),
            *(series.splits.dates, series.splits.values, series.dividends.dates, series.dividends.values),
        )
        payload = b"".join(array.tobytes() for array in arrays)
        header = {
            "version": _VERSION,
            "symbol": symbol,
            "interval": self._interval,
            "whole": update.whole,
            "start": str(update.start),
            "after": update.after,
            "reason": update.reason,
            "zone": series.zone,
            "end": series.end,
            "last": int(series.dates[-1]) if len(series) else None,
            "dropped": series.dropped,
            "rows": [len(series), len(series.splits), len(series.dividends)],
            "bytes": len(payload),
        }
        header["crc"] = _checksum(header, payload)
        line = json.dumps(header).encode() + b"\n"
        with write_errors(self._path):
            self._file.seek(0, os.SEEK_END)
            offset = self._file.tell() + len(line)
            self._file.write(line + payload)
            self._file.flush()
        self._add(offset, header)

    def read(self, record: Record) -> Series:
        """The prices of a record."""
        header = record.header
        self._file.seek(record.offset)
        data = self._file.read(header["bytes"])
        rows, splits, dividends = header["rows"]
        sizes = [rows, rows * len(COLUMNS), splits, splits, dividends, dividends]
        types = [np.int64, np.float64, np.int64, np.float64, np.int64, np.float64]
        arrays, at = [], 0
        for size, dtype in zip(sizes, types, strict=True):
            arrays.append(np.frombuffer(data, dtype, size, at))
            at += size * 8
        dates, values, *events = arrays
        return Series(
            dates,
            values.reshape(rows, len(COLUMNS)),
            Events(events[0], events[1]),
            Events(events[2], events[3]),
            header["zone"],
            header["end"],
            header["dropped"],
        )

    def _add(self, offset: int, header: dict[str, Any]) -> None:
        record = Record(
            start=date.fromisoformat(header["start"]),
            whole=header["whole"],
            after=header["after"],
            reason=header["reason"],
            end=header["end"],
            last=header["last"],
            offset=offset,
            header=header,
        )
        self._records.setdefault(header["symbol"], []).append(record)

    def _scan(self) -> None:
        """Find the records; cut off what follows the last sound one."""
        self._file.seek(0)
        sound = 0
        while line := self._file.readline(1 << 16):
            offset = sound + len(line)
            try:
                header = json.loads(line)
                size = _payload_size(header)
                payload = self._file.read(size)
                if not line.endswith(b"\n") or header["crc"] != _checksum(header, payload):
                    break
                if header["interval"] == self._interval:
                    self._add(offset, header)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                break
            sound = offset + size
        with write_errors(self._path):
            self._file.truncate(sound)


def _open_regular(path: Path) -> BinaryIO:
    """Open a file, which is made if it is missing: it is cut where it is damaged, so no link is followed.

    Raises:
        InputError: it is a link or no file.
        OSError: it cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InputError(f"{path}: is a symbolic link, which is not followed; remove it") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError(f"{path}: is not a regular file; remove it")
    return os.fdopen(handle, "r+b")


def _checksum(header: dict[str, Any], payload: bytes) -> int:
    if header["version"] == 1:
        return zlib.crc32(payload)
    told = json.dumps({name: value for name, value in header.items() if name != "crc"})
    return zlib.crc32(payload, zlib.crc32(told.encode()))


def _payload_size(header: dict[str, Any]) -> int:
    """The bytes of a record's arrays.

    Raises:
        ValueError, KeyError, TypeError: the line is none that ``append`` writes.
    """
    rows, splits, dividends = header["rows"]
    size: int = 8 * (rows * (1 + len(COLUMNS)) + 2 * splits + 2 * dividends)
    texts = (header[name] for name in ("symbol", "interval", "start", "reason", "zone"))
    counts = (rows, splits, dividends, header["end"], header["dropped"])
    if (
        header["version"] not in (1, _VERSION)
        or not all(isinstance(text, str) for text in texts)
        or not all(type(count) is int for count in counts)
        or min(rows, splits, dividends) < 0
        or size != header["bytes"]
    ):
        raise ValueError("no record")
    return size


@contextmanager
def open_journal(output: Path, interval: str) -> Iterator[Journal]:
    """The journal of an output; it stays if the block raises and something is in it, else it is removed.

    Raises:
        InputError: another process is fetching into this output.
        StoreError: the folder cannot be written.
    """
    path = output.with_name(f".{output.name}.journal")
    with write_errors(path):
        file = _open_regular(path)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{output}: another process is fetching into it; wait for it or choose another output"
            ) from None
        except OSError:
            pass  # a file system without locks
        journal = Journal(path, file, interval)
        try:
            yield journal
        except BaseException:
            if not len(journal):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        path.unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # what a full disk did not take of a record, which has been told of
            file.close()
