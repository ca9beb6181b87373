"""One job for each cluster name or run directory: a lease in a store, renewed by a counter while its owner lives.

Clocks of different machines are never compared: whoever wants the name watches, by its own clock, whether the counter
advances.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable

from hpc_lstm.clusters.lease_files import LeaseFiles, NewestLease, identity
from hpc_lstm.errors import StopRequested, StorageError, TakenError
from hpc_lstm.storage.objects import ObjectStore

POLL_S = 0.5
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
        first: the key of its first object, which stays until its release, and the bytes, which no other lease has.
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
        advice: str = "give each cluster a different name, or stop that job",
        forget: bool = False,
    ) -> None:
        self._forget = forget
        self._what, self._advice = what or f'sync.cluster = "{cluster}"', advice
        self._store, self._timeout_s, self._log = store, timeout_s, log
        self._files = LeaseFiles(store, prefix, cluster, self._what)
        self._prefix, self._stop_requested = self._files.prefix, stop_requested
        self._ended = threading.Event()
        self.lost = False
        self.first = ("", b"")
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
                for key in self._files.keys_up_to(self.number):
                    self._store.delete(key)
            else:
                self._store.put_new(f"{self._prefix}{self.number:06d}.released", b"{}")
        except Exception as error:  # the next owner waits for the timeout instead
            self._log.warning("%s could not be released: %s", self._what, error)

    def _acquire(self) -> int:
        found = self._files.newest()
        newest = found.number
        if found.is_held and not self._files.is_dead(newest):
            newest = self._await_expiry(found)
        owner = {**identity(), "token": secrets.token_hex(8), "silence_s": self._timeout_s}
        data = json.dumps(owner).encode()
        self._put_first(newest, data)
        # Another job, whose listing was older, may have put a lease after this one's.
        if self._files.newest().number > newest + 1:
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
                self.first = (key, data)
                return
            if self._files.newest().number > newest:
                raise self._taken(newest + 1)
        raise StorageError(f"{self._what}: what lies at {key} is not a regular file; delete it")

    def _await_expiry(self, earlier: NewestLease) -> int:
        """Wait until an earlier lease is released, or was not renewed for the longer of both owners' timeouts.

        Returns:
            Number of the newest lease, 0 if there is none any more.
        """
        since, timeout_s = time.monotonic(), max(self._timeout_s, self._files.timeout_of(earlier.number))
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
            found = self._files.newest()
            if not found.is_held:
                return found.number
            if found != earlier:
                raise self._taken(found.number)
        return earlier.number

    def _taken(self, number: int) -> TakenError:
        return TakenError(
            f"{self._what}: a job on {self._files.host(number)} is training under this name; {self._advice}"
        )

    def _renew_until_released(self) -> None:
        failing = False  # said once, not with every beat: a full disk may stay full for long
        while not self._ended.wait(self._timeout_s / 4):
            try:
                if self._files.newest().number > self.number:
                    self.lost = True
                    return
                self._beat += 1
                self._store.put_new(f"{self._prefix}{self.number:06d}.{self._beat:09d}", b"{}")
                if self._beat > 1:
                    self._store.delete(f"{self._prefix}{self.number:06d}.{self._beat - 1:09d}")
                failing = False
            except Exception as error:  # whatever it is, keep renewing
                if not failing:
                    self._log.warning("the lease of %s could not be renewed: %s", self._what, error)
                failing = True
