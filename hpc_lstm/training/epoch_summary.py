"""What an epoch's log line says of it: the mean training loss, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any


class EpochSummary:
    """Collects the losses of the current epoch.

    Args:
        entries: of the run's history up to where this start resumes; those of an epoch that was begun count.
        step: the run's step at this start.
    """

    def __init__(self, entries: Iterable[Mapping[str, Any]] = (), step: int = 0) -> None:
        self._begin()
        self._step = 0
        for entry in entries:
            if entry["kind"] == "validation":
                self._begin()
            elif entry.get("loss") is not None:
                self.add(entry["step"], entry["loss"])
        self._step = step

    def add(self, step: int, loss: float) -> None:
        """Add the mean loss of the steps since the last call, up to ``step``."""
        steps = step - self._step
        self._step = step
        self._steps += steps
        self._sum += steps * loss

    def finish(self) -> tuple[float, float]:
        """The mean loss, NaN without a step, and the seconds since the epoch, or this start, began; begin the next."""
        loss = self._sum / self._steps if self._steps else float("nan")
        seconds = time.monotonic() - self._started
        self._begin()
        return loss, seconds

    def _begin(self) -> None:
        self._steps, self._sum, self._started = 0, 0.0, time.monotonic()
