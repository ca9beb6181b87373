"""Fetch many symbols: in threads, in batches, and once more those that were not answered.

A pass asks for every symbol that is still open, batch by batch. Symbols that were not answered wait for the next pass,
after a pause that doubles, with jitter. A pass ends early if a whole batch was not answered: Yahoo refuses everything
for now, or the network is down. It is given up after so many passes in a row that brought no symbol.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from hpc_lstm.market.fetching.replies import NotAnswered
from hpc_lstm.processes import LEFT_BEHIND

# Seconds that requests under way are waited for where a fetch ends by an error.
LAST_REPLIES_S = 1.0

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Pace:
    """How fast to ask, and how patiently.

    Attributes:
        rate: requests a second. burst: requests at once after a pause. threads: requests at a time.
        batch: symbols between two looks at whether Yahoo answers at all.
        passes: in a row without any answer, after which the rest is given up.
        first_pause, longest_pause: between passes, in seconds. timeout: of a request, in seconds.
        sleep: how to wait.
    """

    rate: float = 8.0
    burst: float = 16.0
    threads: int = 4
    batch: int = 20
    passes: int = 5
    first_pause: float = 1.0
    longest_pause: float = 60.0
    timeout: float = 15.0
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What came of one item: a result, or an error."""

    item: Item
    result: Result | None
    error: Exception | None = None


class _NoProgress(Exception):
    """Not one of the open items was answered in a pass."""


def fetch_all(
    work: Callable[[Item], Result],
    items: list[Item],
    pace: Pace,
    take: Callable[[Outcome[Item, Result]], None],
    waiting: Callable[[int], None] = lambda open_items: None,
) -> None:
    """Do ``work`` on all items.

    Args:
        work: called in threads; ``NotAnswered`` is tried again, other exceptions are final.
        take: given each final outcome, in any order, in the calling thread.
        waiting: told of the number of open items before each pause.
    """
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

    # In no order of the user's: neighbours that are not answered would look like a network that is down.
    still_open = [Outcome[Item, Result](item, None) for item in items]
    random.Random(len(items)).shuffle(still_open)

    def ask_again() -> None:
        nonlocal still_open
        before = len(still_open)
        still_open = _one_pass(work, still_open, pace, take)
        if len(still_open) == before:
            raise _NoProgress

    while still_open:
        patiently = Retrying(
            retry=retry_if_exception_type(_NoProgress),
            stop=stop_after_attempt(pace.passes),
            wait=wait_exponential_jitter(pace.first_pause, pace.longest_pause, jitter=pace.first_pause),
            sleep=pace.sleep,
            before_sleep=lambda state: waiting(len(still_open)),
            reraise=True,
        )
        try:
            patiently(ask_again)
        except _NoProgress:
            break
        if still_open:  # with progress, the patience begins anew
            waiting(len(still_open))
            pace.sleep(pace.first_pause)
    for outcome in still_open:
        take(outcome)


def _one_pass(
    work: Callable[[Item], Result],
    still_open: list[Outcome[Item, Result]],
    pace: Pace,
    take: Callable[[Outcome[Item, Result]], None],
) -> list[Outcome[Item, Result]]:
    """Ask once for each item, unless a whole batch is not answered; the items that are still open.

    Those that were not asked come first, so that the next pass begins with them.
    """
    failed: list[Outcome[Item, Result]] = []
    with _Threads(work, pace.threads) as threads:
        for start in range(0, len(still_open), pace.batch):
            batch = still_open[start : start + pace.batch]
            before = len(failed)
            for outcome in threads.map([one.item for one in batch]):
                if isinstance(outcome.error, NotAnswered):
                    failed.append(outcome)
                else:
                    take(outcome)
            if len(failed) == before + pace.batch:
                reason = failed[-1].error
                rest = still_open[start + pace.batch :]
                return [one if one.error else Outcome(one.item, None, reason) for one in rest] + failed
    return failed


class _Threads(Generic[Item, Result]):
    """Threads that do the work; daemons, so that Ctrl-C does not wait for a request to time out.

    One that is in libcurl while Python ends would crash the process. Most end within a second; what ends despite the
    others must not let Python end: ``cli.startup.end_despite_threads``.
    """

    def __init__(self, work: Callable[[Item], Result], number: int) -> None:
        self._work = work
        self._threads = [
            threading.Thread(target=self._run, daemon=True, name=LEFT_BEHIND) for _ in range(number)
        ]
        self._todo: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Outcome[Item, Result]] = queue.SimpleQueue()

    def __enter__(self) -> _Threads[Item, Result]:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(queue.Empty):
            while True:
                self._todo.get_nowait()
        for _ in self._threads:
            self._todo.put(None)
        deadline = time.monotonic() + LAST_REPLIES_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def map(self, items: list[Item]) -> Iterator[Outcome[Item, Result]]:
        """Outcomes in the order in which they come."""
        for item in items:
            self._todo.put(item)
        for _ in items:
            yield self._done.get()

    def _run(self) -> None:
        while (item := self._todo.get()) is not None:
            try:
                outcome: Outcome[Item, Result] = Outcome(item, self._work(item))
            except Exception as error:
                outcome = Outcome(item, None, error)
            self._done.put(outcome)
