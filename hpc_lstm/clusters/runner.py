"""Runs the generators of the protocol against a real object store, on a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Generic, TypeVar

from hpc_lstm.clusters.documents import PAYLOADS
from hpc_lstm.clusters.inventory import stored_runs, summarize_runs
from hpc_lstm.clusters.steps import (
    Delete,
    DiscardUnfinished,
    Get,
    List,
    Log,
    LogStoredRuns,
    Put,
    Step,
    Steps,
    Wait,
)
from hpc_lstm.errors import StorageError, from_os_error
from hpc_lstm.storage.objects import NotFoundError, ObjectStore, TooLargeError

T = TypeVar("T")
# Polling for other clusters: often at first, then less.
FIRST_POLL_S, MAX_POLL_S, POLL_GROWTH = 0.05, 2.0, 1.3
# How long ``cancel`` waits for the step under way.
CANCEL_S = 3.0
RETRY_S = 1.0


class Cancelled(Exception):
    """The runner was cancelled."""


class Runner(Generic[T]):
    """Executes a generator's steps, from its construction on; what the store refuses is raised where its step stands.

    Args:
        steps: the generator; see ``steps``.
        prefix: of all keys.
        attempts: times that a step which the store refuses is tried, each with the store's own retries.

    Attributes:
        ended_ns: when the generator ended, by ``time.perf_counter_ns``.
    """

    def __init__(
        self, steps: Steps[T], store: ObjectStore, prefix: str, log: logging.Logger, attempts: int
    ) -> None:
        self._store, self._prefix, self._log, self._attempts = store, prefix, log, attempts
        self._cancelled = threading.Event()
        self._result: T
        self._error: BaseException | None = None
        self.ended_ns = 0
        # A daemon: after a crash nothing must keep the process alive.
        self._thread = threading.Thread(target=self._run, args=(steps,), daemon=True, name="rounds")
        self._thread.start()

    @property
    def done(self) -> bool:
        """True when ``result`` does not block."""
        return not self._thread.is_alive()

    def result(self) -> T:
        """What the generator returned, or raise what it raised; blocks until then."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def cancel(self) -> None:
        """Stop between two steps, and wait a little for that."""
        self._cancelled.set()
        self._thread.join(CANCEL_S)

    def _run(self, steps: Steps[T]) -> None:
        answer: Any = None
        try:
            step = next(steps)
            while True:
                try:
                    answer = self._execute_with_retries(step)
                except StorageError as error:  # which the steps may do without
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            self._result = end.value
        except BaseException as error:  # raised on the thread that asks for the result
            self._error = error
        finally:
            self.ended_ns = time.perf_counter_ns()

    def _execute_with_retries(self, step: Step[Any]) -> Any:
        for left in reversed(range(self._attempts)):
            try:
                return self._execute(step)
            except StorageError as error:
                if not left:
                    raise
                self._log.warning("%s; trying again", error)
                # Where a bucket has been retried for long already, a network folder answers with an error immediately.
                self._cancelled.wait(RETRY_S * (self._attempts - left))
        return None

    def _execute(self, step: Step[Any]) -> Any:
        if self._cancelled.is_set():
            raise Cancelled
        if isinstance(step, Wait):
            return self._wait(step.attempt)
        if isinstance(step, Put):
            return self._put(step)
        if isinstance(step, Get):
            return self._get(step)
        if isinstance(step, List):
            keys = self._store.list(self._prefix + step.prefix)
            return [key.removeprefix(self._prefix) for key, _ in keys]
        if isinstance(step, Delete):
            return self._store.delete(self._prefix + step.key)
        if isinstance(step, DiscardUnfinished):
            return self._store.discard_unfinished(self._prefix + step.prefix)
        if isinstance(step, LogStoredRuns):
            return self._log_stored_runs(step.text)
        assert isinstance(step, Log), step
        return self._log.info("%s", step.text)

    def _wait(self, attempt: int) -> float:
        if attempt:
            pause = FIRST_POLL_S * POLL_GROWTH ** min(attempt - 1, 50)
            self._cancelled.wait(min(pause, MAX_POLL_S))
        return time.monotonic()

    def _put(self, step: Put) -> bool:
        key = self._prefix + step.key
        try:
            if step.key.startswith(PAYLOADS):
                self._store.put(key, step.data)
                return True
            return self._store.put_new(key, step.data)
        except OSError as error:
            raise StorageError(str(from_os_error(error) or f"{key}: {error}")) from None

    def _get(self, step: Get) -> bytes | None:
        try:
            return self._store.get(self._prefix + step.key, step.limit)
        except NotFoundError:
            return None
        except TooLargeError:
            return b""

    def _log_stored_runs(self, text: str) -> None:
        try:
            runs = summarize_runs(stored_runs(self._store), self._prefix.rstrip("/"))
        except StorageError as error:  # a hint for the user is no reason to end the run
            runs = f"cannot be listed: {error}"
        self._log.warning(
            "%s; if others wait elsewhere, compare storage.url and sync.run. In this store: %s", text, runs
        )
