"""Stage the market store to the nodes' local disks: one rank per node copies it before all ranks open it.

Thousands of ranks that read slices of one file overload a shared file system. If ``HPC_LSTM_STAGE`` names a folder on a
local disk, such as ``$TMPDIR``, they read from there. Settings keep the store's original path.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpc_lstm.errors import InputError, StoreError
from hpc_lstm.files import whole_file
from hpc_lstm.market.store import require_sound_store
from hpc_lstm.parallel.world import World

VARIABLE = "HPC_LSTM_STAGE"
ADVICE = f"free some space, name another folder in {VARIABLE}, or unset it"


def stage_store(store: str | Path, world: World) -> Path:
    """The path to open a market store at: its copy on this node if ``HPC_LSTM_STAGE`` is set; collective.

    The variable's value may contain others, such as ``$TMPDIR``, which are expanded on each node. An existing copy is
    used if the store has not changed since.

    Raises:
        InputError: the folder cannot be used or lacks the space, on any node.
        StoreError: there is no such store.
    """
    source = Path(store)
    target = world.raise_on_all(lambda: _staged_path(source))
    world.raise_on_all(lambda: _copy_store(source, target) if world.local_rank == 0 else None)
    world.raise_on_all(lambda: _require_copy(source, target))
    # Before all ranks open it, each of which would have it inspected.
    inspects = world.rank == 0 if target == source else world.local_rank == 0
    world.raise_on_all(lambda: require_sound_store(target) if inspects else None)
    return target


def _staged_path(source: Path) -> Path:
    """Path of the copy; its name depends on the store's path, size and time, so that an outdated copy is not used."""
    folder = os.environ.get(VARIABLE, "")
    if not folder or not source.is_file():
        return source  # opening it reports what is wrong
    expanded = os.path.expandvars(folder)
    if "$" in expanded:
        raise InputError(f"{VARIABLE}={folder}: contains a variable that is not set on {os.uname().nodename}")
    if not Path(expanded).is_absolute():
        raise InputError(f"{VARIABLE}={folder}: must be an absolute path")
    now = source.stat()
    state = f"{source.absolute()}\0{now.st_size}\0{now.st_mtime_ns}"
    return Path(expanded) / f"{source.stem}-{hashlib.sha256(state.encode()).hexdigest()[:16]}.h5"


def _copy_store(source: Path, target: Path) -> None:
    if target == source or _is_complete(source, target):
        return
    import shutil

    with _copy_errors(source, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        size, free = source.stat().st_size, shutil.disk_usage(target.parent).free
    if size > free:
        raise InputError(
            f"{target.parent}: has {free / 2**30:.1f} GiB free on {os.uname().nodename}, but {source} has "
            f"{size / 2**30:.1f} GiB; {ADVICE}"
        )
    with whole_file(target) as temporary, _copy_errors(source, target):
        temporary.chmod(0o600)  # a node's disk may be readable by other users
        with source.open("rb") as original, temporary.open("wb") as copy:
            shutil.copyfileobj(original, copy, 1 << 24)


@contextmanager
def _copy_errors(source: Path, target: Path) -> Iterator[None]:
    """Turn an operating system's error into one that says what to do."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{target.parent}: {source} cannot be copied there on {os.uname().nodename}: "
            f"{os.strerror(error.errno or 0)}; {ADVICE}"
        ) from None


def _require_copy(source: Path, target: Path) -> None:
    if target == source or _is_complete(source, target):
        return
    if not source.is_file():
        raise StoreError(f"{source}: no longer exists")
    raise InputError(
        f"{target}: does not exist on {os.uname().nodename}: {VARIABLE} is not the same for all ranks of the node, "
        "or the store was just replaced; start again"
    )


def _is_complete(source: Path, target: Path) -> bool:
    """Whether this user owns a regular file there that is as long as the store; other users' files are not read."""
    try:
        found, size = target.lstat(), source.stat().st_size
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_size == size
