"""One job a cluster name: a lease in the object store, with an owner and a counter that goes on while the owner lives.

    leases/<cluster>/<number>.<beat>    put once; beat 0 says who the owner is and stays, later ones come and go
    leases/<cluster>/<number>.released  the owner has ended

Clocks of machines are never compared: whoever wants the name watches whether the counter moves, by its own clock.
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

from hpc_lstm.errors import InputError, StopRequested, StorageError
from hpc_lstm.storage.objects import NotFoundError, ObjectStore

_KEY = re.compile(r"([0-9]{6,})\.([0-9]{9}|released)")
LARGEST = 4096
LOOK_S = 0.5
# What an owner may ask others to wait at most.
LONGEST_SILENCE_S = 3600.0
# How long a beat under way may hold up the end.
RELEASE_S = 3.0


class Lease:
    """The right to a cluster's name in a run, taken when it is made, and kept by a thread.

    Args:
        prefix: of the run's keys.
        silence_s: seconds without a beat after which an owner is taken for dead.
        stop_requested: asked while it waits for an earlier owner.

    Attributes:
        number: of this lease among all of the name, from 1.

    Raises:
        InputError: another job that lives has the name.
        StopRequested: a wish to stop came first.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        cluster: str,
        silence_s: float,
        log: logging.Logger,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store, self._cluster, self._silence_s, self._log = store, cluster, silence_s, log
        self._prefix, self._stop_requested = f"{prefix}leases/{cluster}/", stop_requested
        self._ended = threading.Event()
        self.lost = False
        self.number = self._take()
        self._beat = 0
        # A daemon: a process that dies stops beating.
        self._thread = threading.Thread(target=self._live, daemon=True, name="lease")
        self._thread.start()

    def check(self) -> None:
        """Make sure that the name is still this job's.

        Raises:
            InputError: another job has taken it over, having heard nothing of this one for too long.
        """
        if self.lost:
            raise InputError(
                f'sync.cluster = "{self._cluster}": another job has taken this name over; stop one of the two, and go '
                "on with the other by --resume"
            )

    def release(self) -> None:
        """Let the name go, if the store takes that soon; idempotent."""
        if not self._ended.is_set():
            self._ended.set()
            last = threading.Thread(target=self._let_go, daemon=True, name="release")
            last.start()
            last.join(RELEASE_S)

    def _let_go(self) -> None:
        self._thread.join(RELEASE_S)
        try:
            self._store.put_new(f"{self._prefix}{self.number:06d}.released", b"{}")
        except Exception as error:  # whoever comes next waits a little longer
            self._log.warning("the cluster's name could not be released: %s", error)

    def _take(self) -> int:
        newest, beat, released = self._look()
        if newest and not released and not self._is_dead(newest):
            begun, silence_s = time.monotonic(), max(self._silence_s, self._silence_of(newest))
            self._log.info(
                "waiting %g s whether the earlier owner of cluster name %s still lives",
                silence_s,
                self._cluster,
            )
            while time.monotonic() - begun < silence_s:
                time.sleep(min(LOOK_S, silence_s / 4))
                if self._stop_requested():
                    raise StopRequested(
                        "stopped while waiting for the cluster's name: run the same command with --resume to go on"
                    )
                now = self._look()
                if now[2]:
                    break
                if now[:2] != (newest, beat):
                    raise self._taken(now[0])
        mine = {**identity(), "token": secrets.token_hex(8), "silence_s": self._silence_s}
        data = json.dumps(mine).encode()
        if not self._store.put_new(f"{self._prefix}{newest + 1:06d}.{0:09d}", data):
            raise self._taken(newest + 1)
        # Somebody whose listing was older may have got here later than we.
        if self._look()[0] > newest + 1:
            raise self._taken(newest + 2)
        return newest + 1

    def _look(self) -> tuple[int, int, bool]:
        """Number of the newest lease, its beat, and whether it was released; 0 if there is none."""
        beats: dict[int, int] = {}
        released = set()
        for key, _ in self._store.list(self._prefix):
            match = _KEY.fullmatch(key.removeprefix(self._prefix))
            if match and match[2] == "released":
                released.add(int(match[1]))
            elif match:
                beats[int(match[1])] = max(beats.get(int(match[1]), 0), int(match[2]))
        newest = max(beats, default=0)
        return newest, beats.get(newest, 0), newest in released

    def _owner(self, number: int) -> dict[str, Any]:
        try:
            found = json.loads(self._store.get(f"{self._prefix}{number:06d}.{0:09d}", LARGEST))
        except (NotFoundError, StorageError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _silence_of(self, number: int) -> float:
        """How long an owner may be silent, by its own setting; its beats are a quarter of that apart."""
        told = self._owner(number).get("silence_s")
        return float(min(told, LONGEST_SILENCE_S)) if isinstance(told, (int, float)) else 0.0

    def _is_dead(self, number: int) -> bool:
        """True if the owner is known to be dead: an earlier start of this batch job, or a process of this machine."""
        owner, mine = self._owner(number), identity()
        if mine["job"] and owner.get("job") == mine["job"] and owner.get("start") != mine["start"]:
            return True
        if not mine["machine"] or owner.get("machine") != mine["machine"]:
            return False
        return _started(owner.get("pid")) != owner.get("started")

    def _taken(self, number: int) -> InputError:
        host = re.sub(r"[^\w.-]", "", str(self._owner(number).get("host", ""))[:80]) or "another machine"
        return InputError(
            f'sync.cluster = "{self._cluster}": a job on {host} is training under this name; give each cluster a '
            "name of its own, or stop that job"
        )

    def _live(self) -> None:
        while not self._ended.wait(self._silence_s / 4):
            try:
                if self._look()[0] > self.number:
                    self.lost = True
                    return
                self._beat += 1
                self._store.put_new(f"{self._prefix}{self.number:06d}.{self._beat:09d}", b"{}")
                if self._beat > 1:
                    self._store.delete(f"{self._prefix}{self.number:06d}.{self._beat - 1:09d}")
            except Exception as error:  # a name that lapses unnoticed is worse than any of them
                self._log.warning("the cluster's lease could not be renewed: %s", error)


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
    """This start of this machine, and the process numbers that are seen from here; "" if they cannot be told."""
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
