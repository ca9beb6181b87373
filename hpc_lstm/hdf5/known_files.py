"""Which HDF5 files this user's processes have written or inspected, so that none is inspected twice.

A file is known by its path, inode, size and times: one that was changed since is another file. Each has an empty file
in the folder ``inspected`` of the cache.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from hpc_lstm.native.code_cache import cache_path

# Beyond so many all but the newest half of that are forgotten.
MOST = 4096
# One in so many new marks counts them: to list thousands takes longer than to write a small store.
COUNTED_EVERY = 64


def is_known(path: Path) -> bool:
    """True if this user has written or inspected the file as it is now."""
    mark = _mark(path)
    if mark is None:
        return False
    try:
        found = mark.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid in (0, os.geteuid())


def remember(path: Path) -> None:
    """Make the file a known one; where there is no cache, or it cannot be written, it stays unknown."""
    mark = _mark(path)
    if mark is None:
        return
    with suppress(OSError):
        # Others may not write to it: their marks would not count, but might.
        mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(mark, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        if int(mark.name, 16) % COUNTED_EVERY == 0:
            _forget_old(mark.parent)


def _mark(path: Path) -> Path | None:
    try:
        real = path.resolve()
        now = real.stat()
    except OSError:
        return None
    state = (os.fspath(real), now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
    return cache_path(f"inspected/{hashlib.sha256(repr(state).encode(errors='surrogateescape')).hexdigest()}")


def _forget_old(folder: Path) -> None:
    marks = list(os.scandir(folder))
    if len(marks) > MOST:
        for mark in sorted(marks, key=lambda entry: entry.stat().st_mtime)[: -(MOST // 2)]:
            Path(mark.path).unlink(missing_ok=True)
