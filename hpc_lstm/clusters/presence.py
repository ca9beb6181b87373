"""Which clusters of a run are at it, as their leases say: whoever is refused leaves a lease behind, too."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass, field

from hpc_lstm.clusters import documents
from hpc_lstm.clusters.inventory import StoredRun
from hpc_lstm.clusters.lease_files import LeaseFiles
from hpc_lstm.errors import StorageError
from hpc_lstm.storage.objects import ObjectStore

_LEASE = re.compile(r"leases/([^/]+)/[0-9]")


@dataclass
class Presence:
    """The clusters that have a lease in a run and have not finished, each list sorted by name.

    Attributes:
        here: with a job, as far as can be known: one that was killed on another machine says nothing more.
        stopped: their job has ended, and they have taken part: a later one may continue.
        without_part: their job has ended before they took part, as that of a cluster which is refused does.
        problems: what lies in place of a lease, and is none.
    """

    here: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    without_part: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def presence(store: ObjectStore, run: StoredRun, took_part: Set[str], finished: Set[str]) -> Presence:
    """Who is at a run.

    Args:
        took_part: clusters that are known to have contributed; a checkpoint tells it of others.
        finished: clusters whose final contribution was counted: left out.
    """
    found = Presence()
    names = {match[1] for key in run.sizes if (match := _LEASE.match(key))}
    for name in sorted(names - finished):
        if not re.fullmatch(documents.NAME, name):
            continue
        leases = LeaseFiles(store, run.prefix, name, f"cluster {name}")
        try:
            newest = leases.newest()
        except StorageError as error:
            found.problems.append(str(error))
            continue
        if newest.is_held and not leases.is_dead(newest.number):
            found.here.append(name)
        elif name in took_part or any(key.startswith(f"checkpoints/{name}/") for key in run.sizes):
            found.stopped.append(name)
        else:
            found.without_part.append(name)
    return found
