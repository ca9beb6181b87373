"""Progress on rank 0: a bar on a terminal, otherwise a log line every few seconds; and the throughput it shows."""

from __future__ import annotations

import logging
import math
import sys
import time
from typing import TYPE_CHECKING

from hpc_lstm.training.terminal import find_terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Throughput:
    """Windows per second of all ranks together, from the first update on: compiling the first step does not count.

    Args:
        samples: windows trained on by earlier starts of the run.
    """

    def __init__(self, samples: int) -> None:
        self._first: tuple[int, float] | None = None
        self._last = (samples, time.monotonic())

    def update(self, samples: int) -> None:
        """Record that all ranks together have trained on ``samples`` windows in this run."""
        self._last = (samples, time.monotonic())
        if self._first is None:
            self._first = self._last

    @property
    def samples_per_second(self) -> float:
        """NaN before the second update."""
        if self._first is None or self._last[1] <= self._first[1]:
            return float("nan")
        return (self._last[0] - self._first[0]) / (self._last[1] - self._first[1])


class ProgressBar:
    """Shows how far the run has come: a bar on a terminal, otherwise a log line at once and every ``every_s`` seconds.

    Args:
        active: whether this rank shows anything (rank 0 does).
        total: steps of the run.
    """

    def __init__(self, active: bool, total: int, every_s: float, log: logging.Logger) -> None:
        self._total, self._every_s, self._log = total, every_s, log
        self._active = active
        self._due = -math.inf  # the first line says that the run trains
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        terminal = find_terminal() if active else None
        if terminal is not None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total} steps"),
            )
            console = Console(
                file=terminal.stream, width=terminal.width, force_terminal=terminal.forwarded or None
            )
            on_stdout = terminal.stream is sys.stdout
            self._bar = Progress(
                *columns,
                TimeRemainingColumn(),
                console=console,
                transient=True,
                # Lines that are logged appear above the bar; where stdout is no terminal, they go where it leads.
                redirect_stdout=on_stdout,
                redirect_stderr=on_stdout,
            )
            self._bar.start()
            self._task = self._bar.add_task("training", total=total)

    def update(self, step: int, epoch: float, loss: float, samples_per_second: float) -> None:
        """Show the state after ``step`` steps."""
        if not self._active:
            return
        text = f"epoch {epoch:.2f}  loss {loss:.6f}"
        if math.isfinite(samples_per_second):
            text += f"  {samples_per_second:,.0f} samples/s"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, description=text)
        elif time.monotonic() >= self._due:
            self._due = time.monotonic() + self._every_s
            self._log.info("step %d of %d  %s", step, self._total, text)

    def close(self) -> None:
        """Remove the bar from the screen; idempotent."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
