"""A logger that sends what it is given from a thread of its own: training never waits for a server, or ends with it."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from hpc_lstm.runs.loggers.reason import reason_of

# Seconds between two messages to a server.
EVERY_S = 2.0
# How long the end of a run waits until all is sent.
CLOSE_S = 60.0


class Point(NamedTuple):
    """A point of some curves at one step; all values are finite.

    Attributes:
        time_s: when it was added, seconds since 1970.
    """

    step: int
    time_s: float
    values: dict[str, float]


class Sink(Protocol):
    """Takes points to where they are kept; called from one thread at a time, and may raise any exception."""

    def send(self, points: list[Point]) -> None:
        """Send points, in the order of their steps."""

    def finish(self) -> None:
        """Say that the run has ended."""


class BackgroundLogger:
    """A ``RunLogger``; after an error it logs one warning, and no more is sent.

    Args:
        name: of the logger, for the warning.
        every_s: seconds between two messages.
    """

    def __init__(self, name: str, sink: Sink, every_s: float = EVERY_S) -> None:
        self._name, self._sink, self._every_s = name, sink, every_s
        self._points: queue.SimpleQueue[Point] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"logger {name}", daemon=True)
        self._thread.start()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add a point of each curve; values that are not finite are left out."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        if finite and self._thread.is_alive():
            self._points.put(Point(step, time.time(), finite))

    def flush(self) -> None:
        """Does nothing: what is not sent yet is at most a few seconds old."""

    def close(self) -> None:
        """Send what is left, for at most ``CLOSE_S`` seconds."""
        self._closing.set()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self._warn(f"not all was sent within {CLOSE_S:.0f} s")

    def _run(self) -> None:
        try:
            closing = False
            while not closing:
                closing = self._closing.wait(self._every_s)
                if points := self._waiting():
                    self._sink.send(points)
            self._sink.finish()
        except Exception as error:  # whatever a server or its library comes up with: the run itself is sound
            self._warn(reason_of(error))

    def _waiting(self) -> list[Point]:
        return [self._points.get() for _ in range(self._points.qsize())]

    def _warn(self, problem: str) -> None:
        logging.getLogger("hpc_lstm").warning(
            "%s: %s; the run continues without it, and history.jsonl has all losses", self._name, problem
        )
