"""What a run does before its first step, told on rank 0 while it lasts: imports, prices, kernels."""

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
        self._stage = ""
        self._started = time.monotonic()
        self._write = write or _to_stdout
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        if active:
            self._thread = threading.Thread(target=self._tell, daemon=True)
            self._thread.start()

    def begin(self, stage: str) -> None:
        """Begin a stage, such as "reading prices"."""
        self._stage = stage

    def close(self) -> None:
        """Print no more; idempotent."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _tell(self) -> None:
        wait = FIRST_S
        while not self._closed.wait(wait):
            self._write(f"{self._stage}, {time.monotonic() - self._started:.0f} s since the start")
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
