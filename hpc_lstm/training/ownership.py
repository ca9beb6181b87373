"""Ownership of a run directory: never over another run, and resumed only with what is the same run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hpc_lstm import config as configuration
from hpc_lstm.checkpoint.writer import holds_checkpoints
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import ConfigError, InputError, is_out_of_memory
from hpc_lstm.files import write_text
from hpc_lstm.parallel.world import World
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.storage.objects import ObjectStore
from hpc_lstm.storage.stores import open_store


@contextlib.contextmanager
def owned(run: RunDirectory, config: RunConfig, world: World, *, resume: bool) -> Iterator[None]:
    """Own the run directory during a run; collective.

    A start that its input ends before the run has begun leaves nothing behind.

    Raises:
        InputError: see ``create_folders``; or the machine's memory is not enough.
    """
    created = world.raise_on_all(
        lambda: create_folders(run, config, resume=resume) if world.rank == 0 else []
    )
    try:
        yield
    except InputError as error:
        if error.on_all_ranks or world.size == 1:
            world.barrier()  # every rank has closed its files
            if world.rank == 0:
                remove_unbegun(run, created, world.size)
        raise
    except OSError as error:
        if (
            error.filename is None
        ):  # the error came from an open file, and all of them are in the run directory
            error.filename = str(run.path)
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise InputError(
                "out of memory; lower train.batch_size, data.window or model.units, or use more ranks, "
                "each of which holds its share of the data"
            ) from error
        raise


def create_folders(run: RunDirectory, config: RunConfig, *, resume: bool) -> list[Path]:
    """Create the run directory, or check that it holds this very run; on rank 0.

    It holds a run only once its settings are written: a start that fails before does not block the next one.

    Returns:
        The created folders, innermost first, for ``remove_unbegun``.

    Raises:
        InputError: it holds a run and ``resume`` is off, or it cannot be created.
        ConfigError: it holds a run with other settings: the keys.
    """
    if run.holds_run:
        if not resume:
            raise InputError(
                f"{run.path}: already holds a run; continue it with --resume, or choose another --run-dir"
            )
        refuse_changed_settings(run.load_config(), config, str(run.config))
    inside = (run.rank_log(0).parent, run.rank_timing(0).parent, run.tensorboard)
    created: list[Path] = []
    try:
        created += [folder for folder in (*inside, run.path, *run.path.parents) if not folder.exists()]
        for folder in inside:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remove_unbegun(run, created, 0)
        raise InputError(
            f"{run.path}: cannot be created: {error.strerror}; choose another --run-dir"
        ) from None
    return created


def write_settings(run: RunDirectory, config: RunConfig) -> None:
    """Write the resolved settings, by which the folder holds a run; on rank 0.

    Raises:
        InputError: they cannot be written.
    """
    write_text(run.config, configuration.dump(config))


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
    for folder in created:
        with contextlib.suppress(OSError):  # not empty: something else is in it
            folder.rmdir()


def checkpoints_of(run: RunDirectory, config: RunConfig, world: World) -> tuple[ObjectStore, str]:
    """Where the run's checkpoints lie: an object store and the prefix of their keys; collective.

    In its own folder they need no name; in a store that runs share, they lie under the run's and the cluster's.

    Raises:
        StorageError: the store cannot be used.
    """
    place = f"checkpoints/{config.sync.cluster or 'main'}"
    store = world.raise_on_all(lambda: open_store(config.storage, run.path))
    # One rank looks for all: a thousand ranks that try it at once would be turned away.
    world.raise_on_all(lambda: store.check() if world.rank == 0 else None)
    return store, f"{shared_prefix(run, config)}{place}" if config.storage.url else place


def shared_prefix(run: RunDirectory, config: RunConfig) -> str:
    """What the run's keys begin with in a store that runs share."""
    return f"{config.sync.run or run.name}/"


def refuse_existing_checkpoints(objects: ObjectStore, prefix: str, world: World) -> None:
    """Refuse to start a new run where a run of the same name has checkpoints; collective.

    Raises:
        InputError: the object store holds some.
    """

    def look() -> None:
        if world.rank == 0 and holds_checkpoints(objects, prefix):
            raise InputError(
                f"the storage already holds checkpoints of this run, under {prefix}; continue it with --resume, "
                "or choose another --run-dir or sync.run"
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
