"""What a run says while it goes: a log file per rank, a progress bar or a line every few seconds on rank 0."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from hpc_lstm.parallel.world import World
from hpc_lstm.runs.directory import RunDirectory

LOGGER = "hpc_lstm"


def open_log(run: RunDirectory, world: World) -> logging.Logger:
    """This rank's log: its file, and on rank 0 stdout as well."""
    logger = logging.getLogger(LOGGER)
    close_log()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    path = run.rank_log(world.rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    to_file = _LogFile(path, encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(to_file)
    if world.rank == 0:
        to_screen = _Screen()
        to_screen.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(to_screen)
    return logger


def close_log() -> None:
    """Close this rank's log; idempotent."""
    logger = logging.getLogger(LOGGER)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    # Without any, what a thread that is being given up still says would go to stderr.
    logger.addHandler(logging.NullHandler())


class _LogFile(logging.FileHandler):
    """A log file whose lines are lost if the disk is full: what needs the disk says so, in one line."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


class _Screen(logging.Handler):
    """Prints to whatever stdout is at that moment: while the progress bar is shown, to above the bar.

    A run goes on when nobody reads its output any more.
    """

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            print(self.format(record), flush=True)


def _on_a_terminal() -> bool:
    """True if somebody looks at stdout.

    Open MPI gives rank 0 a terminal of its own even where the output goes to a file, so there a bar would leave
    control codes in it: none is shown.
    """
    return sys.stdout.isatty() and "OMPI_COMM_WORLD_SIZE" not in os.environ


class Speed:
    """Windows a second of all ranks together, from the first update on: compiling the first step is not training.

    Args:
        samples: windows trained on before, by the run that goes on.
    """

    def __init__(self, samples: int) -> None:
        self._first: tuple[int, float] | None = None
        self._last = (samples, time.monotonic())

    def update(self, samples: int) -> None:
        """Take note that all ranks together have trained on ``samples`` windows in this run."""
        self._last = (samples, time.monotonic())
        if self._first is None:
            self._first = self._last

    @property
    def samples_per_second(self) -> float:
        """NaN before the second update."""
        if self._first is None or self._last[1] <= self._first[1]:
            return float("nan")
        return (self._last[0] - self._first[0]) / (self._last[1] - self._first[1])


class ProgressDisplay:
    """Shows how far the run has come: a bar on a terminal, else a line every ``every_s`` seconds.

    Args:
        active: this rank shows anything at all (rank 0).
        total: steps of the run.
    """

    def __init__(self, active: bool, total: int, every_s: float, log: logging.Logger) -> None:
        self._total, self._every_s, self._log = total, every_s, log
        self._active = active
        self._due = time.monotonic() + every_s
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if active and _on_a_terminal():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total} steps"),
            )
            self._bar = Progress(
                *columns, TimeRemainingColumn(), console=Console(file=sys.stdout), transient=True
            )
            self._bar.start()
            self._task = self._bar.add_task("training", total=total)

    def update(self, step: int, epoch: float, loss: float, samples_per_second: float) -> None:
        """Show the state after ``step`` steps."""
        if not self._active:
            return
        text = f"epoch {epoch:.2f}  loss {loss:.6f}  {samples_per_second:,.0f} samples/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=text)
        elif time.monotonic() >= self._due:
            self._due = time.monotonic() + self._every_s
            self._log.info("step %d of %d  %s", step, self._total, text)

    def close(self) -> None:
        """Take the bar off the screen; idempotent."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
