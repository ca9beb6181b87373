"""Ownership of a run directory: never over another run, and resumed only with what is the same run."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hpc_lstm import config as configuration
from hpc_lstm.checkpoint.provenance import Provenance
from hpc_lstm.checkpoint.writer import holds_checkpoints
from hpc_lstm.clusters.lease import Lease
from hpc_lstm.clusters.location import run_name
from hpc_lstm.clusters.run_owner import NAME, OWNER
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import ConfigError, InputError, StorageError, from_os_error, is_out_of_memory
from hpc_lstm.files import write_text
from hpc_lstm.parallel.world import World
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.history import read_history
from hpc_lstm.runs.run_file import RunFile, read_run_file
from hpc_lstm.storage.folder import FolderStore
from hpc_lstm.storage.objects import NotFoundError, ObjectStore, TooLargeError
from hpc_lstm.storage.signing import Signer, signer_from_environment
from hpc_lstm.storage.stores import open_store, store_place

# Seconds without a sign of life after which the owner of a run directory is considered dead.
OWNER_TIMEOUT_S = 20.0
# Seconds in which a node must see what another one has put into a folder that they share: network file systems cache
# folders; and between two looks.
APPEARS_S, APPEARS_POLL_S = 10.0, 0.5
# A file system without hard links, on which there can be no lease.
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)


@contextlib.contextmanager
def owned(run: RunDirectory, config: RunConfig, world: World, *, resume: bool) -> Iterator[Lease | None]:
    """Own the run directory during a run; collective.

    A start that its input ends before the run has begun leaves nothing behind.

    Yields:
        The lease by which rank 0 owns it; None on other ranks, and where the file system has no hard links.

    Raises:
        InputError: see ``create_folders`` and ``require_shared``; or another job is at it; or the machine's memory is
            not enough.
    """
    created = world.raise_on_all(
        lambda: create_folders(run, config, resume=resume) if world.rank == 0 else []
    )
    lease = None
    try:
        lease = world.raise_on_all(lambda: _acquire(run, config, world, resume=resume))
        if not config.storage.url:
            require_shared(run, lease, world)
        yield lease
    except InputError as error:
        if error.on_all_ranks or world.size == 1:
            _give_back(run, created, world, lease)
        raise
    except OSError as error:
        if (
            error.filename is None
        ):  # the error came from an open file, and all of them are in the run directory
            error.filename = str(run.path)
        known = from_os_error(error)
        if known is None or world.size > 1:  # of this rank alone, which ends all
            raise
        _give_back(run, created, world, lease)
        raise known from error
    except Exception as error:
        if is_out_of_memory(error):
            raise InputError(
                "out of memory; lower train.batch_size, data.window or model.units, or use more ranks, "
                "each of which holds its share of the data"
            ) from error
        raise
    finally:
        if lease is not None:
            lease.release()


def _give_back(run: RunDirectory, created: list[Path], world: World, lease: Lease | None) -> None:
    """Remove what a start that came to nothing has created; collective."""
    world.barrier()  # every rank has closed its files
    if world.rank == 0:
        if lease is not None:
            lease.release()
        # A directory that another job is at is left to it.
        if lease is not None or not _has_owner(run):
            remove_unbegun(run, created, world.size)


def _acquire(run: RunDirectory, config: RunConfig, world: World, *, resume: bool) -> Lease | None:
    """Become the owner of the run directory; on rank 0.

    Raises:
        InputError: another job is at it, or has begun a run there meanwhile.
        StopRequested: the process was asked to stop while it watched an earlier owner.
    """
    if world.rank:
        return None
    try:
        lease = Lease(
            *(FolderStore(run.path), OWNER, NAME, OWNER_TIMEOUT_S, logging.getLogger("hpc_lstm")),
            lambda: world.stop_requested,
            what=str(run.path),
            advice="choose another --run-dir, or stop that job",
            forget=True,
        )
    except OSError as error:
        if error.errno in NO_LINKS:
            return None
        raise InputError(f"{run.path}: cannot be written: {error.strerror}; {_way_out(error)}") from None
    try:
        refuse_begun(run, config, resume=resume)
    except InputError:
        lease.release()
        raise
    return lease


def require_shared(run: RunDirectory, lease: Lease | None, world: World) -> None:
    """Refuse a run directory that is another folder on another node, such as one of its own disk; collective.

    Checkpoints of several ranks would never be complete there.

    Args:
        lease: by which rank 0 owns it; None on the other ranks.

    Raises:
        InputError: some rank does not see the lease.
    """
    first = world.bcast(lease.first if lease is not None else None)

    def look() -> None:
        if world.rank and first is not None and not _appears(run, *first):
            raise InputError(
                f"{run.path}: must be on storage that all nodes share (rank {world.rank} on {world.node} does not see "
                "it); choose another --run-dir, or a storage.url for the checkpoints"
            )

    world.raise_on_all(look)


def _appears(run: RunDirectory, key: str, data: bytes) -> bool:
    """Whether the run directory has this object, or gets it within ``APPEARS_S``."""
    store, deadline = FolderStore(run.path), time.monotonic() + APPEARS_S
    while True:
        with contextlib.suppress(NotFoundError, TooLargeError):  # no lease there, or one of another run
            if store.get(key, len(data)) == data:
                return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(APPEARS_POLL_S)
        for folder in (*reversed(run.path.parents), run.path):
            # NFS looks again at what is opened, not at what was missing below it.
            with contextlib.suppress(OSError):
                os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def _has_owner(run: RunDirectory) -> bool:
    """True unless nobody has put a lease there; a start that could not put its own leaves folders alone."""
    try:
        return bool(FolderStore(run.path).list(OWNER))
    except StorageError:
        return True


def refuse_begun(run: RunDirectory, config: RunConfig, *, resume: bool) -> None:
    """Refuse a directory that holds another run, or a run that is not to be resumed; on rank 0.

    Raises:
        InputError: it holds a run and ``resume`` is off.
        ConfigError: it holds a run with other settings: the keys.
    """
    if run.holds_run:
        if not resume:
            raise InputError(
                f"{run.path}: already holds a run; continue it with --resume, or choose another --run-dir"
            )
        refuse_changed_settings(run.load_config(), config, str(run.config))


def resumed_settings(run: RunDirectory, config: RunConfig, world: World, *, resume: bool) -> RunConfig:
    """The settings to go on with: those whose defaults have changed are as in the run if ``config`` leaves them out.

    Collective.

    Raises:
        InputError: the run directory's settings are damaged.
    """

    def fill() -> RunConfig:
        if world.rank == 0 and resume and run.holds_run:
            return configuration.with_left_out_of(run.load_config(), config)
        return config

    return world.bcast(world.raise_on_all(fill))


def create_folders(run: RunDirectory, config: RunConfig, *, resume: bool) -> list[Path]:
    """Create the run directory, or check that it holds this very run; on rank 0.

    It holds a run only once its settings are written: a start that fails before does not block the next one.

    Returns:
        The created folders, innermost first, for ``remove_unbegun``.

    Raises:
        InputError: it holds a run and ``resume`` is off, a folder in it is a link, or it cannot be created.
        ConfigError: it holds a run with other settings: the keys.
    """
    refuse_begun(run, config, resume=resume)
    inside = (run.rank_log(0).parent, run.rank_timing(0).parent, run.tensorboard)
    for folder in inside:
        if folder.is_symlink():  # a run directory that comes from somebody else must not lead elsewhere
            raise InputError(f"{folder}: nothing is written through a symbolic link; remove it")
    created: list[Path] = []
    try:
        created += [folder for folder in (*inside, run.path, *run.path.parents) if not folder.exists()]
        for folder in inside:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remove_unbegun(run, created, 0)
        raise InputError(f"{run.path}: cannot be created: {error.strerror}; {_way_out(error)}") from None
    return created


def _way_out(error: OSError) -> str:
    room = "make room, or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{room}choose another --run-dir"


def write_settings(run: RunDirectory, config: RunConfig) -> None:
    """Write the resolved settings, by which the folder holds a run; on rank 0.

    Raises:
        InputError: they cannot be written.
    """
    write_text(run.config, configuration.dump(config))


def refuse_lost_checkpoints(run: RunDirectory, config: RunConfig, prefix: str) -> None:
    """Refuse to start a run anew over what it has come to, where its checkpoints are not found; on rank 0.

    A run that was killed before its first checkpoint has come to nothing.

    Raises:
        InputError: it has results, a history from other storage, or had a complete checkpoint.
    """
    if not run.holds_run:
        return
    record, old_url = read_run_file(run) or RunFile(), run.load_config().storage.url
    has_results = run.metrics.exists() or run.model.exists()
    elsewhere = old_url != config.storage.url and bool(read_history(run.history))
    if not (has_results or elsewhere or record.checkpoints):
        return
    url = (record.checkpoints or {"url": old_url})["url"]
    moved = f'; they went to storage.url = "{url}"' if url != config.storage.url else ""
    raise InputError(
        f"{run.path}: holds {'the results' if has_results else 'the history'} of a run, but there is no checkpoint to "
        f"continue from under {config.storage.url or run.path}/{prefix}{moved}; nothing was changed; put the "
        "checkpoints back, or continue from its model in a new run, with --init-from and another --run-dir"
    )


def remove_unbegun(run: RunDirectory, created: list[Path], ranks: int) -> None:
    """Remove what a failed start has created, unless the folder holds a run; on rank 0.

    Args:
        created: what ``create_folders`` returned.
        ranks: ranks that have opened, and closed, a log and a timing file.
    """
    if run.holds_run:
        return
    for rank in range(ranks):
        for file in (run.rank_log(rank), run.rank_timing(rank)):
            with contextlib.suppress(OSError):
                file.unlink()
    if run.path in created:
        for file in (run.record, run.rows, run.scaler):  # written just before the settings
            with contextlib.suppress(OSError):
                file.unlink()
    if ranks:
        owner = FolderStore(run.path)
        for key, _ in owner.list(OWNER):
            owner.delete(key)
        for part in (f"leases/{NAME}", "leases", ""):
            with contextlib.suppress(OSError):
                (run.path / OWNER / part).rmdir()
    for folder in created:
        with contextlib.suppress(OSError):  # not empty: something else is in it
            folder.rmdir()


@dataclass(frozen=True)
class RunStorage:
    """Where a run keeps its objects.

    Attributes:
        store: the object store.
        run_prefix: what the keys begin with that all clusters of the run share; "" in the run's own folder.
        checkpoint_prefix: what the keys of its own checkpoints begin with, without a slash at the end.
        place: of the store; "" in the run's own folder.
        signer: signs what the run puts there, if there is a key; on rank 0.
    """

    store: ObjectStore
    run_prefix: str
    checkpoint_prefix: str
    place: str
    signer: Signer


def open_run_storage(run: RunDirectory, config: RunConfig, world: World) -> RunStorage:
    """Open the object store of a run; collective.

    In its own folder a run needs no name; in a store that runs may share, its keys begin with one.

    Raises:
        StorageError: the store cannot be used.
        InputError: the folder has no name.
        ConfigError: the key of signatures is none.
    """
    signer = world.raise_on_all(lambda: Signer() if world.rank else signer_from_environment())
    store = world.raise_on_all(lambda: open_store(config.storage, run.path))

    def look() -> str:
        # One rank looks for all: a thousand ranks that try it at the same time would be throttled, and a listing that
        # changes meanwhile must not let them disagree.
        if world.rank:
            return ""
        store.check()
        if config.storage.url and not (config.sync.run or run.name):
            raise InputError(
                f"{run.path}: has no name, under which its checkpoints could lie in {config.storage.url}; choose a "
                "--run-dir with a name of its own"
            )
        return f"{run_name(store, config.sync, run.name)}/" if config.storage.url else ""

    prefix = world.bcast(world.raise_on_all(look))
    return RunStorage(
        store=store,
        run_prefix=prefix,
        checkpoint_prefix=f"{prefix}checkpoints/{config.sync.cluster or 'main'}",
        place=store_place(config.storage),
        signer=signer,
    )


def provenance_of(run: RunDirectory, storage: RunStorage, *, accept_unsigned: bool = False) -> Provenance:
    """Whose checkpoints this run's are; on rank 0.

    Args:
        accept_unsigned: take older ones that are not signed for it.
    """
    record = read_run_file(run) or RunFile()
    return Provenance(storage.signer, record.id, storage.place, accept_unsigned)


def refuse_existing_checkpoints(objects: ObjectStore, prefix: str, world: World) -> None:
    """Refuse to start a new run where a run of the same name has checkpoints; collective.

    Raises:
        InputError: the object store holds some.
    """

    def look() -> None:
        if world.rank == 0 and holds_checkpoints(objects, prefix):
            raise InputError(
                f"the storage already holds checkpoints under {prefix}; continue that run with --resume, or choose "
                "another --run-dir for a run that trains alone, another sync.run or storage.url for clusters"
            )

    world.raise_on_all(look)


def refuse_changed_settings(old: RunConfig, new: RunConfig, where: str) -> None:
    """Refuse to resume a run with settings that would make it another run.

    Raises:
        ConfigError: the keys, with the old and the new value.
    """
    changed = [
        f"{key} (was {was!r}, now {now!r})"
        for key, was, now in configuration.differences(old, new)
        if key not in configuration.free_on_resume()
    ]
    if changed:
        raise ConfigError(
            f"{where}: the run was started with other settings: {', '.join(changed)}; put them back, or start a new run"
        )
