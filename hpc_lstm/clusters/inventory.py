"""Which runs lie in an object store, and how far their clusters have come, by the names of their objects alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hpc_lstm.clusters import documents
from hpc_lstm.errors import printable
from hpc_lstm.storage.objects import ObjectStore

_CLUSTER = re.compile(
    r"(?:leases/(?P<lease>[^/]+)/|checkpoints/(?P<checkpoint>[^/]+)/|rounds/[0-9]+/contributions/(?P<round>[^/]+)\.json)"
)
# What a log line names at most of the runs in a store, and of the clusters in a run.
MAX_RUNS, MAX_CLUSTERS = 10, 10


@dataclass(frozen=True)
class StoredRun:
    """The objects of one run.

    Attributes:
        name: the first part of all of its keys.
        sizes: bytes by key below ``prefix``.
    """

    name: str
    sizes: dict[str, int]

    @property
    def prefix(self) -> str:
        """What all of its keys begin with."""
        return f"{self.name}/"

    @property
    def is_shared(self) -> bool:
        """True if clusters train it, rather than one job alone."""
        return documents.manifest_key() in self.sizes

    @property
    def closed_rounds(self) -> list[int]:
        """Numbers of its closed rounds, ascending."""
        return sorted(number for key in self.sizes if (number := documents.round_of_result(key)))

    @property
    def clusters(self) -> list[str]:
        """Names of the clusters that have ever come, sorted; names that no cluster can have are left out."""
        names = (name for key in self.sizes if (match := _CLUSTER.match(key)) for name in match.groups())
        return sorted({name for name in names if name and re.fullmatch(documents.NAME, name)})


def stored_runs(store: ObjectStore, name: str = "") -> list[StoredRun]:
    """All runs in a store, or the one of this name, sorted by name."""
    runs: dict[str, dict[str, int]] = {}
    for key, size in store.list(f"{name}/" if name else ""):
        run, slash, rest = key.partition("/")
        if slash:
            runs.setdefault(run, {})[rest] = size
    return [StoredRun(run, sizes) for run, sizes in sorted(runs.items())]


def summarize_runs(runs: Iterable[StoredRun], own: str) -> str:
    """The runs in a store as one line for the log, the one named ``own`` first."""
    ordered = sorted(runs, key=lambda run: (run.name != own, not run.is_shared, run.name))
    texts = [_summary(run, " (this run)" if run.name == own else "") for run in ordered[:MAX_RUNS]]
    if len(ordered) > MAX_RUNS:
        texts.append(f"{len(ordered) - MAX_RUNS} more")
    return printable("; ".join(texts))


def _summary(run: StoredRun, note: str) -> str:
    if not run.is_shared:
        return f'"{run.name}"{note}: checkpoints of a run that trains alone'
    names, noun = run.clusters, "cluster" if len(run.clusters) == 1 else "clusters"
    few = ", ".join(names[:MAX_CLUSTERS]) + (", ..." if len(names) > MAX_CLUSTERS else "")
    newest = max(run.closed_rounds, default=0)
    return f'"{run.name}"{note}: {noun} {few or "unknown"}, at round {newest}'
