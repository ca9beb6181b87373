"""What a run does before its first step: told on rank 0 while it lasts, and recorded on all ranks for the trace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# Seconds before the first line, and between lines.
FIRST_S, EVERY_S = 1.0, 5.0


class Stages:
    """Prints the current stage every few seconds until it is closed; short ones are never seen.

    Args:
        active: whether this rank prints.
        write: takes a line.
    """

    def __init__(self, active: bool, write: Callable[[str], None] | None = None) -> None:
        self._begun: list[tuple[str, int]] = []  # names, and when they began by ``time.perf_counter_ns``
        self._ended: int | None = None
        self._started = time.monotonic()
        self._write = write or _to_stdout
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        if active:
            self._thread = threading.Thread(target=self._tell, daemon=True)
            self._thread.start()

    def begin(self, stage: str) -> None:
        """Begin a stage, such as "reading prices"; another one before it ends."""
        if not self._begun or self._begun[-1][0] != stage:
            self._begun.append((stage, time.perf_counter_ns()))

    def close(self) -> None:
        """End the last stage and print no more; idempotent."""
        if self._ended is None:
            self._ended = time.perf_counter_ns()
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def spans(self) -> list[tuple[str, int, int]]:
        """Name, begin and end of each stage so far, by ``time.perf_counter_ns``; they follow each other."""
        end = time.perf_counter_ns() if self._ended is None else self._ended
        ends = [begin for _, begin in self._begun[1:]] + [end]
        return [(name, begin, end) for (name, begin), end in zip(self._begun, ends, strict=False)]

    def _tell(self) -> None:
        wait = FIRST_S
        while not self._closed.wait(wait):
            stage = self._begun[-1][0] if self._begun else "starting"
            self._write(f"{stage}, {time.monotonic() - self._started:.0f} s since the start")
            wait = EVERY_S


@contextmanager
def telling_stages(active: bool, first: str) -> Iterator[Stages]:
    """Stages during a block, which begins with ``first``."""
    stages = Stages(active)
    stages.begin(first)
    try:
        yield stages
    finally:
        stages.close()


def _to_stdout(line: str) -> None:
    with suppress(OSError):  # a run goes on when nobody reads its output any more
        print(line, flush=True)
