"""Rows that are written as CSV and read again."""

from __future__ import annotations

import io
import tempfile

import pytest

from hpc_lstm.market.formats.spooled_csv import SpooledCsv


class SpooledFileOfPython310:
    """Has no ``readable``, ``writable`` and ``seekable``, as ``tempfile.SpooledTemporaryFile`` before Python 3.11."""

    def __init__(self, max_size: int) -> None:
        file = io.BytesIO()
        self.write, self.read, self.seek = file.write, file.read, file.seek


def test_rows_come_back_in_every_version_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", SpooledFileOfPython310)
    text = SpooledCsv()
    assert text.write([["date", 'ж,"q"'], ["", ""]])
    assert not text.write([["", ""]])
    assert text.reader().read() == 'date,"ж,""q"""\n\n\n'.encode()
