"""A cache of machine code that was compiled on this machine.

It is the folder $HPC_LSTM_CACHE, else $XDG_CACHE_HOME/hpc_lstm, else ~/.cache/hpc_lstm. Many processes of one user may
read and write it concurrently; files that another user may have written are ignored.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

_SIZE = hashlib.sha256().digest_size


def cache_path(name: str) -> Path | None:
    """The file for the code of this name; None if there is no folder for it."""
    for variable, below in (("HPC_LSTM_CACHE", ""), ("XDG_CACHE_HOME", "hpc_lstm")):
        if folder := os.environ.get(variable):
            return Path(folder, below, name)
    try:
        return Path.home() / ".cache" / "hpc_lstm" / name
    except RuntimeError:  # a user without a home
        return None


def read_code(file: Path | None) -> bytes | None:
    """Code from the cache; None if there is none, it is damaged, or another user may have written it."""
    if file is None:
        return None
    try:
        # Without waiting for the writer of a FIFO.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                return None
            if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
                return None
            content = stream.read()
    except OSError:
        return None
    digest, code = content[:_SIZE], content[_SIZE:]
    return code if digest == _digest(file, code) else None


def write_code(file: Path | None, code: bytes) -> None:
    """Write a digest, then the code, whole or not at all. A cache that cannot be written is no error."""
    if file is None:
        return
    import tempfile

    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        # Not by files.whole_file: under a umask that lets a group write, the file would not be read again.
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name[:40]}.tmp-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(_digest(file, code) + code)
            os.replace(temporary, file)
        except OSError:
            os.unlink(temporary)
            raise


def _digest(file: Path, code: bytes) -> bytes:
    """Of the code and the name it is kept under: code for something else, under this name, is not taken."""
    return hashlib.sha256(file.name.encode() + b"\0" + code).digest()
