"""One job for each cluster name or run directory: a lease in a store, renewed by a counter while its owner lives.

    leases/<cluster>/<number>.<beat>    put once; beat 0 names the owner and stays, later ones replace each other
    leases/<cluster>/<number>.released  the owner has ended

Clocks of different machines are never compared: whoever wants the name watches, by its own clock, whether the counter
advances.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from hpc_lstm.errors import StopRequested, StorageError, TakenError
from hpc_lstm.storage.objects import NotFoundError, ObjectStore

_KEY = re.compile(r"([0-9]{6,})\.([0-9]{9}|released)")
MAX_BYTES = 4096
# More starts than any cluster can have: numbers are counted up by one.
MAX_NUMBER = 10**9
POLL_S = 0.5
# The longest timeout that an owner may demand of others.
MAX_TIMEOUT_S = 3600.0
# How long a renewal under way may delay the end of the process.
RELEASE_S = 3.0


class Lease:
    """The exclusive right to a cluster's name in a run, acquired by the constructor and renewed by a thread.

    Args:
        prefix: of the run's keys.
        timeout_s: seconds without a renewal after which an owner is considered dead.
        stop_requested: asked while it waits for an earlier owner's lease to expire.
        what: what a message says is owned; "": the name of the cluster.
        advice: what whoever finds it taken is told to do.
        forget: leave nothing behind on release, rather than that it was released.

    Attributes:
        number: of this lease among all of the name, from 1.
        lost: another job has taken the name over.

    Raises:
        TakenError: another job that is alive has the name.
        StopRequested: the process was asked to stop first.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        cluster: str,
        timeout_s: float,
        log: logging.Logger,
        stop_requested: Callable[[], bool] = lambda: False,
        *,
        what: str = "",
        advice: str = "give each cluster a name of its own, or stop that job",
        forget: bool = False,
    ) -> None:
        self._forget = forget
        self._what, self._advice = what or f'sync.cluster = "{cluster}"', advice
        self._store, self._cluster, self._timeout_s, self._log = store, cluster, timeout_s, log
        self._prefix, self._stop_requested = f"{prefix}leases/{cluster}/", stop_requested
        self._ended = threading.Event()
        self.lost = False
        self.number = self._acquire()
        self._beat = 0
        # A daemon: a process that dies stops renewing.
        self._thread = threading.Thread(target=self._renew_until_released, daemon=True, name="lease")
        self._thread.start()

    def check(self) -> None:
        """Raise if another job has taken the name over, because this one did not renew its lease in time.

        Raises:
            TakenError: it has.
        """
        if self.lost:
            raise TakenError(
                f"{self._what}: another job has taken this name over; stop one of the two, and continue the other with "
                "--resume"
            )

    def release(self) -> None:
        """Release the name, if the store accepts that within a few seconds; idempotent."""
        if not self._ended.is_set():
            self._ended.set()
            last = threading.Thread(target=self._put_released, daemon=True, name="release")
            last.start()
            last.join(RELEASE_S)

    def _put_released(self) -> None:
        self._thread.join(RELEASE_S)
        try:
            if self._forget:
                # Of owners that were killed; before this lease goes, so that nobody else is putting one.
                self._store.discard_unfinished(self._prefix)
                self._delete_up_to(self.number)
            else:
                self._store.put_new(f"{self._prefix}{self.number:06d}.released", b"{}")
        except Exception as error:  # the next owner waits for the timeout instead
            self._log.warning("%s could not be released: %s", self._what, error)

    def _delete_up_to(self, number: int) -> None:
        for key, _ in self._store.list(self._prefix):
            match = _KEY.fullmatch(key.removeprefix(self._prefix))
            if match and int(match[1]) <= number:
                self._store.delete(key)

    def _acquire(self) -> int:
        newest, beat, released = self._newest_lease()
        if newest and not released and not self._is_dead(newest):
            newest = self._await_expiry(newest, beat)
        owner = {**identity(), "token": secrets.token_hex(8), "silence_s": self._timeout_s}
        data = json.dumps(owner).encode()
        self._put_first(newest, data)
        # Another job, whose listing was older, may have put a lease after this one's.
        if self._newest_lease()[0] > newest + 1:
            raise self._taken(newest + 2)
        return newest + 1

    def _put_first(self, newest: int, data: bytes) -> None:
        """Put the lease after the ``newest`` one.

        Raises:
            TakenError: another job has put it.
            StorageError: what has its place is no lease.
        """
        key = f"{self._prefix}{newest + 1:06d}.{0:09d}"
        # A job that began and ended meanwhile is gone at the second attempt.
        for _ in range(2):
            if self._store.put_new(key, data):
                return
            if self._newest_lease()[0] > newest:
                raise self._taken(newest + 1)
        raise StorageError(f"{self._what}: what lies at {key} is not a regular file; delete it")

    def _await_expiry(self, number: int, beat: int) -> int:
        """Wait until an earlier lease is released, or was not renewed for the longer of both owners' timeouts.

        Returns:
            Number of the newest lease, 0 if there is none any more.
        """
        since, timeout_s = time.monotonic(), max(self._timeout_s, self._timeout_of(number))
        self._log.info(
            "%s: waiting %g s to see whether its previous owner is alive",
            self._what,
            timeout_s,
        )
        while time.monotonic() - since < timeout_s:
            time.sleep(min(POLL_S, timeout_s / 4))
            if self._stop_requested():
                raise StopRequested(
                    f"{self._what}: stopped while waiting for its previous owner: run the same command with --resume "
                    "to continue"
                )
            newest, newest_beat, released = self._newest_lease()
            if released or not newest:
                return newest
            if (newest, newest_beat) != (number, beat):
                raise self._taken(newest)
        return number

    def _newest_lease(self) -> tuple[int, int, bool]:
        """Number of the newest lease, its beat, and whether it was released; 0 if there is none.

        Raises:
            StorageError: one has a number that no start of a cluster can have.
        """
        beats: dict[int, int] = {}
        released = set()
        for key, _ in self._store.list(self._prefix):
            match = _KEY.fullmatch(key.removeprefix(self._prefix))
            if match and (len(match[1]) > len(str(MAX_NUMBER)) or int(match[1]) > MAX_NUMBER):
                raise StorageError(f"{self._what}: {key[:200]} was put there by somebody else; delete it")
            if match and match[2] == "released":
                released.add(int(match[1]))
            elif match:
                beats[int(match[1])] = max(beats.get(int(match[1]), 0), int(match[2]))
        newest = max(beats, default=0)
        return newest, beats.get(newest, 0), newest in released

    def _owner(self, number: int) -> dict[str, Any]:
        try:
            found = json.loads(self._store.get(f"{self._prefix}{number:06d}.{0:09d}", MAX_BYTES))
        except (NotFoundError, StorageError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _timeout_of(self, number: int) -> float:
        """An owner's own timeout; it renews its lease four times as often."""
        timeout_s = self._owner(number).get("silence_s")
        return float(min(timeout_s, MAX_TIMEOUT_S)) if isinstance(timeout_s, (int, float)) else 0.0

    def _is_dead(self, number: int) -> bool:
        """True if the owner is known to be dead: an earlier start of this batch job, or a process of this machine."""
        owner, own = self._owner(number), identity()
        if own["job"] and owner.get("job") == own["job"] and owner.get("start") != own["start"]:
            return True
        if not own["machine"] or owner.get("machine") != own["machine"]:
            return False
        return _started(owner.get("pid")) != owner.get("started")

    def _taken(self, number: int) -> TakenError:
        host = re.sub(r"[^\w.-]", "", str(self._owner(number).get("host", ""))[:80]) or "another machine"
        return TakenError(f"{self._what}: a job on {host} is training under this name; {self._advice}")

    def _renew_until_released(self) -> None:
        while not self._ended.wait(self._timeout_s / 4):
            try:
                if self._newest_lease()[0] > self.number:
                    self.lost = True
                    return
                self._beat += 1
                self._store.put_new(f"{self._prefix}{self.number:06d}.{self._beat:09d}", b"{}")
                if self._beat > 1:
                    self._store.delete(f"{self._prefix}{self.number:06d}.{self._beat - 1:09d}")
            except Exception as error:  # whatever it is, keep renewing
                self._log.warning("the lease of %s could not be renewed: %s", self._what, error)


def identity() -> dict[str, Any]:
    """Who this process is, so that another one can tell whether it still lives."""
    job = os.environ.get("SLURM_JOB_ID", "")
    cluster = os.environ.get("SLURM_CLUSTER_NAME", "")
    return {
        "host": os.uname().nodename,
        "machine": _machine(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "job": f"{cluster}/{job}" if job else "",
        "start": os.environ.get("SLURM_RESTART_COUNT", "0"),
    }


def _machine() -> str:
    """This boot of this machine and its PID namespace, in which process numbers are unique; "" if unknown."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: Any) -> str:
    """When a process of this machine was started, in ticks since boot; "" if there is none."""
    try:
        with open(f"/proc/{int(pid)}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except (OSError, TypeError, ValueError, OverflowError):
        return ""
    return "" if fields[0] == "Z" else fields[19]
