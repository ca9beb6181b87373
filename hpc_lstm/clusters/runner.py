"""Running the rounds' logic against a real object store, on a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from hpc_lstm.clusters.documents import PAYLOADS
from hpc_lstm.clusters.inventory import stored_runs, summarize_runs
from hpc_lstm.clusters.rounds import Delete, Discard, Get, List, LogStoredRuns, Operation, Pause, Put, Wanted
from hpc_lstm.errors import StorageError, from_os_error
from hpc_lstm.storage.objects import NotFoundError, ObjectStore, TooLargeError

# How a cluster looks whether the others have come: often at first, then less.
FIRST_LOOK_S, LONGEST_LOOK_S, GROWTH = 0.05, 2.0, 1.3
JOIN_S = 3.0
AGAIN_S = 1.0


class Abandoned(Exception):
    """The errand was given up."""


class Errand:
    """A generator of operations that a thread carries out; see ``rounds``.

    Args:
        prefix: of all keys.
        attempts: times that an operation which the store refuses is tried, each with the store's own retries.

    Attributes:
        ended_ns: when it had come to its end, by ``time.perf_counter_ns``.
    """

    def __init__(
        self, wanted: Wanted, store: ObjectStore, prefix: str, log: logging.Logger, attempts: int
    ) -> None:
        self._store, self._prefix, self._log, self._attempts = store, prefix, log, attempts
        self._given_up = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None
        self.ended_ns = 0
        # A daemon: after a crash nothing must keep the process from ending.
        self._thread = threading.Thread(target=self._run, args=(wanted,), daemon=True, name="rounds")
        self._thread.start()

    @property
    def done(self) -> bool:
        """True when ``result`` is there."""
        return not self._thread.is_alive()

    def result(self) -> Any:
        """What the generator has returned, or raised; waits for it."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def give_up(self) -> None:
        """End between two operations, and wait for that a little."""
        self._given_up.set()
        self._thread.join(JOIN_S)

    def _run(self, wanted: Wanted) -> None:
        answer: Any = None
        try:
            while True:
                answer = self._try(wanted.send(answer))
        except StopIteration as end:
            self._result = end.value
        except BaseException as error:  # raised on the thread that asks for the result
            self._error = error
        finally:
            self.ended_ns = time.perf_counter_ns()

    def _try(self, operation: Operation) -> Any:
        for left in reversed(range(self._attempts)):
            try:
                return self._do(operation)
            except StorageError as error:
                if not left:
                    raise
                self._log.warning("%s; trying again", error)
                # A folder on a network answers with an error at once where a bucket has been tried for long.
                self._given_up.wait(AGAIN_S * (self._attempts - left))
        return None

    def _do(self, operation: Operation) -> Any:
        if self._given_up.is_set():
            raise Abandoned
        if isinstance(operation, Pause):
            if operation.looks:
                self._given_up.wait(
                    min(FIRST_LOOK_S * GROWTH ** min(operation.looks - 1, 50), LONGEST_LOOK_S)
                )
            return time.monotonic()
        if isinstance(operation, Put):
            return self._put(operation)
        if isinstance(operation, Get):
            try:
                return self._store.get(self._prefix + operation.key, operation.limit)
            except NotFoundError:
                return None
            except TooLargeError:
                return b""
        if isinstance(operation, List):
            return [
                key.removeprefix(self._prefix) for key, _ in self._store.list(self._prefix + operation.prefix)
            ]
        if isinstance(operation, Delete):
            return self._store.delete(self._prefix + operation.key)
        if isinstance(operation, Discard):
            return self._store.discard_unfinished(self._prefix + operation.prefix)
        if isinstance(operation, LogStoredRuns):
            return self._log_stored_runs(operation.text)
        self._log.info("%s", operation.text)
        return None

    def _log_stored_runs(self, text: str) -> None:
        try:
            runs = summarize_runs(stored_runs(self._store), self._prefix.rstrip("/"))
        except StorageError as error:  # only a hint for the user: no reason to end the run
            runs = f"cannot be listed: {error}"
        self._log.warning(
            "%s; if a cluster waits elsewhere, compare storage.url and sync.run. Here: %s", text, runs
        )

    def _put(self, operation: Put) -> bool:
        key = self._prefix + operation.key
        try:
            if operation.key.startswith(PAYLOADS):
                self._store.put(key, operation.data)
                return True
            return self._store.put_new(key, operation.data)
        except OSError as error:
            known = from_os_error(error)
            raise StorageError(f"{key}: {known or error}") from None
