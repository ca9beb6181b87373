"""The cache of compiled code: what is taken from it, and what is not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hpc_lstm.native.code_cache import read_code, write_code


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_code(tmp_path / "lstm-1", b"code")
    assert read_code(tmp_path / "lstm-1") == b"code"
    assert read_code(tmp_path / "lstm-2") is None
    assert read_code(None) is None


def test_code_under_another_name_is_not_taken(tmp_path: Path) -> None:
    write_code(tmp_path / "lstm-1", b"code")
    shutil.copy2(tmp_path / "lstm-1", tmp_path / "optimizer-1")
    assert read_code(tmp_path / "optimizer-1") is None


def test_damaged_code_and_what_others_may_write_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "lstm-1"
    write_code(path, b"code")
    whole = path.read_bytes()
    for data in (b"", whole[:10], whole[:-1], whole + b"\0"):
        path.write_bytes(data)
        assert read_code(path) is None
    path.write_bytes(whole)
    assert read_code(path) == b"code"
    path.chmod(0o622)
    assert read_code(path) is None


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lstm-1", 0o600)
    assert read_code(tmp_path / "lstm-1") is None
