"""Taking a run directory for a run: never over another one, and going on only with what is the same run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hpc_lstm import config as configuration
from hpc_lstm.checkpoint.writer import holds_checkpoints
from hpc_lstm.clusters.location import run_name
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import ConfigError, InputError, is_out_of_memory
from hpc_lstm.files import write_text
from hpc_lstm.parallel.world import World
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.storage.objects import ObjectStore
from hpc_lstm.storage.stores import open_store


@contextlib.contextmanager
def claimed(run: RunDirectory, config: RunConfig, world: World, resume: bool) -> Iterator[None]:
    """Hold the run directory around a run; a start that came to nothing leaves nothing behind; collective.

    Raises:
        InputError: see ``take_folder``; or the machine's memory is not enough.
    """
    made = world.raise_on_all(lambda: take_folder(run, config, resume) if world.rank == 0 else [])
    try:
        yield
    except InputError as error:
        if error.on_all_ranks or world.size == 1:
            world.barrier()  # every rank has closed its files
            if world.rank == 0:
                give_up(run, made, world.size)
        raise
    except OSError as error:
        if error.filename is None:  # of a file that had been open: all that are lie there
            error.filename = str(run.path)
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise InputError(
                "out of memory; lower train.batch_size, data.window or model.units, or use more ranks, "
                "each of which holds its share of the data"
            ) from error
        raise


def take_folder(run: RunDirectory, config: RunConfig, resume: bool) -> list[Path]:
    """Make the folder, or check that it holds this very run; on rank 0.

    It holds a run only from ``sign`` on: a start that its input stops before leaves nothing in the way of the next.

    Returns:
        The folders made, innermost first, for ``give_up``.

    Raises:
        InputError: it holds a run and ``resume`` is off, or it cannot be written.
        ConfigError: it holds a run with other settings: the keys.
    """
    if run.holds_run:
        if not resume:
            raise InputError(
                f"{run.path}: already holds a run; go on with it by --resume, or choose another --run-dir"
            )
        refuse_changes(run.load_config(), config, str(run.config))
    inside = (run.rank_log(0).parent, run.rank_timing(0).parent, run.tensorboard)
    made: list[Path] = []
    try:
        made += [folder for folder in (*inside, run.path, *run.path.parents) if not folder.exists()]
        for folder in inside:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        give_up(run, made, 0)
        raise InputError(f"{run.path}: cannot be made: {error.strerror}; choose another --run-dir") from None
    return made


def sign(run: RunDirectory, config: RunConfig) -> None:
    """Write the resolved settings, which say that the folder holds a run; on rank 0.

    Raises:
        InputError: they cannot be written.
    """
    write_text(run.config, configuration.dump(config))


def give_up(run: RunDirectory, made: list[Path], ranks: int) -> None:
    """Take away what a start has made that came to nothing, unless the folder holds a run; on rank 0.

    Args:
        made: what ``take_folder`` returned.
        ranks: as many have opened a log and a timing file, and closed them again.
    """
    if run.holds_run:
        return
    for rank in range(ranks):
        for file in (run.rank_log(rank), run.rank_timing(rank)):
            with contextlib.suppress(OSError):
                file.unlink()
    for folder in made:
        with contextlib.suppress(OSError):  # not empty: something else is in it
            folder.rmdir()


@dataclass(frozen=True)
class RunStorage:
    """Where a run keeps its objects.

    Attributes:
        store: the object store.
        run_prefix: what the keys begin with that all clusters of the run share; "" in the run's own folder.
        checkpoint_prefix: what the keys of its own checkpoints begin with, without a slash at the end.
    """

    store: ObjectStore
    run_prefix: str
    checkpoint_prefix: str


def open_run_storage(run: RunDirectory, config: RunConfig, world: World) -> RunStorage:
    """Open the object store of a run; collective.

    In its own folder a run needs no name; in a store that runs may share, its keys begin with one.

    Raises:
        StorageError: the store cannot be used.
    """
    store = world.raise_on_all(lambda: open_store(config.storage, run.path))

    def look() -> str:
        # One rank looks for all: a thousand ranks that try it at the same time would be throttled, and a listing that
        # changes meanwhile must not let them disagree.
        if world.rank:
            return ""
        store.check()
        return f"{run_name(store, config.sync, run.name)}/" if config.storage.url else ""

    prefix = world.bcast(world.raise_on_all(look))
    return RunStorage(store, prefix, f"{prefix}checkpoints/{config.sync.cluster or 'main'}")


def refuse_checkpoints(objects: ObjectStore, prefix: str, world: World) -> None:
    """Refuse to start a new run where checkpoints of one of the same name lie; collective.

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


def refuse_changes(old: RunConfig, new: RunConfig, where: str) -> None:
    """Refuse to go on with a run under settings that would make it another run.

    Raises:
        ConfigError: the keys, with the old and the new value.
    """
    changed = configuration.changed_keys(old, new)
    if changed:
        keys = ", ".join(
            f"{key} (was {configuration.get(old, key)!r}, now {configuration.get(new, key)!r})"
            for key in changed
        )
        raise ConfigError(
            f"{where}: the run was begun with other settings: {keys}; put them back, or use a new run"
        )
