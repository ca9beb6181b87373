"""How far a fetch has come: a bar on a terminal, a line every few seconds elsewhere. On stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO


class FetchProgress:
    """Shows the progress of a fetch; a context manager, which leaves nothing on a terminal.

    Args:
        total: symbols to fetch.
        stream: default: stderr. every_s: seconds between lines where it is no terminal. clock: the time in seconds.
    """

    def __init__(
        self,
        total: int,
        stream: TextIO | None = None,
        every_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._stream = total, stream or sys.stderr
        self._every_s, self._clock = every_s, clock
        self._began = clock()
        self._due = self._began + every_s
        self._done = self._without = 0
        self._note = ""
        self._bar: Any = None

    def __enter__(self) -> FetchProgress:
        if self._stream.isatty() and self._total:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("fetching"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total} symbols{task.description}"),
                TimeRemainingColumn(),
                console=Console(file=self._stream),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def done(self, *, came: bool) -> None:
        """One symbol is done; ``came``: its prices came."""
        self._done += 1
        self._without += not came
        self._note = ""
        self._show()

    def waiting(self, still_open: int) -> None:
        """Some symbols were not answered and will be asked for again after a pause."""
        self._note = f", {still_open:,} to be asked for again"
        self._show()

    def _show(self) -> None:
        text = (f", {self._without:,} without prices" if self._without else "") + self._note
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=text)
        elif self._clock() >= self._due:
            self._due = self._clock() + self._every_s
            seconds = self._clock() - self._began
            line = f"fetch: {self._done:,} of {self._total:,} symbols{text}, {seconds:,.0f} s\n"
            with suppress(OSError):  # nobody reads it any more
                self._stream.write(line)
                self._stream.flush()
