"""What the leases of a name say: who has it, and whether its owner can be known to live.

    leases/<name>/<number>.<beat>    put once; beat 0 names the owner and stays, later ones replace each other
    leases/<name>/<number>.released  the owner has ended

They are read here; ``lease.Lease`` writes them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from hpc_lstm.errors import StorageError
from hpc_lstm.processes import machine, started
from hpc_lstm.storage.objects import NotFoundError, ObjectStore

_KEY = re.compile(r"([0-9]{6,})\.([0-9]{9}|released)")
MAX_BYTES = 4096
# More starts than any cluster can have: numbers are counted up by one.
MAX_NUMBER = 10**9
# The longest timeout that an owner may demand of others.
MAX_TIMEOUT_S = 3600.0


class NewestLease(NamedTuple):
    """The newest lease of a name.

    Attributes:
        number: of the lease, from 1; 0: there is none.
        beat: how often it was renewed.
        released: its owner has ended.
    """

    number: int
    beat: int
    released: bool

    @property
    def is_held(self) -> bool:
        """True if its owner has not said that it ended; it may have been killed."""
        return bool(self.number) and not self.released


class LeaseFiles:
    """The leases of one name in a store.

    Args:
        prefix: of the run's keys.
        what: what a message says is owned.

    Attributes:
        prefix: of the keys of the name's leases.
    """

    def __init__(self, store: ObjectStore, prefix: str, name: str, what: str) -> None:
        self._store, self._what = store, what
        self.prefix = f"{prefix}leases/{name}/"

    def newest(self) -> NewestLease:
        """The newest lease.

        Raises:
            StorageError: one has a number that no start of a cluster can have, or the store cannot be read.
        """
        beats: dict[int, int] = {}
        released = set()
        for key, match in self._keys():
            if len(match[1]) > len(str(MAX_NUMBER)) or int(match[1]) > MAX_NUMBER:
                raise StorageError(f"{self._what}: {key[:200]} was put there by somebody else; delete it")
            if match[2] == "released":
                released.add(int(match[1]))
            else:
                beats[int(match[1])] = max(beats.get(int(match[1]), 0), int(match[2]))
        newest = max(beats, default=0)
        return NewestLease(newest, beats.get(newest, 0), newest in released)

    def keys_up_to(self, number: int) -> list[str]:
        """The keys of the lease of this number and of those before it."""
        return [key for key, match in self._keys() if int(match[1]) <= number]

    def timeout_of(self, number: int) -> float:
        """An owner's own timeout in seconds; it renews its lease four times as often."""
        timeout_s = self._owner(number).get("silence_s")
        return float(min(timeout_s, MAX_TIMEOUT_S)) if isinstance(timeout_s, (int, float)) else 0.0

    def is_dead(self, number: int) -> bool:
        """True if the owner is known to be dead: an earlier start of this batch job, or a process of this machine."""
        owner, own = self._owner(number), identity()
        if own["job"] and owner.get("job") == own["job"] and owner.get("start") != own["start"]:
            return True
        return self.is_of_this_machine(number) and started(owner.get("pid")) != owner.get("started")

    def is_of_this_machine(self, number: int) -> bool:
        """True if the owner is, or was, a process of this machine: whether it lives is then known."""
        here = identity()["machine"]
        return bool(here) and self._owner(number).get("machine") == here

    def host(self, number: int) -> str:
        """The name of the owner's machine, as far as it is one."""
        return re.sub(r"[^\w.-]", "", str(self._owner(number).get("host", ""))[:80]) or "another machine"

    def _keys(self) -> Iterator[tuple[str, re.Match[str]]]:
        for key, _ in self._store.list(self.prefix):
            if match := _KEY.fullmatch(key.removeprefix(self.prefix)):
                yield key, match

    def _owner(self, number: int) -> dict[str, Any]:
        try:
            found = json.loads(self._store.get(f"{self.prefix}{number:06d}.{0:09d}", MAX_BYTES))
        except (NotFoundError, StorageError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def identity() -> dict[str, Any]:
    """Who this process is, so that another one can tell whether it still lives."""
    job = os.environ.get("SLURM_JOB_ID", "")
    cluster = os.environ.get("SLURM_CLUSTER_NAME", "")
    return {
        "host": os.uname().nodename,
        "machine": machine(),
        "pid": os.getpid(),
        "started": started(os.getpid()),
        "job": f"{cluster}/{job}" if job else "",
        "start": os.environ.get("SLURM_RESTART_COUNT", "0"),
    }
