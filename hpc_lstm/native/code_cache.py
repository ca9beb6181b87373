"""Where machine code that was compiled on this machine is kept, so that it need not be compiled again.

In $HPC_LSTM_CACHE, else $XDG_CACHE_HOME/hpc_lstm, else ~/.cache/hpc_lstm. Many processes of one user may read and
write it at once; what others have put there is not taken.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

_DIGEST = hashlib.sha256().digest_size


def place(name: str) -> Path | None:
    """The file that keeps the code of this name; None if there is no folder for it."""
    for variable, below in (("HPC_LSTM_CACHE", ""), ("XDG_CACHE_HOME", "hpc_lstm")):
        if folder := os.environ.get(variable):
            return Path(folder, below, name)
    try:
        return Path.home() / ".cache" / "hpc_lstm" / name
    except RuntimeError:  # a user without a home
        return None


def read(file: Path | None) -> bytes | None:
    """Code that was kept; None if there is none, or not what was written, or if another user may have written it."""
    if file is None:
        return None
    try:
        with file.open("rb") as stream:
            about = os.fstat(stream.fileno())
            if about.st_uid not in (0, os.geteuid()) or about.st_mode & 0o022:
                return None
            kept = stream.read()
    except OSError:
        return None
    digest, code = kept[:_DIGEST], kept[_DIGEST:]
    return code if digest == hashlib.sha256(code).digest() else None


def keep(file: Path | None, code: bytes) -> None:
    """Write a digest, then the code; other processes see all of it or nothing. Not being able to is no error."""
    if file is None:
        return
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name[:40]}.tmp-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(hashlib.sha256(code).digest() + code)
            os.replace(temporary, file)
        except OSError:
            os.unlink(temporary)
            raise
