"""A log file for each rank; rank 0's lines go to stdout as well."""

from __future__ import annotations

import contextlib
import logging
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import cast

from hpc_lstm.errors import printable
from hpc_lstm.files import append_text
from hpc_lstm.parallel.world import World
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.training.terminal import find_terminal

LOGGER = "hpc_lstm"


def open_log(run: RunDirectory, world: World) -> logging.Logger:
    """This rank's log: its file, and on rank 0 stdout as well."""
    logger = logging.getLogger(LOGGER)
    close_log()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    path = run.rank_log(world.rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    to_file = _LogFile(path, run.path)
    to_file.setFormatter(_Printable("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(to_file)
    if world.rank == 0:
        to_stdout = _Stdout()
        to_stdout.setFormatter(_Printable("%(message)s"))
        logger.addHandler(to_stdout)
    return logger


def close_log() -> None:
    """Close this rank's log; idempotent."""
    logger = logging.getLogger(LOGGER)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    # Without a handler, what a cancelled thread still logs would go to stderr.
    logger.addHandler(logging.NullHandler())


class _Printable(logging.Formatter):
    """Lines may hold names from files and stores: none of them commands the terminal that shows the log."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _LogFile(logging.FileHandler):
    """A log file that loses lines when the disk is full: whatever needs the disk reports that itself, in one line."""

    def __init__(self, path: Path, within: Path) -> None:
        self._path, self._within = path, within  # the handler's own baseFilename has lost any ".."
        super().__init__(path, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        return cast(TextIOWrapper, append_text(self._path, self._within))

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


class _Stdout(logging.Handler):
    """Prints to the current stdout: while a progress bar is shown, that is above the bar.

    What has several lines, such as the table at the end, is made to fit a terminal. A run continues when nobody reads
    its output any more.
    """

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        terminal = find_terminal() if "\n" in text else None
        if terminal is not None and terminal.stream is sys.stdout:
            from hpc_lstm.text.terminal import fitted, terminal_columns

            text = fitted(text, terminal.width or terminal_columns())
        with contextlib.suppress(OSError):
            print(text, flush=True)
