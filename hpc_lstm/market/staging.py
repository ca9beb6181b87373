"""A market store on the node's own disk: copied there once, by one rank of each node, before all ranks open it.

Thousands of ranks that read slices of one file load the file system that they share. Where ``HPC_LSTM_STAGE`` names
a folder of a node's own, such as ``$TMPDIR``, they read from there. Settings keep the store's own path.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

from hpc_lstm.errors import InputError, StoreError
from hpc_lstm.files import atomic_file
from hpc_lstm.parallel.world import World

VARIABLE = "HPC_LSTM_STAGE"
ADVICE = f"make room, name another folder by {VARIABLE}, or unset it"


def staged(store: str | Path, world: World) -> Path:
    """Where to open a market store: its copy on this node if ``HPC_LSTM_STAGE`` is set, else itself; collective.

    The variable's value may name others, such as ``$TMPDIR``, which each node has its own of. A copy that is there
    is taken if the store has not changed since.

    Raises:
        InputError: the folder cannot be used or lacks the room, on any node.
        StoreError: there is no such store.
    """
    source = Path(store)
    target = world.raise_on_all(lambda: _place(source))
    world.raise_on_all(lambda: _copy(source, target) if world.local_rank == 0 else None)
    world.raise_on_all(lambda: _require(source, target))
    return target


def _place(source: Path) -> Path:
    """Path of the copy. It names the store and its state, so that a file of that name is the right one."""
    folder = os.environ.get(VARIABLE, "")
    if not folder or not source.is_file():
        return source  # whoever opens it says what is wrong with it
    expanded = os.path.expandvars(folder)
    if "$" in expanded:
        raise InputError(f"{VARIABLE}={folder}: names a variable that is not set on {os.uname().nodename}")
    if not Path(expanded).is_absolute():
        raise InputError(f"{VARIABLE}={folder}: must be an absolute path")
    now = source.stat()
    state = f"{source.absolute()}\0{now.st_size}\0{now.st_mtime_ns}"
    return Path(expanded) / f"{source.stem}-{hashlib.sha256(state.encode()).hexdigest()[:16]}.h5"


def _copy(source: Path, target: Path) -> None:
    if target == source or _is_whole(source, target):
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        size, free = source.stat().st_size, shutil.disk_usage(target.parent).free
        if size > free:
            raise InputError(
                f"{target.parent}: has {free / 2**30:.1f} GiB free on {os.uname().nodename}, but {source} has "
                f"{size / 2**30:.1f} GiB; {ADVICE}"
            )
        with atomic_file(target) as temporary, temporary.open("wb") as file, source.open("rb") as original:
            shutil.copyfileobj(original, file, 1 << 24)
    except OSError as error:
        raise InputError(
            f"{target.parent}: {source} cannot be copied there on {os.uname().nodename}: "
            f"{os.strerror(error.errno or 0)}; {ADVICE}"
        ) from None


def _require(source: Path, target: Path) -> None:
    if target == source or _is_whole(source, target):
        return
    if not source.is_file():
        raise StoreError(f"{source}: is gone")
    raise InputError(
        f"{target}: is not there on {os.uname().nodename}: {VARIABLE} is not the same for all ranks of the node, "
        "or the store was replaced just now; start again"
    )


def _is_whole(source: Path, target: Path) -> bool:
    """True of a file of this user's that is as long as the store; others' are not read."""
    try:
        there, size = target.lstat(), source.stat().st_size
    except OSError:
        return False
    return stat.S_ISREG(there.st_mode) and there.st_uid == os.geteuid() and there.st_size == size
