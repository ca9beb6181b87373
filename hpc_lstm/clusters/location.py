"""Where in an object store a run keeps its objects: the name that all of its keys begin with.

Clusters that are given the same ``storage.url`` share one run, whatever their run directories are called; ``sync.run``
tells several runs at one URL apart. A run that trains alone has its directory's name.
"""

from __future__ import annotations

from hpc_lstm.checkpoint.writer import holds_checkpoints
from hpc_lstm.config import SyncConfig
from hpc_lstm.storage.objects import ObjectStore

# Not a name that ``sync.run`` takes, and hardly one of a run directory.
SHARED_RUN = "_shared"


def run_name(store: ObjectStore, sync: SyncConfig, directory: str) -> str:
    """The run's name in a store that several runs may share.

    Args:
        directory: name of the run directory.

    Raises:
        StorageError: the store cannot be read.
    """
    if sync.run or not sync.cluster:
        return sync.run or directory
    # Its own checkpoint is never left behind: a resumed run would silently start from the seed.
    if holds_checkpoints(store, f"{directory}/checkpoints/{sync.cluster}") or _met_under(store, directory):
        return directory
    return SHARED_RUN


def _met_under(store: ObjectStore, directory: str) -> bool:
    """True if clusters met under the run directory's name, as they did up to version 0.1.

    One cluster that waited there alone met nobody: the others, whose directories had other names, waited elsewhere.
    """
    from hpc_lstm.clusters.inventory import stored_runs

    return any(
        run.is_shared and (run.closed_rounds or len(run.clusters) > 1)
        for run in stored_runs(store, directory)
    )
