"""Where yfinance keeps its SQLite caches: a folder of this process alone.

By default all processes of a user share one in the home folder, where jobs side by side lock each other out, and which
on NFS SQLite cannot lock at all.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

_PREFIX = "hpc-lstm-yfinance"


def use_cache_of_our_own(yahoo: Any) -> None:
    """Give yfinance a folder on a local disk that goes when the process ends; without one it does without a cache."""
    place = Path(str(_present_folder(yahoo)))
    if place.name.startswith(f"{_own_prefix()}-{os.getpid()}-") and place.is_dir():
        return  # from an earlier call: yfinance keeps its connections to it
    renew_cache(yahoo)


def renew_cache(yahoo: Any) -> None:
    """Give yfinance another folder, in place of one that is damaged or locked."""
    set_location = getattr(yahoo, "set_tz_cache_location", None)
    if set_location is not None:
        # Where no folder can be made, yfinance keeps no cache.
        set_location(str(_new_folder() or Path(os.devnull) / "none"))
        _forget_connections(yahoo)


def _present_folder(yahoo: Any) -> str:
    manager: Any = getattr(getattr(yahoo, "cache", None), "_TzDBManager", None)
    return str(manager.get_location()) if hasattr(manager, "get_location") else ""


def _forget_connections(yahoo: Any) -> None:
    """What yfinance opened before, in another folder, it would go on to use."""
    cache = getattr(yahoo, "cache", None)
    for manager, attribute in (
        ("_TzCacheManager", "_tz_cache"),
        ("_CookieCacheManager", "_Cookie_cache"),
        ("_ISINCacheManager", "_isin_cache"),
    ):
        if hasattr(getattr(cache, manager, None), attribute):
            setattr(getattr(cache, manager), attribute, None)


def _new_folder() -> Path | None:
    for parent in (None, "/dev/shm"):
        folder = None
        with suppress(OSError, sqlite3.Error):
            folder = Path(tempfile.mkdtemp(prefix=f"{_own_prefix()}-{os.getpid()}-", dir=parent))
            _remove_left_behind(folder.parent)
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            with closing(sqlite3.connect(folder / "probe.db", timeout=1)) as probe:
                probe.execute("pragma journal_mode=wal")
                probe.execute("create table probe (x)")
                probe.commit()
            return folder
    return None


def _own_prefix() -> str:
    return f"{_PREFIX}-{os.uname().nodename}"


def _remove_left_behind(parent: Path) -> None:
    """Remove the folders of this user's processes that were killed."""
    for folder in parent.glob(f"{_own_prefix()}-*-*"):
        pid = folder.name.removeprefix(f"{_own_prefix()}-").partition("-")[0]
        with suppress(OSError, ValueError):
            if folder.lstat().st_uid != os.geteuid():
                continue
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                shutil.rmtree(folder, ignore_errors=True)
